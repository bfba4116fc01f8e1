"""``pull`` beside others and in parts: what is fetched once, resumed, cancelled, taken over."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import minidock
from minidock.errors import Cancelled, ImageNotFound, Timeout
from minidock.images.progress import ProgressEvent
from minidock.registry.cancel import Cancel
from tests.conftest import Roots, wait_for
from tests.hostile import HostileRegistry
from tests.images import tar_of
from tests.oracle import assert_sound
from tests.pulls import (
    REPO,
    blobs_fetched,
    end,
    files,
    layer,
    name,
    noise,
    script,
)
from tests.registry import (
    Image,
    Pushed,
    Registry,
    build_image,
    compress_layer,
    digest_of,
    push_image,
)


@pytest.fixture(autouse=True)
def _sound(roots: Roots) -> Iterator[None]:
    """After each test nothing of the store is out of joint."""
    yield
    if (roots.data / "minidock.db").exists():
        assert_sound(roots.data, downloads=None)


# once


def counted(registry: Registry, tars: Sequence[bytes]) -> list[int]:
    fetched = blobs_fetched(registry)
    return [fetched.count(digest_of(compress_layer(tar, "gzip"))) for tar in tars]


def push_pair(registry: Registry, size: int = 1_000_000) -> tuple[list[bytes], list[Pushed]]:
    """Two images that share three layers, in another order, and have one of their own."""
    shared = [layer(n, size) for n in range(3)]
    own = [layer(10), layer(11)]
    one = push_image(registry, "team/one", "latest", [*shared, own[0]])
    two = push_image(registry, "team/two", "latest", [own[1], *reversed(shared)])
    registry.forget()
    return [*shared, *own], [one, two]


def test_a_layer_of_two_images_is_fetched_once(engine: minidock.Engine, registry: Registry) -> None:
    tars, pushed = push_pair(registry, 20_000)
    for repository, wanted in zip(("team/one", "team/two"), pushed, strict=True):
        assert engine.images.pull(name(registry, repository=repository)).id == wanted.config
    assert counted(registry, tars) == [1] * 5


def test_a_layer_in_two_threads_is_fetched_once(engine: minidock.Engine, registry: Registry) -> None:
    tars, pushed = push_pair(registry)
    failures: list[BaseException] = []

    def pull(repository: str) -> None:
        try:
            engine.images.pull(name(registry, repository=repository))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=pull, args=(which,)) for which in ("team/one", "team/two", "team/one")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert counted(registry, tars) == [1] * 5
    assert all(engine.images.get(one.config) for one in pushed)
    kept = set(os.listdir(engine.store.paths.content))
    assert {digest_of(compress_layer(tar, "gzip"))[7:] for tar in tars} <= kept


def test_a_layer_in_two_processes_is_fetched_once(engine: minidock.Engine, roots: Roots, registry: Registry) -> None:
    tars, pushed = push_pair(registry)
    assert engine.images.list()
    started = [
        script(roots, "engine.images.pull(args[0])", name(registry, repository=which))
        for which in ("team/one", "team/two", "team/one")
    ]
    assert [end(process) for process in started] == [(0, "")] * 3
    assert counted(registry, tars) == [1] * 5
    assert all(engine.images.get(one.config) for one in pushed)
    assert {digest_of(compress_layer(tar, "gzip"))[7:] for tar in tars} <= set(os.listdir(engine.store.paths.content))


def test_waiting_for_another_that_fails(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    """Whoever waits for a layer goes on with it when its first taker gives up."""
    tar = layer(1, 500_000)
    image = build_image([tar])
    hostile.add("team/one", "latest", image)
    hostile.add("team/two", "latest", image)
    gate = threading.Event()
    hostile.rule("/team/one/blobs/" + digest_of(image.layers[0]), gate=gate, gate_after=100_000)
    cancel = Cancel()

    def give_up() -> None:
        with pytest.raises(Cancelled):
            engine.images.pull(name(hostile, repository="team/one"), cancel=cancel)

    first = threading.Thread(target=give_up)
    first.start()
    wait_for(lambda: any(seen.sent for seen in hostile.requests("GET", "team/one/blobs/" + digest_of(image.layers[0]))))
    second = threading.Thread(target=engine.images.pull, args=(name(hostile, repository="team/two"),))
    second.start()
    wait_for(lambda: hostile.requests("GET", "/team/two/blobs/"))
    cancel.cancel()
    first.join()
    second.join()
    gate.set()
    (seen,) = hostile.requests("GET", "/team/two/blobs/" + digest_of(image.layers[0]))
    assert seen.headers["range"].startswith("bytes=")
    assert files(engine, name(hostile, repository="team/two")) == {"f1": noise(1, 500_000)}


def shared_by_two(hostile: HostileRegistry) -> tuple[Image, Image, threading.Event]:
    """Images of one and of two layers that share the first; the other layer does not come before the event is set."""
    one, two = build_image([layer(1)]), build_image([layer(1), layer(2)])
    hostile.add("team/one", "latest", one)
    hostile.add("team/two", "latest", two)
    gate = threading.Event()
    hostile.rule("/blobs/" + digest_of(two.layers[1]), gate=gate)
    return one, two, gate


def test_a_layer_taken_over_from_a_pull_that_fails(
    engine: minidock.Engine, roots: Roots, hostile: HostileRegistry, registry: Registry
) -> None:
    """Who was faster gets the layer as it came when the other gives up: its manifest stays good for a push."""
    one, two, gate = shared_by_two(hostile)
    cancel = Cancel()

    def give_up() -> None:
        with pytest.raises(Cancelled):
            engine.images.pull(name(hostile, repository="team/two"), cancel=cancel)

    first = threading.Thread(target=give_up)
    first.start()
    wait_for(lambda: engine.store.layers.get(digest_of(layer(1))), what="the shared layer")
    image = engine.images.pull(name(hostile, repository="team/one"))
    assert not engine.store.blobs.is_kept(digest_of(one.layers[0])), "the other has it"
    cancel.cancel()
    first.join()
    gate.set()
    assert engine.store.blobs.is_kept(digest_of(one.layers[0]))
    assert os.listdir(roots.data / "downloads") == []
    image.tag(name(registry))
    assert engine.images.push(name(registry)) == {"latest": digest_of(one.manifest)}
    assert len(two.layers) == 2


def test_a_layer_taken_over_from_a_pull_that_is_killed(
    engine: minidock.Engine, roots: Roots, hostile: HostileRegistry, registry: Registry
) -> None:
    one, two, gate = shared_by_two(hostile)
    assert engine.images.list()
    process = script(roots, "engine.images.pull(args[0])", name(hostile, repository="team/two"))
    wait_for(lambda: engine.store.layers.get(digest_of(layer(1))), what="the shared layer")
    wait_for(lambda: hostile.requests("GET", digest_of(two.layers[1])))
    process.kill()
    end(process)
    image = engine.images.pull(name(hostile, repository="team/one"))
    gate.set()
    assert len(hostile.requests("GET", digest_of(one.layers[0]))) == 1
    image.tag(name(registry))
    assert engine.images.push(name(registry)) == {"latest": digest_of(one.manifest)}
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as other:
        assert files(other, image.id) == {"f1": noise(1)}


# interruptions


def slow(
    hostile: HostileRegistry, *, after: int = 300_000, size: int = 1_000_000
) -> tuple[Image, threading.Event, str]:
    """An image whose layer stops at a byte until the event is set."""
    image = build_image([layer(1, size)])
    hostile.add(REPO, "latest", image)
    gate, path = threading.Event(), "/blobs/" + digest_of(image.layers[0])
    hostile.rule(path, gate=gate, gate_after=after, times=1)
    return image, gate, path


def spool(roots: Roots, image: Image) -> Path:
    return roots.data / "downloads" / digest_of(image.layers[0])[7:] / "data"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_resume_after_a_signal(
    engine: minidock.Engine, roots: Roots, hostile: HostileRegistry, how: signal.Signals
) -> None:
    image, gate, path = slow(hostile)
    process = script(roots, "engine.images.pull(args[0])", name(hostile))
    wait_for(lambda: spool(roots, image).exists() and spool(roots, image).stat().st_size == 300_000, what="the bytes")
    process.send_signal(how)
    code, errors = end(process)
    assert code == -how, errors
    gate.set()
    if how != signal.SIGKILL:
        assert os.listdir(roots.data / "tmp") == [] or how == signal.SIGTERM
    assert engine.images.pull(name(hostile)).id == digest_of(image.config)
    assert hostile.requests("GET", path)[-1].headers["range"] == "bytes=300000-"
    assert files(engine, name(hostile)) == {"f1": noise(1, 1_000_000)}
    assert os.listdir(roots.data / "downloads") == []


def test_resume_after_a_broken_connection(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    image = build_image([layer(1, 1_000_000)])
    hostile.add(REPO, "latest", image)
    path = "/blobs/" + digest_of(image.layers[0])
    hostile.rule(path, reset_after=300_000, times=1)
    hostile.rule(path, truncate_after=200_000, times=1)
    engine.images.pull(name(hostile))
    ranges = [seen.headers.get("range") for seen in hostile.requests("GET", path)]
    assert ranges == [None, "bytes=300000-", "bytes=500000-"]
    assert files(engine, name(hostile)) == {"f1": noise(1, 1_000_000)}


def test_a_broken_connection_in_the_configuration(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    image = build_image([layer(1)], config={"Labels": {"l": "x" * 5000}})
    hostile.add(REPO, "latest", image)
    hostile.rule("/blobs/" + digest_of(image.config), reset_after=1000, times=2)
    assert engine.images.pull(name(hostile)).id == digest_of(image.config)


def test_range_is_ignored(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    image = build_image([layer(1, 500_000)])
    hostile.add(REPO, "latest", image)
    path = "/blobs/" + digest_of(image.layers[0])
    hostile.rule(path, reset_after=300_000, times=1)
    hostile.rule(path, ignore_range=True)
    engine.images.pull(name(hostile))
    assert len(hostile.requests("GET", path)) == 2
    assert files(engine, name(hostile)) == {"f1": noise(1, 500_000)}


@pytest.mark.parametrize("how", ["flipped", "garbage", "longer", "whole", "bomb"])
def test_a_damaged_rest_is_fetched_anew(
    engine: minidock.Engine, roots: Roots, hostile: HostileRegistry, how: str
) -> None:
    """Bytes of an earlier attempt that are wrong, or another's: they cost a second download, and no more."""
    image = build_image([layer(1, 500_000)])
    hostile.add(REPO, "latest", image)
    assert engine.images.list()
    rest = {
        "flipped": image.layers[0][:200_000] + b"!" + image.layers[0][200_001:300_000],
        "garbage": b"garbage" * 1000,
        "longer": image.layers[0] + b"more",
        "whole": bytes(len(image.layers[0])),
        "bomb": gzip.compress(bytes(300_000_000), 9)[: len(image.layers[0])],
    }[how]
    file = spool(roots, image)
    file.parent.mkdir()
    file.touch(0o600)
    file.write_bytes(rest)
    assert engine.images.pull(name(hostile)).id == digest_of(image.config)
    assert files(engine, name(hostile)) == {"f1": noise(1, 500_000)}
    assert engine.images.push(name(hostile))["latest"] == digest_of(image.manifest)


