"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Callable, Iterator

import pytest

from minidock.cli.progress import Bars, bar, frame, shown
from minidock.images.progress import ProgressEvent
from tests.screen import Screen

MEGA = 1_000_000


class Window:
    """A pseudo-terminal, and what it shows."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.master, self.slave = pty.openpty()
        self.screen = Screen(columns, lines)
        self.written = b""
        self._bars: list[Bars] = []
        self._tell(columns)

    def _tell(self, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", self.screen.lines, columns, 0, 0))

    def resize(self, columns: int) -> None:
        self.screen.resize(columns)
        self._tell(columns)

    def read(self, until: Callable[[list[str]], bool]) -> list[str]:
        """Show what comes until the screen is as wanted."""
        end = time.monotonic() + 20
        while not until(self.screen.text):
            assert time.monotonic() < end, "\n".join(self.screen.text)
            if select.select([self.master], [], [], 0.05)[0]:
                data = os.read(self.master, 65536)
                self.written += data
                self.screen.feed(data)
        return self.screen.text

    def bars(self) -> Bars:
        """Bars on it, which end with it."""
        self._bars.append(Bars(self.slave))
        return self._bars[-1]

    def close(self) -> None:
        for bars in self._bars:
            bars.close()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def window() -> Iterator[Window]:
    it = Window()
    yield it
    it.close()


def test_bars_like_docker_s() -> None:
    half = ProgressEvent("Downloading", "c65cf5c92a09", 1_500_000, 3_000_000)
    line = bar(half, 120)
    assert line.startswith("c65cf5c92a09: Downloading [=========================>")
    assert line.endswith("]    1.5MB/3MB")
    assert ">" not in bar(half._replace(current=3_000_000), 120)
    assert bar(half, 45) == "c65cf5c92a09: Downloading    1.5MB/3MB"
    assert bar(half, 30) == "c65cf5c92a09: Downloading"
    assert bar(ProgressEvent("Pull complete", "c65cf5c92a09"), 80) == "c65cf5c92a09: Pull complete"
    for columns in range(20, 140):
        assert len(bar(half, columns)) < columns
    assert "1.5kB/2.34GB" in bar(ProgressEvent("Downloading", "x", 1500, 2_340_000_000), 120)


@pytest.mark.parametrize("lines", [1, 2, 3, 5, 23, 29, 30, 60])
def test_what_is_under_way_is_shown(lines: int) -> None:
    layers = [ProgressEvent("Pull complete", f"done{n}") for n in range(10)]
    layers += [ProgressEvent("Downloading", f"busy{n}", n, 100) for n in range(4)]
    layers += [ProgressEvent("Waiting", f"wait{n}") for n in range(16)]
    texts = frame(layers, 80, lines)
    assert len(texts) <= lines
    if lines >= 30:
        assert len(texts) == 30
    elif lines >= 6:
        assert texts[0] == "10 of 30 layers complete"
        assert [text[:5] for text in texts[1:5]] == ["busy0", "busy1", "busy2", "busy3"]


def test_many_layers_on_a_small_terminal(window: Window) -> None:
    """At most the screen is painted, over and over in place; in the end everything is there once, whole."""
    bars = window.bars()
    bars(ProgressEvent("Pulling from team/app", "latest"))
    for number in range(30):
        bars(ProgressEvent("Pulling fs layer", f"layer{number:02}"))
    window.read(lambda text: "0 of 30 layers complete" in text)
    for number in range(30):
        bars(ProgressEvent("Downloading", f"layer{number:02}", MEGA, 2 * MEGA))
        if number % 10 == 9:
            window.read(
                lambda text, last=f"layer{number:02}: Downloading": (
                    any(last in line for line in text) or len(text) >= 23
                )
            )
    for number in range(30):
        bars(ProgressEvent("Pull complete", f"layer{number:02}"))
    window.read(lambda text: "30 of 30 layers complete" in text)
    assert window.screen.history == ["latest: Pulling from team/app"], "made room once, and nothing was left behind"
    bars(ProgressEvent("Digest: sha256:0"))
    bars.close()
    text = window.read(lambda text: "Digest: sha256:0" in text)
    assert [line for line in text if line] == [
        "latest: Pulling from team/app",
        *(f"layer{number:02}: Pull complete" for number in range(30)),
        "Digest: sha256:0",
    ]
    assert b"\x1b[?25l" not in window.written, "the cursor is never hidden"


def test_a_window_that_changes_its_width(window: Window) -> None:
    bars = window.bars()
    for number in range(3):
        bars(ProgressEvent("Downloading", f"layer{number}", MEGA, 2 * MEGA))
    window.read(lambda text: any("layer2: Downloading [" in line for line in text))
    for columns in (40, 25, 80, 120):
        window.resize(columns)
        for number in range(3):
            bars(ProgressEvent("Extracting", f"layer{number}", columns, 200))
        shown = [bar(ProgressEvent("Extracting", f"layer{number}", columns, 200), columns) for number in range(3)]
        text = window.read(lambda text, shown=shown: text[:3] == shown)
        assert [line for line in text if line] == shown
    bars.close()


def test_what_was_interrupted_stays_and_the_cursor_is_below(window: Window) -> None:
    def interrupted() -> None:
        with shown(window.slave) as progress:
            assert progress is not None
            progress(ProgressEvent("Pulling fs layer", "layer0"))
            progress(ProgressEvent("Downloading", "layer0", MEGA, 2 * MEGA))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    text = window.read(lambda text: any("layer0: Downloading" in line for line in text))
    assert len([line for line in text if line]) == 1
    assert (window.screen.row, window.screen.column) == (1, 0)


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, window: Window) -> None:
    """A line for each change of state; byte counts are not shown."""
    events = [
        ProgressEvent("Pulling from team/app", "latest"),
        ProgressEvent("Pulling fs layer", "a"),
        ProgressEvent("Downloading", "a", 1, 2),
        ProgressEvent("Downloading", "a", 2, 2),
        ProgressEvent("Waiting", "b"),
        ProgressEvent("Waiting", "b"),
        ProgressEvent("Pull complete", "a"),
        ProgressEvent("Digest: sha256:0"),
        ProgressEvent("Pulling from team/app", "other"),
        ProgressEvent("Pull complete", "a"),
    ]
    wanted = (
        "latest: Pulling from team/app\na: Pulling fs layer\nb: Waiting\na: Pull complete\nDigest: sha256:0\n"
        "other: Pulling from team/app\na: Pull complete\n"
    )
    reader, writer = os.pipe()
    with shown(writer) as progress:
        assert progress is not None
        for event in events:
            progress(event)
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read().decode() == wanted
    monkeypatch.setenv("TERM", "dumb")
    with shown(window.slave) as progress:
        assert progress is not None
        for event in events:
            progress(event)
    assert window.read(lambda text: len(text) > 7)[:7] == wanted.splitlines()
    with shown(1, quiet=True) as progress:
        assert progress is None
