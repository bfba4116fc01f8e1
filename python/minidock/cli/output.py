"""Where the command's own text goes: whole writes on descriptors 1 and 2, tables aligned as Docker's are."""

from __future__ import annotations

import contextlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MINIMUM, _PADDING = 10, 3


def write(text: str, fd: int = 1) -> None:
    """Write all of ``text`` (names of files in it may be any bytes). Raises OSError, BrokenPipeError among them."""
    data = memoryview(text.encode("utf-8", "surrogateescape"))
    while data:
        data = data[os.write(fd, data) :]


def line(text: str) -> None:
    """Write one line to standard output."""
    write(text + "\n")


def complain(text: str) -> None:
    """Write one line to standard error; if nobody can read it, nobody is told."""
    with contextlib.suppress(OSError):
        write(printable(text) + "\n", 2)


def printable(text: str) -> str:
    """``text`` on one line, without characters that could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else f"\\x{ord(c):02x}" for c in text)


def align(rows: Iterable[Sequence[str]], minimum: int = _MINIMUM) -> str:
    """The rows with their cells in columns: at least ``minimum`` wide, three spaces apart, the last cell as it is.

    A column is as wide as its widest cell among neighbouring rows that have a cell after it, as in Go's tabwriter.
    """
    table = [list(row) for row in rows]
    widths: list[list[int]] = [[0] * len(row) for row in table]
    columns = max((len(row) for row in table), default=0)
    for column in range(columns - 1):
        start = 0
        while start < len(table):
            end = start
            while end < len(table) and len(table[end]) > column + 1:
                end += 1
            width = max((len(table[i][column]) + _PADDING for i in range(start, end)), default=0)
            for i in range(start, end):
                widths[i][column] = max(width, minimum)
            start = end + 1
    lines = []
    for row, wide in zip(table, widths, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], wide, strict=False)]
        lines.append("".join([*cells, row[-1]]) + "\n" if row else "\n")
    return "".join(lines)


def table(text: str) -> str:
    """``text`` with its tab-separated cells aligned."""
    lines = text.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    return align(row.split("\t") for row in lines)