def test_a_liar_spoils_nothing_for_others(
    engine: minidock.Engine, make_hostile: Callable[..., HostileRegistry]
) -> None:
    """What a registry sends under another's digest does not keep the true one from coming."""
    image = build_image([layer(1, 100_000)])
    liar, honest = make_hostile(), make_hostile()
    for one in (liar, honest):
        one.add(REPO, "latest", image)
    bad = tar_of(("../../../../etc/passwd", b"x" * 90_000))
    for body in (gzip.compress(bytes(200_000_000), 9), compress_layer(bad, "gzip"), b"BZh9" + noise(3, 90_000)):
        liar.clear()
        liar.rule(
            "/blobs/" + digest_of(image.layers[0]),
            edit=lambda _, body=body: body[: len(image.layers[0])].ljust(len(image.layers[0]), b"\0"),
        )
        with pytest.raises(minidock.MinidockError):
            engine.images.pull(name(liar))
    assert engine.images.pull(name(honest)).id == digest_of(image.config)
    assert len(honest.requests("GET", "/blobs/" + digest_of(image.layers[0]))) == 1


# ends from outside


def test_deadline(engine: minidock.Engine, roots: Roots, hostile: HostileRegistry) -> None:
    image, gate, _ = slow(hostile)
    with pytest.raises(Timeout, match="not done within"):
        engine.images.pull(name(hostile), timeout=6)
    gate.set()
    assert os.listdir(roots.data / "tmp") == []
    assert spool(roots, image).stat().st_size == 300_000, "for the next pull"


