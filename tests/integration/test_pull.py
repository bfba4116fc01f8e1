"""``pull``: what becomes of what a registry has, and what is asked of it."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator

import pytest

import minidock
from minidock.errors import Corrupt, ImageNotFound, InvalidArgument, RegistryUnauthorized
from minidock.images.progress import ProgressEvent
from tests.conftest import Roots
from tests.hostile import HostileRegistry
from tests.images import tar_of
from tests.oracle import assert_sound
from tests.pulls import (
    REPO,
    blobs_fetched,
    files,
    layer,
    name,
    noise,
    push_platforms,
)
from tests.registry import (
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
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


@pytest.fixture(autouse=True)
def _sound(roots: Roots) -> Iterator[None]:
    """After each test nothing of the store is out of joint."""
    yield
    if (roots.data / "minidock.db").exists():
        assert_sound(roots.data, downloads=None)


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
