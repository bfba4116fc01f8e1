"""Locks between descriptors, that go with their holder."""

import os
import threading
import time
from pathlib import Path

import pytest

from minidock.errors import Timeout
from minidock.store.locks import lock, try_lock


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    fd = try_lock(str(tmp_path))
    assert fd is not None
    assert try_lock(str(tmp_path)) is None
    assert try_lock(str(tmp_path), shared=True) is None
    with pytest.raises(Timeout, match="another process"), lock(str(tmp_path), timeout=0.02):
        pytest.fail("two holders")
    os.close(fd)
    with lock(str(tmp_path), timeout=0):
        assert try_lock(str(tmp_path)) is None


def test_shared(tmp_path: Path) -> None:
    with lock(str(tmp_path), shared=True), lock(str(tmp_path), shared=True):
        assert try_lock(str(tmp_path)) is None


def test_waiting(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with lock(str(tmp_path)):
            order.append("second")

    with lock(str(tmp_path)):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_link_is_not_followed_where_names_are_untrusted(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(OSError, match="symbolic links"):
        try_lock(str(tmp_path / "link"))
