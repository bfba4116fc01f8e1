"""Private memory of what each engine keeps per running container."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from pathlib import Path

import minidock
from benches.harness import Row, inside_peers, scratch
from benches.run import DOCKER, PODMAN
from tests.rootfs import busybox_tar


def private_kib(pid: int) -> int:
    """Private clean and dirty pages of a process, in KiB (proc_pid_smaps_rollup(5))."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1])
    return total


def _newest(name: str) -> int:
    found = subprocess.run(["pgrep", "-n", "-f", name], capture_output=True, text=True, check=True)
    return int(found.stdout)


def supervisor(count: int) -> Row:
    """Two `sleep` in each engine: pages of the program's file, which all supervisors share, are nobody's own then."""
    figures: dict[str, float] = {}
    with scratch() as folder, minidock.Engine(data_root=str(folder / "d"), run_root=str(folder / "r")) as engine:
        engine.images.import_(str(busybox_tar()), repository="busybox")
        words = ["sleep", "6"]
        threads = [threading.Thread(target=engine.containers.run, args=("busybox", words)) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        figures["minidock-runtime"] = private_kib(_newest(f"supervise --bundle {folder}"))
        for thread in threads:
            thread.join()
    with inside_peers() as enter:
        for name, engine_words, process in (
            ("conmon", PODMAN, "conmon"),
            ("containerd-shim", DOCKER, "containerd-shim"),
        ):
            command = [*enter, *engine_words]
            names = ["bench-mem-1", "bench-mem-2"]
            for container in names:
                start = [*command, "run", "-d", "--name", container, "--network", "none", "busybox", "sleep", "60"]
                subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
            time.sleep(2)
            figures[name] = private_kib(_newest(process))
            with contextlib.suppress(subprocess.CalledProcessError):
                subprocess.run([*command, "rm", "-f", *names], check=True, stdout=subprocess.DEVNULL)
    met = figures["minidock-runtime"] <= 0.2 * 1024
    return Row("private memory of one supervisor, two running", figures, "KiB", "≤ 0.2 MiB", met)
