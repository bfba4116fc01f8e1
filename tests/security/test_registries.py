"""What registries may do to the store, one test per row of the security paper and per kind of bad input.

After each test nothing of the hostile image is there: no image, no layer, no blob, no file outside.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import minidock
from minidock.errors import (
    Corrupt,
    Denied,
    ImageNotFound,
    LimitExceeded,
    MinidockError,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryUnauthorized,
    RegistryUnreachable,
    Unsupported,
)
from minidock.images.progress import ProgressEvent
from minidock.registry.client import Client
from minidock.registry.wire import Limits
from tests.conftest import Roots
from tests.hostile import HostileRegistry
from tests.images import docker_archive, tar_of
from tests.integration.test_pull import REPO, layer, name, short_lived
from tests.oracle import assert_sound
from tests.registry import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Image,
    basic_header,
    build_image,
    compress_layer,
    descriptor,
    digest_of,
    image_config,
)

PAIR = [layer(1), layer(2)]
IMAGE = build_image(PAIR)
LAYER = "/blobs/" + digest_of(IMAGE.layers[0])
CONFIG = "/blobs/" + digest_of(IMAGE.config)
LOGIN = {"username": "alice", "password": "s3cret"}


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


def refused(engine: minidock.Engine, registry: HostileRegistry, *kinds: type[MinidockError], match: str = "") -> str:
    """A pull fails so, and leaves nothing but what the next one may go on with; the error's text."""
    with pytest.raises(kinds, match=match or None) as caught:
        engine.images.pull(name(registry), timeout=60)
    assert [image.tags for image in engine.images.list()] == [["minidock/hello:latest"]]
    (hello,) = engine.images.list()
    assert len(engine.store.layers.all()) == len(engine.store.images.layers(hello.id))
    assert os.listdir(engine.store.paths.tmp) == []
    text = str(caught.value)
    assert len(text) < 1500
    assert "\n" not in text
    return text


