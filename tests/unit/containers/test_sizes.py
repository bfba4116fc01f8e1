"""Counting what a container has written."""

from __future__ import annotations

import os
from pathlib import Path

from minidock.containers.sizes import DEEPEST, tree_size


def test_counts_files_once_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1000)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "c").write_bytes(b"x" * 24)
    (tmp_path / "out").symlink_to("/usr")
    (tmp_path / "loop").symlink_to(".")
    os.mkfifo(tmp_path / "fifo")
    assert tree_size(str(tmp_path)) == 1024
    assert tree_size(str(tmp_path / "missing")) == 0
    assert tree_size(str(tmp_path / "out")) == 0


def test_a_tree_deeper_than_the_limit_ends(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(DEEPEST + 50):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert tree_size(str(tmp_path)) == 0
    assert len(os.listdir("/proc/self/fd")) == before
