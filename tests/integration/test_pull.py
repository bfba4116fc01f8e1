"""``pull``: what becomes of what a registry has, and what is asked of it."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import minidock
from minidock.errors import Cancelled, Corrupt, ImageNotFound, InvalidArgument, RegistryUnauthorized, Timeout
from minidock.images.progress import ProgressEvent
from minidock.registry.cancel import Cancel
from tests.conftest import Roots, wait_for
from tests.hostile import HostileRegistry
from tests.images import tar_of
from tests.oracle import assert_sound
from tests.registry import (
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Image,
    Pushed,
    Registry,
    build_image,
    compress_layer,
    descriptor,
    digest_of,
    image_config,
    push_blob,
    push_image,
    push_index,
    push_manifest,
)

if TYPE_CHECKING:
    from tests.tokens import TokenServer

REPO = "team/app"


def noise(seed: int, size: int = 20_000) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def layer(seed: int, size: int = 20_000) -> bytes:
    """The tar of a layer with one file ``fSEED``."""
    return tar_of((f"f{seed}", noise(seed, size)))


@pytest.fixture(autouse=True)
def _sound(roots: Roots) -> Iterator[None]:
    """After each test nothing of the store is out of joint."""
    yield
    if (roots.data / "minidock.db").exists():
        assert_sound(roots.data, downloads=None)


def name(registry: Registry | HostileRegistry, rest: str = ":latest", repository: str = REPO) -> str:
    return f"{registry.host}/{repository}{rest}"


def files(engine: minidock.Engine, image: str) -> dict[str, bytes]:
    """The files of an image's layers, the upper ones above."""
    found: dict[str, bytes] = {}
    for number in engine.store.images.layers(engine.images.get(image).id):
        root = Path(engine.store.paths.layer(number), "fs")
        found |= {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return found


def blobs_fetched(registry: Registry) -> list[str]:
    """Digests of the blobs that were asked for by GET."""
    return [access.path.rpartition("/")[2] for access in registry.requests("GET", "/blobs/")]


def script(roots: Roots, code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Another process with an ``engine`` on the same roots, and ``args``."""
    head = (
        "import sys, minidock\n"
        "engine = minidock.Engine(data_root=sys.argv[1], run_root=sys.argv[2], config=sys.argv[3])\n"
        "args = sys.argv[4:]\n"
    )
    command = [sys.executable, "-c", head + code, str(roots.data), str(roots.run), str(roots.config), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(process: subprocess.Popen[bytes], timeout: float = 60) -> tuple[int, str]:
    """Wait for a process; its exit code and what it wrote to standard error."""
    try:
        _, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
        process.wait()
    return process.returncode, errors.decode()


def short_lived(registry: HostileRegistry, tokens: HostileRegistry, scope: str) -> dict[str, int]:
    """Let a registry want tokens that are good for two requests each; returns how often each was shown."""
    count = itertools.count()
    tokens.serve("/token", b"", "application/json")
    tokens.rule("/token", edit=lambda _: json.dumps({"token": f"t{next(count)}", "expires_in": 3600}).encode())
    shown: dict[str, int] = {}

    def accept(headers: dict[str, str]) -> bool:
        token = headers.get("authorization", "")
        shown[token] = shown.get(token, 0) + 1
        return token.startswith("Bearer t") and shown[token] <= 2

    registry.challenge = f'Bearer realm="{tokens.url}/token",service="s",scope="{scope}"'
    registry.accept = accept
    return shown


# what is named


def test_by_tag_digest_and_both(engine: minidock.Engine, registry: Registry) -> None:
    pushed = push_image(registry, REPO, "1.0", [layer(1)], config={"Cmd": ["/x"]})
    image = engine.images.pull(name(registry, ":1.0"))
    assert image.id == pushed.config
    assert image.tags == [name(registry, ":1.0")]
    assert image.repo_digests == [name(registry, f"@{pushed.manifest}")]
    assert image.attrs["Config"]["Cmd"] == ["/x"]
    assert files(engine, image.id) == {"f1": noise(1)}
    other = push_image(registry, REPO, "2.0", [layer(2)])
    by_digest = engine.images.pull(name(registry, f"@{other.manifest}"))
    assert (by_digest.id, by_digest.tags) == (other.config, []), "a digest leaves no tag"
    assert by_digest.repo_digests == [name(registry, f"@{other.manifest}")]
    third = push_image(registry, REPO, "3.0", [layer(3)])
    both = engine.images.pull(name(registry, f":1.0@{third.manifest}"))
    assert (both.id, both.tags) == (third.config, []), "beside a digest a tag means nothing"
    assert engine.images.get(name(registry, ":1.0")).id == pushed.config
    for where in (f"@{third.manifest}", f":1.0@{third.manifest}"):
        assert engine.images.get(name(registry, where)).id == third.config


def test_default_tag(engine: minidock.Engine, registry: Registry) -> None:
    pushed = push_image(registry, REPO, "latest", [layer(1)])
    assert engine.images.pull(name(registry, "")).id == pushed.config
    assert engine.images.get(name(registry, "")).tags == [name(registry, ":latest")]
    push_image(registry, REPO, "2", [layer(2)])
    assert engine.images.pull(name(registry, ""), "2").tags == [name(registry, ":2")]


def test_what_is_not_there(engine: minidock.Engine, registry: Registry) -> None:
    pushed = push_image(registry, REPO, "latest", [layer(1)])
    for rest in (":nope", "@sha256:" + "0" * 64):
        with pytest.raises(ImageNotFound):
            engine.images.pull(name(registry, rest))
    with pytest.raises(ImageNotFound):
        engine.images.pull(name(registry, repository="no/such"))
    with pytest.raises(InvalidArgument):
        engine.images.pull("Upper")
    with pytest.raises(ImageNotFound, match="does not match the specified platform"):
        engine.images.pull(name(registry, f"@{pushed.manifest}"), platform="linux/arm64")
    assert [image.tags for image in engine.images.list()] == [["minidock/hello:latest"]]


def test_all_tags(engine: minidock.Engine, registry: Registry) -> None:
    wanted = {tag: push_image(registry, REPO, tag, [layer(0), layer(n)]).config for n, tag in enumerate("abc", 1)}
    registry.forget()
    images = engine.images.pull_all(name(registry, ""))
    assert {image.id for image in images} == set(wanted.values())
    assert {tag: engine.images.get(name(registry, f":{tag}")).id for tag in wanted} == wanted
    shared = digest_of(compress_layer(layer(0), "gzip"))
    assert blobs_fetched(registry).count(shared) == 1
    with pytest.raises(InvalidArgument, match="--all-tags"):
        engine.images.pull_all(name(registry, ":a"))


# platforms


def push_platforms(
    registry: Registry, tag: str, *platforms: str, more: Sequence[dict[str, object]] = ()
) -> list[Pushed]:
    """An index of one image for each platform."""
    made = [
        push_image(registry, REPO, "", [layer(0), layer(100 + n)], platform=platform)
        for n, platform in enumerate(platforms)
    ]
    pairs = [(one.manifest, platform) for one, platform in zip(made, platforms, strict=True)]
    push_index(registry, REPO, tag, pairs, more=more)
    return made


def test_platform_of_an_index(engine: minidock.Engine, registry: Registry) -> None:
    attestation = build_image([layer(99)])
    for blob in (attestation.config, *attestation.layers):
        push_blob(registry, REPO, blob)
    push_manifest(registry, REPO, digest_of(attestation.manifest), OCI_MANIFEST, attestation.manifest)
    unknown = {
        **descriptor(OCI_MANIFEST, attestation.manifest),
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        "platform": {"architecture": "unknown", "os": "unknown"},
    }
    v6, v7, arm64, amd64 = push_platforms(
        registry, "latest", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8", "linux/amd64", more=[unknown]
    )
    assert engine.images.pull(name(registry)).id == amd64.config
    for platform, wanted in (
        ("linux/arm64", arm64),
        ("linux/arm64/v8", arm64),
        ("linux/arm/v7", v7),
        ("linux/arm", v7),
        ("linux/arm/v6", v6),
        ("linux/arm/v8", v7),
    ):
        assert engine.images.pull(name(registry), platform=platform).id == wanted.config, platform
    with pytest.raises(ImageNotFound, match=r"linux/s390x .* linux/arm/v6, linux/arm/v7, linux/arm64/v8, linux/amd64:"):
        engine.images.pull(name(registry), platform="linux/s390x")


def test_several_platforms_of_one_tag(engine: minidock.Engine, registry: Registry) -> None:
    amd64, arm64 = push_platforms(registry, "latest", "linux/amd64", "linux/arm64")
    tag = name(registry)
    assert engine.images.pull(tag, platform="linux/arm64").id == arm64.config
    assert engine.images.pull(tag).id == amd64.config, "the host's, though another one is here"
    assert engine.images.get(tag).id == amd64.config
    assert engine.images.get(tag, platform="linux/arm64").id == arm64.config
    assert engine.images.get(tag, platform="linux/amd64").id == amd64.config
    registry.forget()
    assert engine.images.pull(tag).id == amd64.config
    assert engine.images.pull(tag, platform="linux/arm64").id == arm64.config
    assert {access.method for access in registry.accesses() if "/manifests/" in access.path} == {"HEAD"}
    assert engine.images.get(tag).id == amd64.config
    with pytest.raises(ImageNotFound, match=r"linux/s390x; here it is linux/a.*64, linux/a.*64"):
        engine.images.get(tag, platform="linux/s390x")
    engine.images.remove(tag, platforms=["linux/amd64"])
    assert engine.images.get(tag).id == arm64.config


def test_the_only_platform_is_another(engine: minidock.Engine, registry: Registry) -> None:
    """An image that is not in an index comes without --platform, as in Docker, and again with a HEAD only."""
    pushed = push_image(registry, REPO, "latest", [layer(1)], platform="linux/arm64")
    assert engine.images.pull(name(registry)).id == pushed.config
    registry.forget()
    assert engine.images.pull(name(registry)).id == pushed.config
    assert not registry.requests("GET", "/manifests/")


def test_a_variant_that_is_near_enough(engine: minidock.Engine, registry: Registry) -> None:
    """Pulled again with a HEAD only, too."""
    (v6,) = push_platforms(registry, "latest", "linux/arm/v6")
    assert engine.images.pull(name(registry), platform="linux/arm/v7").id == v6.config
    registry.forget()
    assert engine.images.pull(name(registry), platform="linux/arm/v7").id == v6.config
    assert not registry.requests("GET", "/manifests/")


def test_nested_index(engine: minidock.Engine, registry: Registry) -> None:
    image = push_image(registry, REPO, "", [layer(1)])
    inner = push_index(registry, REPO, "", [(image.manifest, "linux/amd64")])
    middle = push_index(registry, REPO, "", [(inner, None)], docker_types=True)
    top = push_index(registry, REPO, "latest", [(middle, "linux/amd64")])
    pulled = engine.images.pull(name(registry))
    assert pulled.id == image.config
    assert pulled.repo_digests == [name(registry, f"@{top}")]
    registry.forget()
    engine.images.pull(name(registry))
    assert not registry.requests("GET", "/manifests/")


def test_index_of_what_it_has_not(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    entry = {**descriptor(OCI_MANIFEST, b"{}"), "platform": {"os": "linux", "architecture": "amd64"}}
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    hostile.add_manifest(REPO, "latest", OCI_INDEX, raw)
    with pytest.raises(ImageNotFound):
        engine.images.pull(name(hostile))


# forms of layers


@pytest.mark.parametrize("docker_types", [False, True], ids=["oci", "docker"])
def test_media_types_and_compressions(engine: minidock.Engine, registry: Registry, docker_types: bool) -> None:
    tars = [layer(n) for n in range(3)]
    pushed = push_image(registry, REPO, "latest", tars, compress=["gzip", "zstd", "none"], docker_types=docker_types)
    image = engine.images.pull(name(registry))
    assert image.id == pushed.config
    assert files(engine, image.id) == {f"f{n}": noise(n) for n in range(3)}
    kept = set(os.listdir(engine.store.paths.content))
    for tar, how in zip(tars, ("gzip", "zstd", "none"), strict=True):
        assert digest_of(compress_layer(tar, how))[7:] in kept


def put(registry: Registry, config: bytes, layers: list[bytes], *, media_type: str = OCI_LAYER + "+gzip") -> str:
    """Push an image of layers that are as they shall travel."""
    for blob in (config, *layers):
        push_blob(registry, REPO, blob)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor(media_type, one) for one in layers],
    }
    return push_manifest(registry, REPO, "latest", OCI_MANIFEST, json.dumps(document).encode())


def test_gzip_of_several_members(engine: minidock.Engine, registry: Registry) -> None:
    tar = layer(1, 300_000)
    blob = b"".join(gzip.compress(tar[at : at + 50_000], mtime=0) for at in range(0, len(tar), 50_000))
    put(registry, image_config([digest_of(tar)]), [blob])
    assert files(engine, engine.images.pull(name(registry)).id) == {"f1": noise(1, 300_000)}


def test_the_same_layer_twice_and_an_empty_one(engine: minidock.Engine, registry: Registry) -> None:
    empty = tar_of()
    pushed = push_image(registry, REPO, "latest", [layer(1), empty, layer(1), empty, layer(2)])
    registry.forget()
    image = engine.images.pull(name(registry))
    assert image.id == pushed.config
    assert len(engine.store.images.layers(image.id)) == 5
    assert len(set(engine.store.images.layers(image.id))) == 3
    fetched = blobs_fetched(registry)
    assert len(fetched) == len(set(fetched)) == 4
    assert image.attrs["Size"] == 2 * 20_000 + 20_000


def test_the_same_tar_in_two_forms(engine: minidock.Engine, registry: Registry) -> None:
    tar = layer(1)
    pushed = push_image(registry, REPO, "latest", [tar, tar], compress=["gzip", "zstd"])
    image = engine.images.pull(name(registry))
    assert image.id == pushed.config
    assert engine.images.push(name(registry))["latest"]


@pytest.mark.parametrize("text", ["null", "[]"])
def test_without_layers(engine: minidock.Engine, registry: Registry, text: str) -> None:
    """Go writes an empty list as null."""
    config = image_config([]).replace(b'"diff_ids":[]', b'"diff_ids":' + text.encode())
    push_blob(registry, REPO, config)
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": descriptor("application/vnd.docker.container.image.v1+json", config),
        "layers": None if text == "null" else [],
    }
    push_manifest(registry, REPO, "latest", DOCKER_MANIFEST, json.dumps(document).encode())
    image = engine.images.pull(name(registry))
    assert image.id == digest_of(config)
    assert engine.store.images.layers(image.id) == []
    assert [one for one in engine.images.list() if one.id == image.id]
    assert image.history() == []


def test_one_configuration_with_two_manifests(engine: minidock.Engine, registry: Registry) -> None:
    """The image is the same one; each tag keeps the manifest that it stands for."""
    tars = [layer(1), layer(2)]
    one = push_image(registry, REPO, "gzip", tars)
    two = push_image(registry, REPO, "zstd", tars, compress="zstd")
    assert one.config == two.config
    assert one.manifest != two.manifest
    first = engine.images.pull(name(registry, ":gzip"))
    registry.forget()
    second = engine.images.pull(name(registry, ":zstd"))
    assert blobs_fetched(registry) == [], "the layers are here"
    assert first.id == second.id
    assert sorted(engine.images.get(first.id).repo_digests) == sorted(
        name(registry, f"@{digest}") for digest in (one.manifest, two.manifest)
    )
    registry.forget()
    for tag in ("gzip", "zstd"):
        engine.images.pull(name(registry, f":{tag}"))
        assert engine.images.push(name(registry, f":{tag}"))
    assert not registry.requests("GET", "/manifests/")


# again


def test_again_with_nothing_new(engine: minidock.Engine, registry: Registry) -> None:
    push_image(registry, REPO, "latest", [layer(1), layer(2)])
    events: list[ProgressEvent] = []
    engine.images.pull(name(registry), progress=events.append)
    assert events[-1].status.startswith("Status: Downloaded newer image")
    registry.forget()
    events.clear()
    engine.images.pull(name(registry), progress=events.append)
    assert events[-1].status.startswith("Status: Image is up to date")
    assert [(access.method, access.path) for access in registry.accesses()] == [
        ("HEAD", f"/v2/{REPO}/manifests/latest")
    ]


def test_a_digest_that_is_here_asks_nothing(engine: minidock.Engine, registry: Registry) -> None:
    pushed = push_image(registry, REPO, "latest", [layer(1)])
    engine.images.pull(name(registry, f"@{pushed.manifest}"))
    registry.forget()
    assert engine.images.pull(name(registry, f"@{pushed.manifest}")).id == pushed.config
    assert registry.accesses() == []


def test_a_tag_that_moved(engine: minidock.Engine, registry: Registry) -> None:
    old = push_image(registry, REPO, "latest", [layer(0), layer(1)])
    engine.images.pull(name(registry))
    new = push_image(registry, REPO, "latest", [layer(0), layer(2)])
    registry.forget()
    assert engine.images.pull(name(registry)).id == new.config
    assert len(blobs_fetched(registry)) == 2, "the configuration and the layer that is new"
    assert engine.images.get(old.config).tags == []
    assert engine.images.get(old.config).repo_digests == [name(registry, f"@{old.manifest}")]
    assert engine.images.get(name(registry)).id == new.config
    back = push_image(registry, REPO, "latest", [layer(0), layer(1)])
    assert back == old
    registry.forget()
    assert engine.images.pull(name(registry)).id == old.config
    assert blobs_fetched(registry) == []


def test_one_image_under_two_tags(engine: minidock.Engine, registry: Registry) -> None:
    for tag in ("a", "b"):
        pushed = push_image(registry, REPO, tag, [layer(1)])
    engine.images.pull(name(registry, ":a"))
    registry.forget()
    image = engine.images.pull(name(registry, ":b"))
    assert blobs_fetched(registry) == []
    assert image.id == pushed.config
    assert image.tags == [name(registry, ":a"), name(registry, ":b")]
    engine.images.remove(name(registry, ":a"))
    assert engine.images.get(image.id).tags == [name(registry, ":b")]


@pytest.mark.parametrize("lost", ["layer", "config", "manifest", "damaged"])
def test_pulling_heals(roots: Roots, registry: Registry, lost: str) -> None:
    """What the disk has lost comes again, after the repair that every machine's boot brings."""
    pushed = push_image(registry, REPO, "latest", [layer(1), layer(2)])

    def opened() -> minidock.Engine:
        return minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config))

    with opened() as engine:
        image = engine.images.pull(name(registry))
        paths = engine.store.paths
        directory = paths.layer(engine.store.images.layers(image.id)[0])
    if lost == "layer":
        os.rename(directory, roots.data / "elsewhere")
    elif lost == "damaged":
        os.truncate(paths.blob(pushed.config), 3)
        os.truncate(paths.blob(pushed.manifest), 0)
        os.truncate(paths.blob(digest_of(compress_layer(layer(1), "gzip"))), 0)
    else:
        os.unlink(paths.blob(getattr(pushed, lost)))
    with opened() as engine:
        engine.store.repair()
        assert engine.images.pull(name(registry)).id == pushed.config
        assert files(engine, pushed.config) == {"f1": noise(1), "f2": noise(2)}
        assert engine.images.push(name(registry)) == {"latest": pushed.manifest} or lost == "damaged"


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
        engine.images.pull(name(hostile), timeout=2)
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


