"""Moving the big image beside Docker and Podman: pull, second pull, push, save, load; a pull's floor and its memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import minidock
from benches.big_image import big_image, push_big_image
from benches.harness import PEERS_ROOT, PROJECT, Row, inside_peers, peers, rounds, scratch, spawn, summary
from benches.run import DOCKER, PODMAN
from tests.registry import Registry

# MINIDOCK_BENCH_ONLY="docker podman" leaves the others out, for a look at one of them.
_ONLY = os.environ.get("MINIDOCK_BENCH_ONLY", "").split()
_MIB = 1 << 20


def _quiet(argv: list[str], env: dict[str, str]) -> None:
    """Run a command; what it said on standard error is told when it fails only."""
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, check=False
        )
        if done.returncode:
            said.seek(0)
            raise RuntimeError(f"{argv}: status {done.returncode}: {said.read()[-2000:].decode(errors='replace')}")


class _Engine(NamedTuple):
    """An engine's command."""

    name: str
    words: list[str]
    env: dict[str, str]
    files: Path
    """A directory that it shares with us, as we see it."""
    inside: str
    """The same as the engine sees it."""
    insecure: tuple[str, ...] = ()

    def __call__(self, *args: str) -> None:
        """Run a command of it quietly and require success."""
        _quiet([*self.words, *args], self.env)

    def pull(self, reference: str) -> None:
        self("pull", *self.insecure, reference)

    def push(self, reference: str) -> None:
        self("push", *self.insecure, reference)

    def forget(self, *references: str) -> None:
        """Remove images that may be there."""
        null = subprocess.DEVNULL
        for reference in references:
            for command in (["rmi", "-f", reference], ["image", "inspect", reference]):
                done = subprocess.run([*self.words, *command], env=self.env, stdout=null, stderr=null, check=False)
            if not done.returncode:
                raise RuntimeError(f"{self.name} still has {reference}")

    def empty(self, reference: str) -> None:
        """Like :meth:`forget` of the only image; nothing of its layers may stay."""
        self.forget(reference)
        root = Path(self.env["MINIDOCK_DATA_ROOT"])
        if self.name == "minidock" and root.exists():
            done = subprocess.run(["du", "-sm", str(root)], check=True, stdout=subprocess.PIPE, text=True)
            if (left := int(done.stdout.split()[0])) > 20:
                raise RuntimeError(f"minidock keeps {left} MB of what it removed")

    def identity(self, reference: str) -> str:
        """The image's id."""
        command = [*self.words, "image", "inspect", "--format", "{{.Id}}", reference]
        done = subprocess.run(command, env=self.env, check=True, stdout=subprocess.PIPE, text=True)
        return f"sha256:{done.stdout.strip().removeprefix('sha256:')}"


@contextlib.contextmanager
def _engines(folder: Path, *names: str) -> Iterator[dict[str, _Engine]]:
    """The engines of these names; minidock has its roots below ``folder``, the others their own of the peers script."""
    shared = PEERS_ROOT / "data" / "bench-transfer"
    shared.mkdir(exist_ok=True)
    env = {**os.environ, "MINIDOCK_DATA_ROOT": str(folder / "data"), "MINIDOCK_RUN_ROOT": str(folder / "run")}
    command = str(Path(sys.executable).parent / "minidock")
    try:
        with inside_peers() as enter:
            words = {"minidock": [command], "docker": [*enter, *DOCKER], "podman": [*enter, *PODMAN]}
            yield {
                name: _Engine(
                    name,
                    words[name],
                    env,
                    shared,
                    str(shared) if name == "minidock" else "/srv/peers/bench-transfer",
                    ("--tls-verify=false",) if name == "podman" else (),
                )
                for name in names
                if not _ONLY or name in _ONLY
            }
    finally:
        shutil.rmtree(shared, ignore_errors=True)


class _Work(NamedTuple):
    """What is measured, and what makes it possible again before each time."""

    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


