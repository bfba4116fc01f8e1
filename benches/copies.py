"""``cp`` of 1 GB into a container that runs and out of it, and of a tree of small files, beside Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benches.harness import PEERS_ROOT, Row, inside_peers, scratch, summary
from benches.run import DOCKER
from tests.rootfs import busybox_tar

_NAME = "bench-copies"
_SIZE = 1_000_000_000
_FILES = 5_000


def _timed(sides: dict[str, tuple[Callable[[], object], Callable[[], object]]], count: int) -> dict[str, list[float]]:
    """Seconds of each side's work, in alternating order, each on a disk that has nothing left to write."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for index in range(-1, count):
        for name in list(sides) if index % 2 else reversed(list(sides)):
            prepare, work = sides[name]
            prepare()
            os.sync()
            begin = time.perf_counter()
            work()
            if index >= 0:
                times[name].append(time.perf_counter() - begin)
    return times


def _make_big(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(_SIZE // 1_000_000):
            file.write(os.urandom(1_000_000))


def _make_tree(path: Path) -> None:
    for number in range(_FILES):
        place = path / f"d{number // 100}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"f{number}").write_bytes(os.urandom(2000))


def _measure(what: str, source: str, make: Callable[[Path], None], count: int, target: float) -> list[Row]:
    shared = PEERS_ROOT / "data" / _NAME
    shared.mkdir(exist_ok=True)
    rows = []
    with scratch() as folder, inside_peers() as enter:
        env = {**os.environ, "MINIDOCK_DATA_ROOT": str(folder / "data"), "MINIDOCK_RUN_ROOT": str(folder / "run")}
        words = {"minidock": [str(Path(sys.executable).parent / "minidock")], "docker": [*enter, *DOCKER]}
        places = {"minidock": str(shared), "docker": f"/srv/peers/{_NAME}"}

        def command(side: str, *args: str, check: bool = True) -> None:
            null = subprocess.DEVNULL
            subprocess.run([*words[side], *args], env=env, stdin=null, stdout=null, check=check)

        try:
            make(shared / source)
            for side, argv in words.items():
                with busybox_tar().open("rb") as tar:
                    null = subprocess.DEVNULL
                    subprocess.run([*argv, "import", "-", _NAME], env=env, stdin=tar, stdout=null, check=True)
                command(side, "run", "-d", "--network", "none", "--name", _NAME, _NAME, "sleep", "100000")

            def into(side: str) -> tuple[Callable[[], None], Callable[[], None]]:
                return (
                    lambda: command(side, "exec", _NAME, "rm", "-rf", f"/{source}"),
                    lambda: command(side, "cp", f"{places[side]}/{source}", f"{_NAME}:/{source}"),
                )

            def out(side: str) -> tuple[Callable[[], None], Callable[[], None]]:
                there = shared / f"{source}-{side}"
                return (
                    lambda: (
                        shutil.rmtree(there, ignore_errors=True) if there.is_dir() else there.unlink(missing_ok=True)
                    ),
                    lambda: command(side, "cp", f"{_NAME}:/{source}", f"{places[side]}/{source}-{side}"),
                )

            for direction, work in (("into a container", into), ("out of it", out)):
                medians, spread = summary(_timed({side: work(side) for side in words}, count), 1)
                ratio = medians["minidock"] / medians["docker"]
                text = f"`cp` of {what} {direction}"
                note = f"{ratio:.2f} x docker"
                rows.append(Row(text, medians, "s", f"≤ {target} x docker", ratio <= target, spread, note))
        finally:
            for side in words:
                command(side, "rm", "-f", _NAME, check=False)
                command(side, "rmi", "-f", _NAME, check=False)
            shutil.rmtree(shared, ignore_errors=True)
    return rows


def big(count: int) -> list[Row]:
    """One file of 1 GB."""
    return _measure("1 GB", "big", _make_big, count, 0.5)


def tree(count: int) -> list[Row]:
    """Many small files."""
    return _measure(f"{_FILES:,} files of 2 kB", "tree", _make_tree, count, 0.5)
