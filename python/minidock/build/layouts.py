"""OCI layouts in directories: ``oci-layout://PATH[:TAG][@DIGEST]``, an image as a base or a source without a name here,
and ``--output type=oci,tar=false``, which puts one there."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from minidock.build.events import Status
from minidock.errors import InvalidArgument, NotFound
from minidock.images import archives, contents, loading, manifests, outputs, platforms, references, reproducible
from minidock.images.progress import Reporter
from minidock.spec import oci_image
from minidock.store.failures import translated
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.build.events import Step
    from minidock.build.executor import Build
    from minidock.spec.oci_image import Descriptor, ImageConfig
    from minidock.store.layers import LayerRow

_REF_NAME = "org.opencontainers.image.ref.name"
_CHUNK = 1 << 20


class Layout(NamedTuple):
    """Where an image lies: a directory, the tag in it, and its digest (empty: what the tag says)."""

    path: str
    tag: str
    digest: str


def parse(text: str) -> Layout:
    """Return what follows ``oci-layout://``. Raises InvalidArgument."""
    rest, at, digest = text.partition("@")
    if at and not references.is_digest(digest):
        raise InvalidArgument(f"oci-layout://{text}: invalid digest {digest[:80]!r}")
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        path, colon, tag = rest, "", ""
    if not path or (colon and not references.is_tag(tag)):
        raise InvalidArgument(f"oci-layout://{text}: expected oci-layout://PATH[:TAG][@DIGEST]")
    return Layout(os.path.abspath(path), tag or references.DEFAULT_TAG, digest)


def write(directory: str, save: Callable[[int], None]) -> None:
    """Put the images of an archive, which ``save`` writes, into a layout, which is made; others stay in it.

    An image that had the name of one of them loses it. Raises Corrupt for an index of something else, NoSpace.
    """
    with translated("write", directory):
        os.makedirs(f"{directory}/blobs/sha256", exist_ok=True)
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = _index_of(directory)
            documents = reproducible.piped(save, lambda fd: _blobs(directory, fd))
            found = manifests.parse_index(oci_image.INDEX, documents["index.json"])
            kept = [old for old in before if not any(_replaces(new, old) for new in found.manifests)]
            index = oci_image.Index(2, [*kept, *found.manifests], media_type=oci_image.INDEX)
            for name, data in (("oci-layout", documents["oci-layout"]), ("index.json", msgspec.json.encode(index))):
                with outputs.replaced(f"{directory}/{name}", 0o644) as fd:
                    archives.write_all(fd, data)
        finally:
            os.close(lock)


def _index_of(directory: str) -> list[Descriptor]:
    try:
        with open(f"{directory}/index.json", "rb") as file:
            data = file.read(manifests.MAX_DOCUMENT + 1)
    except FileNotFoundError:
        return []
    return manifests.parse_index(oci_image.INDEX, data).manifests


def _replaces(new: Descriptor, old: Descriptor) -> bool:
    names = [one.annotations.get("io.containerd.image.name", one.annotations.get(_REF_NAME)) for one in (new, old)]
    return names[0] == names[1] if names[0] else new.digest == old.digest


def _blobs(directory: str, fd: int) -> dict[str, bytes]:
    """Write the blobs of an archive that are not there yet; returns its other members."""
    import tarfile

    documents = {}
    with os.fdopen(os.dup(fd), "rb") as file, translated("write", directory):
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                data = tar.extractfile(member)
                if data is None:
                    continue
                if not member.name.startswith("blobs/"):
                    documents[member.name] = data.read()
                elif not os.path.exists(f"{directory}/{member.name}"):
                    with outputs.replaced(f"{directory}/{member.name}", 0o644) as out:
                        while chunk := data.read(_CHUNK):
                            archives.write_all(out, chunk)
        while file.read(_CHUNK):
            pass  # what fills an archive up
    return documents


def load(build: Build, step: Step, text: str, platform: str) -> tuple[ImageConfig, list[LayerRow]]:
    """Bring the layers of an image into the store for the time of the build; returns its configuration and them.

    No image and no name is made. Raises InvalidArgument, NotFound, ImageNotFound, and Corrupt for a damaged layout.
    """
    where = parse(text)
    if not os.path.isdir(where.path):
        raise NotFound(f"oci-layout://{text}: no directory {where.path}")
    wanted = build.platform if not platform else platforms.parse(platform)

    def tell(event: object) -> None:
        build.tell(Status(step, f"{getattr(event, 'id', '')}: {getattr(event, 'status', '')}"))

    with (
        Workspace(build.store.paths, "layout") as work,
        archives.opened(where.path, work) as archive,
        build.stop.cancelling() as cancel,
    ):
        image = contents.read_one(archive, where.tag, where.digest, wanted)
        layers = loading.unpack(build.store, build.work, archive, image, reporter=Reporter(tell), cancel=cancel)
        return image.image, layers
