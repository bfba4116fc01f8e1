"""``push``: what a registry gets, and what it is spared."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator

import pytest

import minidock
from minidock.errors import (
    Cancelled,
    Corrupt,
    ImageNotFound,
    InvalidArgument,
    MinidockError,
    NotFound,
    RegistryUnauthorized,
    Timeout,
)
from minidock.images.progress import ProgressEvent
from minidock.registry.cancel import Cancel
from tests.conftest import Roots, wait_for
from tests.hostile import HostileRegistry
from tests.integration.archives import tar
from tests.oracle import assert_sound
from tests.pulls import REPO, files, layer, name, noise, push_platforms, short_lived
from tests.registry import (
    OCI_LAYER,
    OCI_MANIFEST,
    Registry,
    build_image,
    compress_layer,
    digest_of,
    get_blob,
    get_manifest,
    has_link,
    list_tags,
    open_uploads,
    push_image,
)
from tests.tokens import TokenServer

PAIR = [layer(1), layer(2)]


@pytest.fixture(autouse=True)
def _sound(roots: Roots) -> Iterator[None]:
    """After each test nothing of the store is out of joint."""
    yield
    if (roots.data / "minidock.db").exists():
        assert_sound(roots.data, downloads=None)


def uploads(registry: Registry) -> int:
    """How many blobs were uploaded, since the log was forgotten."""
    return len([one for one in registry.requests("PUT", "/blobs/uploads/") if one.status == 201])


@pytest.mark.parametrize("docker_types", [False, True], ids=["oci", "docker"])
def test_a_pulled_image_keeps_its_digest(
    engine: minidock.Engine, make_registry: Callable[..., Registry], docker_types: bool
) -> None:
    here, there = make_registry(), make_registry()
    pushed = push_image(
        here, REPO, "latest", [*PAIR, layer(3)], compress=["gzip", "zstd", "none"], docker_types=docker_types
    )
    image = engine.images.pull(name(here))
    image.tag(name(there, ":copy"))
    assert engine.images.push(name(there, ":copy")) == {"copy": pushed.manifest}
    assert get_manifest(there, REPO, "copy").body == get_manifest(here, REPO, "latest").body
    for one in json.loads(get_manifest(there, REPO, "copy").body)["layers"]:
        assert get_blob(there, REPO, one["digest"])
    assert engine.images.get(image.id).repo_digests == sorted(name(one, f"@{pushed.manifest}") for one in (here, there))


def test_what_is_there_is_not_sent(engine: minidock.Engine, registry: Registry) -> None:
    push_image(registry, REPO, "latest", PAIR)
    image = engine.images.pull(name(registry))
    registry.forget()
    image.tag(name(registry, ":again"))
    events: list[ProgressEvent] = []
    engine.images.push(name(registry, ":again"), progress=events.append)
    assert {access.method for access in registry.accesses()} == {"HEAD", "PUT"}
    assert not registry.requests("", "/uploads/")
    assert [event.status for event in events].count("Layer already exists") == 2
    assert list_tags(registry, REPO) == ["again", "latest"]


def test_mount_from_another_repository(engine: minidock.Engine, registry: Registry) -> None:
    push_image(registry, "team/base", "latest", PAIR)
    engine.images.pull(name(registry, repository="team/base")).tag(name(registry, repository="team/derived"))
    registry.forget()
    engine.images.push(name(registry, repository="team/derived"))
    mounts = registry.requests("POST", "from=team%2Fbase")
    assert [one.status for one in mounts] == [201, 201]
    assert all(has_link(registry, "team/derived", digest_of(compress_layer(one, "gzip"))) for one in PAIR)
    assert uploads(registry) == 1, "the configuration"


def test_a_mount_that_is_refused_is_an_upload(
    engine: minidock.Engine, token_registry: Registry, token_server: TokenServer
) -> None:
    """Bob reads the base by Alice's login, and may write elsewhere only."""
    push_image(token_registry, "team/base", "latest", PAIR)
    login = {"username": token_registry.username, "password": token_registry.password}
    base = engine.images.pull(name(token_registry, repository="team/base"), auth_config=login)
    base.tag(name(token_registry, repository="team/derived"))
    real = token_server.sign
    token_server.sign = lambda scopes, *more, **options: real(  # type: ignore[method-assign]
        [scope for scope in scopes if "team/base" not in scope], *more, **options
    )
    assert engine.images.push(name(token_registry, repository="team/derived"), auth_config=login)
    token_server.sign = real  # type: ignore[method-assign]
    assert open_uploads(token_registry, "team/derived") == 0


