"""Measuring in pairs: each round runs every candidate once, in alternating order, so that drift hits all alike."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PEERS = Path(os.environ.get("MINIDOCK_PEERS", PROJECT.parent / "shared" / "peers" / "peers"))
PEERS_ROOT = Path(os.environ.get("PEERS_ROOT", "/var/tmp/peers"))


@dataclass
class Row:
    """One line of the results table."""

    what: str
    figures: dict[str, float]
    """Candidate → median, in ``unit``."""
    unit: str
    target: str
    met: bool
    spread: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Candidate → 10th and 90th percentile."""
    note: str = ""

    def cells(self) -> str:
        """The row in Markdown."""

        def figure(name: str, value: float) -> str:
            text = f"{name} **{value:.3g}**"
            if name in self.spread:
                low, high = self.spread[name]
                text += f" ({low:.3g}-{high:.3g})"
            return text

        numbers = ", ".join(figure(n, v) for n, v in self.figures.items())
        verdict = "met" if self.met else "**missed**"
        return f"| {self.what} | {numbers} {self.unit} | {self.target} | {verdict} | {self.note} |"


def rounds(
    candidates: Mapping[str, Callable[[], object]], count: int, warmup: int = 3, every: Mapping[str, int] | None = None
) -> dict[str, list[float]]:
    """Seconds of each call, by candidate. ``every`` thins out the slow ones: {"docker": 5} runs it each 5th round."""
    every = every or {}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for index in range(-warmup, count):
        for name in names if index % 2 else reversed(names):
            if index % every.get(name, 1):
                continue
            begin = time.perf_counter()
            candidates[name]()
            if index >= 0:
                times[name].append(time.perf_counter() - begin)
    return times


def summary(
    times: dict[str, list[float]], scale: float = 1e3
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Medians, and 10th and 90th percentiles, scaled (default: milliseconds)."""
    medians = {name: statistics.median(values) * scale for name, values in times.items()}
    spread = {}
    for name, values in times.items():
        ordered = sorted(values)
        low, high = ordered[len(ordered) // 10], ordered[min(len(ordered) - 1, len(ordered) * 9 // 10)]
        spread[name] = (low * scale, high * scale)
    return medians, spread


def spawn(*argv: str, env: dict[str, str] | None = None) -> None:
    """Run a program quietly by posix_spawn and require success."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1)]
        pid = os.posix_spawn(argv[0], argv, env or dict(os.environ), file_actions=actions)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(null)
    if status:
        raise RuntimeError(f"{argv}: status {status}")


def peers(*args: str, capture: bool = True) -> str:
    """Run the peers script and return its output."""
    done = subprocess.run([str(PEERS), *args], stdout=subprocess.PIPE if capture else None, text=True, check=False)
    # `versions` cuts each program's output with head, and some programs die of the closed pipe: 128 + SIGPIPE.
    if done.returncode not in (0, 141):
        raise RuntimeError(f"peers {' '.join(args)}: status {done.returncode}")
    return done.stdout or ""


@contextmanager
def inside_peers() -> Iterator[list[str]]:
    """The words that put a program into the peers' root without the script's bash in between."""
    holder = (PEERS_ROOT / "run" / "holder.pid").read_text().strip()
    nsenter = shutil.which("nsenter")
    assert nsenter
    yield [nsenter, "-t", holder, "-m", f"--root=/proc/{holder}/root", f"--wd=/proc/{holder}/root"]


@contextmanager
def scratch(prefix: str = "mdb-") -> Iterator[Path]:
    """A directory on the disk (not tmpfs), removed at the end."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir="/var/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def floor_program(folder: Path) -> str:
    """Compile floor.c into ``folder``."""
    target = folder / "floor"
    subprocess.run(["cc", "-O2", "-static", "-o", str(target), str(PROJECT / "benches" / "floor.c")], check=True)
    return str(target)
