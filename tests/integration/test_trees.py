"""Copies of layers held against the kernel's overlay; removal of trees."""

from __future__ import annotations

import contextlib
import os
import random
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from minidock import _native
from tests.integration.test_unpack import kind, state


def random_layer(top: Path, source: random.Random) -> None:
    """A layer in overlayfs form with whiteouts, opaque directories and changes of kind."""
    top.mkdir(parents=True)
    for _ in range(source.randrange(4, 14)):
        parent = top
        for _ in range(source.randrange(3)):
            child = parent / source.choice("abc")
            if child.is_symlink() or (child.exists() and not child.is_dir()):
                break
            child.mkdir(exist_ok=True)
            parent = child
        path = parent / source.choice("abcdef")
        if path.is_symlink() or path.exists():
            continue
        match source.randrange(5):
            case 0:
                os.mknod(path, stat.S_IFCHR, 0)
            case 1:
                path.symlink_to(source.choice("abc"))
            case 2:
                path.mkdir()
                if source.random() < 0.5:
                    os.setxattr(path, "trusted.overlay.opaque", b"y")
            case _:
                path.write_text(str(source.random()))
                os.chmod(path, source.choice([0o600, 0o755, 0o4711]))


@pytest.mark.parametrize("seed", range(12))
def test_copies_are_what_overlayfs_shows(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    layers = [tmp_path / f"l{number}" for number in range(3)]
    for layer in layers:
        random_layer(layer, source)
    copied = tmp_path / "copied"
    copied.mkdir()
    for layer in layers:
        _native.copy_tree(layer, copied, merge=True)
    for name in ("mnt", "oracle"):
        (tmp_path / name).mkdir()
    lower = ":".join(str(layer) for layer in reversed(layers))
    script = 'mount -t overlay -o "lowerdir=$1" none "$2" && { cp -a "$2/." "$3" 2>/dev/null || :; }'
    subprocess.run(
        ["unshare", "-m", "sh", "-ec", script, "sh", lower, tmp_path / "mnt", tmp_path / "oracle"], check=True
    )
    # cp complains about names that overlayfs lists and does not find: whiteouts in directories of one layer alone.
    # It copies the top's own attributes and times too.
    assert state(copied) == state(tmp_path / "oracle")


def test_copy_into_something_is_refused(tmp_path: Path) -> None:
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    (tmp_path / "to/x").write_text("")
    with pytest.raises(_native.NativeError) as error:
        _native.copy_tree(tmp_path / "from", tmp_path / "to")
    assert kind(error) == "conflict"
    assert _native.copy_tree(tmp_path / "from", tmp_path / "to", merge=True) == 0


def test_remove_checks_identity(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a/b").mkdir(parents=True)
    status = top.stat()
    with pytest.raises(_native.NativeError) as error:
        _native.remove_tree(top, status.st_dev, status.st_ino + 1)
    assert kind(error) == "denied"
    assert (top / "a/b").is_dir()
    assert _native.remove_tree(top, status.st_dev, status.st_ino) == 3
    assert _native.remove_tree(top) == 0
    with pytest.raises(_native.NativeError) as error:
        _native.remove_tree(top, status.st_dev)
    assert kind(error) == "invalid"


def test_remove_stops_at_mounts(tmp_path: Path) -> None:
    """A mount inside is not emptied, whatever order the directory lists it in."""
    top = tmp_path / "top"
    (top / "mnt").mkdir(parents=True)
    program = (
        "import sys; from minidock import _native\n"
        "try: _native.remove_tree(sys.argv[1])\n"
        "except _native.NativeError as error: print(error.args[:2])"
    )
    script = 'mount -t tmpfs none "$2/mnt" && touch "$2/mnt/keep" && "$0" -c "$1" "$2" && ls "$2/mnt"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", script, sys.executable, program, top],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'busy'" in done.stdout
    assert "mounted" in done.stdout
    assert done.stdout.endswith("keep\n")


def test_remove_names_immutable_files(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "d").mkdir(parents=True)
    (top / "d/fixed").write_text("")
    if subprocess.run(["chattr", "+i", top / "d/fixed"], check=False).returncode:
        pytest.skip("no immutable files on this file system")
    try:
        with pytest.raises(_native.NativeError, match="chattr") as error:
            _native.remove_tree(top)
        assert kind(error) == "denied"
        assert str(error.value.args[2:4][1]).endswith("top/d/fixed")
    finally:
        subprocess.run(["chattr", "-i", top / "d/fixed"], check=True)
    assert _native.remove_tree(top) == 3


def test_remove_while_directories_turn_into_links(tmp_path: Path) -> None:
    """R10: what is exchanged for a link meanwhile is deleted as a link."""
    marker = tmp_path / "marker"
    (marker / "deep").mkdir(parents=True)
    (marker / "deep/keep").write_text("x")
    bait = tmp_path / "bait"
    bait.symlink_to(marker)
    before = state(marker)
    stop = threading.Event()

    def exchange() -> None:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        names = [str(tmp_path / f"top/d{number}").encode() for number in range(30)]
        while not stop.is_set():
            for name in names:
                libc.renameat2(-100, str(bait).encode(), -100, name, 2)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(30):
            made = tmp_path / "made"
            for number in range(30):
                (made / f"d{number}/s").mkdir(parents=True)
            made.rename(tmp_path / "top")
            while (tmp_path / "top").exists():
                with contextlib.suppress(_native.NativeError):
                    _native.remove_tree(tmp_path / "top")
            # The last exchange may have left a directory in the bait's place.
            if not bait.is_symlink():
                _native.remove_tree(bait)
                bait.symlink_to(marker)
    finally:
        stop.set()
        thread.join()
    assert state(marker) == before
