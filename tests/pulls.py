"""What tests of pull and push share: layers of noise, names, files of images, other processes, short-lived tokens."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import minidock
from tests.conftest import Roots
from tests.hostile import HostileRegistry
from tests.images import tar_of
from tests.registry import (
    Pushed,
    Registry,
    push_image,
    push_index,
)

REPO = "team/app"


def noise(seed: int, size: int = 20_000) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def layer(seed: int, size: int = 20_000) -> bytes:
    """The tar of a layer with one file ``fSEED``."""
    return tar_of((f"f{seed}", noise(seed, size)))


def name(registry: Registry | HostileRegistry, rest: str = ":latest", repository: str = REPO) -> str:
    return f"{registry.host}/{repository}{rest}"


def files(engine: minidock.Engine, image: str) -> dict[str, bytes]:
    """The files of an image's layers, the upper ones above."""
    found: dict[str, bytes] = {}
    for number in engine.store.images.layers(engine.images.get(image).id):
        root = Path(engine.store.paths.layer(number), "fs")
        found |= {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return found


def blobs_fetched(registry: Registry) -> list[str]:
    """Digests of the blobs that were asked for by GET."""
    return [access.path.rpartition("/")[2] for access in registry.requests("GET", "/blobs/")]


def script(roots: Roots, code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Another process with an ``engine`` on the same roots, and ``args``."""
    head = (
        "import sys, minidock\n"
        "engine = minidock.Engine(data_root=sys.argv[1], run_root=sys.argv[2], config=sys.argv[3])\n"
        "args = sys.argv[4:]\n"
    )
    command = [sys.executable, "-c", head + code, str(roots.data), str(roots.run), str(roots.config), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(process: subprocess.Popen[bytes], timeout: float = 60) -> tuple[int, str]:
    """Wait for a process; its exit code and what it wrote to standard error."""
    try:
        _, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
        process.wait()
    return process.returncode, errors.decode()


def short_lived(registry: HostileRegistry, tokens: HostileRegistry, scope: str) -> dict[str, int]:
    """Let a registry want tokens that are good for two requests each; returns how often each was shown."""
    count = itertools.count()
    tokens.serve("/token", b"", "application/json")
    tokens.rule("/token", edit=lambda _: json.dumps({"token": f"t{next(count)}", "expires_in": 3600}).encode())
    shown: dict[str, int] = {}

    def accept(headers: dict[str, str]) -> bool:
        token = headers.get("authorization", "")
        shown[token] = shown.get(token, 0) + 1
        return token.startswith("Bearer t") and shown[token] <= 2

    registry.challenge = f'Bearer realm="{tokens.url}/token",service="s",scope="{scope}"'
    registry.accept = accept
    return shown


def push_platforms(
    registry: Registry, tag: str, *platforms: str, more: Sequence[dict[str, object]] = ()
) -> list[Pushed]:
    """An index of one image for each platform."""
    made = [
        push_image(registry, REPO, "", [layer(0), layer(100 + n)], platform=platform)
        for n, platform in enumerate(platforms)
    ]
    pairs = [(one.manifest, platform) for one, platform in zip(made, platforms, strict=True)]
    push_index(registry, REPO, tag, pairs, more=more)
    return made
