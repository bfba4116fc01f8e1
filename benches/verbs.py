"""Verbs on containers that run: exec, and starting many, one after the other."""

from __future__ import annotations

import sys

from benches.harness import Row, peers, rounds, spawn, summary
from benches.holding import IMAGE, SLEEP, hold, minidock_command, minidock_engine, peer_engines


def exec_python(count: int) -> Row:
    """`exec` of `true` by the Python API, and by docker-py."""
    import docker  # docker-py, a development dependency

    client = docker.DockerClient(base_url=f"unix://{peers('socket').strip()}")
    with minidock_engine() as engine, peer_engines() as found:
        ours = hold(engine, 1)[0]
        theirs = client.containers.get(found["docker"].hold(1)[0])
        times = rounds(
            {
                "minidock": lambda: ours.exec(["true"], check=True),
                "docker-py": lambda: theirs.exec_run(["true"]),
            },
            count,
            every={"docker-py": 5},
        )
    medians, spread = summary(times)
    return Row("exec of `true`, Python API", medians, "ms", "≤ 4 ms", medians["minidock"] <= 4, spread)


def exec_cli(count: int) -> Row:
    """`exec` of `true` by each engine's command."""
    with minidock_engine() as engine, peer_engines() as found:
        command, env = minidock_command(engine)
        ours = hold(engine, 1)[0].name
        names = {name: peer.hold(1)[0] for name, peer in found.items()}
        times = rounds(
            {
                "minidock": lambda: spawn(*command, "exec", ours, "true", env=env),
                "python -c pass": lambda: spawn(sys.executable, "-c", "pass"),
                "docker": lambda: spawn(*found["docker"].words, "exec", names["docker"], "true"),
                "podman": lambda: spawn(*found["podman"].words, "exec", names["podman"], "true"),
            },
            count,
            every={"podman": 5},
        )
    medians, spread = summary(times)
    ratio = medians["minidock"] / medians["docker"]
    return Row("CLI `exec` of `true`", medians, "ms", "≤ 0.9 x docker", ratio <= 0.9, spread, f"{ratio:.2f} x docker")


def detached(count: int) -> Row:
    """`run -d` of as many containers that sleep, one after the other: Python API, docker and podman by command."""
    with minidock_engine() as engine, peer_engines() as found:

        def ours() -> None:
            for _ in range(count):
                engine.containers.run(IMAGE, SLEEP, detach=True, network="none")

        engine.containers.run(IMAGE, ["true"], remove=True, network="none")
        candidates = {"minidock": ours}
        for name, peer in found.items():
            candidates[name] = lambda peer=peer: peer.hold(count)  # type: ignore[misc]
        times = rounds(candidates, 1, warmup=0)
    medians, _ = summary(times, 1)
    target = 0.5 * count / 60
    return Row(
        f"{count} x `run -d` of sleep, one after the other, no network",
        medians,
        "s",
        f"≤ {target:.2g} s",
        medians["minidock"] <= target,
    )