def _alternated(works: Mapping[str, _Work], count: int) -> dict[str, list[float]]:
    """Seconds of each, in alternating order, each on a disk that has nothing left to write."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for index in range(count):
        for name in list(works) if index % 2 else reversed(list(works)):
            works[name].prepare()
            os.sync()
            begin = time.perf_counter()
            works[name].run()
            times[name].append(time.perf_counter() - begin)
    return times


def _row(what: str, times: dict[str, list[float]], limits: Mapping[str, float], note: str = "", most: float = 0) -> Row:
    """A row in seconds; ``limits`` are what minidock may take of each other candidate, ``most`` are seconds."""
    medians, spread = summary(times, 1)
    ratios = {name: medians["minidock"] / medians[name] for name in limits if {"minidock", name} <= set(medians)}
    met = all(ratios.get(name, 9) <= limit for name, limit in limits.items())
    targets = [f"≤ {limit} x {name}" for name, limit in limits.items()]
    if most:
        targets.insert(0, f"≤ {most:g} s")
        met = met and medians.get("minidock", most + 1) <= most
    figures = ", ".join(f"{ratio:.2f} x {name}" for name, ratio in ratios.items())
    return Row(what, medians, "s", ", ".join(targets), met, spread, "; ".join(filter(None, (figures, note))))


# the floor


def _inflater() -> Path:
    """The program that only decompresses, by the library that layers are unpacked with."""
    command = ["cargo", "build", "--quiet", "--release", "--package", "minidock-core", "--example", "inflate"]
    subprocess.run(command, cwd=PROJECT, check=True)
    return PROJECT / "target" / "release" / "examples" / "inflate"


def _largest_first(paths: list[Path]) -> list[str]:
    return [str(path) for path in sorted(paths, key=lambda path: -path.stat().st_size)]


def _untar(jobs: list[str], folder: Path) -> None:
    """Run shell commands that extract in directories of their own, as many at once as there are cores."""
    waiting = list(enumerate(jobs))
    failed: list[str] = []
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                index, job = waiting.pop(0)
            (folder / str(index)).mkdir(parents=True)
            if subprocess.run(["bash", "-o", "pipefail", "-c", job], cwd=folder / str(index), check=False).returncode:
                failed.append(job)

    threads = [threading.Thread(target=work) for _ in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(f"failed: {failed}")


def _floor(how: str, folder: Path) -> dict[str, _Work]:
    """Inflating alone, `tar x` of the inflated alone, and the programs that do both, all on every core."""
    image, trees = big_image(), folder / "trees"
    inflate, packed = str(_inflater()), _largest_first(image.compressed[how])
    clean = lambda: shutil.rmtree(trees, ignore_errors=True)  # noqa: E731
    # --no-same-owner and the like would leave out work that every engine does: it runs as root, so it keeps all.
    plain = [f"tar xf {path}" for path in _largest_first(image.tars)]
    program = {"gzip": "gzip -dc", "zstd": "zstd -dcq"}[how]
    return {
        "inflate": _Work(lambda: spawn(inflate, *packed)),
        "tar x": _Work(lambda: _untar(plain, trees), clean),
        f"{program} \\| tar x": _Work(lambda: _untar([f"{program} {path} | tar x" for path in packed], trees), clean),
    }


# pull


def _pull(how: str, count: int, limits: Mapping[str, float], most: float = 0) -> Row:
    image = big_image()
    with (
        scratch() as folder,
        _engines(folder, "minidock", *limits) as engines,
        Registry(folder / "registry") as registry,
    ):
        push_big_image(registry, how)
        reference = f"{registry.host}/bench:{how}"
        works = {
            name: _Work(lambda e=engine: e.pull(reference), lambda e=engine: e.empty(reference))  # type: ignore[misc]
            for name, engine in engines.items()
        }
        if not _ONLY or "floor" in _ONLY:
            works |= _floor(how, folder)
        try:
            times = _alternated(works, count)
            for engine in engines.values():
                if (found := engine.identity(reference)) != image.identity:
                    raise RuntimeError(f"{engine.name} pulled {found}, not {image.identity}")
        finally:
            for engine in engines.values():
                engine.forget(reference)
    row = _row(f"pull of {image.describe(how)}", times, limits, most=most)
    if "inflate" in row.figures:
        floor = row.figures["inflate"] + row.figures["tar x"]
        row.note += f"{'; ' if row.note else ''}floor (inflate + tar x) {floor:.2f} s"
        if "minidock" in row.figures:
            row.note += f", minidock {row.figures['minidock'] / floor:.2f} x of it"
    return row


def pull_gzip(count: int) -> Row:
    """Pull of gzip layers from a registry on loopback into an empty store."""
    return _pull("gzip", count, {"docker": 0.25, "podman": 0.33}, most=10)


def pull_zstd(count: int) -> Row:
    """The same with zstd layers."""
    return _pull("zstd", count, {"podman": 0.25})


def pull_again(count: int) -> Row:
    """Pull of what is there already: the whole command."""
    with (
        scratch() as folder,
        _engines(folder, "minidock", "docker") as engines,
        Registry(folder / "registry") as registry,
    ):
        push_big_image(registry, "gzip")
        reference = f"{registry.host}/bench:gzip"
        try:
            for engine in engines.values():
                engine.pull(reference)
            times = _alternated({name: _Work(lambda e=e: e.pull(reference)) for name, e in engines.items()}, count)  # type: ignore[misc]
        finally:
            for engine in engines.values():
                engine.forget(reference)
    return _row("second pull, nothing new", times, {"docker": 0.5})


def pull_again_python(count: int) -> Row:
    """The same from Python, in a process that lives on: ours against docker-py."""
    import docker  # docker-py, a development dependency

    client = docker.DockerClient(base_url=f"unix://{peers('socket').strip()}")
    with (
        scratch() as folder,
        _engines(folder, "docker") as engines,
        minidock.Engine(data_root=str(folder / "d"), run_root=str(folder / "r")) as engine,
        Registry(folder / "registry") as registry,
    ):
        push_big_image(registry, "gzip")
        name = f"{registry.host}/bench"
        try:
            times = rounds(
                {
                    "minidock": lambda: engine.images.pull(name, "gzip"),
                    "docker-py": lambda: client.images.pull(name, "gzip"),
                },
                count,
                warmup=1,
            )
        finally:
            engines["docker"].forget(f"{name}:gzip")
    medians, spread = summary(times)
    ratio = medians["minidock"] / medians["docker-py"]
    what = "second pull from Python, nothing new"
    return Row(what, medians, "ms", "≤ 0.5 x docker-py", ratio <= 0.5, spread, f"{ratio:.2f} x docker-py")


# push


class _Fresh:
    """An empty registry for each push, and the image's name there."""

    def __init__(self, folder: Path, engine: _Engine, source: str) -> None:
        self.folder, self.engine, self.source = folder / f"push-{engine.name}", engine, source
        self.registry: Registry | None = None
        self.reference = ""

    def prepare(self) -> None:
        self.close()
        self.registry = Registry(self.folder)
        self.reference = f"{self.registry.host}/bench:pushed"
        self.engine("tag", self.source, self.reference)

    def push(self) -> None:
        self.engine.push(self.reference)

    def close(self) -> None:
        if self.registry:
            self.engine.forget(self.reference)
            self.registry.close()
            self.registry = None


