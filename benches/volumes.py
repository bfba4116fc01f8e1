"""Volumes and mounts: what twenty binds cost a start, and copying a large image directory up into a volume."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import minidock
from benches.harness import Row, inside_peers, rounds, scratch, summary
from benches.run import DOCKER
from tests.rootfs import busybox_tar

IMAGE = "bench-volumes"
_BINDS = 20
_FILES = 4_000
_FILE_SIZE = 256 << 10
_PLACE = "srv/data"


def binds(count: int) -> Row:
    """`run(remove=True)` with none and with twenty binds, on directories that the image has and on such as are made."""
    with scratch() as folder, minidock.Engine(data_root=str(folder / "d"), run_root=str(folder / "r")) as engine:
        engine.images.import_(str(busybox_tar()), repository=IMAGE)
        made = f"mkdir -p $(seq -f /mnt/%g 0 {_BINDS - 1})"
        container = engine.containers.run(IMAGE, ["sh", "-c", made], network="none", detach=True)
        container.wait()
        container.commit(f"{IMAGE}:places")
        volumes = []
        for number in range(_BINDS):
            (folder / f"s{number}").mkdir()
            volumes.append(f"{folder}/s{number}:/mnt/{number}")

        def run(tag: str, volumes: list[str]) -> None:
            engine.containers.run(f"{IMAGE}:{tag}", ["true"], remove=True, network="none", volumes=volumes)

        times = rounds(
            {
                "none": lambda: run("places", []),
                "20 binds": lambda: run("places", volumes),
                "with mount points to make": lambda: run("latest", volumes),
            },
            count,
        )
    medians, spread = summary(times)
    more = medians["20 binds"] - medians["none"]
    return Row("Python `run` with 20 binds", medians, "ms", "≤ none + 2 ms", more <= 2, spread, f"+{more:.1f} ms")


def copy_up(count: int) -> Row:
    """`create -v VOLUME:DIRECTORY` where the image has 1 GB there, by command; the volume is new each time."""
    with scratch() as folder, inside_peers() as enter:
        tar = folder / "image.tar"
        shutil.copy(busybox_tar(), tar)
        with tarfile.open(tar, "a") as archive:
            for number in range(_FILES):
                entry = tarfile.TarInfo(f"{_PLACE}/{number % 100}/{number}")
                entry.size, entry.mode = _FILE_SIZE, 0o644
                archive.addfile(entry, io.BytesIO(os.urandom(_FILE_SIZE)))
        env = {**os.environ, "MINIDOCK_DATA_ROOT": str(folder / "d"), "MINIDOCK_RUN_ROOT": str(folder / "r")}
        sides = {"minidock": [str(Path(sys.executable).parent / "minidock")], "docker": [*enter, *DOCKER]}

        def command(side: str, *words: str) -> None:
            subprocess.run([*sides[side], *words], env=env, check=True, stdout=subprocess.DEVNULL)

        times: dict[str, list[float]] = {side: [] for side in sides}
        try:
            for words in sides.values():
                with tar.open("rb") as file:
                    done = [*words, "import", "--change", 'CMD ["true"]', "-", IMAGE]
                    subprocess.run(done, env=env, stdin=file, check=True, stdout=subprocess.DEVNULL)
            for index in range(-1, count):
                for side in list(sides) if index % 2 else reversed(list(sides)):
                    os.sync()
                    begin = time.perf_counter()
                    command(side, "create", "--name", IMAGE, "--network", "none", "-v", f"{IMAGE}:/{_PLACE}", IMAGE)
                    if index >= 0:
                        times[side].append(time.perf_counter() - begin)
                    command(side, "rm", IMAGE)
                    command(side, "volume", "rm", IMAGE)
        finally:
            command("docker", "rmi", "-f", IMAGE)
    medians, spread = summary(times, 1)
    ratio = medians["minidock"] / medians["docker"]
    what = f"copy-up of {_FILES * _FILE_SIZE / 1e9:.1f} GB in {_FILES} files into a volume"
    return Row(what, medians, "s", "≤ 0.5 x docker", ratio <= 0.5, spread, f"{ratio:.2f} x docker")
