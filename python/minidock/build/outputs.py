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

TYPES = ("local", "tar", "docker", "oci", "image", "registry")


class Output(NamedTuple):
    """``--output``: its type, where it goes (``-`` is standard output), and the image's name."""

    type: str
    destination: str = ""
    name: str = ""
    push: bool = False


def parse(text: str) -> Output:
    """Return what ``type=TYPE,dest=PATH,…`` means, or a path, or ``-``. Raises InvalidArgument, Unsupported."""
    if text == "-":
        return Output("tar", "-")
    if "=" not in text.split(",", maxsplit=1)[0]:
        return Output("local", os.path.abspath(text))
    fields: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise InvalidArgument(f"invalid value {part}: an output is type=TYPE,dest=PATH")
        fields[key.strip().lower()] = value
    kind = fields.pop("type", "")
    destination, name = fields.pop("dest", ""), fields.pop("name", "")
    push = fields.pop("push", "false") in ("true", "1") or kind == "registry"
    if kind not in TYPES:
        raise InvalidArgument(f"invalid output type {kind!r}: must be one of {', '.join(TYPES)}")
    if fields:
        raise InvalidArgument(f"output {text!r}: {min(fields)} is not known to minidock")
    if kind in ("local", "tar") and not destination:
        raise InvalidArgument(f"output type {kind}: dest is required")
    if kind in ("image", "registry") and destination:
        raise InvalidArgument(f"output type {kind}: has no dest")
    if destination and destination != "-":
        destination = os.path.abspath(destination)
    return Output(kind, destination, name, push)


def write(layers: Sequence[str], fd: int) -> None:
    """Write the files of layers, highest first, as a tar to ``fd``; their times and owners are kept."""
    _placing(layers).write_tar(fd)


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
