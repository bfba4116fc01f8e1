"""Files of a build as a directory: for caches that begin with some, and for results that are no image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock import _native
from minidock._errors import translate
from minidock.build.copying import Placing
from minidock.build.merged import Merged
from minidock.images.reproducible import piped

if TYPE_CHECKING:
    from minidock.build.sources import Match, Source


def copy_files(source: Source, match: Match, target: str) -> None:
    """Copy what a match holds into the empty directory ``target``. Raises what reading and writing raise."""
    placing = Placing(Merged([]), owner=None, mode="", date=None, now=0)
    placing.copy(source, match, "/")

    def read(fd: int) -> None:
        try:
            _native.unpack_layer(fd, target)
        except _native.NativeError as error:
            raise translate(error) from error

    piped(placing.write_tar, read)
