"""Builds beside BuildKit, Docker's legacy builder and Buildah: the same Dockerfiles, contexts and base images."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import minidock
from benches.harness import PEERS_ROOT, Row, inside_peers, rounds, scratch, summary
from benches.run import DOCKER
from tests.rootfs import busybox_tar, debian_tar

NAME = "bench-build"
BASE = f"{NAME}-base"
_NODE = f"""FROM {BASE}
WORKDIR /app
COPY package*.json ./
RUN true
COPY . .
EXPOSE 3000
CMD ["npm", "start"]
"""
_INSIDE = "/srv/peers/bench-build"


class Sides:
    """The builders as command lines. ``build(side, ...)`` builds ``context`` to ``NAME``."""

    def __init__(self, folder: Path, enter: list[str]) -> None:
        self.folder = folder
        self.context = PEERS_ROOT / "data" / "bench-build"
        """The build context, where all of them see it."""
        docker = [*enter, *DOCKER]
        buildah = [*enter, "buildah", "--root", "/srv/peers/bench-buildah", "--runroot", "/run/bench-buildah"]
        command = str(Path(sys.executable).parent / "minidock")
        self.engine_words = {"minidock": [command], "docker": docker, "buildah": buildah}
        self._env = {
            **os.environ,
            "MINIDOCK_DATA_ROOT": str(folder / "d"),
            "MINIDOCK_RUN_ROOT": str(folder / "r"),
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
        }
        tag = ["-q", "-t", NAME]
        self.words = {
            "minidock": [command, "build", *tag],
            "buildkit": [*docker, "build", *tag],
            "legacy": [*docker, "build", *tag],
            "buildah": [
                *buildah,
                "bud",
                "--layers",
                "--isolation",
                "chroot",
                "--ulimit",
                "nofile=1024:1024",
                "--ulimit",
                "nproc=9999:9999",
                *tag,
            ],
        }

    def run(self, side: str, *words: str, output: bool = False) -> str:
        """Run an engine's command; its output is returned when it is wanted."""
        return self._call(self.engine_words[side], *words, output=output)

    def _call(self, program: list[str], *words: str, output: bool = False, legacy: bool = False) -> str:
        env = {**self._env, "DOCKER_BUILDKIT": "0" if legacy else "1"}
        done = subprocess.run([*program, *words], env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join([*program, *words])}: {done.stderr[-2000:]}")
        return done.stdout + done.stderr if output else ""

    def build(self, side: str, *flags: str) -> None:
        """Build the context."""
        where = str(self.context) if side == "minidock" else _INSIDE
        self._call(self.words[side], *flags, where, legacy=side == "legacy")

    def told(self, side: str, *flags: str) -> str:
        """Build the context; returns what is shown of it."""
        where = str(self.context) if side == "minidock" else _INSIDE
        words = [word for word in self.words[side] if word != "-q"]
        return self._call(words, *flags, where, output=True, legacy=side == "legacy")

    def import_base(self, tar: Path) -> None:
        """Give all of them the base image."""
        inside = PEERS_ROOT / "data" / "bench-build.tar"
        shutil.copy(tar, inside)
        try:
            self.run("minidock", "import", str(tar), BASE)
            self.run("docker", "import", "/srv/peers/bench-build.tar", BASE)
            made = self.run("buildah", "from", "scratch", output=True).strip()
            self.run("buildah", "add", "-q", made, "/srv/peers/bench-build.tar", "/")
            self.run("buildah", "commit", "-q", "--rm", made, BASE)
        finally:
            inside.unlink()


@contextmanager
def _sides(tar: Path | None = None) -> Iterator[Sides]:
    """The builders with an empty context; everything they make is removed."""
    with scratch() as folder, inside_peers() as enter:
        sides = Sides(folder, enter)
        shutil.rmtree(sides.context, ignore_errors=True)
        sides.context.mkdir()
        try:
            sides.import_base(tar or busybox_tar())
            yield sides
        finally:
            shutil.rmtree(sides.context)
            subprocess.run([*sides.engine_words["docker"], "rmi", "-f", NAME, BASE], capture_output=True, check=False)
            sides.run("docker", "builder", "prune", "-af")
            sides.run("docker", "image", "prune", "-f")
            sides.run("buildah", "rmi", "-af")


def _application(context: Path) -> None:
    """The issue's Dockerfile with 200 small files."""
    (context / "Dockerfile").write_text(_NODE)
    (context / "package.json").write_text("{}")
    for number in range(198):
        path = context / f"src{number % 10}" / f"{number}.js"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"module.exports = {number}\n" * 40)


def _row(what: str, times: dict[str, list[float]], limit: float, target: str, against: list[str], scale: float) -> Row:
    medians, spread = summary(times, scale)
    ratio = medians["minidock"] / min(medians[name] for name in against)
    note = f"{ratio:.2f} x {' or '.join(against)}"
    return Row(what, medians, "ms" if scale > 1 else "s", target, ratio <= limit, spread, note)