def push(count: int) -> Row:
    """Push of the pulled gzip image to an empty registry."""
    with (
        scratch() as folder,
        _engines(folder, "minidock", "docker") as engines,
        Registry(folder / "registry") as registry,
    ):
        push_big_image(registry, "gzip")
        reference = f"{registry.host}/bench:gzip"
        targets = {name: _Fresh(folder, engine, reference) for name, engine in engines.items()}
        try:
            for engine in engines.values():
                engine.pull(reference)
            times = _alternated({name: _Work(fresh.push, fresh.prepare) for name, fresh in targets.items()}, count)
        finally:
            for fresh in targets.values():
                fresh.close()
            for engine in engines.values():
                engine.forget(reference)
    return _row("push of it to an empty registry", times, {"docker": 0.6})


# archives


def _faster(times: dict[str, list[float]]) -> dict[str, float]:
    """The limit of archives: 0.4 of the faster of the others."""
    medians, _ = summary(times, 1)
    others = {name: seconds for name, seconds in medians.items() if name != "minidock"}
    return {min(others, key=lambda name: others[name]): 0.4} if others else {}


def save(count: int) -> Row:
    """`save -o` of the pulled gzip image, each engine in its own default form."""
    with (
        scratch() as folder,
        _engines(folder, "minidock", "docker", "podman") as engines,
        Registry(folder / "registry") as registry,
    ):
        push_big_image(registry, "gzip")
        reference = f"{registry.host}/bench:gzip"
        sizes: dict[str, int] = {}

        def work(engine: _Engine) -> _Work:
            made = engine.files / f"{engine.name}.tar"
            target = f"{engine.inside}/{made.name}"

            def run() -> None:
                engine("save", "-o", target, reference)
                sizes[engine.name] = made.stat().st_size

            return _Work(run, lambda: made.unlink(missing_ok=True))

        try:
            for engine in engines.values():
                engine.pull(reference)
            times = _alternated({name: work(engine) for name, engine in engines.items()}, count)
        finally:
            for engine in engines.values():
                engine.forget(reference)
    note = "archives of " + ", ".join(f"{size / 1e9:.2f} GB ({name})" for name, size in sizes.items())
    return _row("`save` of it", times, _faster(times), note)