def flip(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """An edit of a JSON document."""

    def edit(data: bytes) -> bytes:
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return edit


def with_manifest(registry: HostileRegistry, document: object, media_type: str = OCI_MANIFEST) -> None:
    """Serve a manifest as it is, with its true digest."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    registry.add_manifest(REPO, "latest", media_type, data)


def manifest_of(**more: Any) -> dict[str, Any]:
    return {**json.loads(IMAGE.manifest), **more}


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


# tars


def special(kind: bytes, path: str, target: str = "", mode: int = 0o777) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.linkname, entry.mode = kind, target, mode
    return entry


def hostile_tars(mark: Path) -> dict[str, bytes]:
    """Archives that try to leave their directory; ``mark`` is one of the host."""
    up = "../" * 12
    return {
        "dots": tar_of((f"{up}{mark}/new", b"x")),
        "inner dots": tar_of((f"a/../{up}{mark}/new", b"x")),
        "absolute": tar_of((f"{mark}/new", b"x")),
        "link then file": tar_of(special(tarfile.SYMTYPE, "a", str(mark)), ("a/new", b"x")),
        "link then directory": tar_of(
            special(tarfile.SYMTYPE, "a", str(mark)), special(tarfile.DIRTYPE, "a"), ("a/new", b"x")
        ),
        "hard link": tar_of(special(tarfile.LNKTYPE, "h", f"{mark}/file"), ("h", b"overwritten")),
        "hard link up": tar_of(special(tarfile.LNKTYPE, "h", f"{up}{mark}/file")),
        "whiteout": tar_of((".wh..", b"")),
        "whiteout up": tar_of((".wh...", b"")),
        "whiteout of a link": tar_of(special(tarfile.SYMTYPE, "a", str(mark)), ("a/.wh.file", b"")),
        "opaque link": tar_of(special(tarfile.SYMTYPE, "a", str(mark)), ("a/.wh..wh..opq", b"")),
    }


@pytest.mark.parametrize("which", list(hostile_tars(Path("/x"))))
@pytest.mark.parametrize("upper", [False, True], ids=["one layer", "over a link"])
def test_cve_2021_32760_hostile_tars(
    engine: minidock.Engine, hostile: HostileRegistry, tmp_path: Path, which: str, upper: bool
) -> None:
    """Layers that would leave their directory do not, alone or above one that has the link (2021-41089, 2025-47290)."""
    mark = tmp_path / "mark"
    mark.mkdir()
    (mark / "file").write_text("mine")
    before = os.stat(mark), os.stat(mark / "file")
    bad = hostile_tars(mark)[which]
    below = [tar_of(special(tarfile.SYMTYPE, "a", str(mark)), ("h", b""))] if upper else []
    made = build_image([*below, bad], compress="none")
    hostile.add(REPO, "latest", made)
    for take in (
        lambda: engine.images.pull(name(hostile)),
        lambda: engine.images.load(docker_archive([(made, ["x:1"])])),
    ):
        try:
            take()
        except (Corrupt, Denied):
            assert len(engine.images.list()) == 1
        else:
            # What is harmless inside its directory may come; nothing of it is elsewhere.
            engine.images.remove(digest_of(made.config), force=True)
    after = os.stat(mark), os.stat(mark / "file")
    assert os.listdir(mark) == ["file"]
    assert (mark / "file").read_text() == "mine"
    assert [(one.st_mode, one.st_uid, one.st_nlink, one.st_mtime_ns) for one in after] == [
        (one.st_mode, one.st_uid, one.st_nlink, one.st_mtime_ns) for one in before
    ]


@pytest.mark.parametrize("damage", ["checksum", "truncated", "pax", "trailing"])
def test_cve_2025_62518_damaged_tars(engine: minidock.Engine, hostile: HostileRegistry, damage: str) -> None:
    """A tar that two readers would understand differently, or that ends too early."""
    good = layer(1)
    if damage == "checksum":
        bad = good[:1024] + b"\xff" * 8 + good[1032:] if good[156:157] == b"x" else b"\xff" * 8 + good[8:]
    elif damage == "truncated":
        bad = good[:5000]
    elif damage == "pax":
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w", format=tarfile.PAX_FORMAT) as archive:
            entry = tarfile.TarInfo("f")
            entry.size, entry.pax_headers = 10, {"size": "0000x"}
            archive.addfile(entry, io.BytesIO(b"x" * 10))
        bad = inner.getvalue()
    else:
        bad = b"trailing" * 64 + good
    hostile.add(REPO, "latest", build_image([bad]))
    refused(engine, hostile, Corrupt)


# bombs

PULL = """
import sys, minidock
engine = minidock.Engine(data_root=sys.argv[1], run_root=sys.argv[2], config=sys.argv[3])
try:
    engine.images.pull(sys.argv[4])
    print("pulled")
except minidock.MinidockError as error:
    print(type(error).__name__)
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_cve_2017_14992_bombs(roots: Roots, hostile: HostileRegistry, how: str) -> None:
    """Ten gigabytes of zeros in some megabytes: an error within bounds of memory (2018-20699)."""
    part = bytes(64 << 20)
    head = tarfile.TarInfo("zeros")
    head.size = 10 << 30
    first = head.tobuf(format=tarfile.GNU_FORMAT)
    blob = compress_layer(first, how) + compress_layer(part, how) * 160 + compress_layer(bytes(1024), how)
    config = image_config([digest_of(b"whatever")])
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, config),
        "layers": [descriptor(f"{OCI_LAYER}+{how}", blob)],
    }
    hostile.add(REPO, "latest", Image(OCI_MANIFEST, json.dumps(document).encode(), config, [blob]))
    command = [sys.executable, "-c", PULL, roots.data, roots.run, roots.config, name(hostile)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    word, memory = done.stdout.split()
    assert word == "LimitExceeded"
    assert int(memory) < 300
    assert os.listdir(roots.data / "layers") == []
    assert os.listdir(roots.data / "tmp") == []


def test_cve_2017_14992_bombs_of_headers(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    """A long name without end, and a PAX record of a gigabyte."""
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE):
        entry = special(kind, "././@LongLink")
        entry.size = 1 << 30
        tar = entry.tobuf(format=tarfile.GNU_FORMAT) + b"a" * (4 << 20)
        hostile.add(REPO, "latest", build_image([tar]))
        refused(engine, hostile, LimitExceeded, Corrupt)


# credentials


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/"])
def test_cve_2020_15157_redirect_credential_leak(
    engine: minidock.Engine, served: HostileRegistry, make_hostile: Callable[..., HostileRegistry], where: str
) -> None:
    """Who is redirected to another origin, even another port, shows no credentials there, nor when it leads back."""
    other = make_hostile()
    other.add(REPO, "latest", IMAGE)
    served.challenge = 'Basic realm="r"'
    served.accept = lambda headers: headers.get("authorization") == basic_header("alice", "s3cret")
    served.rule(where, redirect=other.url)
    engine.images.pull(name(served), auth_config=LOGIN)
    assert other.requests("", where)
    assert not [seen for seen in other.requests() if "authorization" in seen.headers or "cookie" in seen.headers]


def test_cve_2020_15157_redirect_back(
    engine: minidock.Engine, served: HostileRegistry, make_hostile: Callable[..., HostileRegistry]
) -> None:
    other = make_hostile()
    served.challenge = 'Basic realm="r"'
    served.rule("/blobs/", redirect=other.url, times=3)
    other.rule("", redirect=served.url)
    with pytest.raises(RegistryError):
        engine.images.pull(name(served), auth_config=LOGIN)
    assert not [seen for seen in other.requests() if "authorization" in seen.headers]
    back = [seen for seen in served.requests("GET", "/blobs/")[1:] if seen.status == 401]
    assert all("authorization" not in seen.headers for seen in back)


def test_cve_2020_15157_token_server_of_another(engine: minidock.Engine, served: HostileRegistry) -> None:
    """A challenge names where the password goes: nowhere but to a web server."""
    for realm in (
        "file:///etc/passwd",
        "ftp://127.0.0.1/token",
        "https://user:password@127.0.0.1/token",
        "//x",
        "",
        "?",
    ):
        served.challenge = f'Bearer realm="{realm}",service="s"'
        refused(engine, served, RegistryError)


def test_redirect_without_end(engine: minidock.Engine, served: HostileRegistry) -> None:
    served.rule("/blobs/", redirect=served.url)
    refused(engine, served, RegistryError, match="redirects")


# connections

SHORT = Limits(connect=2, read=1, answer=2, window=1, rate=100_000)


@pytest.fixture
def impatient(engine: minidock.Engine) -> minidock.Engine:
    """An engine whose limits are those of a test."""
    config = msgspec.structs.replace(engine.config, max_download_attempts=2)
    engine.config = config
    engine._registry = Client(config, limits=SHORT)
    return engine


@pytest.mark.parametrize("where", ["/manifests/", LAYER, CONFIG])
def test_a_registry_that_stalls(impatient: minidock.Engine, served: HostileRegistry, where: str) -> None:
    served.rule(where, stall_after=10)
    refused(impatient, served, RegistryUnreachable)


def test_a_registry_that_trickles(impatient: minidock.Engine, served: HostileRegistry) -> None:
    served.rule(LAYER, rate=1000)
    refused(impatient, served, RegistryUnreachable)


@pytest.mark.parametrize("how", ["truncate_after", "reset_after"])
@pytest.mark.parametrize("where", ["/manifests/", LAYER, CONFIG])
def test_a_registry_that_truncates_and_resets(
    engine: minidock.Engine, served: HostileRegistry, where: str, how: str
) -> None:
    """For ever: an error. Once or twice: nothing that anybody sees."""
    for times in (None, 2):
        served.clear()
        served.rule(where, **{how: 100}, times=times)
        if times is None:
            refused(engine, served, RegistryUnreachable)
        else:
            assert engine.images.pull(name(served)).id == digest_of(IMAGE.config)


def test_a_registry_that_gives_a_byte_at_a_time(engine: minidock.Engine, served: HostileRegistry) -> None:
    served.rule(LAYER, reset_after=1)
    refused(engine, served, RegistryUnreachable)
    assert len(served.requests("GET", LAYER)) <= 10


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, RegistryUnauthorized),
        (403, RegistryUnauthorized),
        (404, ImageNotFound),
        (418, RegistryError),
        (500, RegistryError),
        (503, RegistryError),
    ],
)
@pytest.mark.parametrize("where", ["/manifests/", LAYER, CONFIG])
def test_answers_other_than_yes(
    engine: minidock.Engine, served: HostileRegistry, where: str, status: int, kind: type[MinidockError]
) -> None:
    served.rule(where, status=status, body=b'{"errors":[{"code":"\x1b[31mX","message":"' + b"m" * 5000 + b'\\n"}]}')
    text = refused(engine, served, kind, RegistryError, NotFound)
    assert str(status) in text or status in (401, 403, 404)


