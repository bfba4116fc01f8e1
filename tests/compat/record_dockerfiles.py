"""Records what Docker makes of the Dockerfiles in tests/compat/dockerfiles.

``python -m tests.compat.record_dockerfiles [NAME…]`` records all, or those with the names. Each is built for itself,
with the same small context, or with that of :mod:`tests.compat.corpus_files`. ``expected.json`` has what came of it:
the error, or the image's configuration and history and the warnings of ``--check``; ``layers.json`` what is in the
layers that it adds to its base. ``options.json`` has build arguments, targets and contexts.
"""

from __future__ import annotations

import functools
import http.client
import io
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.compat import corpus_files
from tests.compat.beside import PEERS
from tests.rootfs import busybox_tar

FOLDER = Path(__file__).parent / "dockerfiles"
CONTEXT = {"a": b"a\n", "b b": b"b\n", "dir/x": b"x\n", "dir/y.md": b"y\n"}
BASE = ["ENV A=base P=/p", 'CMD ["sh"]', "USER 0", "WORKDIR /base", "LABEL base=yes"]
ONBUILD = [*BASE, "ONBUILD ENV O=1", "ONBUILD LABEL o=$O"]
"""What the base images say, beside their files."""
BASES = {"corpus-base": BASE, "corpus-onbuild": ONBUILD, "corpus-tree": BASE}

Outcome = dict[str, Any]
_PATIENCE = 60
_CONTEXT = f"corpus-{secrets.token_hex(4)}"


class Case(NamedTuple):
    """One Dockerfile and how it is built."""

    name: str
    data: bytes
    args: dict[str, str]
    target: str
    context: str
    """``small``, ``files`` or ``tar``: the same files, with their owners."""


def cases() -> list[Case]:
    """All Dockerfiles, by name."""
    options = json.loads((FOLDER / "options.json").read_bytes())
    found = []
    for path in sorted(FOLDER.glob("*.Dockerfile")):
        name = path.name.removesuffix(".Dockerfile")
        option = options.get(name, {})
        kind = option.get("context", "files" if name.startswith("files-") else "small")
        found.append(Case(name, path.read_bytes(), option.get("args", {}), option.get("target", ""), kind))
    return found


def expected() -> dict[str, Any]:
    """What was recorded: ``bases`` (configurations by image) and ``outcomes`` by name."""
    recorded: dict[str, Any] = json.loads((FOLDER / "expected.json").read_bytes())
    return recorded


def expected_layers() -> dict[str, list[list[str]]]:
    """The entries of the layers that were recorded, by name."""
    recorded: dict[str, list[list[str]]] = json.loads((FOLDER / "layers.json").read_bytes())
    return recorded


def base_tar(name: str) -> bytes:
    """The files of a base image."""
    return corpus_files.base_tar() if name == "corpus-tree" else busybox_tar("symbolic").read_bytes()


@contextmanager
def base_images() -> Iterator[dict[str, Any]]:
    """The base images, in the peers' docker while this is open: their configurations."""
    directory = _data() / _CONTEXT
    try:
        for name, changes in BASES.items():
            flags = [word for change in changes for word in ("-c", change)]
            _docker("import", *flags, "-", name, stdin=base_tar(name), check=True)
        directory.mkdir()
        corpus_files.context(directory)
        yield {name: _image(name)["config"] for name in BASES}
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        _docker("rmi", "-f", *BASES)


def outcome(case: Case) -> Outcome:
    """Build one; the base images are there. ``layers`` is what the other record has."""
    image = f"corpus-{os.getpid()}-{case.name}"
    done = _build(case, "--progress=plain", "-t", image)
    if done.returncode:
        return _error(done.stderr.decode("utf-8", "replace"))
    try:
        return {**_image(image), "warnings": _warnings(case), "layers": _layers(image)}
    finally:
        _ask("DELETE", f"/images/{image}?force=1")


def _layers(image: str) -> list[list[str]]:
    found = _ids(image)
    below = 1 if found and found[0] in {_ids(base)[0] for base in BASES} else 0
    return corpus_files.layers(_ask("GET", f"/images/{image}/get"), below) if len(found) > below else []


def _ids(image: str) -> list[str]:
    found: list[str] = json.loads(_ask("GET", f"/images/{image}/json"))["RootFS"].get("Layers") or []
    return found


def _build(case: Case, *argv: str) -> subprocess.CompletedProcess[bytes]:
    target = [f"--target={case.target}"] if case.target else []
    args = [word for key, value in case.args.items() for word in ("--build-arg", f"{key}={value}")]
    words = ["build", *argv, *target, *args]
    if case.context == "files":
        return _docker(*words, "-f", "-", f"/srv/peers/{_CONTEXT}", stdin=case.data)
    return _docker(*words, "-", stdin=context(case))


