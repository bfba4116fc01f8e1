"""Results of a build that are no image of this host: a directory or a tar of the stage's files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from minidock import _native
from minidock._errors import translate
from minidock.build.copying import Placing
from minidock.build.merged import Merged
from minidock.build.sources import Source
from minidock.errors import InvalidArgument
from minidock.images.reproducible import piped
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.engine import Engine
    from minidock.images.image import Image

TYPES = ("local", "tar", "docker", "oci", "image", "registry", "cacheonly")
NO_IMAGES = ("local", "tar", "cacheonly")
"""Those that give files, or nothing."""


class Output(NamedTuple):
    """``--output``: its type, where it goes (``-`` is standard output), and the image's name."""

    type: str
    destination: str = ""
    name: str = ""
    push: bool = False
    annotations: tuple[str, ...] = ()
    """As texts of ``--annotation``."""
    layout: bool = False
    """Into a directory, not as an archive: ``tar=false`` of ``oci``."""


def parse(text: str) -> Output:
    """Return what ``type=TYPE,dest=PATH,…`` means, or a path, or ``-``. Raises InvalidArgument, Unsupported."""
    if "\0" in text:
        raise InvalidArgument(f"output {text!r}: no file can have this name")
    if text == "-":
        return Output("tar", "-")
    if "=" not in text.split(",", maxsplit=1)[0]:
        return Output("local", os.path.abspath(text))
    fields: dict[str, str] = {}
    for part in _parts(text):
        key, equals, value = part.partition("=")
        if not equals:
            raise InvalidArgument(f"invalid value {part}: an output is type=TYPE,dest=PATH")
        key = key.strip()
        fields[key if key.startswith("annotation") else key.lower()] = value
    found = checked(fields, text)
    if found.type in ("local", "tar") and not found.destination:
        raise InvalidArgument(f"output type {found.type}: dest is required")
    if found.layout and found.destination in ("", "-"):
        raise InvalidArgument("output type oci: tar=false needs a directory as dest")
    return found


def checked(fields: dict[str, str], text: str) -> Output:
    """Return what these fields of an output mean, which ``text`` is called. Raises InvalidArgument."""
    kind = fields.pop("type", "")
    destination, name = fields.pop("dest", ""), fields.pop("name", "")
    push = _truth(fields, "push", default=False) or kind == "registry"
    layout = kind == "oci" and not _truth(fields, "tar", default=True)
    if kind not in TYPES:
        raise InvalidArgument(f"invalid output type {kind!r}: must be one of {', '.join(TYPES)}")
    annotations = []
    for key in list(fields):
        if key.startswith("annotation"):
            from minidock.build.annotating import attribute

            found = attribute(key, fields[key])
            if found:
                annotations.append(found)
                del fields[key]
    if fields:
        raise InvalidArgument(f"output {text!r}: {min(fields)} is not known to minidock")
    if kind in ("image", "registry", "cacheonly") and destination:
        raise InvalidArgument(f"output type {kind}: has no dest")
    if destination and destination != "-":
        destination = os.path.abspath(destination)
    return Output(kind, destination, name, push, tuple(annotations), layout)


def _truth(fields: dict[str, str], key: str, *, default: bool) -> bool:
    """Take a truth value out of the fields. Raises InvalidArgument for what is none."""
    value = fields.pop(key, str(default))
    if value.lower() in ("true", "1", "t"):
        return True
    if value.lower() in ("false", "0", "f"):
        return False
    raise InvalidArgument(f"output: {key}={value}: must be true or false")


def _parts(text: str) -> list[str]:
    """What commas are between, but for those in quotes. Raises InvalidArgument."""
    if '"' not in text:
        return text.split(",")
    import csv

    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise InvalidArgument(f"invalid output {text!r}: {error}") from error


def archive(engine: Engine, image: Image, tags: Sequence[str], annotations: Sequence[str], fd: int) -> None:
    """Write an image that was built with these options as :meth:`ImageCollection.save` does, with its annotations."""
    from minidock.build import annotating
    from minidock.build.options import names
    from minidock.images import saving

    # All names with their tags: without one, save would take all that the repository has.
    wanted = names(tags) or [image.id]
    described = annotating.chosen(annotating.parse(annotations), annotating.DESCRIPTOR, image.config)
    saving.save(
        engine.images,
        engine.store,
        wanted,
        fd,
        platform=None,
        manifest=image.row.manifest,
        annotations=described,
    )


def layout(engine: Engine, image: Image, tags: Sequence[str], annotations: Sequence[str], directory: str) -> None:
    """Put an image that was built with these options into an OCI layout; see :func:`layouts.write`."""
    from minidock.build import layouts

    layouts.write(directory, lambda fd: archive(engine, image, tags, annotations, fd))


def write(layers: Sequence[str], fd: int) -> None:
    """Write the files of layers, highest first, as a tar to ``fd``; their times and owners are kept.

    Raises NoSpace and its like, and BrokenPipeError when nobody reads it any more.
    """
    try:
        _placing(layers).write_tar(fd)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise from_os(error, "write", "the output") from error


def extract(layers: Sequence[str], directory: str) -> None:
    """Copy the files of layers, highest first, into a directory, which is made; what it has besides stays."""
    try:
        os.makedirs(directory, 0o755, exist_ok=True)
    except OSError as error:
        raise from_os(error, "make", directory) from error

    def read(fd: int) -> None:
        try:
            _native.unpack_layer(fd, directory, whiteouts="delete")
        except _native.NativeError as error:
            raise translate(error) from error

    piped(_placing(layers).write_tar, read)


def _placing(layers: Sequence[str]) -> Placing:
    placing = Placing(Merged([]), owner=None, mode="", date=None, now=0)
    tree = Source(Merged(layers), "the stage")
    for match in tree.match("/") if layers else ():
        placing.copy(tree, match, "/")
    placing.items.pop("", None)
    return placing
