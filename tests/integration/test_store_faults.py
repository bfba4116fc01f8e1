"""The store under kill -9: at any moment, the next engine finds a state that is whole, and repairs the rest."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import minidock
from minidock.config import Config
from minidock.errors import ImageNotFound
from minidock.store.cleaner import cleaner
from tests.conftest import Cli, Roots
from tests.integration.archives import held, tar

WORK = """
import os, sys
import minidock
from minidock.config import Config
from minidock.errors import ImageNotFound
from minidock.errors import MinidockError
engine = minidock.Engine(data_root=sys.argv[1], run_root=sys.argv[2], config=sys.argv[3])
archive = sys.argv[4]
print("ready", flush=True)
while True:
    engine.images.import_(archive, "app")
    container = engine.containers.create("app", ["x"])
    try:
        engine.images.remove("app", force=True)
    except MinidockError:
        pass
    container.remove()
    engine.images.prune(all=True)
"""


def consistent(engine: minidock.Engine) -> None:
    """Rows and directories agree, and nothing is half made."""
    paths = engine.store.paths
    database = engine.store.database
    cleaner.flush()
    assert os.listdir(paths.tmp) == []
    layers = {str(row[0]) for row in database.rows("SELECT id FROM layers")}
    assert set(os.listdir(paths.layers)) == layers
    used = {str(row[0]) for row in database.rows("SELECT layer_id FROM image_layers")}
    assert used == layers
    containers = {row.id for row in engine.store.containers.all()}
    assert set(os.listdir(paths.containers)) == containers
    blobs = set()
    for image, manifest in database.rows("SELECT id, manifest FROM images"):
        blobs |= {image[7:], manifest[7:]}
    assert set(os.listdir(paths.content)) == blobs
    assert not database.rows("PRAGMA foreign_key_check")
    assert database.rows("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.timeout(300)
def test_killed_at_any_moment(roots: Roots, tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    archive.write_bytes(tar(*[(f"file{number}", os.urandom(100)) for number in range(50)]))
    arguments = [str(roots.data), str(roots.run), str(roots.config), str(archive)]
    chance = random.Random(7)
    for _ in range(12):
        process = subprocess.Popen([sys.executable, "-c", WORK, *arguments], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0.0, 0.15))
        process.kill()
        process.wait()
        process.stdout.close()
        with minidock.Engine(*arguments[:3]) as engine:
            engine.images.list()
            consistent(engine)


def test_two_workers_one_killed_the_other_unharmed(roots: Roots, tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    archive.write_bytes(tar(("x", b"")))
    arguments = [str(roots.data), str(roots.run), str(roots.config), str(archive)]
    with minidock.Engine(*arguments[:3]) as engine:
        process = subprocess.Popen([sys.executable, "-c", WORK, *arguments], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        for number in range(10):
            engine.images.import_(str(archive), f"mine:{number}", changes=[f"LABEL n={number}"])
            with contextlib.suppress(ImageNotFound):  # the other one prunes
                engine.images.remove(f"mine:{number}")
        process.kill()
        process.wait()
        process.stdout.close()
    with minidock.Engine(*arguments[:3]) as engine:
        engine.images.prune(all=True)
        for container in engine.containers.list(all=True):
            container.remove()
        consistent(engine)


def test_a_read_only_data_root(cli: Cli, roots: Roots) -> None:
    cli.ok("images")
    subprocess.run(["mount", "--bind", str(roots.data), str(roots.data)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(roots.data)], check=True)
        done = cli("import", "-", "x", input=tar(("x", b"")))
        assert done.returncode == 1
        assert len(done.stderr.decode().splitlines()) == 1
        assert "read-only file system" in done.stderr.decode()
    finally:
        subprocess.run(["umount", "-l", str(roots.data)], check=True)
    assert held(roots.data)["tmp"] == []


def test_another_user_is_refused(engine: minidock.Engine, roots: Roots) -> None:
    engine.images.list()
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            minidock.Engine(str(roots.data), str(roots.run), Config()).images.list()
        except minidock.MinidockError as error:
            os.write(w, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(w)
    os.waitpid(pid, 0)
    told = os.read(r, 4096).decode()
    os.close(r)
    assert told.startswith("Denied: ")
    assert "\n" not in told