def test_a_mount_that_is_denied_is_an_upload(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    hostile.add("team/base", "latest", build_image(PAIR))
    engine.images.pull(name(hostile, repository="team/base")).tag(name(hostile, repository="team/derived"))
    for status in (401, 403):
        hostile.clear()
        hostile.rule("mount=", method="POST", status=status)
        assert engine.images.push(name(hostile, repository="team/derived"))
        for one in PAIR:
            digest = digest_of(compress_layer(one, "gzip"))
            assert hostile.blob("team/derived", digest)
            hostile.remove(f"/v2/team/derived/blobs/{digest}")


def test_a_blob_that_the_registry_has_lost(engine: minidock.Engine, make_registry: Callable[..., Registry]) -> None:
    """Where it was seen before, nobody trusts in."""
    here, there = make_registry(), make_registry()
    push_image(here, REPO, "latest", PAIR)
    image = engine.images.pull(name(here))
    image.tag(name(there))
    engine.images.push(name(there))
    there.stop()
    import shutil

    shutil.rmtree(there.storage)
    there.storage.mkdir()
    there.start()
    engine.images.push(name(there))
    assert get_blob(there, REPO, digest_of(compress_layer(PAIR[0], "gzip")))


def test_a_local_image_is_compressed_once(engine: minidock.Engine, make_registry: Callable[..., Registry]) -> None:
    one, two = make_registry(), make_registry()
    image = engine.images.import_(tar(("f", noise(1) + bytes(500_000))), "local", changes=["CMD x"])
    for registry in (one, two):
        image.tag(name(registry))
    events: list[ProgressEvent] = []
    first = engine.images.push(name(one), progress=events.append)
    assert "Compressing" in {event.status for event in events}
    events.clear()
    assert engine.images.push(name(two), progress=events.append) == first
    assert "Compressing" not in {event.status for event in events}
    manifest = get_manifest(one, REPO, "latest").body
    assert get_manifest(two, REPO, "latest").body == manifest
    document = json.loads(manifest)
    assert document["config"]["digest"] == image.id
    assert [blob["mediaType"] for blob in document["layers"]] == [OCI_LAYER + "+gzip"]
    assert len(get_blob(two, REPO, document["layers"][0]["digest"])) == document["layers"][0]["size"] < 100_000
    engine.images.remove(image.id, force=True)
    assert engine.images.pull(name(two)).id == image.id, "it makes the way back"
    assert files(engine, image.id) == {"f": noise(1) + bytes(500_000)}


def test_the_same_tree_gives_the_same_push(roots: Roots, engine: minidock.Engine, registry: Registry) -> None:
    """A layer that is written again and compressed has the same bytes each time."""
    digests = set()
    for _ in range(2):
        image = engine.images.import_(tar(("f", noise(5))), name(registry, ""))
        engine.images.push(name(registry))
        digests |= {one["digest"] for one in json.loads(get_manifest(registry, REPO, "latest").body)["layers"]}
        engine.images.remove(image.id, force=True)
    assert len(digests) == 1


def test_nothing_is_kept_of_layers(roots: Roots, make_registry: Callable[..., Registry]) -> None:
    """``keep-blobs=false``: a push compresses, and keeps the result's name only."""
    roots.config.write_text(json.dumps({**json.loads(roots.config.read_text()), "storage-opts": ["keep-blobs=false"]}))
    here, there = make_registry(), make_registry()
    push_image(here, REPO, "latest", PAIR, compress="zstd")
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
        image = engine.images.pull(name(here))
        image.tag(name(there))
        first = engine.images.push(name(there))
        sizes = [
            os.stat(engine.store.paths.blob(f"sha256:{one}")).st_size for one in os.listdir(engine.store.paths.content)
        ]
        assert max(sizes) < 2000, "documents"
        there.forget()
        assert engine.images.push(name(there)) == first
        assert not there.requests("", "/uploads/")
        engine.images.remove(image.id, force=True)
        assert engine.images.pull(name(there)).id == image.id


# several platforms


def test_all_platforms_go_as_they_came(engine: minidock.Engine, make_registry: Callable[..., Registry]) -> None:
    here, there = make_registry(), make_registry()
    amd64, arm64 = push_platforms(here, "latest", "linux/amd64", "linux/arm64")
    for platform in ("linux/amd64", "linux/arm64"):
        engine.images.pull(name(here), platform=platform)
    engine.images.tag(name(here), name(there, ""))
    index = get_manifest(here, REPO, "latest")
    assert engine.images.push(name(there)) == {"latest": digest_of(index.body)}
    assert get_manifest(there, REPO, "latest").body == index.body
    for pushed in (amd64, arm64):
        assert get_manifest(there, REPO, pushed.manifest)
    engine.images.tag(name(here), name(there, ""), "arm")
    assert engine.images.push(name(there, ":arm"), platform="linux/arm64") == {"arm": arm64.manifest}


def test_one_platform_of_an_index(engine: minidock.Engine, make_registry: Callable[..., Registry]) -> None:
    here, there = make_registry(), make_registry()
    amd64, _ = push_platforms(here, "latest", "linux/amd64", "linux/arm64")
    engine.images.pull(name(here))
    engine.images.tag(name(here), name(there, ""))
    assert engine.images.push(name(there)) == {"latest": amd64.manifest}
    with pytest.raises(ImageNotFound, match="linux/arm64"):
        engine.images.push(name(there), platform="linux/arm64")


# names


def test_names(engine: minidock.Engine, registry: Registry) -> None:
    pushed = push_image(registry, REPO, "latest", PAIR)
    image = engine.images.pull(name(registry))
    for tag in ("a", "b"):
        image.tag(name(registry, f":{tag}", "team/many"))
    digests = engine.images.push(name(registry, "", "team/many"), all_tags=True)
    assert digests == {"a": pushed.manifest, "b": pushed.manifest}
    assert list_tags(registry, "team/many") == ["a", "b"]
    with pytest.raises(ImageNotFound, match="does not exist locally"):
        engine.images.push(name(registry, ":nope"))
    with pytest.raises(InvalidArgument, match="digest reference"):
        engine.images.push(name(registry, f"@{pushed.manifest}"))
    with pytest.raises(InvalidArgument, match="all-tags"):
        engine.images.push(name(registry, ":a", "team/many"), all_tags=True)


# interruptions


def big(engine: minidock.Engine, registry: HostileRegistry | Registry) -> str:
    """An image with a layer of 3 MB under the registry's name; the digest of that."""
    source = build_image([layer(7, 3_000_000)])
    with HostileRegistry() as origin:
        origin.add(REPO, "latest", source)
        engine.images.pull(name(origin)).tag(name(registry))
    return digest_of(source.layers[0])


def test_resume_after_a_broken_connection(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    digest = big(engine, hostile)
    hostile.rule("/blobs/uploads/", method="PATCH", reset_upload_after=1_000_000, times=1)
    hostile.rule("/blobs/uploads/", method="PUT", reset_upload_after=1_000_000, times=1)
    engine.images.push(name(hostile))
    data = hostile.blob(REPO, digest)
    assert data
    assert digest_of(data) == digest
    sent = sum(len(seen.body) for seen in hostile.requests(part="/blobs/uploads/"))
    assert sent < 2 * len(data), "it went on where it broke"


def test_a_registry_that_cannot_resume(
    engine: minidock.Engine, registry: Registry, make_hostile: Callable[..., HostileRegistry]
) -> None:
    """Debian's docker-registry throws such an upload away: it begins anew."""
    front = make_hostile(upstream=registry.url)
    digest = big(engine, front)
    front.rule("/blobs/uploads/", method="PATCH", reset_upload_after=1_000_000, times=1)
    front.rule("/blobs/uploads/", method="PUT", reset_upload_after=1_000_000, times=1)
    engine.images.push(name(front))
    assert get_blob(registry, REPO, digest)


def test_cancel_and_deadline(engine: minidock.Engine, roots: Roots, hostile: HostileRegistry) -> None:
    big(engine, hostile)
    gate = threading.Event()
    hostile.rule("/manifests/", method="PUT", gate=gate)
    with pytest.raises(Timeout):
        engine.images.push(name(hostile), timeout=2)
    cancel = Cancel()

    def progress(event: ProgressEvent) -> None:
        if event.status == "Layer already exists":
            cancel.cancel()

    with pytest.raises(Cancelled):
        engine.images.push(name(hostile), cancel=cancel, progress=progress)
    with pytest.raises(ZeroDivisionError):
        engine.images.push(name(hostile), progress=lambda event: 1 // 0)
    gate.set()
    assert os.listdir(roots.data / "tmp") == []


def test_stream(engine: minidock.Engine, registry: Registry) -> None:
    big(engine, registry)
    statuses = [event.status for event in engine.images.push_stream(name(registry))]
    assert statuses[0].startswith("The push refers to repository")
    assert "Pushed" in statuses
    assert ": digest: sha256:" in statuses[-1]
    stream = engine.images.push_stream(name(registry))
    next(stream)
    stream.close()


def test_removed_while_it_is_pushed(engine: minidock.Engine, roots: Roots, hostile: HostileRegistry) -> None:
    """The push fails or not, as it is far; what is removed gives its space back in the end."""
    for where in ("/blobs/sha256", "/blobs/uploads/", "/manifests/"):
        image = engine.images.import_(tar(("f", noise(3))), name(hostile, ""))
        gate = threading.Event()
        hostile.clear()
        hostile.rule(where, gate=gate, times=1)
        outcome: list[object] = []

        def push(outcome: list[object] = outcome) -> None:
            try:
                outcome.append(engine.images.push(name(hostile)))
            except MinidockError as error:
                outcome.append(error)

        thread = threading.Thread(target=push)
        thread.start()
        wait_for(lambda where=where: [seen for seen in hostile.requests() if where in seen.path])  # type: ignore[misc]
        engine.images.remove(image.id, force=True)
        gate.set()
        thread.join()
        assert outcome
        assert not isinstance(outcome[0], MinidockError) or isinstance(outcome[0], NotFound), outcome
        assert os.listdir(roots.data / "tmp") == []
        assert engine.store.layers.all() == []


# doors


@pytest.mark.parametrize("kind", ["auth_registry", "token_registry", "tls_registry"])
def test_registries_with_doors(engine: minidock.Engine, kind: str, request: pytest.FixtureRequest) -> None:
    registry: Registry = request.getfixturevalue(kind)
    image = engine.images.import_(tar(("f", noise(1))), name(registry, ""))
    login = {"username": registry.username, "password": registry.password} if registry.username else None
    if login:
        for wrong in (None, {"username": registry.username, "password": "wrong"}):
            with pytest.raises(RegistryUnauthorized):
                engine.images.push(name(registry), auth_config=wrong)
    engine.images.push(name(registry), auth_config=login)
    assert json.loads(get_manifest(registry, REPO, "latest").body)["config"]["digest"] == image.id


def test_a_token_that_expires_in_the_middle(
    roots: Roots, registry: Registry, make_hostile: Callable[..., HostileRegistry]
) -> None:
    """Each token is good for two requests, also in the middle of an upload."""
    roots.config.write_text(json.dumps({**json.loads(roots.config.read_text()), "max-concurrent-uploads": 1}))
    front, tokens = make_hostile(upstream=registry.url), make_hostile()
    accept = short_lived(front, tokens, f"repository:{REPO}:pull,push")
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
        digest = big(engine, front)
        engine.images.push(name(front))
    assert get_blob(registry, REPO, digest)
    assert len(accept) > 2


def test_a_registry_that_names_another_digest(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    big(engine, hostile)
    hostile.rule("/manifests/", method="PUT", digest="sha256:" + "0" * 64)
    with pytest.raises(Corrupt):
        engine.images.push(name(hostile))


def test_what_came_goes_as_it_came_after_a_move(engine: minidock.Engine, registry: Registry) -> None:
    """A tag that moved here to another image pushes that one."""
    push_image(registry, REPO, "latest", PAIR)
    engine.images.pull(name(registry))
    other = engine.images.import_(tar(("g", noise(9))), name(registry, ""))
    engine.images.push(name(registry))
    found = get_manifest(registry, REPO, "latest")
    assert found.headers["content-type"] == OCI_MANIFEST
    assert json.loads(found.body)["config"]["digest"] == other.id
    registry.forget()
    assert engine.images.pull(name(registry)).id == other.id
