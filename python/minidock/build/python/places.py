"""Where in a Python program a step is written."""

from __future__ import annotations

import itertools
import os
import sys
from typing import NamedTuple

_OWN = os.path.dirname(__file__) + os.sep


class Place(NamedTuple):
    """A file as Python names it, and the first and last line of a call."""

    file: str
    line: int
    end_line: int

    @property
    def lines(self) -> tuple[str, ...]:
        """The file's lines; none where it cannot be read."""
        import linecache

        return tuple(line.rstrip("\n") for line in linecache.getlines(self.file))

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def caller() -> Place:
    """The call into this package that goes on."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OWN):
        frame = frame.f_back
    positions = itertools.islice(frame.f_code.co_positions(), max(frame.f_lasti, 0) // 2, None)
    line, end_line, *_ = next(positions, (None, None, None, None))
    line = line or frame.f_lineno or 0
    return Place(frame.f_code.co_filename, line, max(line, end_line or 0))
