"""How a build goes on, on standard error: Docker's plain log, BuildKit's JSON lines, or nothing."""

from __future__ import annotations

import contextlib
import os

from minidock.cli.output import write
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minidock.build.events import Event, Output, Step

_ERR = 2


@contextlib.contextmanager
def shown(mode: str) -> Iterator[Callable[[Event], None]]:
    """What shows the events of a build, for the time of the block. Raises UsageError for a terminal that is none."""
    terminal = os.isatty(_ERR) and os.environ.get("TERM") != "dumb"
    if mode == "tty" and not terminal:
        raise UsageError("failed to get console: standard error is no terminal", 1)
    if mode == "quiet":
        yield lambda _event: None
    elif mode == "rawjson":
        yield Json()
    elif mode == "plain" or not terminal:
        yield Plain()
    else:
        from minidock.cli.build_live import Live

        live = Live(_ERR)
        try:
            yield live
        finally:
            live.close()


class Warnings:
    """Passes events on, and keeps the warnings among them for the end."""

    def __init__(self, progress: Callable[[Event], None]) -> None:
        self._progress = progress
        self._found: list[str] = []

    def __call__(self, event: Event) -> None:
        """Take an event."""
        from minidock.build.events import Warned

        if isinstance(event, Warned):
            self._found.append(str(event.warning))
        self._progress(event)

    def text(self) -> str:
        """The warnings as Docker shows them after a build; empty where there are none."""
        if not self._found:
            return ""
        number = len(self._found)
        head = f"\n {number} warning{'s' if number > 1 else ''} found (--check shows where):\n"
        return head + "".join(f" - {warning}\n" for warning in self._found)


class Plain:
    """Docker's plain log: each line begins with its step's number."""

    def __init__(self) -> None:
        self._last = 0
        self._rests: dict[int, bytes] = {}

    def __call__(self, event: Event) -> None:
        """Show an event."""
        from minidock.build import events

        if isinstance(event, events.Started):
            self._lines(event.step, [f"#{event.step.number} {event.step.name}"], begin=True)
        elif isinstance(event, events.Status):
            self._lines(event.step, [f"#{event.step.number} {event.text}"])
        elif isinstance(event, events.Output):
            self._output(event)
        elif isinstance(event, events.Finished):
            number = event.step.number
            rest = self._rests.pop(number, b"")
            lines = [f"#{number} {event.seconds:.3f} {_text(rest)}"] if rest else []
            if event.error:
                lines.append(f"#{number} {event.error if event.error == 'CANCELED' else f'ERROR: {event.error}'}")
            else:
                lines.append(f"#{number} CACHED" if event.cached else f"#{number} DONE {event.seconds:.1f}s")
            self._lines(event.step, lines)
            self._put("\n")
            self._last = 0

    def _output(self, event: Output) -> None:
        number = event.step.number
        whole, newline, rest = (self._rests.pop(number, b"") + event.data).rpartition(b"\n")
        if rest:
            self._rests[number] = rest
        if newline:
            lines = [f"#{number} {event.seconds:.3f} {_text(line)}" for line in whole.split(b"\n")]
            self._lines(event.step, lines)

    def _lines(self, step: Step, lines: list[str], *, begin: bool = False) -> None:
        head = ""
        if self._last not in (0, step.number):
            head = "\n"
        if self._last != step.number and not begin:
            head += f"#{step.number} {step.name}\n"
        self._last = step.number
        self._put(head + "".join(f"{line}\n" for line in lines))

    def _put(self, text: str) -> None:
        with contextlib.suppress(OSError):
            write(text, _ERR)


class Json:
    """BuildKit's ``SolveStatus``, one object a line, for programs that read it."""

    def __init__(self) -> None:
        self._started: dict[int, str] = {}

    def __call__(self, event: Event) -> None:
        """Show an event."""
        import base64
        import datetime
        import hashlib
        import json

        from minidock.build import events

        if not isinstance(event, events.Started | events.Status | events.Output | events.Finished):
            return
        now = datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
        step = event.step
        digest = "sha256:" + hashlib.sha256(f"{step.number} {step.name}".encode("utf-8", "surrogateescape")).hexdigest()
        document: dict[str, object] = {}
        if isinstance(event, events.Output):
            data = base64.b64encode(event.data).decode()
            document["logs"] = [{"vertex": digest, "stream": 1, "data": data, "timestamp": now}]
        elif isinstance(event, events.Status):
            document["statuses"] = [
                {"id": event.text, "vertex": digest, "current": 0, "timestamp": now, "started": now, "completed": now}
            ]
        else:
            vertex: dict[str, object] = {"digest": digest, "name": step.name}
            vertex["started"] = self._started.setdefault(step.number, now)
            if isinstance(event, events.Finished):
                vertex["completed"] = now
                if event.cached:
                    vertex["cached"] = True
                if event.error:
                    vertex["error"] = event.error
            document["vertexes"] = [vertex]
        with contextlib.suppress(OSError):
            write(json.dumps(document) + "\n", _ERR)


def _text(line: bytes) -> str:
    """A line of output; what could steer a terminal but colours is shown as it is in a log, carriage returns end it."""
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")


def failure(step: str, output: str, excerpt: str) -> str:
    """The end of the log of a build that failed: the step's last output, and where in the Dockerfile it is."""
    parts = []
    if step:
        parts += ["-" * 6, f" > {step}:", *output.splitlines(), "-" * 6]
    if excerpt:
        parts.append(excerpt)
    return "".join(f"{part}\n" for part in parts)
