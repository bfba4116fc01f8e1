"""The registry client against servers that refuse, lie, break off, stall and trickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.config import Config
from minidock.errors import (
    Cancelled,
    Corrupt,
    LimitExceeded,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryUnreachable,
    Timeout,
    Unsupported,
)
from minidock.images.references import parse
from minidock.registry import quick
from minidock.registry.cancel import Cancel
from minidock.registry.client import Client
from tests.certificates import Authority
from tests.conftest import wait_for
from tests.hostile import HostileRegistry
from tests.integration.registry_clients import ALICE, DIGEST, IMAGE, LAYER, SHORT, Connect, Kept, drain, fetch
from tests.registry import OCI_MANIFEST, Registry, digest_of, push_blob, push_image
from tests.tokens import TokenServer


def test_passing_failures_are_repeated(hostile: HostileRegistry, connect: Connect) -> None:
    hostile.add("app", "x", IMAGE)
    for status in (500, 502, 503, 504):
        hostile.rule("/manifests/", status=status, times=1)
    assert connect(hostile).manifest("x").data == IMAGE.manifest
    hostile.clear()
    hostile.rule("/manifests/", status=500)
    with pytest.raises(RegistryError, match="refused with 500"):
        connect(hostile, config=Config(max_download_attempts=2)).manifest("x")
    assert len(hostile.requests("GET", "/manifests/")) == 2


def test_rate_limit(hostile: HostileRegistry, connect: Connect) -> None:
    hostile.add("app", "x", IMAGE)
    hostile.rule("/manifests/", status=429, headers={"Retry-After": "0"}, times=2)
    assert connect(hostile).manifest("x").data == IMAGE.manifest
    hostile.clear()
    limits = {"Retry-After": "3600", "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "0;w=21600"}
    hostile.rule("/manifests/", status=429, headers=limits)  # type: ignore[arg-type]
    with pytest.raises(RateLimited) as caught:
        connect(hostile).manifest("x")
    for part in ("refused with 429", "limit 100;w=21600", "remaining 0;w=21600", "again in 3600 s", "minidock login"):
        assert part in str(caught.value)
    assert len(hostile.requests("GET", "/manifests/")) == 1


def test_waiting_ends_when_it_is_cancelled(hostile: HostileRegistry, connect: Connect) -> None:
    hostile.rule("/manifests/", status=429, headers={"Retry-After": "50"})
    repository = connect(hostile)
    with pytest.raises(Timeout):
        repository.manifest("x", cancel=Cancel(timeout=2))
    cancel = Cancel()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            repository.manifest("x", cancel=cancel)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: len(hostile.requests("GET", "/manifests/")) >= 2)
    cancel.cancel()
    thread.join(60)
    assert isinstance(failures[0], Cancelled)


def test_stalled_transfers_end_when_they_are_cancelled(hostile: HostileRegistry, connect: Connect) -> None:
    hostile.add("app", "x", IMAGE)
    hostile.rule("/blobs/", stall_after=1000)
    hostile.rule("/manifests/", gate=threading.Event())
    repository = connect(hostile)
    with pytest.raises(Timeout):
        repository.manifest("x", cancel=Cancel(timeout=0.2))
    cancel = Cancel()
    with repository.blob(DIGEST, size=len(LAYER), cancel=cancel) as reader:
        view = memoryview(bytearray(4096))
        threading.Timer(0.1, cancel.cancel).start()
        with pytest.raises(Cancelled):
            drain(reader, view)


@pytest.mark.parametrize("how", ["truncate_after", "reset_after", "stall_after"])
def test_broken_stream_goes_on(hostile: HostileRegistry, connect: Connect, how: str) -> None:
    hostile.add("app", "x", IMAGE)
    hostile.rule("/blobs/", times=1, **{how: 100_000})
    repository = connect(hostile, limits=SHORT._replace(window=60))
    got = bytearray()
    view = memoryview(bytearray(1 << 16))
    with repository.blob(DIGEST, size=len(LAYER)) as reader, pytest.raises(RegistryUnreachable):
        drain(reader, view, got)
    assert 0 < len(got) <= 100_000
    assert bytes(got) + fetch(repository, offset=len(got)) == LAYER
    assert hostile.requests("GET", "/blobs/")[-1].headers["range"] == f"bytes={len(got)}-"


def test_trickle(hostile: HostileRegistry, connect: Connect) -> None:
    hostile.add("app", "x", IMAGE)
    hostile.rule("/(blobs|manifests)/", rate=60)
    repository = connect(hostile, limits=SHORT, config=Config(max_download_attempts=1))
    with pytest.raises(RegistryUnreachable, match=r"only \d+ bytes"):
        fetch(repository)
    with pytest.raises(RegistryUnreachable, match=r"only \d+ bytes"):
        repository.manifest("x")


def test_server_without_ranges(hostile: HostileRegistry, connect: Connect) -> None:
    hostile.add("app", "x", IMAGE)
    hostile.rule("/blobs/", ignore_range=True)
    with connect(hostile).blob(DIGEST, offset=1000, size=len(LAYER)) as reader:
        assert reader.offset == 0
    assert fetch(connect(hostile), offset=1000) == LAYER


def test_wrong_sizes(hostile: HostileRegistry, connect: Connect) -> None:
    hostile.add("app", "x", IMAGE)
    repository = connect(hostile)
    for size in (len(LAYER) - 1, len(LAYER) + 1):
        with pytest.raises(Corrupt, match="the manifest says"):
            fetch(repository, size=size)
        with pytest.raises((Corrupt, RegistryError)):
            fetch(repository, size=size, offset=1000)
    hostile.rule("/blobs/", endless=True)
    with pytest.raises(Corrupt, match="more than"):
        fetch(repository)


@pytest.mark.parametrize(
    "value",
    ["", "bytes 0-9/100", "bytes */5", "bytes 5-4/10", "bytes 1000-x/y", "lines 1000-2000/9", "bytes 1000-1000/*"],
)
def test_wrong_ranges(hostile: HostileRegistry, connect: Connect, value: str) -> None:
    hostile.add("app", "x", IMAGE)
    hostile.rule("/blobs/", headers={"Content-Range": value})
    with pytest.raises((RegistryError, Corrupt)):
        fetch(connect(hostile), offset=1000)


def test_digests_of_manifests(hostile: HostileRegistry, connect: Connect) -> None:
    hostile.add("app", "x", IMAGE)
    digest = digest_of(IMAGE.manifest)
    repository = connect(hostile)
    other = "sha512:" + hashlib.sha512(IMAGE.manifest).hexdigest()
    hostile.add_manifest("app", "", IMAGE.media_type, IMAGE.manifest, digest=other)
    assert repository.manifest(other).digest == other
    hostile.rule("/manifests/", edit=lambda body: body + b" ")
    for reference in ("x", digest, other):
        with pytest.raises(Corrupt, match="expected"):
            repository.manifest(reference)
    hostile.clear()
    hostile.rule("/manifests/", headers={"Docker-Content-Digest": None})
    assert repository.manifest("x").digest == digest
    assert repository.head("x") is None
    hostile.clear()
    hostile.rule("/manifests/", digest="sha256:" + "0" * 64)
    assert repository.manifest(digest).digest == digest  # what was asked for counts
    with pytest.raises(Corrupt):
        repository.head(digest)


def test_large_and_old_manifests(hostile: HostileRegistry, connect: Connect) -> None:
    hostile.serve("/v2/app/manifests/big", b" " * (5 << 20), OCI_MANIFEST)
    hostile.serve("/v2/app/manifests/old", b"{}", "application/vnd.docker.distribution.manifest.v1+prettyjws; q=1")
    repository = connect(hostile)
    with pytest.raises(LimitExceeded):
        repository.manifest("big")
    hostile.rule("/manifests/big", endless=True)
    with pytest.raises(LimitExceeded):
        repository.manifest("big")
    with pytest.raises(Unsupported, match="schema 1"):
        repository.manifest("old")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 500])
def test_html_does_not_leak(hostile: HostileRegistry, connect: Connect, status: int) -> None:
    hostile.rule("/(manifests|blobs)/", status=status, html=True)
    repository = connect(hostile, config=Config(max_download_attempts=1))
    for ask in (lambda: repository.manifest("x"), lambda: fetch(repository), lambda: repository.head("x")):
        with pytest.raises((RegistryError, NotFound)) as caught:
            ask()  # type: ignore[no-untyped-call]
        assert "<" not in str(caught.value)


def test_errors_are_printable(hostile: HostileRegistry, connect: Connect) -> None:
    error = {"code": "DENIED\x1b[31m", "message": "no\nway \x07" + "x" * 100_000, "detail": [[[[]]]]}
    hostile.rule("/manifests/", status=400, body=json.dumps({"errors": [error]}).encode()[:60_000] + b'"}]}')
    with pytest.raises(RegistryError) as caught:
        connect(hostile).manifest("x")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_nobody_there(registry: Registry, connect: Connect) -> None:
    repository = connect(registry, config=Config(max_download_attempts=2))
    registry.stop()
    with pytest.raises(RegistryUnreachable, match=r"connect to .*: connection refused"):
        repository.head("x")
    with pytest.raises(RegistryUnreachable, match="look up"), Client(Config(), Kept(), environment={}) as client:  # type: ignore[arg-type]
        client.repository(parse("no.such.host.invalid/x")).head("x")


def test_registry_comes_back(registry: Registry, connect: Connect) -> None:
    push_image(registry, "app", "x")
    repository = connect(registry)
    assert repository.head("x") is not None
    registry.stop()
    registry.start()
    assert repository.head("x") is not None  # the connection that was kept is broken


def test_bodies_in_chunks(hostile: HostileRegistry, connect: Connect) -> None:
    def chunked(body: bytes) -> bytes:
        pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
        return b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nTrailer: x\r\n\r\n"

    hostile.add("app", "x", IMAGE)
    as_chunks: dict[str, str | None] = {"Transfer-Encoding": "chunked"}
    hostile.rule("/(blobs|manifests)/", edit=chunked, headers=as_chunks, times=3)
    repository = connect(hostile)
    assert fetch(repository) == LAYER
    assert fetch(repository, size=None) == LAYER
    assert repository.manifest("x").data == IMAGE.manifest
    hostile.rule(
        "/blobs/", edit=lambda body: chunked(body)[:100_000], headers=as_chunks, truncate_after=100_000, times=1
    )
    with pytest.raises(RegistryUnreachable):
        fetch(repository)
    hostile.rule("/blobs/", edit=lambda body: chunked(body + b"x"), headers=as_chunks, times=1)
    with pytest.raises(Corrupt, match="more than"):
        fetch(repository)
    hostile.rule("/blobs/", edit=lambda body: b"no chunk at all\r\n", headers=as_chunks, times=1)
    with pytest.raises(RegistryUnreachable):
        fetch(repository)


def test_threads_share_a_token(token_registry: Registry, token_server: TokenServer, connect: Connect) -> None:
    digest = push_blob(token_registry, "app", LAYER)
    repository = connect(token_registry, login=ALICE)
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(fetch(repository, digest))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [LAYER] * 6
    assert len(token_server.issued) == 1


@pytest.mark.parametrize("head", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: ", b"a", b"\0\n"])
def test_endless_heads(head: bytes, connect: Connect) -> None:
    """An answer that never comes to its body, at full speed."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.recv(65536)
                while True:
                    client.sendall(head if head.endswith(b"\n") else head + b"x" * 10_000)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    reference = parse(f"127.0.0.1:{listener.getsockname()[1]}/app")
    try:
        assert quick.head(Config(), reference, {}) is None
        with (
            Client(Config(max_download_attempts=1), Kept(), environment={}) as client,  # type: ignore[arg-type]
            pytest.raises(RegistryError),
        ):
            client.repository(reference).manifest("x")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(60)


def test_stalled_tls_handshake_ends(docker_config: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # which nobody accepts from
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        (tmp_path / host).mkdir()
        with (
            Client(Config(), Kept(), environment={"MINIDOCK_CERTS_D": str(tmp_path)}) as client,  # type: ignore[arg-type]
            pytest.raises(Timeout),
        ):
            client.repository(parse(f"{host}/app"), cancel=Cancel(timeout=0.7))


def test_stalled_tls_stream_ends(
    make_hostile: Callable[..., HostileRegistry], authority: Authority, connect: Connect
) -> None:
    hostile = make_hostile(authority=authority)
    hostile.add("app", "x", IMAGE)
    hostile.rule("/blobs/", stall_after=1000)
    repository = connect(hostile, env={})
    view = memoryview(bytearray(4096))
    with repository.blob(DIGEST, size=len(LAYER), cancel=Cancel(timeout=3)) as reader, pytest.raises(Timeout):
        drain(reader, view)