# doors


@pytest.mark.parametrize("kind", ["auth_registry", "token_registry", "tls_registry"])
def test_registries_with_doors(engine: minidock.Engine, kind: str, request: pytest.FixtureRequest) -> None:
    registry: Registry = request.getfixturevalue(kind)
    pushed = push_image(registry, REPO, "latest", [layer(n) for n in range(4)])
    login = {"username": registry.username, "password": registry.password} if registry.username else None
    assert engine.images.pull(name(registry), auth_config=login).id == pushed.config
    if login:
        engine.images.remove(pushed.config)
        for wrong in (None, {"username": registry.username, "password": "wrong"}):
            with pytest.raises(RegistryUnauthorized):
                engine.images.pull(name(registry), auth_config=wrong)


def test_a_token_that_expires_in_the_middle(
    engine: minidock.Engine, token_registry: Registry, token_server: TokenServer
) -> None:
    """Each token is good for nothing when the next request comes."""
    pushed = push_image(token_registry, REPO, "latest", [layer(n) for n in range(4)])
    login = {"username": token_registry.username, "password": token_registry.password}

    def progress(event: ProgressEvent) -> None:
        if event.status == "Waiting":
            token_server.issued.clear()

    token_server.lifetime = 1
    assert engine.images.pull(name(token_registry), auth_config=login, progress=progress).id == pushed.config


