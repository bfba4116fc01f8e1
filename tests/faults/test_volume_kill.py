"""kill -9 anywhere in what makes, fills, mounts and removes volumes: the old state or the new one, and no other."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from minidock.errors import Denied, MinidockError, NoSpace, VolumeInUse
from minidock.store.cleaner import cleaner
from minidock.store.mounts import mount_id
from minidock.volumes import using
from tests.conftest import Roots
from tests.faults import volume_zygote as zygote
from tests.faults.dying import Asking, lines_lived
from tests.unit.store.conftest import add_container

SOAK = os.environ.get("MINIDOCK_SOAK") == "1"
STEPS = 10_000 if SOAK else 10
MOMENTS = 100 if SOAK else 4
MANY = 3000 if SOAK else 250

OLD = {"both": "", "both/old": "old", "file": "old", "only": "old"}
MERGED = {**OLD, "both/new": "new", "file": "new", "left": "new"}
IMPORTED = {"both": "", "both/new": "new", "file": "new", "left": "new"}
FILLED = {"sub": "", "sub/file": "image", "file": "image"}
NEW = {"new": {}, "f" * 64: {}}
Trees = dict[str, dict[str, str]]


def write(root: Path, tree: dict[str, str]) -> None:
    for name, text in tree.items():
        if text:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)


class Bench(Asking):
    """A data root that is made anew for each attempt, and the process that attempts."""

    def __init__(self, roots: Roots) -> None:
        self.roots = roots
        self.arguments = [str(roots.data), str(roots.run), str(roots.config)]
        self.pristine = roots.data.with_name("pristine")
        lower = roots.data.with_name("lower")
        write(lower / "data", FILLED)
        os.chmod(lower / "data", 0o1770)
        with self.engine() as engine:
            for digit in "12":
                add_container(engine.store, digit)
            for name in ("data", "empty", "one", "shared"):
                engine.volumes.create(name)
            engine.volumes.create("tmpfs", driver_opts={"type": "tmpfs", "device": "tmpfs"})
            write(Path(engine.volumes.get("data").mountpoint), OLD)
            engine.store.volumes.use(zygote.ONE, ["one", "shared", "tmpfs"])
            engine.store.volumes.use(zygote.TWO, ["shared"])
        (roots.data / "reserve").unlink()
        shutil.move(roots.data, self.pristine)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.volume_zygote", *self.arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def engine(self) -> minidock.Engine:
        return minidock.Engine(*self.arguments)

    def renew(self) -> None:
        self.clear()
        shutil.copytree(self.pristine, self.roots.data)

    def clear(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            while mount_id(f"{self.roots.data}/volumes/tmpfs/_data") is not None:
                subprocess.run(["umount", f"{self.roots.data}/volumes/tmpfs/_data"], check=True)
            shutil.rmtree(self.roots.data)

    def trees(self, engine: minidock.Engine) -> Trees:
        """What is in all volumes; looking at it goes on with what was cut short."""
        found = {}
        for volume in engine.volumes.list():
            if volume.name == "tmpfs":
                continue
            for _ in volume.export() or ():
                pass
            root = Path(volume.mountpoint)
            found[volume.name] = {
                str(path.relative_to(root)): path.read_text() if path.is_file() else ""
                for path in sorted(root.rglob("*"))
            }
        return found

    def check(self, engine: minidock.Engine) -> Trees:
        """Rows and directories agree, nothing is left over, and nothing is mounted that nobody needs."""
        store = engine.store
        _ = store.database
        cleaner.flush()
        assert os.listdir(store.paths.tmp) == []
        assert store.database.rows("PRAGMA integrity_check") == [("ok",)]
        assert store.database.rows("PRAGMA foreign_key_check") == []
        assert {hold.holder for hold in store.volumes.every_hold()} <= {zygote.ONE}
        using.unmount(engine, zygote.ONE)
        assert mount_id(f"{store.paths.volumes}/tmpfs/_data") is None
        found = self.trees(engine)
        assert sorted(os.listdir(store.paths.volumes)) == sorted([*found, "tmpfs"])
        for name in found:
            assert sorted(os.listdir(store.paths.volume(name))) == ["_data", "volume.json"], name
        return found


@pytest.fixture
def bench(roots: Roots) -> Iterator[Bench]:
    made = Bench(roots)
    yield made
    for stream in (made.process.stdin, made.process.stdout):
        assert stream
        stream.close()
    made.process.wait()
    made.clear()


START: Trees = {"data": OLD, "empty": {}, "one": {}, "shared": {}}
ENDS: dict[str, Trees] = {
    "create": {**START, "new": {}},
    "claim": {**START, **NEW},
    "remove": {name: tree for name, tree in START.items() if name != "data"},
    "prune": {name: tree for name, tree in START.items() if name not in ("data", "empty")},
    "clone": {**START, "new": OLD},
    "import": {**START, "data": MERGED},
    "import-empty": {**START, "empty": IMPORTED},
    "fill": {**START, "one": FILLED},
    "fill-shared": {**START, "shared": FILLED},
    "fill-mounted": START,
    "mount": START,
}
_AGAIN = {"clone", "remove"}
"""What cannot be done twice."""


@pytest.mark.parametrize("verb", ENDS)
@pytest.mark.timeout(300)
def test_killed_at_any_line(bench: Bench, verb: str) -> None:
    bench.renew()
    bench.ask(verb, 0)
    total = int(bench.answer())
    with bench.engine() as engine:
        assert bench.check(engine) == ENDS[verb]
    for step in sorted(random.Random(verb).sample(range(1, total + 1), min(STEPS, total))):
        bench.renew()
        bench.ask(verb, step)
        lived = lines_lived(bench.answer(), step)
        with bench.engine() as engine:
            found = bench.check(engine)
            assert found == ENDS[verb] or not lived
            between = [name for name in {**START, **ENDS[verb]} if found.get(name) not in _states(verb, name)]
            assert not between, (step, found)
            if found == START or verb not in _AGAIN:
                zygote.VERBS[verb](engine)
                assert bench.check(engine) == ENDS[verb], step


def _states(verb: str, name: str) -> tuple[dict[str, str] | None, ...]:
    return START.get(name), ENDS[verb].get(name)


@pytest.mark.parametrize("verb", ["fill", "fill-shared", "import", "remove"])
@pytest.mark.timeout(300)
def test_killed_at_any_moment(bench: Bench, verb: str) -> None:
    """In the middle of the native parts, too: with many files."""
    many = {f"dir{number % 7}/file{number}": "x" for number in range(MANY)}
    if verb.startswith("fill"):
        write(bench.roots.data.with_name("lower") / "data", many)
    else:
        write(bench.pristine / "volumes" / "data" / "_data", many)
    bench.renew()
    begin = time.monotonic()
    bench.ask(verb, -1)
    bench.answer()
    bench.answer()
    whole = time.monotonic() - begin
    with bench.engine() as engine:
        end = bench.check(engine)
    for number in range(MOMENTS):
        bench.renew()
        with bench.engine() as engine:
            start = bench.trees(engine)
        bench.ask(verb, -1)
        pid = int(bench.answer())
        time.sleep(whole * (number + 0.5) / MOMENTS)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        bench.answer()
        with bench.engine() as engine:
            found = bench.check(engine)
            assert found in (start, end), number


def test_two_fill_one_volume(bench: Bench) -> None:
    """It is filled once, whoever comes first, and whole for both."""
    bench.renew()
    with bench.engine() as first, bench.engine() as second:
        for name in ("one", "shared"):
            failures: list[MinidockError] = []

            def one(engine: minidock.Engine, name: str = name, failures: list[MinidockError] = failures) -> None:
                try:
                    using.fill(engine, name, [zygote.lower(engine)], "/data")
                except MinidockError as error:
                    failures.append(error)
                assert bench.trees(engine)[name] == FILLED

            threads = [threading.Thread(target=one, args=(engine,)) for engine in (first, second) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failures == []
            assert bench.check(first)[name] == FILLED
            assert Path(first.volumes.get(name).mountpoint).stat().st_mode & 0o7777 == 0o1770


def test_a_full_disk(bench: Bench, roots: Roots) -> None:
    """On a file system of its own: what does not fit is one error and changes nothing, and all can be removed."""
    image = roots.data.with_name("disk")
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    roots.data.mkdir(mode=0o700)
    subprocess.run(["mount", "-o", "loop", image, roots.data], check=True)
    try:
        shutil.rmtree(roots.data / "lost+found")
        shutil.copytree(bench.pristine, roots.data, dirs_exist_ok=True)
        write(roots.data.with_name("lower") / "data", {"big": "x" * (8 << 20)})
        with bench.engine() as engine:
            start = bench.check(engine)
            for size in (1 << 16, 4096):
                with open(roots.data / f"filler{size}", "wb", buffering=0) as filler, contextlib.suppress(OSError):
                    while True:
                        filler.write(b"x" * size)
            for verb in ("fill", "fill-shared", "import", "clone"):
                with contextlib.suppress(NoSpace):
                    zygote.VERBS[verb](engine)
                    assert verb in ("import", "clone")  # these are small
            with contextlib.suppress(NoSpace):
                for number in range(100_000):
                    engine.volumes.create(f"volume{number}", labels={"x": "y" * 4000})
                raise AssertionError
            for name in start:
                if name != "data":
                    assert bench.trees(engine)[name] == {}
            engine.volumes.prune(all=True)
            for size in (1 << 16, 4096):
                (roots.data / f"filler{size}").unlink()
            assert bench.check(engine) == {"one": {}, "shared": {}}
            zygote.VERBS["fill"](engine)
            assert set(bench.check(engine)["one"]) == {*FILLED, "big"}
    finally:
        subprocess.run(["umount", "-l", roots.data], check=True)


def test_a_read_only_data_root(bench: Bench, roots: Roots) -> None:
    bench.renew()
    subprocess.run(["mount", "--bind", roots.data, roots.data], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", roots.data], check=True)
        with bench.engine() as engine:
            for verb in ("create", "claim", "remove", "clone", "import", "fill", "fill-shared", "fill-mounted"):
                with pytest.raises(Denied, match="read-only file system"):
                    zygote.VERBS[verb](engine)
    finally:
        subprocess.run(["umount", "-l", roots.data], check=True)
    with bench.engine() as engine:
        assert bench.check(engine) == START


def test_what_is_mounted_is_not_removed(bench: Bench, roots: Roots) -> None:
    """Neither what a driver option binds, nor what somebody has mounted inside a volume."""
    bench.renew()
    shared = roots.data.with_name("shared")
    write(shared, {"precious": "x"})
    with bench.engine() as engine:
        bound = engine.volumes.create("bound", driver_opts={"type": "none", "o": "bind", "device": str(shared)})
        using.mount(engine, zygote.ONE, ["bound"])
        assert (Path(bound.mountpoint) / "precious").exists()
        using.unmount(engine, zygote.ONE)
        bound.remove()
        inside = Path(engine.volumes.get("data").mountpoint) / "wide open"
        inside.mkdir()
        subprocess.run(["mount", "--bind", shared, inside], check=True)
        try:
            with pytest.raises(VolumeInUse, match=r"data/_data/wide open is mounted; unmount it first$"):
                engine.volumes.get("data").remove()
            assert engine.volumes.prune(all=True).volumes_deleted == ["empty"]
            assert (inside / "precious").exists()
        finally:
            subprocess.run(["umount", inside], check=True)
        engine.volumes.get("data").remove()
    assert (shared / "precious").read_text() == "x"
