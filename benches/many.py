"""Many running containers: what one costs in memory, a thousand of them, and how fast `ps` is beside them."""

from __future__ import annotations

import time

from benches.harness import Row, rounds, scratch, spawn, summary
from benches.holding import floor, hold, minidock_command, minidock_engine, peer_engines, together, used_kib

SETTLED = 2.0
"""A supervisor gives back what it has needed for the start a second after it."""


def footprint(count: int) -> Row:
    """What the system uses more for each of so many `sleep` than before, all processes and the kernel together."""
    figures: dict[str, float] = {}
    with minidock_engine() as engine:
        hold(engine, 2)  # what is there once, whatever the number
        time.sleep(SETTLED)
        before = used_kib()
        hold(engine, count)
        time.sleep(SETTLED)
        figures["minidock"] = (used_kib() - before) / count / 1024
    with scratch() as folder:
        before = used_kib()
        with floor(folder, count):
            time.sleep(SETTLED)
            figures["C floor"] = (used_kib() - before) / count / 1024
    with peer_engines() as found:
        for name, peer in found.items():
            peer("run", "--rm", "--network", "none", "bench-busybox", "true")
            before = used_kib()
            peer.hold(count)
            time.sleep(SETTLED)
            figures[name] = (used_kib() - before) / count / 1024
            peer.clear()
    met = figures["minidock"] <= 0.8
    note = f"{count} of each; {figures['minidock'] / figures['C floor']:.2f} x C floor"
    return Row("memory of a running `sleep`, kernel memory and all", figures, "MiB", "≤ 0.8 MB", met, note=note)


def thousand(count: int) -> list[Row]:
    """Start, look at and stop so many containers; the C program that holds the same namespaces beside it."""
    share = count / 1000
    with minidock_engine() as engine:
        command, env = minidock_command(engine)
        hold(engine, 2)
        time.sleep(SETTLED)
        before = used_kib()
        begin = time.perf_counter()
        containers = hold(engine, count, threads=4)
        started = time.perf_counter() - begin
        time.sleep(SETTLED)
        memory = (used_kib() - before) / 1024
        spawn(*command, "ps", env=env)
        listed, listed_spread = summary(
            rounds(
                {
                    "minidock": lambda: spawn(*command, "ps", env=env),
                    "quiet": lambda: spawn(*command, "ps", "-q", env=env),
                },
                7,
                warmup=1,
            )
        )
        begin = time.perf_counter()
        together(lambda c: c.stop(), containers, count)
        stopped = time.perf_counter() - begin
        assert {c.status for c in containers} == {"exited"}
        begin = time.perf_counter()
        together(lambda c: c.remove(), containers, 4)
        removed = time.perf_counter() - begin
    with scratch() as folder:
        before = used_kib()
        with floor(folder, count) as floor_started:
            time.sleep(SETTLED)
            floor_memory = (used_kib() - before) / 1024
    ratio = memory / floor_memory
    seconds = {"minidock": started, "C floor": floor_started}
    return [
        Row(f"{count} containers: all running", seconds, "s", "≤ 10 s", started <= 10, note="4 threads"),
        Row(
            f"{count} containers: memory",
            {"minidock": memory, "C floor": floor_memory},
            "MiB",
            "≤ 900 MB and ≤ 1.3 x C floor",
            memory <= 900 * share and ratio <= 1.3,
            note=f"{ratio:.2f} x C floor, which has no process beside each container's own",
        ),
        Row(f"{count} containers: CLI `ps`", listed, "ms", "≤ 150 ms", listed["minidock"] <= 150, listed_spread),
        Row(
            f"{count} containers: stop all",
            {"minidock": stopped},
            "s",
            "≤ 15 s",
            stopped <= 15,
            note=f"`stop()` by a thread each; 10 s of it `sleep` ignores SIGTERM; removal then took {removed:.1f} s",
        ),
    ]


def ps_hundred(count: int) -> Row:
    """`ps` by command with 100 running containers."""
    with minidock_engine() as engine:
        command, env = minidock_command(engine)
        hold(engine, 100, threads=4)
        times = rounds(
            {
                "minidock": lambda: spawn(*command, "ps", env=env),
                "minidock --version": lambda: spawn(*command, "--version", env=env),
            },
            count,
        )
    medians, spread = summary(times)
    return Row("CLI `ps` with 100 containers", medians, "ms", "≤ 60 ms", medians["minidock"] <= 60, spread)
