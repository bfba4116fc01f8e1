"""kill -9, a full disk and many at once in pull, push, rmi and prune: an image is there completely or not at all."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import minidock
from minidock.errors import ImageNotFound, NoSpace, Timeout
from tests.conftest import Roots
from tests.hostile import HostileRegistry
from tests.oracle import assert_sound
from tests.pulls import REPO, end, files, layer, name, noise, script
from tests.registry import Registry, build_image, digest_of, get_manifest, push_image

SOAK = os.environ.get("MINIDOCK_SOAK") == "1"
MOMENTS: Sequence[int] = range(1, 3000) if SOAK else (1, 2, 4, 7, 12, 20, 33, 54, 90, 150, 250, 500, 1000, 2000)
KILLS = 60 if SOAK else 8
TARS = [layer(n, 200_000) for n in range(4)]

# The calls that change what is on the disk, or who holds it.
CALLS = [
    "rename,renameat,renameat2",
    "mkdir,mkdirat",
    "unlink,unlinkat,rmdir",
    "flock",
    "pwrite64",
    "fdatasync,fsync",
    "ftruncate",
]


def opened(roots: Roots) -> minidock.Engine:
    return minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config))


def killed(roots: Roots, call: str, when: int, code: str, *arguments: str) -> bool:
    """Run code in a process that dies at its n-th system call of this kind, in any of its threads; whether it did."""
    strace = shutil.which("strace")
    assert strace, "strace is missing: apt-get install strace (just setup does it)"
    head = (
        "import sys, minidock\n"
        "engine = minidock.Engine(data_root=sys.argv[1], run_root=sys.argv[2], config=sys.argv[3])\n"
        "args = sys.argv[4:]\n"
    )
    inject = f"inject={call}:signal=SIGKILL:when={when}"
    command = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    command += [sys.executable, "-c", head + code, str(roots.data), str(roots.run), str(roots.config), *arguments]
    done = subprocess.run(command, capture_output=True, timeout=100, check=False)
    assert done.returncode in (0, -9, 137), (done.returncode, done.stderr.decode())
    return done.returncode != 0


def partial(roots: Roots) -> dict[str, int]:
    """The interrupted downloads: digest to bytes."""
    found = {}
    for folder in (roots.data / "downloads").iterdir():
        data = folder / "data"
        found[f"sha256:{folder.name}"] = data.stat().st_size if data.exists() else 0
    return found


def assert_pulls_the_rest(roots: Roots, registry: Registry, image_id: str) -> None:
    """After the next engine's repair the store is sound; a pull then fetches what is missing only."""
    with opened(roots) as engine:
        there = engine.images.find(name(registry))
        assert there is None or files(engine, there.id) == {f"f{n}": noise(n, 200_000) for n in range(4)}
    assert_sound(roots.data, downloads=None)
    rest = partial(roots)
    sizes = {digest_of(blob): len(blob) for blob in build_image(TARS).layers}
    registry.forget()
    with opened(roots) as engine:
        assert engine.images.pull(name(registry)).id == image_id
        assert files(engine, image_id) == {f"f{n}": noise(n, 200_000) for n in range(4)}
        kept = set(os.listdir(engine.store.paths.content))
        assert {digest[7:] for digest in sizes} <= kept
    fetched = {one.path.rpartition("/")[2]: one.size for one in registry.requests("GET", "/blobs/")}
    for digest, size in sizes.items():
        if there is not None or rest.get(digest, 0) == size:
            assert digest not in fetched
        else:
            assert fetched[digest] == size - rest.get(digest, 0)
    assert_sound(roots.data)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.timeout(900 if SOAK else 300)
def test_pull_is_killed(roots: Roots, registry: Registry, call: str) -> None:
    pushed = push_image(registry, REPO, "latest", TARS)
    for when in MOMENTS:
        died = killed(roots, call, when, "engine.images.pull(args[0])", name(registry))
        assert_pulls_the_rest(roots, registry, pushed.config)
        with opened(roots) as engine:
            engine.images.remove(pushed.config, force=True)
        assert_sound(roots.data)
        if not died:
            break


@pytest.mark.timeout(900 if SOAK else 300)
def test_pull_is_killed_at_any_moment(roots: Roots, registry: Registry) -> None:
    pushed = push_image(registry, REPO, "latest", TARS)
    rng = random.Random(5)
    for _ in range(KILLS):
        process = script(roots, "engine.images.pull(args[0])", name(registry))
        time.sleep(rng.uniform(0.1, 0.9))
        process.kill()
        end(process)
        assert_pulls_the_rest(roots, registry, pushed.config)
        with opened(roots) as engine:
            engine.images.remove(pushed.config, force=True)


