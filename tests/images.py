"""Small images for tests, the same bytes each time, and what has to be found in them.

>>> push_image(registry, "app", "x", sample_layers())       # then pull, run or export, and compare with SAMPLE_TREE
>>> hostile.add("app", "x", sample_image(compress="zstd"))
>>> docker_archive([(sample_image(docker_types=True), ["app:x"])])
"""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tests.registry import (
    OCI_INDEX,
    Image,
    Registry,
    build_image,
    descriptor,
    digest_of,
    push_image,
    push_index,
)
from tests.rootfs import busybox_tar

Entry = tarfile.TarInfo | tuple[str, bytes] | tuple[tarfile.TarInfo, bytes]
MTIME = 1_700_000_000
# security.capability of cap_net_raw=ep, version 2
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def tar_of(*entries: Entry) -> bytes:
    """A tar of files ``(name, contents)`` and of other entries, in PAX format, owned by root."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            info, data = entry if isinstance(entry[0], tarfile.TarInfo) else (node(entry[0]), entry[1])
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def node(
    name: str,
    kind: bytes = tarfile.REGTYPE,
    *,
    mode: int | None = None,
    owner: tuple[int, int] = (0, 0),
    link: str = "",
    device: tuple[int, int] = (0, 0),
    mtime: float = MTIME,
    xattrs: dict[str, bytes] | None = None,
) -> tarfile.TarInfo:
    """An entry of any kind (``tarfile.DIRTYPE`` and so on); a regular one goes with its contents in a tuple."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mtime = kind, link, mtime
    info.mode = mode if mode is not None else 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.uid, info.gid = owner
    info.devmajor, info.devminor = device
    for key, value in (xattrs or {}).items():
        info.pax_headers[f"SCHILY.xattr.{key}"] = value.decode("utf-8", "surrogateescape")
    return info


def folder(name: str, **how: Any) -> tarfile.TarInfo:
    """A directory."""
    return node(name, tarfile.DIRTYPE, **how)


def symlink(name: str, target: str) -> tarfile.TarInfo:
    """A symbolic link."""
    return node(name, tarfile.SYMTYPE, link=target, mode=0o777)


def hardlink(name: str, target: str) -> tarfile.TarInfo:
    """Another name of a file of the same layer or of one below."""
    return node(name, tarfile.LNKTYPE, link=target)


def whiteout(path: str) -> tuple[str, bytes]:
    """What hides ``path`` of the layers below."""
    parent, slash, name = path.rpartition("/")
    return f"{parent}{slash}.wh.{name}", b""


def opaque(path: str) -> tuple[str, bytes]:
    """What hides all that the directory ``path`` has in the layers below."""
    return f"{path}/.wh..wh..opq", b""


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


EMPTY_LAYER = tar_of()
LONG_NAME = "long/" + "/".join(["d" * 60] * 4) + "/" + "f" * 200


def sample_layers() -> list[bytes]:
    """Five layers with what layers have: whiteouts, opaque directories, links, xattrs, owners, odd names, nothing."""
    base = tar_of(
        folder("etc"),
        ("etc/keep", b"kept\n"),
        ("etc/gone", b"removed by layer 2\n"),
        ("etc/changed", b"old\n"),
        folder("dir"),
        ("dir/a", b"a\n"),
        folder("dir/sub", mode=0o700),
        ("dir/sub/b", b"b\n"),
        folder("hidden"),
        ("hidden/below", b"below\n"),
        folder("swap"),
        ("swap/inner", b"inner\n"),
        ("swap2", b"a file\n"),
    )
    changes = tar_of(
        whiteout("etc/gone"),
        ("etc/changed", b"new\n"),
        whiteout("dir/sub"),
        folder("hidden"),
        opaque("hidden"),
        ("hidden/above", b"above\n"),
        ("swap", b"now a file\n"),
        folder("swap2"),
        ("swap2/inner", b"now a directory\n"),
    )
    links = tar_of(
        ("one", b"linked\n"),
        hardlink("two", "one"),
        hardlink("dir/three", "one"),
        symlink("short", "etc/keep"),
        symlink("absolute", "/etc/keep"),
        symlink("dangling", "nowhere/at/all"),
        node("fifo", tarfile.FIFOTYPE, mode=0o600),
        (node("setuid", mode=0o4755), b"#!/bin/sh\n"),
        folder("sticky", mode=0o1777),
    )
    names = tar_of(
        ("grüße ☃ \U0001f680", b"unicode\n"),
        ("new\nline", b"a line break\n"),
        (LONG_NAME, b"long\n"),
        (node("owned", owner=(1000, 2000), mode=0o640, mtime=1_234_567_890), b"owned\n"),
        (node("attributes", xattrs={"user.note": b"hello \xc3\xa4"}), b"attributes\n"),
        (node("capable", mode=0o755, xattrs={"security.capability": CAPABILITY}), b"capable\n"),
        ("empty", b""),
        ("noise", noise(100_000)),
    )
    return [base, changes, EMPTY_LAYER, links, names]


class Node(NamedTuple):
    """What has to be at a path: kind "file", "dir", "link" or "fifo"; ``data`` is contents, target or b""."""

    kind: str
    data: bytes = b""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)