def context(case: Case) -> bytes:
    """The context of a case that is built from a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        files = {"Dockerfile": case.data}
        if case.context == "small":
            files |= {**CONTEXT, "t.tar": _small_tar()}
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if case.context == "tar":
            corpus_files.add_context(tar)
    return out.getvalue()


def _small_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("in-tar")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"1"))
    return out.getvalue()


def _docker(*argv: str, stdin: bytes = b"", check: bool = False) -> subprocess.CompletedProcess[bytes]:
    env = {
        name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"
    }  # buildx wants one it can write
    return subprocess.run(
        [PEERS, "docker", *argv], input=stdin, capture_output=True, timeout=_PATIENCE, check=check, env=env
    )


def _ask(method: str, path: str) -> bytes:
    """Ask the peers' dockerd itself; what it answers."""
    connection = http.client.HTTPConnection("docker", timeout=_PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(_socket())
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status < 300, body
        return body
    finally:
        connection.close()


@functools.cache
def _socket() -> str:
    return subprocess.run([PEERS, "socket"], capture_output=True, text=True, check=True).stdout.strip()


def _data() -> Path:
    """What the peers see as /srv/peers."""
    return Path(_socket()).parents[1] / "data"


def _error(output: str) -> Outcome:
    text = output.rpartition("\nERROR: ")[2].partition("\n\n")[0].strip()
    text = text.removeprefix("failed to build: ").removeprefix("failed to solve: ")
    text = text.removeprefix("failed to run Build function: ")
    text = re.sub(r" of ref \S+|/srv/peers/\S+/merged", "", text)
    lines = [int(number) for number in re.findall(r"^ *(\d+) \| >>> ", output, re.MULTILINE)]
    found: Outcome = {"error": text}
    if lines:
        found["lines"] = [min(lines), max(lines)]
    return found


def _image(name: str) -> Outcome:
    """Configuration, author and history of an image, as it is stored: `save` refuses images without layers."""
    digest = json.loads(_ask("GET", f"/images/{name}/json"))["Id"].removeprefix("sha256:")
    content = _data() / "docker/image/overlay2/imagedb/content/sha256"
    stored = json.loads((content / digest).read_bytes())
    found: Outcome = {"config": stored["config"]}
    if stored.get("author"):
        found["author"] = stored["author"]
    found["history"] = [
        [step["created_by"], bool(step.get("empty_layer"))]
        for step in stored["history"] or ()
        if step.get("comment") == "buildkit.dockerfile.v0"
    ]
    return found


def _warnings(case: Case) -> list[Any]:
    done = _build(case, "--call=check,format=json")
    found = json.loads(done.stdout or b"{}").get("warnings") or []
    return sorted(
        [warning["ruleName"], warning["detail"], *_range(warning.get("location", {}).get("ranges", []))]
        for warning in found
    )


def _range(ranges: list[Any]) -> list[int]:
    if not ranges:
        return [0, 0]
    return [ranges[0]["start"]["line"], ranges[-1]["end"]["line"]]


def main() -> None:
    """Write expected.json and layers.json."""
    wanted = frozenset(sys.argv[1:])
    outcomes = expected()["outcomes"] if wanted else {}
    layers = expected_layers() if wanted else {}
    with base_images() as bases, ThreadPoolExecutor(3) as pool:
        found = [case for case in cases() if not wanted or case.name in wanted]
        for case, made in zip(found, pool.map(_patiently, found), strict=True):
            if "layers" in made:
                layers[case.name] = made.pop("layers")
            outcomes[case.name] = made
            print(case.name, made.get("error", ""), flush=True)
    names = {case.name for case in cases()}
    outcomes = {name: made for name, made in outcomes.items() if name in names}
    text = json.dumps({"bases": bases, "outcomes": outcomes}, indent=1, sort_keys=True, ensure_ascii=False)
    (FOLDER / "expected.json").write_text(text + "\n")
    shown = {name: layers[name] for name in sorted(layers) if name in outcomes and "error" not in outcomes[name]}
    lines = [f"{json.dumps(name)}: {json.dumps(entries)}" for name, entries in shown.items()]
    (FOLDER / "layers.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _patiently(case: Case) -> Outcome:
    """One that takes too long (an image that Docker looks for in a registry) is to be recorded again."""
    try:
        return outcome(case)
    except (OSError, subprocess.TimeoutExpired, AssertionError) as error:
        return {"failed": str(error)}


if __name__ == "__main__":
    main()