@pytest.mark.parametrize("call", ["rename,renameat,renameat2", "unlink,unlinkat,rmdir", "pwrite64"])
@pytest.mark.parametrize("verb", ["remove", "prune"])
@pytest.mark.timeout(900 if SOAK else 300)
def test_removal_is_killed(roots: Roots, registry: Registry, verb: str, call: str) -> None:
    """The image is whole or gone; what it shares with another stays."""
    push_image(registry, REPO, "latest", TARS)
    push_image(registry, REPO, "other", TARS[:2])
    code = {
        "remove": "engine.images.remove(args[0], force=True)",
        "prune": "engine.images.remove(args[0] + '-2'); engine.images.prune()",
    }[verb]
    for when in MOMENTS:
        with opened(roots) as engine:
            image = engine.images.pull(name(registry))
            engine.images.pull(name(registry, ":other"))
            if verb == "prune":
                image.tag(name(registry) + "-2")
                engine.images.remove(name(registry))
        died = killed(roots, call, when, code, name(registry))
        with opened(roots) as engine:
            left = engine.images.find(image.id)
            assert died or left is None
            other = engine.images.get(name(registry, ":other"))
            assert files(engine, other.id) == {f"f{n}": noise(n, 200_000) for n in range(2)}
        assert_sound(roots.data)
        if not died:
            break


@pytest.mark.parametrize("call", ["rename,renameat,renameat2", "pwrite64", "sendto", "unlink,unlinkat,rmdir"])
@pytest.mark.timeout(900 if SOAK else 300)
def test_push_is_killed(roots: Roots, registry: Registry, call: str) -> None:
    """Of an image that is compressed on the way: the next push does it."""
    from tests.integration.archives import tar

    with opened(roots) as engine:
        engine.images.import_(tar(("f", noise(1, 300_000) + bytes(300_000))), name(registry, ""))
    for when in MOMENTS[:9]:
        died = killed(roots, call, when, "engine.images.push(args[0])", name(registry))
        with opened(roots) as engine:
            assert engine.images.get(name(registry))
        assert_sound(roots.data)
        if not died:
            break
    with opened(roots) as engine:
        digest = engine.images.push(name(registry))["latest"]
    assert digest_of(get_manifest(registry, REPO, "latest").body) == digest
    assert_sound(roots.data)


# a full disk


@pytest.fixture
def small_disk(roots: Roots) -> Iterator[Path]:
    """The data root on a tmpfs of 16 MiB."""
    roots.data.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", str(roots.data)], check=True)
    yield roots.data
    subprocess.run(["umount", str(roots.data)], check=True)


def used(data: Path) -> int:
    status = os.statvfs(data)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not kept"])
def test_a_full_disk_in_the_middle(
    roots: Roots, small_disk: Path, make_hostile: Callable[..., HostileRegistry], keep: bool
) -> None:
    """A pull that does not fit gives all its space back, wherever the disk was full, and others' images stay."""
    hostile = make_hostile()
    if not keep:
        roots.config.write_text('{"bridge": "none", "storage-opts": ["keep-blobs=false"]}')
    hostile.add(REPO, "small", build_image([layer(90, 1_000_000)]))
    outcomes = []
    with opened(roots) as engine:
        engine.images.pull(name(hostile, ":small"))
        before = used(small_disk)
        # Sizes around those at which the download, the files, and both just fit.
        for number, size in enumerate(
            [900_000, 1_600_000, 2_000_000, 2_200_000, 2_300_000, 2_400_000, 4_000_000, 9_000_000]
        ):
            image = build_image(
                [layer(100 + 10 * number + n, size) for n in range(3)], compress=["none", "gzip", "zstd"]
            )
            hostile.add(REPO, f"t{number}", image)
            try:
                engine.images.pull(name(hostile, f":t{number}"))
            except NoSpace:
                outcomes.append(False)
                assert engine.images.find(name(hostile, f":t{number}")) is None
            else:
                outcomes.append(True)
                engine.images.remove(name(hostile, f":t{number}"))
            assert os.listdir(small_disk / "tmp") == []
            assert os.listdir(small_disk / "downloads") == []
            assert used(small_disk) < before + 2_200_000, "all but the database's log"
        assert outcomes[0]
        assert not outcomes[-1]
        assert files(engine, name(hostile, ":small")) == {"f90": noise(90, 1_000_000)}
    assert_sound(small_disk)


def test_a_disk_without_a_byte(roots: Roots, small_disk: Path, hostile: HostileRegistry) -> None:
    hostile.add(REPO, "small", build_image([layer(90, 1_000_000)]))
    hostile.add(REPO, "other", build_image([layer(91, 1000)]))
    with opened(roots) as engine:
        engine.images.pull(name(hostile, ":small"))
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as out, contextlib.suppress(OSError):
            while True:
                out.write(bytes(4096))
        for _ in range(3):
            with pytest.raises(NoSpace):
                engine.images.pull(name(hostile, ":other"))
        filler.unlink()
        engine.images.pull(name(hostile, ":other"))
        assert files(engine, name(hostile, ":other")) == {"f91": noise(91, 1000)}
        assert files(engine, name(hostile, ":small")) == {"f90": noise(90, 1_000_000)}
    with opened(roots) as engine:
        engine.store.repair()
    assert_sound(small_disk)


