"""What registries say of images, one test per row of the security paper and per kind of bad input.

After each test nothing of the hostile image is there: no image, no layer, no blob, no file outside.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

import minidock
from minidock.errors import (
    Corrupt,
    ImageNotFound,
    LimitExceeded,
    MinidockError,
    NotFound,
    RegistryUnreachable,
    Unsupported,
)
from tests.conftest import Roots
from tests.hostile import HostileRegistry
from tests.oracle import assert_sound
from tests.pulls import REPO, layer, name
from tests.registry import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Image,
    compress_layer,
    descriptor,
    digest_of,
    image_config,
)
from tests.security.spoilt import (
    CONFIG,
    IMAGE,
    LAYER,
    PAIR,
    changed,
    flip,
    manifest_of,
    refused,
    with_manifest,
)


@pytest.fixture(autouse=True)
def _sound(roots: Roots) -> Iterator[None]:
    yield
    if (roots.data / "minidock.db").exists():
        assert_sound(roots.data, downloads=None)


@pytest.fixture
def served(hostile: HostileRegistry) -> HostileRegistry:
    """A registry with a good image, to be spoilt by rules."""
    hostile.add(REPO, "latest", IMAGE)
    return hostile


# digests and sizes


def test_digest_mismatch_of_a_layer(engine: minidock.Engine, served: HostileRegistry) -> None:
    served.rule(LAYER, edit=flip)
    refused(engine, served, Corrupt, match=digest_of(IMAGE.layers[0]))


def test_digest_mismatch_of_a_layer_of_another_tar(engine: minidock.Engine, served: HostileRegistry) -> None:
    """A layer that is well formed, as long as the true one, and another."""
    other = compress_layer(layer(8), "gzip")
    served.rule(LAYER, edit=lambda data: other + data[len(other) :] if len(other) < len(data) else other[: len(data)])
    refused(engine, served, Corrupt, match=digest_of(IMAGE.layers[0]))


def test_digest_mismatch_of_the_configuration(engine: minidock.Engine, served: HostileRegistry) -> None:
    served.rule(CONFIG, edit=lambda data: data.replace(b"amd64", b"amd46"))
    refused(engine, served, Corrupt, match=digest_of(IMAGE.config))


def test_digest_mismatch_of_the_manifest(engine: minidock.Engine, served: HostileRegistry) -> None:
    served.rule("/manifests/", edit=changed(lambda document: document.update(annotations={"a": "b"})))
    refused(engine, served, Corrupt)
    with pytest.raises(Corrupt):
        engine.images.pull(name(served, f"@{digest_of(IMAGE.manifest)}"))


def test_digest_mismatch_of_a_manifest_in_an_index(engine: minidock.Engine, served: HostileRegistry) -> None:
    entry = {**descriptor(OCI_MANIFEST, IMAGE.manifest), "platform": {"os": "linux", "architecture": "amd64"}}
    with_manifest(served, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}, OCI_INDEX)
    served.rule("/manifests/sha256", edit=lambda data: data + b" ", digest=digest_of(IMAGE.manifest + b" "))
    refused(engine, served, Corrupt)


def test_diff_id_mismatch(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    """The registry is honest; who wrote the configuration is not."""
    config = image_config([digest_of(b"another tar"), digest_of(PAIR[1])])
    document = {**json.loads(IMAGE.manifest), "config": descriptor(OCI_CONFIG, config)}
    hostile.add(REPO, "latest", Image(OCI_MANIFEST, json.dumps(document).encode(), config, IMAGE.layers))
    refused(engine, hostile, Corrupt, match="configuration says")


@pytest.mark.parametrize("change", [1, -1, 1000, -1000, -(10**6), 10**12, 1 << 60])
@pytest.mark.parametrize("what", ["layer", "config"])
def test_wrong_size_in_the_manifest(engine: minidock.Engine, served: HostileRegistry, what: str, change: int) -> None:
    """Larger and smaller than what comes; less than nothing; more than anything."""
    document = manifest_of()
    target = document["layers"][0] if what == "layer" else document["config"]
    target["size"] += change
    with_manifest(served, document)
    refused(engine, served, Corrupt, LimitExceeded)


@pytest.mark.parametrize("where", [LAYER, CONFIG])
def test_more_bytes_than_the_manifest_says(engine: minidock.Engine, served: HostileRegistry, where: str) -> None:
    served.rule(where, edit=lambda data: data + b"more")
    refused(engine, served, Corrupt)
    # Where no length is told, nobody reads on.
    served.clear()
    served.rule(where, endless=True)
    assert engine.images.pull(name(served)).id == digest_of(IMAGE.config)


def test_fewer_bytes_than_the_manifest_says(engine: minidock.Engine, served: HostileRegistry) -> None:
    served.rule(LAYER, edit=lambda data: data[:-5])
    refused(engine, served, Corrupt)


def test_size_of_a_manifest_in_an_index(engine: minidock.Engine, served: HostileRegistry) -> None:
    entry = {**descriptor(OCI_MANIFEST, IMAGE.manifest), "platform": {"os": "linux", "architecture": "amd64"}}
    entry["size"] += 1
    with_manifest(served, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}, OCI_INDEX)
    refused(engine, served, Corrupt, match="its index says")


# what a document is


def mixed() -> bytes:
    """A manifest and an index in one."""
    entry = descriptor(OCI_MANIFEST, b"{}")
    document = {**json.loads(IMAGE.manifest), "manifests": [entry]}
    del document["mediaType"]
    return json.dumps(document).encode()


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST])
def test_cve_2021_41190_manifest_and_index_in_one(
    engine: minidock.Engine, served: HostileRegistry, media_type: str
) -> None:
    with_manifest(served, mixed(), media_type)
    refused(engine, served, Corrupt)


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, "text/html", "application/json", ""])
def test_cve_2021_41190_manifest_under_another_type(
    engine: minidock.Engine, served: HostileRegistry, media_type: str
) -> None:
    served.rule("/manifests/", content_type=media_type or "application/octet-stream")
    refused(engine, served, Corrupt)


def test_cve_2021_41190_index_entry_of_another_type(engine: minidock.Engine, served: HostileRegistry) -> None:
    entry = {**descriptor(OCI_INDEX, IMAGE.manifest), "platform": {"os": "linux", "architecture": "amd64"}}
    with_manifest(served, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}, OCI_INDEX)
    refused(engine, served, Corrupt)


@pytest.mark.parametrize(
    ("claimed", "kind"),
    [
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Unsupported),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Unsupported),
        ("application/vnd.wasm.content.layer.v1+wasm", Unsupported),
        (OCI_MANIFEST, Unsupported),
        ("", Unsupported),
    ],
)
def test_media_type_lies_of_layers(
    engine: minidock.Engine, served: HostileRegistry, claimed: str, kind: type[MinidockError]
) -> None:
    document = manifest_of()
    document["layers"][0]["mediaType"] = claimed
    with_manifest(served, document)
    refused(engine, served, kind)


def test_media_type_lies_of_the_configuration(engine: minidock.Engine, served: HostileRegistry) -> None:
    for claimed in ("application/vnd.oci.empty.v1+json", "application/vnd.cncf.helm.config.v1+json", OCI_LAYER):
        document = manifest_of()
        document["config"]["mediaType"] = claimed
        with_manifest(served, document)
        refused(engine, served, Unsupported, match="not a container image")


@pytest.mark.parametrize("data", [b"\xfd7zXZ\0" + bytes(500), b"BZh9" + bytes(500), b"PK\3\4" + bytes(500), b"", b"\0"])
def test_a_layer_in_another_form_than_registries_have(
    engine: minidock.Engine, hostile: HostileRegistry, data: bytes
) -> None:
    """No program is run for it (R4)."""
    config = image_config([digest_of(data)])
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, config),
        "layers": [descriptor(OCI_LAYER + "+gzip", data)],
    }
    hostile.add(REPO, "latest", Image(OCI_MANIFEST, json.dumps(document).encode(), config, [data]))
    refused(engine, hostile, Corrupt, Unsupported)


def test_foreign_layers_are_never_fetched_from_their_urls(
    engine: minidock.Engine, served: HostileRegistry, make_hostile: Callable[..., HostileRegistry]
) -> None:
    elsewhere = make_hostile()
    elsewhere.serve("/layer", IMAGE.layers[0])
    for media_type in ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", OCI_LAYER + "+gzip"):
        document = manifest_of()
        document["layers"][0] |= {"mediaType": media_type, "urls": [f"{elsewhere.url}/layer"]}
        with_manifest(served, document)
        if "foreign" not in media_type:
            served.rule(LAYER, status=404)
        refused(engine, served, Unsupported, NotFound)
    assert elsewhere.requests() == []


# JSON


@pytest.mark.parametrize("key", ["schemaVersion", "mediaType", "config", "layers", "LAYERS", "Config"])
def test_duplicate_json_keys_in_a_manifest(engine: minidock.Engine, served: HostileRegistry, key: str) -> None:
    value = manifest_of().get(key, [])
    data = IMAGE.manifest[:-1] + f",{json.dumps(key)}:{json.dumps(value)}}}".encode()
    with_manifest(served, data)
    refused(engine, served, Corrupt, match="twice")


def test_duplicate_json_keys_in_a_descriptor_and_a_configuration(
    engine: minidock.Engine, served: HostileRegistry
) -> None:
    size = f'"size":{len(IMAGE.config)}'.encode()
    with_manifest(served, IMAGE.manifest.replace(size, size + b"," + size))
    refused(engine, served, Corrupt, match="twice")
    config = IMAGE.config[:-1] + b',"os":"linux"}'
    document = {**manifest_of(), "config": descriptor(OCI_CONFIG, config)}
    served.add(REPO, "latest", Image(OCI_MANIFEST, json.dumps(document).encode(), config, IMAGE.layers))
    refused(engine, served, Corrupt, match="twice")


NULLS = [
    b"null",
    b"",
    b"[]",
    b"0",
    b'""',
    b"{}",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\0}\0",
    b'{"schemaVersion":2}',
    b'{"schemaVersion":2,"mediaType":"%s","config":null,"layers":null}' % OCI_MANIFEST.encode(),
    b'{"schemaVersion":2,"mediaType":"%s","config":{},"layers":[null]}' % OCI_MANIFEST.encode(),
    b'{"schemaVersion":2,"mediaType":null,"config":{"digest":null},"layers":[]}',
    b'{"schemaVersion":2.0,"mediaType":"%s","config":[],"layers":{}}' % OCI_MANIFEST.encode(),
    IMAGE.manifest.replace(b'"size":', b'"size":-'),
    IMAGE.manifest.replace(b'"size":', b'"size":1e'),
    IMAGE.manifest.replace(b'"size":', b'"size":' + b"9" * 5000),
    IMAGE.manifest.replace(b"sha256:", b"sha256:../../"),
    IMAGE.manifest.replace(b"sha256:", b"sha512:"),
    IMAGE.manifest.replace(b"sha256:", b"SHA256:"),
]


@pytest.mark.parametrize("data", NULLS)
def test_cve_2021_21285_null_manifests(engine: minidock.Engine, served: HostileRegistry, data: bytes) -> None:
    with_manifest(served, data)
    refused(engine, served, Corrupt, Unsupported)


@pytest.mark.parametrize(
    "config",
    [
        b"null",
        b"{}",
        b"[]",
        b'{"rootfs":null}',
        IMAGE.config.replace(b'"diff_ids":[', b'"diff_ids":[null,'),
        IMAGE.config.replace(b'"type":"layers"', b'"type":"windows"'),
        IMAGE.config.replace(b'"config":{}', b'"config":{"Env":7}'),
        IMAGE.config.replace(b'"config":{}', b'"config":{"Labels":{"a":"\\ud800"}}'),
        IMAGE.config.replace(b'"os":"linux"', b'"os":"windows"'),
        IMAGE.config.replace(b"sha256:", b"sha256:zz"),
    ],
)
def test_cve_2021_21285_null_configurations(engine: minidock.Engine, served: HostileRegistry, config: bytes) -> None:
    assert config != IMAGE.config
    document = {**manifest_of(), "config": descriptor(OCI_CONFIG, config)}
    served.add(REPO, "latest", Image(OCI_MANIFEST, json.dumps(document).encode(), config, IMAGE.layers))
    refused(engine, served, Corrupt, Unsupported)


DEEP = 10**5


@pytest.mark.parametrize("where", ["manifest", "annotations", "index", "config"])
def test_cve_2021_21285_deep_json(engine: minidock.Engine, served: HostileRegistry, where: str) -> None:
    nest = b"[" * DEEP + b"]" * DEEP
    if where == "manifest":
        with_manifest(served, nest)
    elif where == "annotations":
        with_manifest(served, IMAGE.manifest[:-1] + b',"annotations":' + nest + b"}")
    elif where == "index":
        with_manifest(served, b'{"schemaVersion":2,"manifests":' + nest + b"}", OCI_INDEX)
    else:
        config = IMAGE.config[:-1] + b',"x":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}"
        document = {**manifest_of(), "config": descriptor(OCI_CONFIG, config)}
        served.add(REPO, "latest", Image(OCI_MANIFEST, json.dumps(document).encode(), config, IMAGE.layers))
    refused(engine, served, LimitExceeded)


def test_cve_2021_21285_huge_documents(engine: minidock.Engine, served: HostileRegistry) -> None:
    served.rule("/manifests/", edit=lambda data: data + b" " * (5 << 20), times=1)
    refused(engine, served, LimitExceeded)
    served.rule("/manifests/", edit=lambda data: data + b" ", endless=True, times=2)
    refused(engine, served, LimitExceeded, RegistryUnreachable)
    served.clear()
    document = manifest_of()
    document["config"]["size"] = 1 << 40
    with_manifest(served, document)
    refused(engine, served, LimitExceeded)
    served.clear()
    with_manifest(served, {**manifest_of(), "layers": manifest_of()["layers"][:1] * 501})
    refused(engine, served, LimitExceeded, match="501 layers")


def test_index_of_thousands(engine: minidock.Engine, served: HostileRegistry) -> None:
    """The error names some of its platforms, not all, and none as it is."""
    entries = [
        {**descriptor(OCI_MANIFEST, b"%d" % n), "platform": {"os": "linux", "architecture": f"\x1b[31m{n}" + "x" * 100}}
        for n in range(4000)
    ]
    with_manifest(served, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}, OCI_INDEX)
    refused(engine, served, ImageNotFound)


def test_index_that_never_ends(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    data = IMAGE.manifest
    media_type = OCI_MANIFEST
    for _ in range(6):
        entry = {**descriptor(media_type, data), "platform": {"os": "linux", "architecture": "amd64"}}
        data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
        media_type = OCI_INDEX
        hostile.add_manifest(REPO, "latest", OCI_INDEX, data)
    refused(engine, hostile, LimitExceeded, match="deep")
