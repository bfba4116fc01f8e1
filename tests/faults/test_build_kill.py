"""kill -9 anywhere in a build: nothing of it is left, nothing that is not whole is used, and it can be done again."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from minidock.store.cleaner import cleaner
from tests.conftest import Roots, roots_of_their_own, wait_for
from tests.faults import build_zygote as zygote
from tests.faults.build_state import check_cache, left
from tests.faults.dying import Asking, lines_lived
from tests.faults.lives import SOAK
from tests.faults.state import supervisors
from tests.images import tar_of
from tests.registry import Registry, push_image
from tests.rootfs import busybox_tar

STEPS = 400 if SOAK else 1
MOMENTS = 60 if SOAK else 2
BIG = 64 << 20 if SOAK else 16 << 20


class Bench(Asking):
    """A data root with one image, and the process that builds there and dies."""

    def __init__(self, roots: Roots, registry: Registry) -> None:
        self.roots = roots
        self.arguments = [str(roots.data), str(roots.run), str(roots.config)]
        self.place = zygote.Place(str(roots.data))
        zygote.write_context(self.place.context, 1 << 16)
        (self.place.base / "registry").write_text(registry.host)
        push_image(registry, "team/base", "latest", [tar_of(("a", b"a")), tar_of(("b/c", b"x" * 100_000))])
        with self.engine() as engine:
            engine.images.import_(str(busybox_tar()), repository="busybox")
            self.images = {image.id for image in engine.images.list(all=True)}
            given = f"type=local,dest={self.place.given},mode=max,mounts=true"
            self.place.build(engine, cache_to=[given, f"type=registry,ref={registry.host}/team/given,mode=max"])
            self.forget(engine)
            self.layers = sorted(os.listdir(roots.data / "layers"))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.build_zygote", *self.arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def engine(self) -> minidock.Engine:
        return minidock.Engine(*self.arguments)

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream
            stream.close()
        self.process.wait()

    def check(self) -> None:
        """After the next engine's repair nothing is left, and what is in the store agrees."""
        wait_for(lambda: not supervisors(self.roots), 20, "the end of the supervisors")
        with self.engine() as engine:
            store = engine.store
            wait_for(lambda: not engine.containers.list(all=True), 10, "the end of the containers")
            cleaner.flush()
            wait_for(lambda: not left(self.roots), 10, f"the end of {left(self.roots)}")
            assert store.database.rows("PRAGMA integrity_check") == [("ok",)]
            assert store.database.rows("PRAGMA foreign_key_check") == []
            assert store.database.rows("SELECT owner FROM leases WHERE owner != 'build-cache'") == []
            rows = sorted(str(row[0]) for row in store.database.rows("SELECT id FROM layers"))
            assert rows == sorted(os.listdir(store.paths.layers))
            assert not store.database.rows("SELECT diff_id FROM layers WHERE diff_id LIKE 'lost:%'")
            mounts = {mount.name for mount in store.build_cache.mounts()}
            there = Path(store.paths.data, "build/mounts")
            assert {path.name for path in there.iterdir()} <= mounts if there.is_dir() else not mounts

    def again(self, verb: str) -> tuple[str, dict[str, bytes]]:
        """Do it without dying; returns the image, of which every layer was checked, and what else it has written."""
        with self.engine() as engine:
            image = zygote.VERBS[verb](engine, self.place)
            if image:
                for _ in engine.images.save(image):  # compares the layers with their digests
                    pass
            files = {
                str(path.relative_to(self.place.files)): path.read_bytes() if path.is_file() else b""
                for path in sorted(self.place.files.rglob("*"))
            }
            assert os.listdir(engine.store.paths.downloads) == []
            if verb == "export":
                check_cache(self.place.cache, mounts=1)
            return image, files

    def forget(self, engine: minidock.Engine) -> None:
        """Remove all that was built."""
        for image in engine.images.list(all=True):
            if image.id not in self.images:
                engine.images.remove(image.id, force=True)
        engine.builder.prune(all=True)
        shutil.rmtree(self.place.files, ignore_errors=True)
        shutil.rmtree(self.place.cache, ignore_errors=True)

    def renew(self) -> None:
        with self.engine() as engine:
            self.forget(engine)
            cleaner.flush()
            assert sorted(os.listdir(engine.store.paths.layers)) == self.layers
            assert os.listdir(engine.store.paths.data + "/build/mounts") == []


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One for all tests: each attempt begins with nothing that was built."""
    with roots_of_their_own({"bridge": "none"}) as roots, Registry(tmp_path_factory.mktemp("registry")) as registry:
        made = Bench(roots, registry)
        yield made
        made.close()


@pytest.mark.parametrize("verb", zygote.VERBS)
@pytest.mark.timeout(7200 if SOAK else 300)
def test_killed_at_any_line(bench: Bench, verb: str) -> None:
    bench.renew()
    bench.ask(verb, 0)
    total = int(bench.answer())
    end = bench.again(verb)
    for step in sorted(random.Random(verb).sample(range(1, total + 1), min(STEPS, total))):
        bench.renew()
        bench.ask(verb, step)
        lines_lived(bench.answer(), step)
        bench.check()
        assert bench.again(verb) == end, step


@pytest.mark.parametrize("verb", ["build", "export"])
@pytest.mark.timeout(7200 if SOAK else 300)
def test_killed_at_any_moment(bench: Bench, verb: str) -> None:
    """In the middle of the native parts and of commands, too: with much to copy."""
    shutil.rmtree(bench.place.context)
    zygote.write_context(bench.place.context, BIG)
    bench.renew()
    begin = time.monotonic()
    bench.ask(verb, -1)
    bench.answer()
    assert bench.answer().isdigit()
    whole = time.monotonic() - begin
    end = bench.again(verb)
    for number in range(MOMENTS):
        bench.renew()
        bench.ask(verb, -1)
        pid = int(bench.answer())
        time.sleep(whole * (number + 0.5) / MOMENTS)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        bench.answer()
        bench.check()
        assert bench.again(verb) == end, number
