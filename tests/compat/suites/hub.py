"""What stands in for Docker Hub: a registry on loopback with small images under the names that others' tests pull."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.registry import Registry, push_image
from tests.rootfs import busybox_tar

SHELL = ["/bin/sh"]
IMAGES = {
    "library/alpine:latest": SHELL,
    "library/alpine:3.10": SHELL,
    "library/busybox:latest": ["sh"],
    "library/hello-world:latest": ["echo", "Hello from Docker!"],
}
"""Repository and tag, and the command; each has a busybox's files, and is an image of its own."""


PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
postgres:x:70:70:postgres:/var/lib/postgresql:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
"""


def own_layer(name: str) -> bytes:
    """A tar with a file that says what the image is, and what tests expect that Alpine has."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        folder = tarfile.TarInfo("var/opt")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        for path, text in (("etc/image", f"{name}\n"), ("etc/passwd", PASSWD)):
            info = tarfile.TarInfo(path)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return made.getvalue()


@contextmanager
def hub(folder: Path, more: dict[str, tuple[list[bytes], list[str]]] | None = None) -> Iterator[Registry]:
    """A registry with :data:`IMAGES`, and images of these layers and commands, to be set as a registry mirror."""
    with Registry(folder) as registry:
        for name, command in IMAGES.items():
            push(registry, name, [busybox_tar().read_bytes(), own_layer(name)], command)
        for name, (layers, command) in (more or {}).items():
            push(registry, name, layers, command)
        yield registry


def push(registry: Registry, name: str, layers: list[bytes], command: list[str]) -> None:
    """Push an image of uncompressed tars."""
    repository, _, tag = name.rpartition(":")
    config = {"Cmd": command, "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}
    push_image(registry, repository, tag, layers, config=config, docker_types=True)
