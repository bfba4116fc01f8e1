"""The row "Class: logs" of SECURITY.md section 3: forged lines, unbounded partial lines; and who may read logs."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from pathlib import Path

import pytest

import minidock
from minidock.containers import liveness
from minidock.containers.container import Container
from tests.conftest import Roots

SOAK = os.environ.get("MINIDOCK_SOAK") == "1"
LINE = 1 << 30 if SOAK else 96 << 20
LIMIT = 8 << 20
"""More than a supervisor may ever need of its own, in bytes."""


def run(engine: minidock.Engine, image: str, script: str, **options: object) -> Container:
    container = engine.containers.run(image, ["sh", "-c", script], detach=True, **options)  # type: ignore[call-overload]
    assert isinstance(container, Container)
    return container


def frame(text: bytes) -> bytes:
    """A record of the driver ``local`` that says what a container would like to be in its log."""
    message = b"\x0a\x06stderr\x10\x01\x1a" + bytes([len(text)]) + text
    return len(message).to_bytes(4, "big") + message + len(message).to_bytes(4, "big")


FORGED = (
    b'{"log":"forged\\n","stream":"stderr","time":"2020-01-01T00:00:00Z"}\n'
    b'","stream":"stderr","time":"2020-01-01T00:00:00Z"}\n{"log":"forged\n'
    b"\r\x00\x1b[2J\x08\\u000aforged\\n\n"
) + frame(b"forged")


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_class_logs_forged_lines(engine: minidock.Engine, busybox: str, driver: str) -> None:
    data = FORGED * 400
    script = "".join(f"\\{byte:03o}" for byte in FORGED)
    options = {"max-size": "20000", "max-file": "100", "compress": "false"}
    c = run(
        engine,
        busybox,
        f"for i in $(seq 400); do printf '{script}'; done",
        log_driver=driver,
        log_options=options,
    )
    assert c.wait(timeout=60) == 0
    for tail in (None, 1, 2, 50, 500, 1000):
        with c.logs(stream=True, tail=tail) as log:
            lines = list(log)
        assert {line.stream for line in lines} == {"stdout"}
        assert min(line.time_ns for line in lines) > 1_700_000_000 * 10**9
        got = b"".join(line.data for line in lines)
        expected = data if tail is None else data[-len(got) :]
        assert got == expected
    if driver == "json-file":
        c.reload()
        text = Path(c.attrs["LogPath"]).read_bytes()
        assert all(byte >= 0x20 or byte == 0x0A for byte in text)
        assert all(json.loads(line).keys() == {"log", "stream", "time"} for line in text.splitlines())


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("driver", ["json-file", "local"])
@pytest.mark.parametrize("byte", ["\\0", "x"])
def test_class_logs_an_endless_line(engine: minidock.Engine, busybox: str, driver: str, byte: str) -> None:
    options = {"max-size": "4m", "max-file": "2", "compress": "false"}
    script = f"head -c {LINE} /dev/zero | tr '\\0' '{byte}'"
    c = run(engine, busybox, script, log_driver=driver, log_options=options)
    file = liveness.pid_file(engine.lifecycle.paths.run_container(c.id))
    assert file is not None
    peak = 0
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        with contextlib.suppress(OSError):
            while not over.wait(0.01):
                for line in Path(f"/proc/{file.supervisor}/status").read_text().splitlines():
                    if line.startswith("RssAnon:"):
                        peak = max(peak, int(line.split()[1]) << 10)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert c.wait(timeout=1500) == 0
    finally:
        over.set()
        watcher.join()
    assert 0 < peak < LIMIT
    with c.logs(stream=True) as log:
        sizes = [len(line.data) for line in log]
    assert set(sizes[:-1]) == {16384}
    assert 0 < sizes[-1] <= 16384
    directory = Path(engine.lifecycle.paths.container(c.id))
    files = [path.stat().st_size for path in directory.rglob("*.log*")]
    assert sum(files) < 2 * (4_000_000 + (1 << 18))


def test_class_logs_nobody_else_reads_them(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    for driver in ("json-file", "local"):
        c = run(engine, busybox, "seq 0 3000", log_driver=driver, log_options={"max-size": "10000", "max-file": "3"})
        c.wait(timeout=60)
    files = {}
    for path in roots.data.rglob("*.log*"):
        with contextlib.suppress(FileNotFoundError):  # what is turned over is compressed meanwhile
            files[path] = path.stat()
    assert len(files) >= 5
    for file in files.values():
        assert stat.S_ISREG(file.st_mode)
        assert stat.S_IMODE(file.st_mode) & 0o137 == 0
        assert file.st_uid == 0
    for path in (roots.data, *(path.parent for path in files)):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
