"""`python -m benches.machine`: start, exec, pull and ports beside Podman and crun, inside a machine that has them.

For the machine `speed` of tests/vm: emulated, time counts instructions, so what it tells are ratios. Prints the rows of
a table. Everything is on the disk of /var/tmp, and gone afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import minidock
from benches.harness import Row, rounds, scratch, spawn, summary
from benches.run import helper, unpacked
from tests.registry import Registry
from tests.rootfs import busybox_tar

ROUNDS = int(os.environ.get("MINIDOCK_BENCH_ROUNDS", "10"))
SIZE = 16 << 20


class Both:
    """minidock's command and Podman, each with data of its own and the image ``busybox``."""

    def __init__(self, folder: Path) -> None:
        podman = shutil.which("podman")
        assert podman
        self.env = {
            **os.environ,
            "MINIDOCK_DATA_ROOT": str(folder / "d"),
            "MINIDOCK_RUN_ROOT": "/run/minidock-bench",
        }
        self.words = {
            "minidock": [sys.executable, "-m", "minidock"],
            "podman": [podman, "--root", str(folder / "p"), "--runroot", "/run/podman-bench"],
        }
        for name in self.words:
            self(name, "import", str(busybox_tar()), "localhost/busybox")

    def __call__(self, name: str, *words: str) -> None:
        """Run a command of one of them."""
        spawn(*self.words[name], *words, env=self.env)

    def rounds(self, *words: str) -> dict[str, list[float]]:
        """Time the same command of both."""
        return rounds({name: partial(self, name, *words) for name in self.words}, ROUNDS, warmup=1)


@contextlib.contextmanager
def both() -> Iterator[Both]:
    """The two, and nothing of them afterwards."""
    with scratch() as folder:
        made = Both(folder)
        try:
            yield made
        finally:
            made("minidock", "system", "prune", "--all", "--force", "--volumes")
            made("podman", "system", "reset", "--force")
            for place in ("/run/minidock-bench", "/run/podman-bench"):
                shutil.rmtree(place, ignore_errors=True)


def row(what: str, times: dict[str, list[float]], peer: str, most: float) -> Row:
    """A row whose target is a ratio to a peer."""
    medians, spread = summary(times)
    ratio = medians["minidock"] / medians[peer]
    return Row(what, medians, "ms", f"≤ {most} x {peer}", ratio <= most, spread, f"{ratio:.2f} x {peer}")


def oci_run() -> Row:
    """One bundle, the helper's command line and crun's."""
    crun = shutil.which("crun")
    assert crun
    with scratch() as folder:
        unpacked(folder)
        subprocess.run([crun, "spec"], cwd=folder, check=True)
        config = json.loads((folder / "config.json").read_text())
        config["process"].update(args=["true"], terminal=False)
        (folder / "config.json").write_text(json.dumps(config))
        times = rounds(
            {
                "minidock": lambda: spawn(
                    str(helper()), "--root", "/run/md-bench", "run", "-b", str(folder), f"m{time.monotonic_ns()}"
                ),
                "crun": lambda: spawn(
                    crun, "--root", "/run/crun-bench", "run", "-b", str(folder), f"c{time.monotonic_ns()}"
                ),
            },
            3 * ROUNDS,
        )
    return row("`minidock-runtime run` and `crun run` of one bundle", times, "crun", 0.7)


def run(engines: Both, network: str, most: float) -> Row:
    """``run --rm`` on a network."""
    times = engines.rounds("run", "--rm", "--network", network, "localhost/busybox", "true")
    return row(f"CLI `run --rm --network {network} busybox true`", times, "podman", most)


def python_run(engines: Both) -> Row:
    """The Python API beside Podman's command, which is what a script has."""
    with minidock.Engine(data_root=engines.env["MINIDOCK_DATA_ROOT"], run_root="/run/minidock-bench") as engine:
        tail = ["run", "--rm", "--network", "none", "localhost/busybox", "true"]
        times = rounds(
            {
                "minidock": lambda: engine.containers.run("localhost/busybox", ["true"], network="none", remove=True),
                "podman": lambda: engines("podman", *tail),
            },
            ROUNDS,
            warmup=1,
        )
    return row("Python `run(busybox, ['true'], remove=True)` and `podman run --rm`", times, "podman", 0.1)


def exec_(engines: Both) -> Row:
    """``exec`` in a container that runs."""
    for name in engines.words:
        engines(name, "run", "-d", "--network", "none", "--name", "lasting", "localhost/busybox", "sleep", "10000")
    times = engines.rounds("exec", "lasting", "true")
    for name in engines.words:
        engines(name, "kill", "lasting")
        engines(name, "rm", "-f", "lasting")
    return row("CLI `exec lasting true`", times, "podman", 0.5)


def pull(engines: Both, folder: Path) -> Row:
    """A layer of 16 MiB that gzip cannot make smaller, from a registry on this machine."""
    context = folder / "context"
    context.mkdir()
    (context / "data").write_bytes(os.urandom(SIZE))
    (context / "Dockerfile").write_text("FROM localhost/busybox\nCOPY data /data\n")
    with Registry(folder / "registry") as registry:
        image = f"{registry.host}/big:1"
        engines("minidock", "build", "-q", "-t", image, str(context))
        engines("minidock", "push", "-q", image)
        engines("minidock", "rmi", image)
        times: dict[str, list[float]] = {name: [] for name in engines.words}
        for _ in range(max(3, ROUNDS // 2)):
            for name in engines.words:
                begin = time.perf_counter()
                engines(name, "pull", "-q", *(["--tls-verify=false"] if name == "podman" else []), image)
                times[name].append(time.perf_counter() - begin)
                engines(name, "rmi", image)
    return row("CLI `pull` of 16 MiB from a registry on this machine", times, "podman", 0.33)


def port(engines: Both) -> Row:
    """16 MiB from a published port: connect, and read to the end."""
    times: dict[str, list[float]] = {name: [] for name in engines.words}
    script = f"head -c {SIZE} /dev/zero >/data; exec nc -ll -p 80 -e cat /data"
    ports = {"minidock": 18081, "podman": 18082}
    for name in engines.words:
        words = ["run", "-d", "-p", f"127.0.0.1:{ports[name]}:80", "--name", "server", "localhost/busybox"]
        engines(name, *words, "sh", "-c", script)
    for index in range(-1, ROUNDS):
        for name in engines.words:
            begin = time.perf_counter()
            _read(ports[name])
            if index >= 0:
                times[name].append(time.perf_counter() - begin)
    for name in engines.words:
        engines(name, "kill", "server")
        engines(name, "rm", "-f", "server")
    return row("16 MiB from a port published on 127.0.0.1", times, "podman", 1.1)


def _read(number: int) -> None:
    end = time.monotonic() + 120
    while True:
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", number), 60) as sock:
            got = 0
            while data := sock.recv(1 << 16):
                got += len(data)
            if got == SIZE:
                return
        if time.monotonic() > end:
            raise RuntimeError(f"port {number}: nothing whole within 120 s")
        time.sleep(0.2)


def main() -> None:
    """Print the rows."""
    print(oci_run().cells(), flush=True)
    with both() as engines, scratch() as folder:
        print(run(engines, "none", 0.5).cells(), flush=True)
        print(run(engines, "bridge", 0.5).cells(), flush=True)
        print(python_run(engines).cells(), flush=True)
        print(exec_(engines).cells(), flush=True)
        print(pull(engines, folder).cells(), flush=True)
        print(port(engines).cells(), flush=True)


if __name__ == "__main__":
    main()