def test_cancel(engine: minidock.Engine, roots: Roots, hostile: HostileRegistry) -> None:
    image, gate, _ = slow(hostile)
    cancel = Cancel()

    def progress(event: ProgressEvent) -> None:
        if event.status == "Downloading":
            cancel.cancel()

    with pytest.raises(Cancelled):
        engine.images.pull(name(hostile), cancel=cancel, progress=progress)
    gate.set()
    assert os.listdir(roots.data / "tmp") == []
    assert engine.store.layers.get(digest_of(layer(1, 1_000_000))) is None
    assert engine.images.pull(name(hostile)).id == digest_of(image.config)


@pytest.mark.parametrize("status", ["Pulling from team/app", "Waiting", "Downloading", "Pull complete", "Digest: "])
def test_progress_that_raises(engine: minidock.Engine, roots: Roots, registry: Registry, status: str) -> None:
    push_image(registry, REPO, "latest", [layer(n, 200_000) for n in range(6)])

    def progress(event: ProgressEvent) -> None:
        if event.status.startswith(status):
            raise ZeroDivisionError(event.status)

    with pytest.raises(ZeroDivisionError, match=status):
        engine.images.pull(name(registry), progress=progress)
    assert os.listdir(roots.data / "tmp") == []
    engine.images.pull(name(registry))


