"""What a terminal shows of bytes: cursor movements, erasing, wrapping and scrolling, as far as minidock uses them."""

from __future__ import annotations

import re

_PART = re.compile(r"\x1b\[(\d*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Screen:
    """A terminal of ``columns`` and ``lines``; what scrolled out of it is in ``history``."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.columns, self.lines = columns, lines
        self.history: list[str] = []
        self.rows: list[list[str]] = [[]]
        self.row = self.column = 0
        self._rest = ""

    @property
    def text(self) -> list[str]:
        """All lines, those that scrolled away first, without blanks at the end."""
        return [line.rstrip() for line in (*self.history, *("".join(row) for row in self.rows))]

    def feed(self, data: bytes) -> None:
        """Show bytes. Raises AssertionError for a sequence that is not known here."""
        text = self._rest + data.decode()
        at = 0
        while at < len(text):
            found = _PART.match(text, at)
            if found is None:
                break
            at = found.end()
            count, code, carriage, newline, shown = found.groups()
            if code == "A":
                self.row = max(0, self.row - int(count or 1))
            elif code == "K":
                assert count in ("", "0", "2"), count
                del self.rows[self.row][0 if count == "2" else self.column :]
            elif code == "H":
                assert not count, count
                self.row = self.column = 0
            elif code == "J":
                assert not count, count
                del self.rows[self.row][self.column :]
                del self.rows[self.row + 1 :]
            elif code:
                raise AssertionError(f"unknown sequence {found[0]!r}")
            elif carriage:
                self.column = 0
            elif newline:
                self._down()
            else:
                for char in shown:
                    self._put(char)
        self._rest = text[at:]

    def resize(self, columns: int) -> None:
        """Become narrower or wider, and wrap longer lines anew, as most terminals do."""
        rows: list[list[str]] = []
        at_cursor = self.row
        for number, row in enumerate(self.rows):
            if number == at_cursor:
                self.row = len(rows)
            rows += [row[at : at + columns] for at in range(0, len(row), columns)] or [[]]
        self.columns, self.rows = columns, rows
        self._scroll()

    def _put(self, char: str) -> None:
        if self.column == self.columns:
            self.column = 0
            self._down()
        row = self.rows[self.row]
        row += [" "] * (self.column + 1 - len(row))
        row[self.column] = char
        self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])
        self._scroll()

    def _scroll(self) -> None:
        while len(self.rows) > self.lines:
            self.history.append("".join(self.rows.pop(0)))
            self.row -= 1