def test_429_says_when(engine: minidock.Engine, served: HostileRegistry) -> None:
    served.rule("/blobs/", status=429, headers={"Retry-After": "1"}, times=2)
    assert engine.images.pull(name(served)).id == digest_of(IMAGE.config)
    engine.images.remove(digest_of(IMAGE.config), force=True)
    served.clear()
    served.rule("/manifests/", status=429, headers={"Retry-After": "86400"})
    refused(engine, served, RateLimited)


def test_html(engine: minidock.Engine, served: HostileRegistry) -> None:
    """The page of a hotel's network, in place of each answer."""
    for where in ("/manifests/", LAYER, CONFIG):
        served.clear()
        served.rule(where, html=True)
        refused(engine, served, Corrupt, RegistryError)
    assert "<" not in refused(engine, served, Corrupt, RegistryError)


def test_expired_token_in_the_middle(
    roots: Roots, served: HostileRegistry, make_hostile: Callable[..., HostileRegistry]
) -> None:
    """Each token is good for two requests."""
    roots.config.write_text(json.dumps({**json.loads(roots.config.read_text()), "max-concurrent-downloads": 1}))
    shown = short_lived(served, make_hostile(), f"repository:{REPO}:pull")
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
        assert engine.images.pull(name(served)).id == digest_of(IMAGE.config)
    assert len(shown) > 2


