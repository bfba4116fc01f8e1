"""The Engine API: the same clients against `minidock serve` and Docker's daemon, in one run."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import minidock
from benches.harness import PEERS_ROOT, Row, inside_peers, peers, rounds, scratch, spawn, summary
from tests.rootfs import busybox_tar

IMAGE = "bench-server"
CLI = str(PEERS_ROOT / "root" / "usr" / "bin" / "docker")
COMPOSE = str(PEERS_ROOT / "root" / "usr" / "libexec" / "docker" / "cli-plugins" / "docker-compose")
STREAM = 256 << 20
FOLLOWERS = 200
PROJECT = "benchserver"


class Unix(http.client.HTTPConnection):
    """HTTP by a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """One of the two: the path of its socket, and docker-py on it."""

    def __init__(self, name: str, path: str) -> None:
        import docker  # docker-py, a development dependency

        self.name = name
        self.path = path
        self.client = docker.DockerClient(base_url=f"unix://{path}", timeout=120)

    @property
    def env(self) -> dict[str, str]:
        """What makes Docker's programs use it."""
        return {**os.environ, "DOCKER_HOST": f"unix://{self.path}", "DOCKER_BUILDKIT": "0"}

    def prepare(self) -> None:
        """Import the image."""
        with busybox_tar().open("rb") as tar:
            self.client.api.import_image_from_data(tar.read(), repository=IMAGE)

    def clear(self) -> None:
        """Remove what was made."""
        for one in self.client.containers.list(all=True, filters={"ancestor": IMAGE}):
            one.remove(force=True)
        for network in self.client.networks.list(names=[PROJECT]):
            network.remove()
        self.client.images.remove(IMAGE, force=True)
        self.client.close()

    def raw(self, method: str, target: str, body: bytes = b"") -> socket.socket:
        """A connection that is taken over: its head is read."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(self.path)
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body)
        found = b""
        while not found.endswith(b"\r\n\r\n"):
            found += sock.recv(1)
        assert found.startswith(b"HTTP/1.1 101 "), found
        return sock


@contextmanager
def served() -> Iterator[tuple[Engine, subprocess.Popen[bytes]]]:
    """`minidock serve` on roots of its own."""
    with scratch() as folder:
        roots = ["--data-root", str(folder / "d"), "--run-root", str(folder / "r")]
        path = folder / "api.sock"
        command = [sys.executable, "-m", "minidock", *roots, "serve", "--socket", str(path)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            while not path.exists():
                time.sleep(0.01)
            yield Engine("minidock", str(path)), process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
            with minidock.Engine(data_root=str(folder / "d"), run_root=str(folder / "r")) as engine:
                for container in engine.containers.list(all=True):
                    container.remove(force=True)
                engine.networks.take([network.record for network in engine.networks.list()])


@contextmanager
def both() -> Iterator[tuple[Engine, Engine, subprocess.Popen[bytes]]]:
    """minidock and Docker with the image, and the process of minidock's server."""
    with served() as (ours, process):
        theirs = Engine("docker", peers("socket").strip())
        ours.prepare()
        theirs.prepare()
        try:
            yield ours, theirs, process
        finally:
            ours.clear()
            theirs.clear()


def _pair(
    what: str,
    call: Callable[[Engine], object],
    engines: tuple[Engine, Engine],
    count: int,
    target: float,
    unit: tuple[float, str] = (1e3, "ms"),
) -> Row:
    """Time a call on both, by turns."""
    times = rounds({one.name: lambda one=one: call(one) for one in engines}, count)  # type: ignore[misc]
    medians, spread = summary(times, unit[0])
    ratio = medians["minidock"] / medians["docker"]
    return Row(what, medians, unit[1], f"≤ {target:g} x docker", ratio <= target, spread, f"{ratio:.2f} x docker")


