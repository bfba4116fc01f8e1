"""Engines with containers in them, all removed at the end whatever happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import minidock
from benches.harness import floor_program, inside_peers, peers, scratch
from benches.run import DOCKER, PODMAN
from tests.rootfs import busybox_tar

IMAGE = "bench-busybox"
SLEEP = ["sleep", "100000"]
PREFIX = "bench-held-"


@contextmanager
def minidock_engine() -> Iterator[minidock.Engine]:
    """An engine with the image ``IMAGE`` on roots of its own."""
    with scratch() as folder, minidock.Engine(data_root=str(folder / "d"), run_root=str(folder / "r")) as engine:
        engine.images.import_(str(busybox_tar()), repository=IMAGE)
        try:
            yield engine
        finally:
            together(lambda c: c.remove(force=True), engine.containers.list(all=True), 8)


def minidock_command(engine: minidock.Engine) -> tuple[list[str], dict[str, str]]:
    """The command that works on the engine's roots, and its environment."""
    env = {**os.environ, "MINIDOCK_DATA_ROOT": engine.data_root, "MINIDOCK_RUN_ROOT": engine.run_root}
    return [str(Path(sys.executable).parent / "minidock")], env


def hold(engine: minidock.Engine, count: int, threads: int = 1) -> list[minidock.Container]:
    """``count`` containers that sleep, without a network."""
    return together(lambda _: engine.containers.run(IMAGE, SLEEP, detach=True, network="none"), range(count), threads)


def together(call: Callable[[Any], Any], items: Sequence[Any], threads: int) -> list[Any]:
    """What ``call`` gives for each item, by so many threads."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(call, items))


class Peer:
    """One of today's engines by its command, in the peers' root."""

    def __init__(self, name: str, words: list[str]) -> None:
        self.name = name
        self.words = words

    def __call__(self, *args: str) -> str:
        """Run its command and return what it prints."""
        done = subprocess.run([*self.words, *args], check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def hold(self, count: int) -> list[str]:
        """Start containers that sleep, one after the other; returns their names."""
        names = [f"{PREFIX}{index}" for index in range(count)]
        for name in names:
            self("run", "-d", "--name", name, "--network", "none", IMAGE, *SLEEP)
        return names

    def clear(self) -> None:
        """Remove them."""
        if found := self("ps", "-aq", "--filter", f"name={PREFIX}").split():
            at_once = ["-t", "0"] if self.name == "podman" else []
            self("rm", "-f", *at_once, *found)


@contextmanager
def peer_engines() -> Iterator[dict[str, Peer]]:
    """Docker and Podman with the image ``IMAGE``."""
    with inside_peers() as enter:
        found = {"docker": Peer("docker", [*enter, *DOCKER]), "podman": Peer("podman", [*enter, *PODMAN])}
        peers("image", str(busybox_tar()), IMAGE)
        try:
            yield found
        finally:
            for peer in found.values():
                peer.clear()


@contextmanager
def floor(folder: Path, count: int) -> Iterator[float]:
    """The C program while it holds as many containers; gives the seconds that it took to make them."""
    rootfs = folder / "rootfs"
    (folder / "s").mkdir(parents=True)
    rootfs.mkdir()
    subprocess.run(["tar", "-C", str(rootfs), "-xf", str(busybox_tar())], check=True)
    command = [floor_program(folder), str(rootfs), str(folder / "s"), "hold", str(count)]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n", "the floor has failed"
            yield time.perf_counter() - begin
        finally:
            process.communicate()
    assert not process.returncode


def used_kib() -> int:
    """All memory that the system uses and cannot give back, kernel's and processes', in KiB.

    Caches are dropped first: what stays of them is in use. Take it on a machine that does nothing else.
    """
    os.sync()
    readings = []
    for _ in range(3):
        Path("/proc/sys/vm/drop_caches").write_text("3")
        time.sleep(0.5)
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        readings.append(int(fields["MemTotal"].split()[0]) - int(fields["MemFree"].split()[0]))
    return min(readings)


def supervisor(engine: minidock.Engine, container: minidock.Container) -> int:
    """The pid of a container's supervisor."""
    file = Path(engine.run_root) / "containers" / container.id / "pid"
    return int(json.loads(file.read_text())["supervisor"])