def test_mirror_of_the_hub(roots: Roots, registry: Registry) -> None:
    pushed = push_image(registry, "library/thing", "latest", [layer(1)])
    config = {**json.loads(roots.config.read_text()), "registry-mirrors": [registry.url]}
    roots.config.write_text(json.dumps(config))
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
        image = engine.images.pull("thing")
        assert image.id == pushed.config
        assert image.tags == ["thing:latest"]
        assert image.repo_digests == [f"thing@{pushed.manifest}"]


def test_wrong_digest_in_a_layer_is_an_error(engine: minidock.Engine, roots: Roots, hostile: HostileRegistry) -> None:
    image = build_image([layer(1), layer(2)])
    hostile.add(REPO, "latest", image)
    hostile.rule("/blobs/" + digest_of(image.layers[0]), edit=lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Corrupt):
        engine.images.pull(name(hostile))
    assert len(engine.images.list()) == 1
    assert digest_of(image.layers[0])[7:] not in os.listdir(roots.data / "downloads")


def test_layers_of_one_blob_with_two_diff_ids(engine: minidock.Engine, registry: Registry) -> None:
    """A configuration that says two things about one blob lies; nobody waits for what cannot come."""
    blob = compress_layer(layer(1), "gzip")
    put(registry, image_config([digest_of(layer(1)), digest_of(layer(2))]), [blob, blob])
    with pytest.raises(Corrupt):
        engine.images.pull(name(registry), timeout=20)


def test_docker_layer_type_in_an_oci_manifest(engine: minidock.Engine, registry: Registry) -> None:
    put(
        registry,
        image_config([digest_of(layer(1))]),
        [compress_layer(layer(1), "gzip")],
        media_type=DOCKER_LAYER + ".gzip",
    )
    assert files(engine, engine.images.pull(name(registry)).id) == {"f1": noise(1)}