def calls(count: int) -> list[Row]:
    """What docker-py asks: whether it is there, containers, runs, execs."""
    with both() as (ours, theirs, _):
        engines = ours, theirs
        for one in engines:
            one.client.containers.run(IMAGE, ["sleep", "100000"], detach=True, name="bench-server", network="none")
        held = {one.name: one.client.containers.get("bench-server") for one in engines}
        run = ["true"]
        return [
            _pair("docker-py `ping`", lambda one: one.client.ping(), engines, count, 0.7),
            _pair("docker-py `api.containers`", lambda one: one.client.api.containers(), engines, count, 0.7),
            _pair("docker-py `exec_run`", lambda one: held[one.name].exec_run(run), engines, count // 4, 0.4),
            _pair(
                "docker-py `run(remove=True)`, bridge",
                lambda one: one.client.containers.run(IMAGE, run, remove=True),
                engines,
                count // 8,
                0.2,
            ),
            _pair(
                "docker-py `run(remove=True)`, no network",
                lambda one: one.client.containers.run(IMAGE, run, remove=True, network_mode="none"),
                engines,
                count // 8,
                0.2,
            ),
        ]


def command(count: int) -> Row:
    """Docker's own command."""
    with both() as (ours, theirs, _):
        return _pair(
            "docker CLI `run --rm busybox true`",
            lambda one: spawn(CLI, "run", "--rm", IMAGE, "true", env=one.env),
            (ours, theirs),
            count,
            0.35,
        )


def _drain(sock: socket.socket) -> int:
    size, buffer = 0, bytearray(1 << 20)
    while got := sock.recv_into(buffer):
        size += got
    return size


def _fill(sock: socket.socket) -> None:
    data = memoryview(bytes(1 << 20))
    for _ in range(STREAM >> 20):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
    _drain(sock)


def _attached(engine: Engine, words: list[str], work: Callable[[socket.socket], object], *, stdin: bool) -> None:
    """Attach before the start, and stream; nothing is logged besides."""
    made = engine.client.api.create_container(
        IMAGE, words, stdin_open=stdin, host_config=engine.client.api.create_host_config(
            network_mode="none", auto_remove=True, log_config={"Type": "none"}
        )
    )["Id"]  # fmt: skip
    flags = "stdin=1&stdout=1" if stdin else "stdout=1&stderr=1"
    with engine.raw("POST", f"/containers/{made}/attach?stream=1&{flags}") as sock:
        engine.client.api.start(made)
        work(sock)


def _executed(
    engine: Engine, held: Any, words: list[str], work: Callable[[socket.socket], object], *, stdin: bool
) -> None:
    made = engine.client.api.exec_create(held.id, words, stdin=stdin, stdout=True, stderr=not stdin)["Id"]
    with engine.raw("POST", f"/exec/{made}/start", b"{}") as sock:
        work(sock)


def streams(count: int) -> list[Row]:
    """256 MiB of zeros out of a container and into it, by attach and by exec; GB/s."""
    out = ["sh", "-c", f"dd if=/dev/zero bs=65536 count={STREAM >> 16} 2>/dev/null"]
    into = ["sh", "-c", "cat >/dev/null"]
    rows = []
    with both() as (ours, theirs, _):
        engines = ours, theirs
        for one in engines:
            one.client.containers.run(IMAGE, ["sleep", "100000"], detach=True, name="bench-server", network="none")
        held = {one.name: one.client.containers.get("bench-server") for one in engines}
        work: dict[str, Callable[[Engine], None]] = {
            "attach, out": lambda one: _attached(one, out, _drain, stdin=False),
            "attach, in": lambda one: _attached(one, into, _fill, stdin=True),
            "exec, out": lambda one: _executed(one, held[one.name], out, _drain, stdin=False),
            "exec, in": lambda one: _executed(one, held[one.name], into, _fill, stdin=True),
        }
        for what, call in work.items():
            times = rounds({one.name: lambda one=one, call=call: call(one) for one in engines}, count, warmup=1)  # type: ignore[misc]
            figures = {name: STREAM / 1e9 / statistics.median(values) for name, values in times.items()}
            ratio = figures["minidock"] / figures["docker"]
            rows.append(
                Row(f"256 MiB by {what}", figures, "GB/s", "≥ 1.0 x docker", ratio >= 1, {}, f"{ratio:.2f} x docker")
            )
    return rows


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def followers(count: int) -> list[Row]:
    """Clients that follow logs and events of a container that writes; how long others wait for an answer."""
    with served() as (ours, process):
        ours.prepare()
        try:
            words = ["sh", "-c", "while :; do date; sleep 0.2; done"]
            ours.client.containers.run(IMAGE, words, detach=True, name="bench-server", network="none")
            before, socks = resident_mb(process.pid), []
            for number in range(FOLLOWERS):
                target = ("/events", "/containers/bench-server/logs?follow=1&stdout=1&tail=1")[number % 2]
                socks.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                socks[-1].connect(ours.path)
                socks[-1].sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            readers = [threading.Thread(target=_drain, args=(sock,), daemon=True) for sock in socks]
            for reader in readers:
                reader.start()
            time.sleep(3)
            times, connection = [], Unix(ours.path)
            for _ in range(count):
                begin = time.perf_counter()
                connection.request("GET", "/_ping")
                connection.getresponse().read()
                times.append(time.perf_counter() - begin)
                time.sleep(0.005)
            size = resident_mb(process.pid)
            for sock in socks:
                sock.shutdown(socket.SHUT_RDWR)
            for reader in readers:
                reader.join()
            slowest = sorted(times)[int(len(times) * 0.99)] * 1e3
        finally:
            ours.clear()
    what = f"{FOLLOWERS} clients that follow logs and events"
    return [
        Row(f"{what}: server", {"minidock": size, "before": before}, "MB", "≤ 80 MB", size <= 80),
        Row(
            f"{what}: `/_ping`",
            {"99 %": slowest, "median": statistics.median(times) * 1e3},
            "ms",
            "99 % ≤ 20 ms",
            slowest <= 20,
        ),
    ]


def idle(count: int) -> Row:
    """Resident memory of a server that has answered a few requests, and of Docker's two processes."""
    with served() as (ours, process):
        for _ in range(max(3, count)):
            ours.client.ping()
            ours.client.api.containers()
            ours.client.api.version()
        time.sleep(1)
        size = resident_mb(process.pid)
        ours.client.close()
    theirs = 0.0
    with inside_peers() as enter:
        holder = os.stat(f"/proc/{enter[2]}/ns/mnt").st_ino
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                name = (folder / "comm").read_text().strip()
                if name in ("dockerd", "containerd") and os.stat(folder / "ns/mnt").st_ino == holder:
                    theirs += resident_mb(int(folder.name))
            except OSError:
                continue
    return Row(
        "resident memory of an idle server",
        {"minidock": size, "dockerd + containerd": theirs},
        "MB",
        "≤ 25 MB",
        size <= 25,
    )


def compose(count: int) -> list[Row]:
    """Ten services up and down by docker compose."""
    services = "\n".join(f"  s{n}: {{image: {IMAGE}, command: [sleep, '100000'], init: true}}" for n in range(10))
    with scratch() as folder, both() as (ours, theirs, _):
        file = folder / "compose.yaml"
        file.write_text(f"name: {PROJECT}\nservices:\n{services}\n")

        def work(*words: str) -> Callable[[Engine], None]:
            return lambda one: subprocess.run(
                [COMPOSE, "-f", str(file), *words], env=one.env, check=True, capture_output=True
            ) and None  # fmt: skip

        up, down = work("up", "-d"), work("down", "-t", "5")
        times: dict[str, dict[str, list[float]]] = {"up": {}, "down": {}}
        for number in range(-1, count):
            for one in (ours, theirs) if number % 2 else (theirs, ours):
                for verb, call in (("up", up), ("down", down)):
                    begin = time.perf_counter()
                    call(one)
                    if number >= 0:
                        times[verb].setdefault(one.name, []).append(time.perf_counter() - begin)
    rows = []
    for verb, found in times.items():
        medians, spread = summary(found, 1)
        ratio = medians["minidock"] / medians["docker"]
        rows.append(
            Row(f"docker compose {verb}, 10 services", medians, "s", "≤ 0.4 x docker", ratio <= 0.4, spread,
                f"{ratio:.2f} x docker")
        )  # fmt: skip
    return rows