def load(count: int) -> Row:
    """`load -i` of one file, Docker's own archive with uncompressed layers, into a store without them."""
    name = "bench-load:latest"
    with (
        scratch() as folder,
        _engines(folder, "minidock", "docker", "podman") as engines,
        Registry(folder / "registry") as registry,
        inside_peers() as enter,
    ):
        push_big_image(registry, "gzip")
        reference = f"{registry.host}/bench:gzip"
        shared = PEERS_ROOT / "data" / "bench-transfer"
        docker = _Engine("docker", [*enter, *DOCKER], dict(os.environ), shared, "/srv/peers/bench-transfer")
        # Podman names what it loads from Docker's archives docker.io/library/…, as the archive means it.
        try:
            docker.pull(reference)
            docker("tag", reference, name)
            docker("save", "-o", f"{docker.inside}/load.tar", name)
            docker.forget(name, reference)
            works = {
                e.name: _Work(lambda e=e: e("load", "-i", f"{e.inside}/load.tar"), lambda e=e: e.empty(name))  # type: ignore[misc]
                for e in engines.values()
            }
            times = _alternated(works, count)
            for engine in engines.values():
                if (found := engine.identity(name)) != big_image().identity:
                    raise RuntimeError(f"{engine.name} loaded {found}, not {big_image().identity}")
        finally:
            docker.forget(name, reference)
            for engine in engines.values():
                engine.forget(name)
    return _row("`load` of it from Docker's archive", times, _faster(times))


# memory


def _resident(pid: int) -> dict[int, tuple[int, int]]:
    """Of a process and its descendants: resident bytes now, and the most so far."""
    found: dict[int, tuple[int, int]] = {}
    waiting = [pid]
    while waiting:
        here = waiting.pop()
        # A process may end between two reads.
        with contextlib.suppress(OSError, KeyError):
            status = dict(line.split(":", 1) for line in Path(f"/proc/{here}/status").read_text().splitlines())
            now, most = (int(status[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
            found[here] = now, most
            for task in Path(f"/proc/{here}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return found


def _peak(*argv: str, env: dict[str, str]) -> float:
    """The most memory that a command and its descendants had at once, in MiB.

    Not `wait4`'s ru_maxrss: that counts what the parent had when it started the process. Pages that processes share
    are counted once for each of them.
    """
    peak = 0
    null = subprocess.DEVNULL
    with subprocess.Popen(argv, env=env, stdin=null, stdout=null, stderr=null) as process:
        while process.poll() is None:
            found = _resident(process.pid).values()
            peak = max([peak, sum(now for now, _ in found), *(most for _, most in found)])
            time.sleep(0.01)
    if process.returncode:
        raise RuntimeError(f"{argv}: status {process.returncode}")
    return peak / _MIB


def pull_memory(count: int) -> Row:
    """Resident memory of the process tree of a pull of the gzip image."""
    with (
        scratch() as folder,
        _engines(folder, "minidock", "podman") as engines,
        Registry(folder / "registry") as registry,
    ):
        push_big_image(registry, "gzip")
        reference = f"{registry.host}/bench:gzip"
        peaks: dict[str, list[float]] = {name: [] for name in engines}
        try:
            for _ in range(count):
                for engine in engines.values():
                    engine.empty(reference)
                    command = [*engine.words, "pull", *engine.insecure, reference]
                    peaks[engine.name].append(_peak(*command, env=engine.env))
        finally:
            for engine in engines.values():
                engine.forget(reference)
    medians, spread = summary(peaks, 1)
    note = "the most that all its processes had at once, shared pages of each counted"
    return Row(
        "peak memory of a pull of it",
        medians,
        "MiB",
        "≤ 120 MB",
        medians.get("minidock", 999) * _MIB <= 120e6,
        spread,
        note,
    )