def test_stream(engine: minidock.Engine, registry: Registry) -> None:
    pushed = push_image(registry, REPO, "latest", [layer(1), layer(2)])
    events: list[ProgressEvent] = []
    ids: list[str] = []

    def follow() -> Iterator[ProgressEvent]:
        image = yield from engine.images.pull_stream(name(registry))
        ids.append(image.id)

    events += follow()
    assert ids == [pushed.config]
    by_id: dict[str, list[str]] = {}
    for event in events:
        by_id.setdefault(event.id, []).append(event.status)
        assert 0 <= event.current <= event.total or not event.total
    digest = digest_of(compress_layer(layer(1), "gzip"))[7:19]
    assert by_id[digest][0] == "Pulling fs layer"
    assert by_id[digest][-1] == "Pull complete"
    with pytest.raises(ImageNotFound):
        list(engine.images.pull_stream(name(registry, ":nope")))


def test_stream_closed_early(engine: minidock.Engine, roots: Roots, hostile: HostileRegistry) -> None:
    _, gate, _ = slow(hostile)
    stream = engine.images.pull_stream(name(hostile))
    for event in stream:
        if event.status == "Downloading":
            break
    stream.close()
    gate.set()
    assert os.listdir(roots.data / "tmp") == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("minidock-progress")]
    assert len(engine.images.list()) == 1


# while others work


def test_removed_while_it_is_pulled_again(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    """Layers that a running pull relies on stay, whatever becomes of the image that they came with."""
    base = [layer(1), layer(2)]
    hostile.add(REPO, "base", build_image(base))
    gate, image = threading.Event(), build_image([*base, layer(3)])
    hostile.add(REPO, "latest", image)
    engine.images.pull(name(hostile, ":base"))
    hostile.rule("/blobs/" + digest_of(image.layers[2]), gate=gate)
    thread = threading.Thread(target=engine.images.pull, args=(name(hostile),))
    thread.start()
    wait_for(lambda: hostile.requests("GET", "/blobs/" + digest_of(image.layers[2])))
    engine.images.remove(name(hostile, ":base"))
    engine.images.prune(all=True)
    gate.set()
    thread.join()
    assert files(engine, name(hostile)) == {f"f{n}": noise(n) for n in (1, 2, 3)}


def test_configuration_is_removed_while_it_is_pulled(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    """The same configuration with another manifest; the image that had it goes in the middle."""
    tars = [layer(1)]
    hostile.add(REPO, "gzip", build_image(tars))
    other = build_image(tars, compress="zstd")
    hostile.add(REPO, "zstd", other)
    engine.images.pull(name(hostile, ":gzip"))
    seen: list[str] = []

    def progress(event: ProgressEvent) -> None:
        if event.status == "Already exists":
            seen.append(event.id)
            engine.images.remove(name(hostile, ":gzip"))

    image = engine.images.pull(name(hostile, ":zstd"), progress=progress)
    assert seen
    assert image.tags == [name(hostile, ":zstd")]
    assert files(engine, image.id) == {"f1": noise(1)}


def test_nothing_is_kept_of_layers(roots: Roots, registry: Registry) -> None:
    """``storage-opts: keep-blobs=false``: the content store has documents only."""
    roots.config.write_text(json.dumps({**json.loads(roots.config.read_text()), "storage-opts": ["keep-blobs=false"]}))
    pushed = push_image(registry, REPO, "latest", [layer(1), layer(2)])
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
        engine.images.pull(name(registry))
        assert set(os.listdir(engine.store.paths.content)) == {pushed.config[7:], pushed.manifest[7:]}
        assert os.listdir(engine.store.paths.downloads) == []
        registry.forget()
        engine.images.pull(name(registry))
        assert not registry.requests("GET")
