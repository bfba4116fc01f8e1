"""Import of a Debian root filesystem tar."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benches.harness import PEERS_ROOT, Row, inside_peers, rounds, scratch, spawn, summary
from benches.run import DOCKER, PODMAN
from tests.rootfs import debian_tar


def import_debian(count: int) -> Row:
    """`import` by each engine's command, each time removed again outside the measured time."""
    tar = debian_tar()
    inside = PEERS_ROOT / "data" / "bench-debian.tar"
    with scratch() as folder, inside_peers() as enter:
        shutil.copy(tar, inside)
        env = {**os.environ, "MINIDOCK_DATA_ROOT": str(folder / "d"), "MINIDOCK_RUN_ROOT": str(folder / "r")}
        command = str(Path(sys.executable).parent / "minidock")
        words = {"minidock": [command], "docker": [*enter, *DOCKER], "podman": [*enter, *PODMAN]}
        times: dict[str, list[float]] = {name: [] for name in words}
        for index in range(count):
            for name in words if index % 2 else reversed(list(words)):
                source = str(tar) if name == "minidock" else "/srv/peers/bench-debian.tar"
                os.sync()
                got = rounds(
                    {name: lambda n=name, s=source: spawn(*words[n], "import", s, "bench-debian", env=env)}, 1, warmup=0
                )  # type: ignore[misc]
                times[name] += got[name]
                subprocess.run(
                    [*words[name], "rmi", "-f", "bench-debian"], env=env, check=True, stdout=subprocess.DEVNULL
                )
        inside.unlink()
    medians, spread = summary(times, 1)
    ratio = medians["minidock"] / min(medians["docker"], medians["podman"])
    size = tar.stat().st_size / 1e6
    return Row(
        f"import of a {size:.0f} MB Debian rootfs tar",
        medians,
        "s",
        "≤ 0.5 x the faster",
        ratio <= 0.5,
        spread,
        f"{ratio:.2f} x",
    )
