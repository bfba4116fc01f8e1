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
    """One `sleep` in each engine."""
    figures: dict[str, float] = {}
    with scratch() as folder, minidock.Engine(data_root=str(folder / "d"), run_root=str(folder / "r")) as engine:
        engine.images.import_(str(busybox_tar()), repository="busybox")
        thread = threading.Thread(target=lambda: engine.containers.run("busybox", ["sleep", "8"], remove=True))
        thread.start()
        time.sleep(2)
        figures["minidock-runtime"] = private_kib(_newest(f"supervise --bundle {folder}"))
        thread.join()
    with inside_peers() as enter:
        for name, engine_words, process in (
            ("conmon", PODMAN, "conmon"),
            ("containerd-shim", DOCKER, "containerd-shim"),
        ):
            words = [*enter, *engine_words]
            subprocess.run(
                [*words, "run", "-d", "--name", "bench-mem", "--network", "none", "busybox", "sleep", "60"],
                check=True,
                stdout=-3,
            )
            time.sleep(2)
            figures[name] = private_kib(_newest(process))
            with contextlib.suppress(subprocess.CalledProcessError):
                subprocess.run([*words, "rm", "-f", "bench-mem"], check=True, stdout=-3)
    met = figures["minidock-runtime"] <= 0.2 * 1024
    return Row("private memory of one supervisor", figures, "KiB", "≤ 0.2 MiB", met)
