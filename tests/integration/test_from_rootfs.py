"""``minidock image from-rootfs``."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from minidock.errors import Conflict, InvalidArgument, NotFound
from minidock.images import rootfs, rootfs_tar
from tests.conftest import Cli, Roots
from tests.rootfs import busybox_tar


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small root filesystem in a directory."""
    top = tmp_path / "root"
    top.mkdir(mode=0o755)
    subprocess.run(["tar", "-xpf", str(busybox_tar()), "-C", str(top)], check=True)
    os.utime(top, (1, 1))
    return top


def test_directory_becomes_an_image_that_runs(cli: Cli, tree: Path) -> None:
    os.setxattr(tree / "etc/passwd", "user.mark", b"\x00\xff")
    os.mknod(tree / "dev/odd", 0o600 | 0o020000, os.makedev(1, 3))
    os.chown(tree / "home/app", 1000, 1000)
    image = cli.ok("image", "from-rootfs", "--change", 'CMD ["sh"]', "-m", "mine", str(tree), "mine:1").strip()
    assert cli.ok("images", "-q", "--no-trunc", "mine:1").strip() == image
    script = "stat -c '%u %a' /home/app; ls -l /dev /bin/busybox | wc -l; id -u app"
    assert cli.ok("run", "--rm", "mine:1", "sh", "-c", script).split()[0] == "1000"
    assert cli.ok("history", "--format", "{{.Comment}}", "mine:1") == "mine\n"
    assert cli.ok("image", "from-rootfs", str(tree), "other")
    ids = cli.ok("image", "inspect", "--format", "{{.RootFS.Layers}}", "mine:1", "other").splitlines()
    assert ids[0] == ids[1]


def test_source_date_epoch_makes_the_same_image(cli: Cli, tree: Path) -> None:
    env = {"SOURCE_DATE_EPOCH": "1000000000"}
    os.utime(tree / "bin/busybox", (1_500_000_000, 1_500_000_000))
    first = cli("image", "from-rootfs", str(tree), "a", env=env).stdout
    os.utime(tree / "bin/busybox")
    second = cli("image", "from-rootfs", str(tree), "a", env=env).stdout
    assert first == second != b""
    assert cli.ok("image", "inspect", "--format", "{{.Created}}", "a").startswith("2001-09-09T01:46:40")


def files(engine: minidock.Engine, name: str) -> set[str]:
    (number,) = engine.store.images.layers(engine.images.get(name).id)
    top = engine.store.paths.layer(number) + "/fs"
    return {
        os.path.relpath(os.path.join(folder, one), top) for folder, dirs, names in os.walk(top) for one in dirs + names
    }


@pytest.fixture
def mounted(tree: Path) -> Iterator[Path]:
    """The tree with a tmpfs, a bind of a directory and a bind of a file below it."""
    for target in ("proc", "tmp", "root"):
        (tree / target).mkdir(exist_ok=True)
    (tree / "etc/bound").write_text("below")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "none", str(tree / "tmp")], check=True)
    subprocess.run(["mount", "--bind", str(tree / "etc"), str(tree / "root")], check=True)
    subprocess.run(["mount", "--bind", str(tree / "etc/group"), str(tree / "etc/bound")], check=True)
    (tree / "tmp/secret").write_text("x")
    yield tree
    for target in ("etc/bound", "root", "tmp"):
        subprocess.run(["umount", str(tree / target)], check=True)


def test_mounts_sockets_excludes_and_own_roots_are_left_out(
    engine: minidock.Engine, roots: Roots, mounted: Path
) -> None:
    own = minidock.Engine(str(mounted / "var/lib/minidock"), str(mounted / "run/minidock"), str(roots.config))
    (mounted / "var/lib").mkdir(exist_ok=True)
    (mounted / "run").mkdir()
    (mounted / "home/keep").write_text("x")
    (mounted / "home/drop.log").write_text("x")
    with own, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(mounted / "home/socket"))
        own.images.from_rootfs(mounted, "x", exclude=["*.log", "/bin/a*"])
        found = files(own, "x")
        tmp = Path(own.store.paths.layer(own.store.images.layers(own.images.get("x").id)[0]), "fs/tmp")
        assert tmp.stat().st_mode & 0o7777 == 0o1777
    assert {"tmp", "root", "proc", "home/keep", "var/lib", "run", "bin/busybox", "etc/group"} <= found
    assert not {"tmp/secret", "root/passwd", "home/socket", "home/drop.log", "etc/bound", "bin/ash"} & found
    assert not {path for path in found if "minidock" in path}


def test_file_that_always_changes(engine: minidock.Engine, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tree / "var/log/busy"
    read = os.read
    reads = 0

    def cut(fd: int, size: int) -> bytes:
        nonlocal reads
        if log.exists() and os.path.samestat(os.fstat(fd), os.stat(log)):
            reads += 1
            os.truncate(log, 0)
        return read(fd, size)

    monkeypatch.setattr(rootfs_tar.os, "read", cut)
    attempts = 0
    mount_points = rootfs_tar.mount_points

    def again() -> set[bytes]:
        nonlocal attempts
        attempts += 1
        log.write_text("line\n")
        return mount_points()

    monkeypatch.setattr(rootfs.rootfs_tar, "mount_points", again)
    with pytest.raises(Conflict, match=r"var/log/busy changes while it is read, 3 times; exclude it"):
        engine.images.from_rootfs(tree, "x")
    assert (attempts, reads) == (3, 3)
    assert os.listdir(engine.store.paths.tmp) == []
    assert engine.images.from_rootfs(tree, "x", exclude="busy").tags == ["x:latest"]


def test_live_tree(engine: minidock.Engine, tree: Path) -> None:
    """Files come, grow and go all the time; the image is made nevertheless."""
    done = threading.Event()

    def churn() -> None:
        number = 0
        with open(tree / "var/log/growing", "ab", buffering=0) as log:
            while not done.is_set():
                number += 1
                log.write(b"line\n" * 100)
                path = tree / f"var/log/{number % 20}"
                path.write_bytes(b"x" * 10000)
                if number > 10:
                    (tree / f"var/log/{(number - 10) % 20}").unlink(missing_ok=True)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(5):
            engine.images.from_rootfs(tree, "live")
    finally:
        done.set()
        thread.join()
    assert "var/log/growing" in files(engine, "live")


def test_bad_arguments(engine: minidock.Engine, cli: Cli, tree: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such directory"):
        engine.images.from_rootfs(tmp_path / "nowhere", "x")
    with pytest.raises(InvalidArgument, match="not a directory"):
        engine.images.from_rootfs(busybox_tar(), "x")
    with pytest.raises(InvalidArgument, match="minidock's own"):
        engine.images.from_rootfs(engine.store.paths.data, "x")
    with pytest.raises(InvalidArgument, match="exclude"):
        engine.images.from_rootfs(tree, "x", exclude="../x")
    (tree / ".wh.x").write_text("")
    with pytest.raises(InvalidArgument, match=r"\.wh\.x"):
        engine.images.from_rootfs(tree, "x")
    assert os.listdir(engine.store.paths.tmp) == []
    assert cli("image", "from-rootfs", str(tree)).returncode == 1
