"""Start-up: the helper against crun, Python and the command against Docker, Podman and the bare system calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import minidock
from benches.harness import PEERS_ROOT, Row, floor_program, inside_peers, peers, rounds, scratch, spawn, summary
from tests.rootfs import busybox_tar

DOCKER = ["docker", "-H", "unix:///run/peers-docker.sock"]
PODMAN = [
    "env",
    "PODMAN_IGNORE_CGROUPSV1_WARNING=1",
    "podman",
    "--root",
    "/srv/peers/podman",
    "--runroot",
    "/run/podman-peers",
]


def helper() -> Path:
    """The shipped helper."""
    return Path(minidock.__file__).parent / "_bin" / "minidock-runtime"


def unpacked(folder: Path) -> Path:
    rootfs = folder / "rootfs"
    rootfs.mkdir()
    subprocess.run(["tar", "-C", str(rootfs), "-xf", str(busybox_tar())], check=True)
    return rootfs


def oci_run(count: int) -> Row:
    """`minidock-runtime run` and `crun run` of the same bundle, in the peers' root."""
    with scratch() as folder, inside_peers() as enter:
        peers("bundle", "bench-run", str(unpacked(folder)))
        shutil.copy(helper(), PEERS_ROOT / "root" / "usr" / "local" / "bin" / "minidock-runtime")
        bundle = "/srv/peers/bench-run"
        times = rounds(
            {
                "bare nsenter": lambda: spawn(*enter, "/bin/true"),
                "minidock": lambda: spawn(*enter, "minidock-runtime", "--root", "/run/md-b", "run", "-b", bundle, "m1"),
                "crun": lambda: spawn(*enter, "crun", "--root", "/run/crun-b", "run", "-b", bundle, "c1"),
            },
            count,
        )
    medians, spread = summary(times)
    base = medians.pop("bare nsenter")
    spread.pop("bare nsenter")
    ratio = (medians["minidock"] - base) / (medians["crun"] - base)
    note = f"each includes {base:.2f} ms of entering the peers' root; ratio without it {ratio:.2f}"
    return Row(
        "`minidock-runtime run` vs `crun run`, one bundle", medians, "ms", "ratio ≤ 0.7", ratio <= 0.7, spread, note
    )


def python_run(count: int) -> Row:
    """`minidock.run` with the full profile against the C floor and docker-py."""
    import docker  # docker-py, a development dependency

    client = docker.DockerClient(base_url=f"unix://{peers('socket').strip()}")
    with scratch() as folder, minidock.Engine(data_root=str(folder / "d"), run_root=str(folder / "r")) as engine:
        engine.images.import_(str(busybox_tar()), repository="busybox")
        floor, rootfs = floor_program(folder), unpacked(folder)
        (folder / "s").mkdir()
        command = ["true"]
        times = rounds(
            {
                "minidock": lambda: engine.containers.run("busybox", command, network="none", remove=True),
                "C floor": lambda: spawn(floor, str(rootfs), str(folder / "s")),
                "bare system calls": lambda: spawn(floor, str(rootfs), str(folder / "s"), "bare"),
                "docker-py": lambda: client.containers.run("busybox", command, network_mode="none", remove=True),
            },
            count,
            every={"docker-py": 20},
        )
    medians, spread = summary(times)
    ratio = medians["minidock"] / medians["C floor"]
    met = medians["minidock"] <= 6 and ratio <= 1.5
    return Row(
        "Python `run(busybox, ['true'], remove=True)`",
        medians,
        "ms",
        "≤ 6 ms and ≤ 1.5 x C floor",
        met,
        spread,
        f"{ratio:.2f} x C floor",
    )


def cli_run(count: int) -> Row:
    """The command against docker, podman and a bare interpreter."""
    with scratch() as folder, inside_peers() as enter:
        env = {**os.environ, "MINIDOCK_DATA_ROOT": str(folder / "d"), "MINIDOCK_RUN_ROOT": str(folder / "r")}
        minidock_command = shutil.which("minidock", path=str(Path(sys.executable).parent))
        assert minidock_command
        subprocess.run(
            [minidock_command, "import", str(busybox_tar()), "busybox"], env=env, check=True, stdout=subprocess.DEVNULL
        )
        tail = ["run", "--rm", "--network", "none", "busybox", "true"]
        times = rounds(
            {
                "minidock": lambda: spawn(minidock_command, *tail, env=env),
                "python -c pass": lambda: spawn(sys.executable, "-c", "pass"),
                "docker": lambda: spawn(*enter, *DOCKER, *tail),
                "podman": lambda: spawn(*enter, *PODMAN, *tail),
            },
            count,
            every={"docker": 5, "podman": 5},
        )
    medians, spread = summary(times)
    ratio = medians["minidock"] / medians["docker"]
    above = medians["minidock"] - medians["python -c pass"]
    met = ratio <= 0.35 and above <= 50
    note = f"{ratio:.2f} x docker, python + {above:.1f} ms"
    return Row(
        "CLI `run --rm --network none busybox true`",
        medians,
        "ms",
        "≤ 0.35 x docker, ≤ python + 50 ms",
        met,
        spread,
        note,
    )


def _at_once(calls: int, call: object) -> float:
    threads = [threading.Thread(target=call) for _ in range(calls)]  # type: ignore[arg-type]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin


def fifty(count: int) -> Row:
    """50 at once through the Python API; the peers by their command."""
    with scratch() as folder, inside_peers() as enter:
        with minidock.Engine(data_root=str(folder / "d"), run_root=str(folder / "r")) as engine:
            engine.images.import_(str(busybox_tar()), repository="busybox")
            engine.containers.run("busybox", ["true"], remove=True)
            codes: list[int] = []

            def one() -> None:
                codes.append(engine.containers.run("busybox", ["true"], network="none", remove=True).exit_code)

            times = {"minidock": [_at_once(50, one) for _ in range(count)]}
            assert codes == [0] * 50 * count
        tail = ["run", "--rm", "--network", "none", "busybox", "true"]
        times["docker"] = [_at_once(50, lambda: spawn(*enter, *DOCKER, *tail))]
        times["podman"] = [_at_once(50, lambda: spawn(*enter, *PODMAN, *tail))]
    medians, spread = summary(times, 1)
    return Row("50 at once", medians, "s", "≤ 0.4 s", medians["minidock"] <= 0.4, {"minidock": spread["minidock"]})
