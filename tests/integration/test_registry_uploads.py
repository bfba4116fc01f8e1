"""Uploads that break, are cut into chunks, or are refused."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from minidock.config import Config
from minidock.errors import Corrupt, RegistryUnauthorized, RegistryUnreachable, Timeout
from minidock.registry.cancel import Cancel
from tests.hostile import HostileRegistry
from tests.integration.registry_clients import ALICE, SHORT, Connect
from tests.registry import Registry, digest_of, get_blob


@pytest.mark.parametrize("large", [False, True])
def test_upload_goes_on(
    hostile: HostileRegistry,
    connect: Connect,
    blob_file: Callable[[bytes], int],
    large: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if large:
        monkeypatch.setattr("minidock.registry.uploads.MONOLITHIC", 1000)
    data = os.urandom(3_000_000)
    hostile.rule("/uploads/.", method="PATCH" if large else "PUT", reset_upload_after=1_200_000, times=1)
    told: list[int] = []
    fd = blob_file(data)
    connect(hostile, push=True).upload(digest_of(data), len(data), fd, told.append)
    os.close(fd)
    assert hostile.blob("app", digest_of(data)) == data
    resumed = hostile.requests("PATCH")[-1]
    assert resumed.headers["content-range"] == f"1200000-{len(data) - 1}"
    assert len(resumed.body) == len(data) - 1_200_000
    assert told[-1] == len(data)
    assert len(hostile.requests("POST")) == 1


def test_upload_begins_anew(
    registry: Registry,
    make_hostile: Callable[..., HostileRegistry],
    connect: Connect,
    blob_file: Callable[[bytes], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """docker-registry 2.8 gives up a session that it has more of than the client knows."""
    monkeypatch.setattr("minidock.registry.uploads.MONOLITHIC", 1000)
    between = make_hostile(upstream=registry.url)
    data = os.urandom(3_000_000)
    between.rule("/uploads/.", method="PATCH", reset_upload_after=1_200_000, times=1)
    fd = blob_file(data)
    connect(between, push=True).upload(digest_of(data), len(data), fd)
    os.close(fd)
    assert get_blob(registry, "app", digest_of(data)) == data


def test_upload_whose_last_answer_is_lost(
    hostile: HostileRegistry, connect: Connect, blob_file: Callable[[bytes], int]
) -> None:
    data = os.urandom(1000)
    hostile.rule("/uploads/.", method="PUT", truncate_after=0, times=1)
    hostile.rule("/uploads/.", method="PUT", status=500)
    hostile.add_blob("app", data)  # as it would be
    fd = blob_file(data)
    connect(hostile, push=True).upload(digest_of(data), len(data), fd)
    os.close(fd)
    assert len(hostile.requests("PUT")) == 1


def test_upload_in_chunks(hostile: HostileRegistry, connect: Connect, blob_file: Callable[[bytes], int]) -> None:
    data = os.urandom(5_000_000)
    hostile.rule("/uploads/.", method="PUT", status=413, times=1)
    fd = blob_file(data)
    connect(hostile, push=True).upload(digest_of(data), len(data), fd)
    os.close(fd)
    assert hostile.blob("app", digest_of(data)) == data
    assert [seen.headers["content-range"] for seen in hostile.requests("PATCH")] == ["0-2499999", "2500000-4999999"]


def test_upload_heeds_the_least_chunk(
    hostile: HostileRegistry,
    connect: Connect,
    blob_file: Callable[[bytes], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("minidock.registry.uploads.MONOLITHIC", 1000)
    monkeypatch.setattr("minidock.registry.uploads._CHUNK", 1000)
    data = os.urandom(5_000_000)
    hostile.rule("/uploads/$", headers={"OCI-Chunk-Min-Length": "2000000"})
    fd = blob_file(data)
    connect(hostile, push=True).upload(digest_of(data), len(data), fd)
    os.close(fd)
    assert [len(seen.body) for seen in hostile.requests("PATCH")] == [2_000_000, 2_000_000, 1_000_000]


def test_upload_of_other_bytes(registry: Registry, connect: Connect, blob_file: Callable[[bytes], int]) -> None:
    fd = blob_file(b"x" * 1000)
    repository = connect(registry, push=True)
    with pytest.raises(Corrupt, match="other bytes"):
        repository.upload(digest_of(b"y"), 1000, fd)
    with pytest.raises(Corrupt, match="it has 1000 bytes, not 2000"):
        repository.upload(digest_of(b"y"), 2000, fd)
    os.close(fd)


def test_stalled_upload_ends(hostile: HostileRegistry, connect: Connect, blob_file: Callable[[bytes], int]) -> None:
    data = bytes(20_000_000)
    digest = digest_of(data)
    hostile.rule("/uploads/.", gate=threading.Event())
    fd = blob_file(data)
    repository = connect(hostile, push=True, limits=SHORT, config=Config(max_download_attempts=1))
    with pytest.raises(Timeout):
        repository.upload(digest, len(data), fd, cancel=Cancel(timeout=0.5))
    with pytest.raises(RegistryUnreachable, match="no answer for"):
        repository.upload(digest, len(data), fd)
    os.close(fd)


def test_refused_push(hostile: HostileRegistry, connect: Connect, blob_file: Callable[[bytes], int]) -> None:
    hostile.rule("/uploads/", status=403)
    fd = blob_file(b"x")
    with pytest.raises(RegistryUnauthorized, match="write access"):
        connect(hostile, push=True).upload(digest_of(b"x"), 1, fd)
    os.close(fd)


def test_upload_elsewhere_has_no_credentials(
    hostile: HostileRegistry,
    make_hostile: Callable[..., HostileRegistry],
    connect: Connect,
    blob_file: Callable[[bytes], int],
) -> None:
    other = make_hostile()
    hostile.challenge = 'Basic realm="x"'
    hostile.rule("/uploads/$", method="POST", skip=1, status=202, headers={"Location": f"{other.url}/there?signed=1"})
    other.rule("/there", method="PUT", status=201)
    fd = blob_file(b"x")
    connect(hostile, login=ALICE, push=True).upload(digest_of(b"x"), 1, fd)
    os.close(fd)
    (put,) = other.requests("PUT")
    assert put.path == f"/there?signed=1&digest={digest_of(b'x')}"
    assert "authorization" not in put.headers
