"""`--storage-opt size=`: a limit where the data root's file system has project quotas, a clear error elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import minidock
from minidock.errors import Unsupported
from minidock.store.cleaner import cleaner
from tests.conftest import Cli, Roots

if TYPE_CHECKING:
    from minidock.containers.options import CreateOptions as Options


def test_the_size_of_a_containers_layer(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    options: Options = {"network": "none", "storage_opt": {"size": "16m"}}
    missing = None
    try:
        container = engine.containers.create(busybox, "sleep 60", **options)
    except Unsupported as error:
        missing = str(error)
    if missing is not None:
        assert missing.startswith("storage option size: ")
        assert "project quotas" in missing
        assert engine.containers.list(all=True) == []
        cleaner.flush()
        assert os.listdir(roots.data / "containers") == os.listdir(roots.data / "tmp") == []
        return
    assert container.attrs["HostConfig"]["StorageOpt"] == {"size": "16m"}
    container.start()
    done = container.exec(["dd", "if=/dev/zero", "of=/file", "bs=1M", "count=64"])
    assert done.exit_code == 1
    assert "No space left" in done.stderr.decode() or "quota exceeded" in done.stderr.decode()
    assert 8 << 20 < os.stat(f"{roots.data}/containers/{container.id}/rw/upper/file").st_size <= 16 << 20


WORDS = [("inodes=5", b"unknown option inodes"), ("size=x", b"invalid size: 'x'"), ("size", b"KEY=VALUE")]


@pytest.mark.parametrize(("option", "words"), WORDS)
def test_words(cli_busybox: Cli, option: str, words: bytes) -> None:
    done = cli_busybox("create", "--storage-opt", option, "busybox")
    assert done.returncode in (1, 125)
    assert words in done.stderr
