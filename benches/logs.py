"""What one container writes, into its log."""

from __future__ import annotations

import threading
from pathlib import Path

from benches.harness import Row, peers, rounds, summary
from benches.holding import IMAGE, PREFIX, minidock_engine, peer_engines, supervisor

LINE = "a" * 99
LINES = 100_000
OPTIONS = {"max-size": "20m", "max-file": "5"}
"""minidock's own, so that both engines rotate."""


def _writer(times: int) -> list[str]:
    """A command that writes so many times 10 MB of lines, as fast as it can."""
    made = f"yes {LINE} | head -n {LINES} > /lines"
    return ["sh", "-c", f"{made}; i=0; while [ $i -lt {times} ]; do cat /lines; i=$((i+1)); done"]


def throughput(count: int) -> Row:
    """From the start of a container that writes 10 MB ``count`` times to its end, with everything in the log."""
    import docker  # docker-py, a development dependency

    client = docker.DockerClient(base_url=f"unix://{peers('socket').strip()}")
    peak = 0
    command = _writer(count)
    size = count * LINES * (len(LINE) + 1) / 1e6

    def watch(pid: int, over: threading.Event) -> None:
        nonlocal peak
        while not over.wait(0.02):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                return
            fields = dict(line.split(":", 1) for line in status.splitlines())
            peak = max(peak, int(fields.get("RssAnon", "0").split()[0]))

    with minidock_engine() as engine, peer_engines():

        def ours() -> None:
            with engine.containers.run(
                IMAGE, command, detach=True, network="none", log_driver="json-file", log_options=OPTIONS
            ) as container:
                over = threading.Event()
                watcher = threading.Thread(target=watch, args=(supervisor(engine, container), over))
                watcher.start()
                assert container.wait(120) == 0
                over.set()
                watcher.join()

        def theirs() -> None:
            container = client.containers.run(
                IMAGE,
                command,
                name=f"{PREFIX}log",
                detach=True,
                network_mode="none",
                log_config=docker.types.LogConfig(type="json-file", config=OPTIONS),
            )
            assert container.wait()["StatusCode"] == 0
            container.remove(force=True)

        times = rounds({"minidock": ours, "docker": theirs}, 3, warmup=1)
    medians, _ = summary(times, 1)
    rates = {name: size / seconds for name, seconds in medians.items()}
    ratio = rates["minidock"] / rates["docker"]
    note = f"{ratio:.1f} x; {size:.0f} MB; the supervisor had at most {peak} KiB of its own"
    return Row("log of one container that writes lines", rates, "MB/s", "≥ 3 x docker", ratio >= 3, note=note)