SAMPLE_TREE: dict[str, Node] = {
    "etc": Node("dir", mode=0o755),
    "etc/keep": Node("file", b"kept\n"),
    "etc/changed": Node("file", b"new\n"),
    "dir": Node("dir", mode=0o755),
    "dir/a": Node("file", b"a\n"),
    "dir/three": Node("file", b"linked\n"),
    "hidden": Node("dir", mode=0o755),
    "hidden/above": Node("file", b"above\n"),
    "swap": Node("file", b"now a file\n"),
    "swap2": Node("dir", mode=0o755),
    "swap2/inner": Node("file", b"now a directory\n"),
    "one": Node("file", b"linked\n"),
    "two": Node("file", b"linked\n"),
    "short": Node("link", b"etc/keep", 0o777),
    "absolute": Node("link", b"/etc/keep", 0o777),
    "dangling": Node("link", b"nowhere/at/all", 0o777),
    "fifo": Node("fifo", mode=0o600),
    "setuid": Node("file", b"#!/bin/sh\n", 0o4755),
    "sticky": Node("dir", mode=0o1777),
    "grüße ☃ \U0001f680": Node("file", b"unicode\n"),
    "new\nline": Node("file", b"a line break\n"),
    **{
        "/".join(LONG_NAME.split("/")[:depth]): Node("dir", mode=0o755) for depth in range(1, len(LONG_NAME.split("/")))
    },
    LONG_NAME: Node("file", b"long\n"),
    "owned": Node("file", b"owned\n", 0o640, (1000, 2000)),
    "attributes": Node("file", b"attributes\n"),
    "capable": Node("file", b"capable\n", 0o755),
    "empty": Node("file"),
    "noise": Node("file", noise(100_000)),
}
"""All that is in the sample's root filesystem."""


def sample_image(**options: Any) -> Image:
    """The sample as an image, with the options of :func:`tests.registry.build_image`."""
    config = {"Cmd": ["cat", "/etc/keep"], "Env": ["PATH=/bin:/usr/bin", "SAMPLE=1"], "Labels": {"sample": "yes"}}
    return build_image(sample_layers(), **{"config": config, **options})


def read_tree(data: bytes) -> dict[str, Node]:
    """A tar (an export, say) in the form of :data:`SAMPLE_TREE`; another name of a file has its contents."""
    found: dict[str, Node] = {}
    kinds = {tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "link", tarfile.FIFOTYPE: "fifo"}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive:
            name = info.name.removeprefix("./").rstrip("/")
            if name in ("", "."):
                continue
            if info.islnk():
                found[name] = found[info.linkname.removeprefix("./")]
                continue
            kind = kinds.get(info.type, "file")
            content = b""
            if kind == "link":
                content = info.linkname.encode()
            elif kind == "file":
                stream = archive.extractfile(info)
                content = stream.read() if stream else b""
            found[name] = Node(kind, content, info.mode, (info.uid, info.gid))
    return found


def busybox_layers(*more: bytes) -> list[bytes]:
    """Layers of an image that runs: Debian's static busybox, then these."""
    return [busybox_tar().read_bytes(), *more]


def push_platforms(
    registry: Registry,
    repository: str,
    tag: str,
    platforms: Iterable[str] = ("linux/amd64", "linux/arm64/v8", "linux/arm/v7"),
    *,
    base: Sequence[bytes] = (),
    **options: Any,
) -> tuple[str, dict[str, str]]:
    """Push an index with an image for each platform, whose file ``/platform`` names it.

    ``base`` are layers that they have in common. Returns the index's digest and each image's.
    """
    images = {}
    for platform in platforms:
        own = tar_of(("platform", platform.encode()))
        images[platform] = push_image(registry, repository, "", [*base, own], platform=platform, **options).manifest
    docker_types = bool(options.get("docker_types"))
    pairs = [(digest, platform) for platform, digest in images.items()]
    return push_index(registry, repository, tag, pairs, docker_types=docker_types), images


# archives, written without any code of minidock


def docker_archive(images: Sequence[tuple[Image, Sequence[str]]]) -> bytes:
    """What `docker save` wrote before it had OCI layouts: ``manifest.json``, configs, uncompressed layers by name.

    The images have to be built with ``compress="none"``.
    """
    files: dict[str, bytes] = {}
    manifest = []
    for image, tags in images:
        config = f"{digest_of(image.config).removeprefix('sha256:')}.json"
        layers = [f"{digest_of(layer).removeprefix('sha256:')}/layer.tar" for layer in image.layers]
        files |= {config: image.config, **dict(zip(layers, image.layers, strict=True))}
        manifest.append({"Config": config, "RepoTags": list(tags), "Layers": layers})
    files["manifest.json"] = json.dumps(manifest).encode()
    return tar_of(*files.items())


def oci_archive(images: Sequence[tuple[Image, Sequence[str]]], *, docker_names: bool = False) -> bytes:
    """A tar of an OCI layout with these images; each has its names as ``org.opencontainers.image.ref.name``.

    ``docker_names`` adds ``io.containerd.image.name`` and a ``manifest.json``, as `docker save` does today.
    """
    blobs: dict[str, bytes] = {}
    entries: list[dict[str, Any]] = []
    manifest: list[dict[str, Any]] = []
    for image, names in images:
        for blob in (*image.layers, image.config, image.manifest):
            blobs[f"blobs/sha256/{digest_of(blob).removeprefix('sha256:')}"] = blob
        for name in names or [""]:
            entry = descriptor(image.media_type, image.manifest)
            if name and docker_names:
                full = f"docker.io/library/{name}" if "/" not in name else name
                tag = name.rpartition(":")[2]
                entry["annotations"] = {"io.containerd.image.name": full, "org.opencontainers.image.ref.name": tag}
            elif name:
                entry["annotations"] = {"org.opencontainers.image.ref.name": name}
            entries.append(entry)
        paths = [f"blobs/sha256/{digest_of(blob).removeprefix('sha256:')}" for blob in (image.config, *image.layers)]
        manifest.append({"Config": paths[0], "RepoTags": list(names), "Layers": paths[1:]})
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode(),
        **({"manifest.json": json.dumps(manifest).encode()} if docker_names else {}),
        **blobs,
    }
    return tar_of(*files.items())