def no_op(count: int) -> list[Row]:
    """A build of which nothing has changed, by command; and by Python."""
    with _sides() as sides:
        _application(sides.context)
        for side in sides.words:
            sides.build(side)
        times = rounds(
            {side: lambda side=side: sides.build(side) for side in sides.words},  # type: ignore[misc]
            count,
            every={"buildah": 5},
        )
        folder = sides.folder
        with minidock.Engine(data_root=str(folder / "d"), run_root=str(folder / "r")) as engine:
            python = rounds({"python": lambda: engine.images.build(str(sides.context), tag=NAME)}, count * 4)
    medians, spread = summary(python)
    return [
        _row("no-op rebuild, 200-file context, CLI", times, 0.5, "≤ 0.5 x BuildKit", ["buildkit"], 1e3),
        Row("the same through Python", medians, "ms", "≤ 20 ms", medians["python"] <= 20, spread),
    ]


def no_cache(count: int) -> Row:
    """The same application with ``--no-cache``."""
    with _sides() as sides:
        _application(sides.context)
        times = rounds(
            {side: lambda side=side: sides.build(side, "--no-cache") for side in sides.words},  # type: ignore[misc]
            count,
            every={"buildah": 5},
        )
    return _row("the issue's Dockerfile with `RUN true`, no cache", times, 0.25, "≤ 0.25 x BuildKit", ["buildkit"], 1e3)


def one_changed(count: int) -> Row:
    """10,000 files, 500 MB; before each build another one of them changes."""
    with _sides() as sides:
        (sides.context / "Dockerfile").write_text(f"FROM {BASE}\nCOPY . /srv\n")
        for number in range(10_000):
            path = sides.context / f"d{number % 100}" / str(number)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(os.urandom(50_000))
        for side in sides.words:
            sides.build(side)
        times: dict[str, list[float]] = {side: [] for side in sides.words}
        for index in range(count):
            for side in list(sides.words) if index % 2 else reversed(list(sides.words)):
                (sides.context / "d7" / "7").write_bytes(os.urandom(50_000))
                os.sync()
                begin = time.perf_counter()
                sides.build(side)
                times[side].append(time.perf_counter() - begin)
    return _row("10,000-file, 500 MB context, one file changed", times, 0.3, "≤ 0.3 x BuildKit", ["buildkit"], 1)


def stages(count: int) -> Row:
    """Four stages that need nothing of each other, each a second of computing."""
    with _sides() as sides:
        work = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo $i >/done"
        parts = [f"FROM {BASE} AS s{number}\nRUN {work} # {number}" for number in range(4)]
        copies = [f"COPY --from=s{number} /done /{number}" for number in range(4)]
        (sides.context / "Dockerfile").write_text("\n".join([*parts, f"FROM {BASE}", *copies, ""]))
        names = [side for side in sides.words if side != "legacy"]
        times = rounds(
            {side: lambda side=side: sides.build(side, "--no-cache") for side in names},  # type: ignore[misc]
            count,
            warmup=1,
        )
    return _row("4 independent stages, CPU-bound", times, 1.0, "≤ 1.0 x BuildKit", ["buildkit"], 1)


def commit_layer(count: int) -> Row:
    """From the moment at which a RUN has written its last file to the end of the build: committing its layer."""
    command = (
        "set -e; head -c 3346000 /dev/urandom >/b && mkdir /t && cd /t && "
        "for d in $(seq 260); do mkdir $d; split -b 33460 -a 3 /b $d/f; done; rm /b; echo uptime $(cat /proc/uptime)"
    )
    with _sides(debian_tar()) as sides:
        (sides.context / "Dockerfile").write_text(f"FROM {BASE}\nRUN {command}\n")
        names = [side for side in sides.words if side != "buildah"]
        times: dict[str, list[float]] = {side: [] for side in names}
        for index in range(-1, count):
            for side in names if index % 2 else reversed(names):
                os.sync()
                told = sides.told(side, "--no-cache")
                ended = float(Path("/proc/uptime").read_text().split()[0])
                written = float(re.findall(r"uptime ([0-9.]+) [0-9.]+", told)[-1])
                if index >= 0:
                    times[side].append(ended - written)
    what = "committing a layer of 26,000 files, 870 MB (last file to end of build)"
    return _row(what, times, 0.4, "≤ 0.4 x the fastest", ["buildkit", "legacy"], 1)


# What comes to about 2.4 GB in Debian 12 and 13.
_PACKAGES = (
    "gcc g++ make gdb",
    "clang lld libclang-dev",
    "default-jdk-headless",
    "golang",
    "texlive-latex-base texlive-fonts-recommended",
)


def apt(count: int) -> Row:
    """Five RUNs of apt-get install, from a package repository on loopback."""
    from benches.packages import repository

    with repository(_PACKAGES) as (base, address), _sides(base) as sides:
        text = f"FROM {BASE}\nRUN echo 'deb [trusted=yes] {address} ./' >/etc/apt/sources.list && apt-get update\n"
        text += "ENV DEBIAN_FRONTEND=noninteractive\n"
        text += "".join(f"RUN apt-get install -y --no-install-recommends {one}\n" for one in _PACKAGES)
        (sides.context / "Dockerfile").write_text(text)
        times: dict[str, list[float]] = {side: [] for side in sides.words if side != "buildah"}
        for _ in range(count):
            for side, seconds in times.items():
                os.sync()
                begin = time.perf_counter()
                sides.build(side, "--no-cache", "--network", "host")
                seconds.append(time.perf_counter() - begin)
        shown = json.loads(sides.run("minidock", "image", "inspect", NAME, output=True))
    what = f"5 x `apt-get install`, {shown[0]['Size'] / 1e9:.1f} GB"
    return _row(what, times, 0.8, "≤ 0.8 x the fastest", ["buildkit", "legacy"], 1)
