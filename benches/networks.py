"""Networks: containers on a bridge, published ports, names, and many of all."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import minidock
from benches.harness import PROJECT, Row, inside_peers, peers, rounds, scratch, spawn, summary
from benches.holding import Peer, together
from benches.run import DOCKER, PODMAN
from tests.rootfs import busybox_tar

IMAGE = "bench-net"
SECONDS = "3"
NETWORK = "bench-net"


def _image(folder: Path) -> Path:
    """A tar of busybox and the traffic program; the program itself is at ``folder / "pump"``."""
    program = folder / "pump"
    source = str(PROJECT / "benches" / "pump.c")
    subprocess.run(["cc", "-O2", "-static", "-pthread", "-o", str(program), source], check=True)
    tar = folder / "image.tar"
    shutil.copy(busybox_tar(), tar)
    with tarfile.open(tar, "a") as archive:
        entry = tarfile.TarInfo("./bin/pump")
        data = program.read_bytes()
        entry.mode, entry.size = 0o755, len(data)
        archive.addfile(entry, io.BytesIO(data))
    return tar


@contextmanager
def _engine() -> Iterator[tuple[minidock.Engine, Path]]:
    """An engine with the image on roots of its own; containers and networks are removed at the end."""
    with scratch() as folder, minidock.Engine(data_root=str(folder / "d"), run_root=str(folder / "r")) as engine:
        engine.images.import_(str(_image(folder)), repository=IMAGE)
        try:
            yield engine, folder
        finally:
            together(lambda c: c.remove(force=True), engine.containers.list(all=True), 8)
            networks = engine.networks
            networks.take([network.record for network in networks.list()])


@contextmanager
def _docker(folder: Path) -> Iterator[Peer]:
    """Docker with the image."""
    with inside_peers() as enter:
        docker = Peer("docker", [*enter, *DOCKER])
        with (folder / "image.tar").open("rb") as tar:
            subprocess.run([*docker.words, "import", "-", IMAGE], stdin=tar, check=True, stdout=subprocess.DEVNULL)
        try:
            yield docker
        finally:
            if found := docker("ps", "-aq", "--filter", f"ancestor={IMAGE}").split():
                docker("rm", "-f", *found)
            if found := docker("network", "ls", "-q", "--filter", f"name={NETWORK}").split():
                docker("network", "rm", *found)
            docker("rmi", IMAGE)


def bridge_python(count: int) -> Row:
    """`run(remove=True)` on the default bridge, by Python."""
    import docker  # docker-py, a development dependency

    client = docker.DockerClient(base_url=f"unix://{peers('socket').strip()}")
    with _engine() as (engine, folder), _docker(folder):
        times = rounds(
            {
                "minidock": lambda: engine.containers.run(IMAGE, ["true"], remove=True),
                "minidock, no network": lambda: engine.containers.run(IMAGE, ["true"], remove=True, network="none"),
                "docker-py": lambda: client.containers.run(IMAGE, ["true"], remove=True),
            },
            count,
            every={"docker-py": 20},
        )
    medians, spread = summary(times)
    met = medians["minidock"] <= 10
    return Row("Python `run(['true'], remove=True)` on the default bridge", medians, "ms", "≤ 10 ms", met, spread)


def bridge_cli(count: int) -> Row:
    """`run --rm` on the default bridge, by command."""
    with _engine() as (engine, folder), _docker(folder), inside_peers() as enter:
        env = {**os.environ, "MINIDOCK_DATA_ROOT": engine.data_root, "MINIDOCK_RUN_ROOT": engine.run_root}
        command = str(Path(sys.executable).parent / "minidock")
        podman = Peer("podman", [*enter, *PODMAN])
        with (folder / "image.tar").open("rb") as tar:
            subprocess.run([*podman.words, "import", "-q", "-", IMAGE], stdin=tar, check=True, capture_output=True)
        tail = ["run", "--rm", IMAGE, "true"]
        times = rounds(
            {
                "minidock": lambda: spawn(command, *tail, env=env),
                "docker": lambda: spawn(*enter, *DOCKER, *tail),
                "podman": lambda: spawn(*enter, *PODMAN, *tail),
            },
            count,
            every={"docker": 5, "podman": 5},
        )
        podman("rmi", IMAGE)
    medians, spread = summary(times)
    ratio = medians["minidock"] / medians["docker"]
    note = f"{ratio:.2f} x docker"
    return Row(
        "CLI `run --rm busybox true` on the bridge", medians, "ms", "≤ 0.35 x docker", ratio <= 0.35, spread, note
    )


def bridge_fifty(count: int) -> Row:
    """Fifty at once on the default bridge, by the API."""
    with _engine() as (engine, _):

        def fifty() -> None:
            run = lambda: engine.containers.run(IMAGE, ["true"], remove=True)  # noqa: E731 - a thread's target
            threads = [threading.Thread(target=run) for _ in range(50)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        times = rounds({"minidock": fifty}, count, warmup=1)
    medians, spread = summary(times, 1)
    return Row("50 at once on the bridge (API)", medians, "s", "≤ 0.8 s", medians["minidock"] <= 0.8, spread)


def _host_address() -> str:
    """The address of the host's interface with the default route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def _pumped(*words: str) -> float:
    done = subprocess.run(list(words), check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def ports(count: int) -> list[Row]:
    """Throughput and new connections through a published port, beside Docker's."""
    with ExitStack() as stack:
        engine, folder = stack.enter_context(_engine())
        docker = stack.enter_context(_docker(folder))
        pump, host = str(folder / "pump"), _host_address()
        server = engine.containers.run(IMAGE, ["pump", "serve", "80"], detach=True, publish=["18080:80"])
        client = engine.containers.run(IMAGE, ["sleep", "100000"], detach=True)
        docker("run", "-d", "--name", "bench-net-server", "-p", "18081:80", IMAGE, "pump", "serve", "80")
        docker("run", "-d", "--name", "bench-net-client", IMAGE, "sleep", "100000")
        inner = docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "bench-net-server").strip()
        time.sleep(0.5)

        def by_exec(*words: str) -> float:
            done = client.exec(["pump", *words])
            return float(done.stdout)

        def by_docker(*words: str) -> float:
            return float(docker("exec", "bench-net-client", "pump", *words))

        def pairs(mine: Callable[[], float], theirs: Callable[[], float]) -> dict[str, float]:
            found: dict[str, list[float]] = {"minidock": [], "docker": []}
            for index in range(count):
                turn = [("minidock", mine), ("docker", theirs)]
                for name, call in turn if index % 2 else reversed(turn):
                    found[name].append(call())
            return {name: sorted(values)[len(values) // 2] for name, values in found.items()}

        rows = []
        for what, mine, theirs in (
            (
                "on loopback",
                lambda: _pumped(pump, "send", "127.0.0.1", "18080", SECONDS),
                lambda: _pumped(pump, "send", "127.0.0.1", "18081", SECONDS),
            ),
            (
                "on the host's address",
                lambda: _pumped(pump, "send", host, "18080", SECONDS),
                lambda: _pumped(pump, "send", host, "18081", SECONDS),
            ),
            (
                "container to container",
                lambda: by_exec("send", server.ip, "80", SECONDS),
                lambda: by_docker("send", inner, "80", SECONDS),
            ),
        ):
            figures = pairs(mine, theirs)
            met = figures["minidock"] >= figures["docker"]
            rows.append(Row(f"TCP through a published port {what}", figures, "Gbit/s", "≥ 1.0 x docker", met))
        for what, address in (("on loopback", "127.0.0.1"), ("on the host's address", host)):
            words = ("connect", address)
            figures = pairs(
                lambda words=words: _pumped(pump, *words, "18080", SECONDS, "16"),  # type: ignore[misc]
                lambda words=words: _pumped(pump, *words, "18081", SECONDS, "16"),  # type: ignore[misc]
            )
            met = figures["minidock"] >= figures["docker"]
            rows.append(Row(f"new connections through a published port {what}", figures, "/s", "≥ 1.0 x docker", met))
        return rows


def five_hundred(count: int) -> Row:
    """One more container on a bridge that has many, against one that is alone; and what a packet takes."""
    with _engine() as (engine, _):
        sleep = ["sleep", "100000"]

        def one_more() -> float:
            begin = time.perf_counter()
            container = engine.containers.run(IMAGE, sleep, detach=True)
            taken = (time.perf_counter() - begin) * 1e3
            container.remove(force=True)
            return taken

        def packet(source: minidock.Container, target: minidock.Container) -> float:
            done = source.exec(["ping", "-c", "20", "-i", "0.05", target.ip])
            return float(done.stdout.decode().rsplit("/", 2)[1]) * 1e3  # min/avg/max

        first, second = (engine.containers.run(IMAGE, sleep, detach=True) for _ in range(2))
        alone = sorted(one_more() for _ in range(10))[5]
        quick = packet(first, second)
        together(lambda _: engine.containers.run(IMAGE, sleep, detach=True), range(count - 2), 4)
        crowded = sorted(one_more() for _ in range(10))[5]
        slow = packet(first, second)
    figures = {"alone": alone, f"with {count}": crowded}
    note = f"{crowded / alone:.2f} x; a ping between two of them {quick:.0f} µs alone, {slow:.0f} µs with all"
    met = crowded <= 3 * alone
    return Row(f"one more container on a bridge of {count}", figures, "ms", "≤ 3 x alone, latency flat", met, note=note)


def lookups(count: int) -> Row:
    """A name looked up from a container, by 64 clients at a time."""
    clients = "64"
    with _engine() as (engine, folder), _docker(folder) as docker:
        network = engine.networks.create(NETWORK)
        engine.containers.run(IMAGE, ["sleep", "100000"], detach=True, network=NETWORK, name="bench-net-server")
        client = engine.containers.run(IMAGE, ["sleep", "100000"], detach=True, network=NETWORK)
        docker("network", "create", NETWORK)
        for name in ("bench-net-server", "bench-net-client"):
            docker("run", "-d", "--network", NETWORK, "--name", name, IMAGE, "sleep", "100000")
        words = ["pump", "lookup", "127.0.0.11", "bench-net-server", SECONDS, clients]
        found: dict[str, list[tuple[float, float]]] = {"minidock": [], "docker": []}
        for _ in range(count):
            done = client.exec(words).stdout.decode().split()
            found["minidock"].append((float(done[0]), float(done[1])))
            done = docker("exec", "bench-net-client", *words).split()
            found["docker"].append((float(done[0]), float(done[1])))
        together(lambda c: c.remove(force=True), engine.containers.list(all=True), 2)
        network.remove()
    figures, ratios = {}, []
    for index, what in enumerate(("p50", "p99")):
        for name, values in found.items():
            figures[f"{name} {what}"] = sorted(value[index] for value in values)[len(values) // 2]
        ratios.append(figures[f"minidock {what}"] / figures[f"docker {what}"])
    note = f"{ratios[0]:.2f} x and {ratios[1]:.2f} x docker"
    return Row(f"name look-up, {clients} clients", figures, "µs", "≤ 0.5 x docker", max(ratios) <= 0.5, note=note)


def many_networks(count: int) -> list[Row]:
    """So many user-defined networks, made one by one and removed in one batch."""
    with _engine() as (engine, _):
        begin = time.perf_counter()
        for index in range(count):
            engine.networks.create(f"{NETWORK}-{index}")
        made = time.perf_counter() - begin
        begin = time.perf_counter()
        engine.networks.prune()
        removed = time.perf_counter() - begin
    share = count / 200
    what = f"{count} user-defined networks"
    return [
        Row(f"{what} created", {"minidock": made}, "s", "≤ 1 s", made <= share),
        Row(f"{what} removed in one batch", {"minidock": removed}, "s", "≤ 3 s", removed <= 3 * share),
    ]