def test_a_password_is_needed_for_its_token(engine: minidock.Engine, token_registry: Any) -> None:
    """A token that came for a password is not for those who know the user's name only."""
    from tests.registry import push_image

    push_image(token_registry, REPO, "latest", PAIR)
    login = {"username": token_registry.username, "password": token_registry.password}
    pulled = engine.images.pull(name(token_registry), auth_config=login)
    engine.images.remove(pulled.id, force=True)
    with pytest.raises(RegistryUnauthorized):
        engine.images.pull(name(token_registry), auth_config={**login, "password": "guessed"})


# what others have


def test_events_of_a_hostile_pull_are_harmless(engine: minidock.Engine, served: HostileRegistry) -> None:
    """What progress shows comes from checked values only."""
    events: list[ProgressEvent] = []
    served.rule("/manifests/", digest="sha256:\x1b[31m" + "0" * 59)
    engine.images.pull(name(served), progress=events.append)
    assert all(event.status.isprintable() and event.id.isprintable() for event in events)


def test_gzip_with_trailing_garbage(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    tar = layer(1)
    blob = gzip.compress(tar, mtime=0) + b"garbage"
    config = image_config([digest_of(tar)])
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, config),
        "layers": [descriptor(f"{OCI_LAYER}+gzip", blob)],
    }
    hostile.add(REPO, "latest", Image(OCI_MANIFEST, json.dumps(document).encode(), config, [blob]))
    refused(engine, hostile, Corrupt)
