"""Progress of pulls and pushes: a bar for each layer on a terminal, a line for each change of state elsewhere."""

from __future__ import annotations

import contextlib
import os

from minidock.cli.output import write
from minidock.cli.units import decimal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from minidock.images.progress import ProgressEvent

_SECONDS = 0.1
_BAR = 50
_DONE = frozenset(("Pull complete", "Already exists", "Pushed", "Layer already exists"))
_NOT_BEGUN = frozenset(("Pulling fs layer", "Waiting", "Preparing"))


@contextlib.contextmanager
def shown(fd: int, *, quiet: bool = False) -> Iterator[Callable[[ProgressEvent], None] | None]:
    """A function that shows each event on ``fd``, for the time of the block; None when nothing is to be shown."""
    if quiet:
        yield None
    elif os.isatty(fd) and os.environ.get("TERM") != "dumb":
        bars = Bars(fd)
        try:
            yield bars
        finally:
            bars.close()
    else:
        yield Lines(fd)


def _begins(event: ProgressEvent) -> bool:
    """Whether an event is about the whole: what follows is a new list of layers."""
    return not event.id or event.status.startswith("Pulling from ")


def _line(event: ProgressEvent) -> str:
    return f"{event.id}: {event.status}" if event.id else event.status


class Lines:
    """One line for each change of state, without byte counts."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._told: dict[str, str] = {}

    def __call__(self, event: ProgressEvent) -> None:
        """Show an event. Raises OSError when nobody reads."""
        if _begins(event):
            self._told.clear()
        elif event.total or self._told.get(event.id) == event.status:
            return
        self._told[event.id] = event.status
        write(_line(event) + "\n", self._fd)


class Bars:
    """Bars below each other, painted over in place ten times a second, each time by one write.

    What is finished stays above as it was painted last. The cursor stays visible and below the bars, so that nothing
    has to be repaired whenever the process ends.
    """

    def __init__(self, fd: int) -> None:
        import threading

        self._fd = fd
        self._lock = threading.Lock()
        self._layers: dict[str, ProgressEvent] = {}
        self._painted: list[int] = []
        self._size = (0, 0)
        self._changed = False
        self._console: Console | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="minidock-bars", daemon=True)
        self._thread.start()

    def __call__(self, event: ProgressEvent) -> None:
        """Show an event."""
        with self._lock:
            if _begins(event):
                self._settle()
                write(_line(event) + "\n", self._fd)
            else:
                self._layers[event.id] = event
                self._changed = True

    def close(self) -> None:
        """Leave the terminal as it should be; what was not finished keeps its last bar."""
        self._stop.set()
        self._thread.join()
        with self._lock, contextlib.suppress(OSError):
            if self._layers:
                self._paint(*self._measure())

    def _tick(self) -> None:
        while not self._stop.wait(_SECONDS):
            with self._lock:
                size = self._measure()
                if self._layers and (self._changed or size != self._size):
                    try:
                        self._paint(*size)
                    except OSError:
                        return  # the terminal is gone

    def _measure(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self._fd)
        except OSError:
            return 80, 24
        # Some terminals do not know their size.
        return max(20, size.columns or 80), max(3, size.lines or 24)

    def _settle(self) -> None:
        """Paint the list for the last time, all of it, however long it is."""
        if self._layers:
            columns, lines = self._measure()
            self._paint(columns, max(lines, len(self._layers) + 1))
            self._layers.clear()
            self._painted.clear()

    def _paint(self, columns: int, lines: int) -> None:
        from rich.console import Console
        from rich.control import Control
        from rich.segment import ControlType, Segment, Segments

        if self._console is None:
            # Closed with the process: the descriptor is not ours.
            self._console = Console(file=open(self._fd, "w", encoding="utf-8", closefd=False), force_terminal=True)  # noqa: SIM115
        console = self._console
        texts = frame(list(self._layers.values()), columns, lines - 1)
        # A terminal that became narrower has wrapped what was painted.
        above = min(sum(-(-max(1, width) // columns) for width in self._painted), lines - 1)
        erase = [Control((ControlType.ERASE_IN_LINE, 0)).segment, Segment.line()]
        parts = []
        if above:
            parts.append(Control(ControlType.CARRIAGE_RETURN, (ControlType.CURSOR_UP, above)).segment)
        for text in texts:
            parts += [Segment(text), *erase]
        below = max(0, above - len(texts))
        if below:
            parts += erase * below
            parts.append(Control((ControlType.CURSOR_UP, below)).segment)
        console.print(Segments(parts), end="", soft_wrap=True)  # one write
        self._painted = [len(text) for text in texts]
        self._size = (columns, lines)
        self._changed = False


def frame(layers: list[ProgressEvent], columns: int, lines: int) -> list[str]:
    """The bars of all layers; where they are more than ``lines``, of those that are under way."""
    if len(layers) <= lines:
        return [bar(layer, columns) for layer in layers]
    done = [layer for layer in layers if layer.status in _DONE]
    waiting = [layer for layer in layers if layer.status in _NOT_BEGUN]
    busy = [layer for layer in layers if layer not in done and layer not in waiting]
    summary = f"{len(done)} of {len(layers)} layers complete"
    texts = [summary[: columns - 1]] if lines > 1 else []
    rest = [*busy, *waiting]
    room = lines - len(texts)
    if len(rest) > room > 1:
        room -= 1
        texts += [bar(layer, columns) for layer in rest[:room]]
        return [*texts, f"{len(rest) - room} more"[: columns - 1]]
    texts += [bar(layer, columns) for layer in rest[:room]]
    return texts


def bar(event: ProgressEvent, columns: int) -> str:
    """``c65cf5c92a09: Downloading [=====>      ]  1.2MB/3.4MB`` in less than ``columns`` characters."""
    text = _line(event)
    if event.total:
        numbers = f"{decimal_size(event.current):>8}/{decimal_size(event.total)}"
        width = min(_BAR, columns - len(text) - len(numbers) - 5)
        if width >= 8:
            filled = width * min(event.current, event.total) // event.total
            inside = ("=" * filled)[: width - 1] + ">" if filled < width else "=" * width
            text += f" [{inside:<{width}}]"
        if len(text) + 1 + len(numbers) < columns:
            text += f" {numbers}"
    return text[: columns - 1]