# many at once

LOOP = """
import random
from minidock.errors import ImageNotFound, NotFound, ImageInUse, Conflict
verb, seconds, names = args[0], float(args[1]), args[2:]
import time
end = time.monotonic() + seconds
rng = random.Random(verb)
count = 0
while time.monotonic() < end or not count:
    count += 1
    try:
        if verb.startswith("pull"):
            engine.images.pull(rng.choice(names))
        elif verb == "remove":
            engine.images.remove(rng.choice(names), force=True)
        elif verb == "push":
            engine.images.push(rng.choice(names))
        elif verb == "prune":
            engine.images.prune(all=True)
            time.sleep(rng.uniform(0, 0.1))
        elif verb == "open":
            engine.close()
            engine.images.list()
    except NotFound as error:
        if verb.startswith("pull"):
            raise
"""


@pytest.mark.timeout(900 if SOAK else 300)
@pytest.mark.parametrize("killing", [False, True], ids=["", "and kill"])
def test_pulls_prune_and_rmi_at_once(roots: Roots, registry: Registry, killing: bool) -> None:
    """Several processes at once, on images that share layers: none fails, and none leaves a broken image."""
    tars = [layer(n, 100_000) for n in range(6)]
    for number, chosen in enumerate(([0, 1, 2], [2, 1, 3], [0, 4], [5])):
        push_image(registry, REPO, f"t{number}", [tars[n] for n in chosen])
    names = [name(registry, f":t{number}") for number in range(4)]
    with opened(roots) as engine:
        engine.images.list()
    seconds = 60 if SOAK else 5
    started = {
        verb: script(roots, LOOP, verb, str(seconds), *names)
        for verb in ("pull1", "pull2", "remove", "prune", "push", "open")
    }
    rng = random.Random(7)
    try:
        while killing and started["prune"].poll() is None:
            time.sleep(rng.uniform(0.2, 0.6))
            victim = script(roots, LOOP, "pull3", "5", *names)
            time.sleep(rng.uniform(0.3, 0.8))
            victim.kill()
            end(victim)
        results = {verb: end(process, seconds + 60) for verb, process in started.items()}
    finally:
        for process in started.values():
            process.kill()
            process.communicate()
    assert results == dict.fromkeys(results, (0, ""))
    with opened(roots) as engine:
        for one in names:
            engine.images.pull(one)
        for number, chosen in enumerate(([0, 1, 2], [2, 1, 3], [0, 4], [5])):
            assert files(engine, names[number]) == {f"f{n}": noise(n, 100_000) for n in chosen}
    assert_sound(roots.data, downloads=None)


def test_cancelled_pulls_at_once(roots: Roots, make_hostile: Callable[..., HostileRegistry]) -> None:
    """Threads of one engine on a registry that breaks connections, with deadlines that are often too short."""
    hostile = make_hostile()
    tars = [layer(n, 100_000) for n in range(6)]
    for number, chosen in enumerate(([0, 1, 2], [2, 1, 3], [0, 4], [5, 0, 3])):
        hostile.add(REPO, f"t{number}", build_image([tars[n] for n in chosen]))
    hostile.rule("/blobs/", reset_after=60_000, times=40 if SOAK else 6)
    hostile.rule("/blobs/", rate=1_000_000)
    names = [name(hostile, f":t{number}") for number in range(4)]
    until = time.monotonic() + (60 if SOAK else 4)
    unexpected: list[BaseException] = []
    pulled: list[str] = []
    with opened(roots) as engine:
        engine.images.list()

        def work(number: int) -> None:
            rng = random.Random(number)
            while time.monotonic() < until:
                tag = rng.choice(names)
                try:
                    if number < 4:
                        pulled.append(engine.images.pull(tag, timeout=rng.choice([0.05, 0.2, 0.5, 30])).id)
                    elif number == 4:
                        engine.images.remove(tag, force=True)
                    else:
                        engine.images.prune(all=True)
                        time.sleep(rng.uniform(0, 0.3))
                except (Timeout, ImageNotFound):
                    continue
                except BaseException as error:
                    unexpected.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not unexpected
        assert pulled
        hostile.clear()
        for number, chosen in enumerate(([0, 1, 2], [2, 1, 3], [0, 4], [5, 0, 3])):
            engine.images.pull(names[number])
            assert files(engine, names[number]) == {f"f{n}": noise(n, 100_000) for n in chosen}
        engine.images.prune()
        assert partial(roots) == {}
    assert_sound(roots.data)
