"""The right to fetch a blob: one holder at a time, whoever prunes meanwhile."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidock.errors import Cancelled, Timeout
from minidock.images import downloads
from minidock.registry.cancel import Cancel
from minidock.store.paths import Paths
from minidock.store.workspace import Workspace

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def never() -> bool:
    return False


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    made = Paths(str(tmp_path / "data"), str(tmp_path / "run"))
    made.prepare()
    made.prepare_layout()
    yield made
    assert os.listdir(made.tmp) == []


def take(paths: Paths, digest: str = DIGEST, timeout: float | None = 10) -> downloads.Claim:
    claim = downloads.claim(paths, digest, Cancel(timeout), never)
    assert claim is not None
    return claim


def fill(claim: downloads.Claim, data: bytes) -> None:
    fd, _ = claim.open()
    os.pwrite(fd, data, 0)
    os.close(fd)


def test_what_was_fetched_stays_for_the_next(paths: Paths) -> None:
    claim = take(paths)
    fd, have = claim.open()
    assert have == 0
    assert os.fstat(fd).st_mode & 0o777 == 0o600
    os.write(fd, b"half")
    os.close(fd)
    claim.close()
    claim.close()
    assert downloads.space(paths) == 4
    again = take(paths)
    fd, have = again.open()
    os.close(fd)
    assert have == 4
    again.clear()
    again.clear()
    again.close()
    assert os.listdir(paths.downloads) == [], "an empty directory goes"


def test_others_wait_or_find_it_elsewhere(paths: Paths) -> None:
    claim = take(paths)
    with pytest.raises(Timeout):
        take(paths, timeout=0.1)
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        downloads.claim(paths, DIGEST, cancel, never)
    answers = iter([False, False, True])
    assert downloads.claim(paths, DIGEST, Cancel(10), lambda: next(answers)) is None
    other = take(paths, OTHER)
    got: list[downloads.Claim] = []
    thread = threading.Thread(target=lambda: got.append(take(paths)))
    thread.start()
    time.sleep(0.05)
    assert not got
    claim.close()
    thread.join()
    got[0].close()
    other.close()


def test_the_dead_hold_nothing(paths: Paths) -> None:
    code = (
        "import sys, time\nfrom minidock.images import downloads\nfrom minidock.registry.cancel import Cancel\n"
        "from minidock.store.paths import Paths\n"
        "claim = downloads.claim(Paths(sys.argv[1], sys.argv[2]), sys.argv[3], Cancel(9), lambda: False)\n"
        "fd, _ = claim.open(); open(fd, 'wb').write(b'half'); print('held', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, paths.data, paths.run, DIGEST]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(Timeout):
            take(paths, timeout=0.1)
        with Workspace(paths, "prune") as trash:
            assert downloads.discard_idle(paths, trash) == 0, "the living keep it"
        process.kill()
    claim = take(paths)
    fd, have = claim.open()
    os.close(fd)
    assert have == 4
    claim.close()


def test_what_is_idle_goes(paths: Paths) -> None:
    for digest, held in ((DIGEST, False), (OTHER, True)):
        claim = take(paths, digest)
        fill(claim, b"12345")
        if not held:
            claim.close()
    with Workspace(paths, "prune") as trash:
        downloads.discard_old(paths, trash)
        assert downloads.space(paths) == 10, "young"
        assert downloads.discard_idle(paths, trash) == 5
        assert os.listdir(paths.downloads) == [OTHER[7:]]
    claim.close()
    old = time.time() - 25 * 3600
    os.utime(claim.path, (old, old))
    with Workspace(paths, "pull") as trash:
        downloads.discard_old(paths, trash)
    assert os.listdir(paths.downloads) == []


@settings(deadline=None, max_examples=12)
@given(st.integers(2, 5), st.integers(0, 2), st.booleans())
def test_one_holder_at_a_time(takers: int, pruners: int, clearing: bool) -> None:
    """Each holder writes its number and finds it unchanged when it gives up; nobody starves, nothing is left open."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(f"{folder}/data", f"{folder}/run")
        paths.prepare()
        paths.prepare_layout()
        before = set(os.listdir("/proc/self/fd"))
        holders: list[int] = []
        wrong: list[object] = []
        stop = threading.Event()

        def fetch(number: int) -> None:
            for _ in range(15):
                claim = downloads.claim(paths, DIGEST, Cancel(120), never)
                if claim is None:
                    wrong.append("no claim")
                    return
                holders.append(number)
                fill(claim, b"%d" % number)
                time.sleep(0.0005)
                if holders != [number] or Path(claim.path).read_bytes()[:1] != b"%d" % number:
                    wrong.append((number, list(holders)))
                holders.remove(number)
                if clearing:
                    claim.clear()
                claim.close()

        def prune() -> None:
            while not stop.is_set():
                with Workspace(paths, "prune") as trash:
                    downloads.discard_idle(paths, trash)
                    downloads.space(paths)

        threads = [threading.Thread(target=fetch, args=(number,)) for number in range(takers)]
        cleaners = [threading.Thread(target=prune) for _ in range(pruners)]
        for thread in (*threads, *cleaners):
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        for thread in cleaners:
            thread.join()
        assert not wrong
        assert set(os.listdir("/proc/self/fd")) <= before
        assert os.listdir(paths.tmp) == []
