"""What registries send and how, one test per row of the security paper and per kind of bad input.

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
)
from minidock.images.progress import ProgressEvent
from minidock.registry.client import Client
from minidock.registry.wire import Limits
from tests.conftest import Roots
from tests.hostile import HostileRegistry
from tests.images import docker_archive, tar_of
from tests.oracle import assert_sound
from tests.pulls import REPO, layer, name, short_lived
from tests.registry import (
    OCI_CONFIG,
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
from tests.security.spoilt import (
    CONFIG,
    IMAGE,
    LAYER,
    LOGIN,
    PAIR,
    refused,
    special,
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


# tars


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
    impatient: minidock.Engine, served: HostileRegistry, where: str, how: str
) -> None:
    """For ever: an error. Once: nothing that anybody sees."""
    served.rule(where, **{how: 100})
    refused(impatient, served, RegistryUnreachable)
    served.clear()
    served.rule(where, **{how: 100}, times=1)
    assert impatient.images.pull(name(served)).id == digest_of(IMAGE.config)


def test_a_registry_that_gives_a_byte_at_a_time(impatient: minidock.Engine, served: HostileRegistry) -> None:
    served.rule(LAYER, reset_after=1)
    refused(impatient, served, RegistryUnreachable)
    assert len(served.requests("GET", LAYER)) <= 4


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


# odds and ends


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
