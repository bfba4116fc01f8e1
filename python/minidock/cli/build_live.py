"""The steps of a build on a terminal, painted over in place ten times a second, with their times and last output."""

from __future__ import annotations

import contextlib
import os
import threading
import time

from minidock.cli.output import printable, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.build.events import Event, Step

_SECONDS = 0.1
_TAIL = 5
"""Lines of output that a step shows while it goes on."""
_UP, _ERASE = "\x1b[{}A", "\x1b[K"


class _Row:
    """What is known of one step."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.begun = time.monotonic()
        self.seconds = 0.0
        self.done = False
        self.cached = False
        self.error = ""
        self.status = ""
        self.tail: list[str] = []
        self.rest = b""

    def lines(self, columns: int, *, final: bool) -> list[str]:
        """The row, and below it the last lines of output of a step that goes on, or has failed."""
        seconds = self.seconds if self.done else time.monotonic() - self.begun
        mark = "ERROR " if self.error and self.error != "CANCELED" else "CANCELED " if self.error else ""
        left = f" => {mark}{'CACHED ' if self.cached else ''}{self.step.name}"
        right = f" {seconds:.1f}s"
        room = max(10, columns - len(right) - 1)
        found = [printable(left)[:room].ljust(room) + right]
        if not self.done and not final:
            found += [
                f" => => {printable(line)}"[: columns - 1]
                for line in self.tail or ([self.status] if self.status else [])
            ]
        return found


class Live:
    """Shows a build until :meth:`close`, which leaves the last picture. The cursor stays visible, below it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._begun = time.monotonic()
        self._rows: dict[int, _Row] = {}
        self._painted = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="minidock-build-view", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Take an event."""
        from minidock.build import events

        with self._lock:
            if isinstance(event, events.Started):
                self._rows[event.step.number] = _Row(event.step)
                return
            row = self._rows.get(event.step.number) if hasattr(event, "step") else None
            if row is None:
                return
            if isinstance(event, events.Status):
                row.status = event.text
            elif isinstance(event, events.Output):
                *whole, row.rest = (row.rest + event.data).split(b"\n")
                texts = [line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace") for line in whole[-_TAIL:]]
                row.tail = [*row.tail, *texts][-_TAIL:]
            elif isinstance(event, events.Finished):
                row.done, row.seconds = True, event.seconds
                row.cached, row.error = event.cached, event.error

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Leave the terminal to something else for the time of the block; what comes after it is painted anew."""
        with self._lock:
            with contextlib.suppress(OSError):
                self._paint(final=False)
            try:
                yield
            finally:
                self._painted = 0

    def close(self) -> None:
        """Paint it for the last time."""
        self._stop.set()
        self._thread.join()
        with self._lock, contextlib.suppress(OSError):
            self._paint(final=True)

    def _tick(self) -> None:
        while not self._stop.wait(_SECONDS):
            with self._lock:
                try:
                    self._paint(final=False)
                except OSError:
                    return  # the terminal is gone

    def _paint(self, *, final: bool) -> None:
        try:
            columns, lines = os.get_terminal_size(self._fd)
        except OSError:
            columns, lines = 80, 24
        columns, lines = max(20, columns or 80), max(4, lines or 24)
        texts = frame(list(self._rows.values()), time.monotonic() - self._begun, columns, final=final)
        if not final and len(texts) > lines - 1:
            # What is under way is at the end.
            texts = [texts[0], *texts[len(texts) - lines + 2 :]]
        above = _UP.format(self._painted) if self._painted else ""
        below = "".join(f"{_ERASE}\n" for _ in range(self._painted - len(texts)))
        back = _UP.format(self._painted - len(texts)) if below else ""
        write(f"\r{above}" + "".join(f"{text}{_ERASE}\n" for text in texts) + below + back, self._fd)
        self._painted = len(texts)


def frame(rows: list[_Row], seconds: float, columns: int, *, final: bool) -> list[str]:
    """The lines of one picture."""
    done = sum(row.done and not row.error for row in rows)
    whole = "FINISHED" if final and done == len(rows) else f"({done}/{len(rows)})"
    texts = [f"[+] Building {seconds:.1f}s {whole}"[: columns - 1]]
    for row in rows:
        texts += row.lines(columns, final=final)
    return texts
