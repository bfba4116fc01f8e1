"""``diff``: what a container has added, changed and deleted; the same as Docker tells (tests/compat/test_cp.py)."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import minidock
from minidock.containers.changes import Change, ChangeKind
from minidock.errors import Corrupt, MinidockError, Unsupported
from tests.conftest import Cli
from tests.images import node, oci_archive, tar_of
from tests.registry import build_image
from tests.rootfs import busybox_tar

OLD = 1_000_000_000


def layers() -> list[bytes]:
    """busybox, and two layers over it that hide some of each other's files."""

    def directory(name: str) -> tarfile.TarInfo:
        return node(name, tarfile.DIRTYPE, mode=0o755, mtime=OLD)

    def file(name: str, data: bytes = b"1") -> tuple[tarfile.TarInfo, bytes]:
        return node(name, mtime=OLD), data

    return [
        busybox_tar().read_bytes(),
        tar_of(
            directory("a"), directory("a/b"), file("a/b/f"), directory("gone"), directory("gone/x"), file("gone/x/f"),
            directory("op"), directory("op/y"), file("op/y/f"), file("op/z"), directory("same"), file("same/f"),
            node("same/hard", tarfile.LNKTYPE, link="same/f"), file("f2d"), directory("d2f"), file("d2f/x"),
            node("lnk", tarfile.SYMTYPE, link="x"), file("del", b"z"), file("hidden"), directory("cut"), file("cut/x"),
        ),
        tar_of(
            file(".wh.hidden", b""), directory("cut"), file("cut/.wh..wh..opq", b""), file("cut/y"), directory("keep"),
        ),
    ]  # fmt: skip


@pytest.fixture
def diff(engine: minidock.Engine) -> Callable[[str], list[str]]:
    """Run a script in a container of its own and return what that changed, as the command prints it."""
    engine.images.load(oci_archive([(build_image([*layers()]), ["diff:1"])]))

    def run(script: str) -> list[str]:
        container = engine.containers.create("diff:1", ["sh", "-ec", script])
        container.start()
        assert container.wait(timeout=30) == 0, container.logs()
        found = container.diff()
        container.remove()
        return [str(change) for change in found]

    return run


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("true", []),
        ("echo 2 >/a/b/f", ["C /a", "C /a/b", "C /a/b/f"]),
        ("echo 2 >/a/b/new", ["C /a", "C /a/b", "A /a/b/new"]),
        ("rm /a/b/f", ["C /a", "C /a/b", "D /a/b/f"]),
        ("rm -r /gone", ["D /gone"]),
        ("rm -r /gone; mkdir /gone", ["C /gone", "D /gone/x"]),
        ("rm -r /gone; mkdir /gone; echo 1 >/gone/new", ["C /gone", "A /gone/new", "D /gone/x"]),
        ("rm -r /op; mkdir -p /op/y; echo 9 >/op/y/f", ["C /op", "C /op/y", "C /op/y/f", "D /op/z"]),
        ("chmod 644 /same/f; chown 0:0 /same/f", []),
        ("chmod 600 /same/f", ["C /same", "C /same/f"]),
        ("touch /same/f", ["C /same", "C /same/f"]),
        ("chown 1:1 /same/f", ["C /same", "C /same/f"]),
        ("cat /same/f", []),
        ("ln /same/f /same/h2", ["C /same", "A /same/h2"]),
        ("mv /same/f /same/g", ["C /same", "D /same/f", "A /same/g"]),
        ("rm /f2d; mkdir /f2d; echo 1 >/f2d/x", ["C /f2d", "A /f2d/x"]),
        ("rm -r /d2f; echo 1 >/d2f", ["C /d2f"]),
        ("rm /lnk; ln -s y /lnk", ["C /lnk"]),
        ("rm /del; echo z >/del", ["C /del"]),
        ("mkdir -p /n/e/w; echo 1 >/n/e/w/f", ["A /n", "A /n/e", "A /n/e/w", "A /n/e/w/f"]),
        ("chmod 700 /keep", ["C /keep"]),
        ("touch /keep", []),
        ("echo 1 >/same/new; rm /same/new", []),
        ("mv /a /a2", ["D /a", "A /a2", "A /a2/b", "A /a2/b/f"]),
        ("echo x >/hidden; echo y >/cut/x", ["C /cut", "A /cut/x", "A /hidden"]),
        ("rm -r /cut; mkdir /cut", ["C /cut", "D /cut/y"]),
        ("mknod /cdev c 1 3; mkfifo /ff; echo a > '/a b'", ["A /a b", "A /cdev", "A /ff"]),
        ("mkdir /.wh.x; echo 1 >/.wh.y", ["A /.wh.x", "A /.wh.y"]),
        ("mkdir '/a b' /a.b; echo 1 >/a/x; echo 1 >'/a b/x'", ["C /a", "A /a/x", "A /a b", "A /a b/x", "A /a.b"]),
    ],
)
def test_changes(diff: Callable[[str], list[str]], script: str, wanted: list[str]) -> None:
    assert diff(script) == wanted


def test_programs_with_capabilities(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["true"])
    container.start()
    container.wait(timeout=30)
    upper = Path(container.record.snapshot["upper"])
    lower = Path(container.record.snapshot["lower"][0])
    (upper / "bin").mkdir()
    status = (lower / "bin/busybox").stat()
    (upper / "bin/busybox").write_bytes((lower / "bin/busybox").read_bytes())
    (upper / "bin/busybox").chmod(0o755)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.utime(upper / "bin/busybox", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert container.diff() == []
    os.setxattr(upper / "bin/busybox", "security.capability", capability)
    assert container.diff() == [Change("/bin", ChangeKind.MODIFIED), Change("/bin/busybox", ChangeKind.MODIFIED)]


def test_by_state_and_command(cli_busybox: Cli) -> None:
    cli_busybox.ok(
        "create", "--name", "cc", "--network", "none", "busybox", "sh", "-c", "echo >/new; rm /etc/group; sleep 1000"
    )
    assert cli_busybox.ok("diff", "cc") == ""
    cli_busybox.ok("start", "cc")
    wanted = "C /etc\nD /etc/group\nA /new\n"
    for _ in range(100):
        if cli_busybox.ok("diff", "cc") == wanted:
            break
    assert cli_busybox.ok("container", "diff", "cc") == wanted
    cli_busybox.ok("kill", "cc")
    cli_busybox.ok("wait", "cc")
    assert cli_busybox.ok("diff", "cc") == wanted
    assert cli_busybox("diff").returncode == 1
    assert cli_busybox("diff", "nope").stderr == b"minidock: no such container: nope\n"


def test_what_cannot_be_told(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["true"])
    upper = Path(container.record.snapshot["upper"])
    (upper / "moved").mkdir()
    os.setxattr(upper / "moved", "trusted.overlay.redirect", b"/home")
    with pytest.raises(Unsupported, match="redirect_dir=off"):
        container.diff()
    os.removexattr(upper / "moved", "trusted.overlay.redirect")
    Path(container.record.snapshot["lower"][0]).rename(upper.parent / "lost")
    with pytest.raises(MinidockError) as refused:
        container.diff()
    assert "\n" not in str(refused.value)
    assert not isinstance(refused.value, Corrupt)
    (upper.parent / "lost").rename(container.record.snapshot["lower"][0])
