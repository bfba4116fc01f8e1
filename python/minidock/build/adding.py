"""The parts of a COPY or ADD: files of a tree, archives that are unpacked, what is fetched."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from minidock.build import sources, unpacking
from minidock.build.dockerfile.instructions import Add, Copy
from minidock.build.merged import Merged
from minidock.errors import Unsupported

if TYPE_CHECKING:
    import contextlib

    from minidock.build import keys
    from minidock.build.copying import Placing
    from minidock.build.executor import Build
    from minidock.build.sources import Match, Source

_URL = re.compile(r"https?://", re.IGNORECASE)
_GIT = re.compile(r"(git://|ssh://|git@|[^ ]*\.git(#.*)?$)", re.IGNORECASE)


class Local:
    """Files of the context, a stage or an image."""

    def __init__(self, instruction: Copy | Add, source: Source, matches: list[Match], directory: str) -> None:
        self._directory = directory
        self._instruction = instruction
        self._source = source
        self._matches = matches

    def fact(self, *, times: bool) -> keys.Fact:
        """What the key has of them."""
        return sources.fingerprint(self._source, self._matches, times=times)

    def place(self, placing: Placing, destination: str, stack: contextlib.ExitStack) -> None:
        """Put them where they belong; what is opened for that stays open as long as ``stack``."""
        unpack = isinstance(self._instruction, Add) and self._instruction.unpack is not False
        for match in self._matches:
            if unpack and not match.is_directory and self._is_archive(match):
                self._unpack(placing, match, destination, stack)
            else:
                placing.copy(self._source, match, destination)

    def _is_archive(self, match: Match) -> bool:
        node = match.files[0].node
        fd = self._source.open(node)
        try:
            head = os.pread(fd, 512, 0)
        finally:
            os.close(fd)
        return unpacking.is_archive(head)

    def _unpack(self, placing: Placing, match: Match, destination: str, stack: contextlib.ExitStack) -> None:
        fd = self._source.open(match.files[0].node)
        try:
            directory = unpacking.unpacked(fd, self._directory, match.name, stack)
        finally:
            os.close(fd)
        if directory is None:
            placing.copy(self._source, match, destination)  # it only begins like an archive
            return
        tree = sources.Source(Merged([directory]), match.name)
        for found in tree.match("/"):
            placing.copy(tree, found, destination)


def remote(build: Build, instruction: Add, text: str) -> Remote | None:
    """Return what an ADD fetches; None for a source that is a path."""
    if _GIT.match(text):
        raise Unsupported(
            f"ADD {text}: git sources are not in this version of minidock; clone it beside the Dockerfile"
        )
    if not _URL.match(text):
        return None
    raise Unsupported(f"ADD {text}: fetching is not in this version")


class Remote:
    """A file that is fetched."""
