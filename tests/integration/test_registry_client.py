"""The registry client against Debian's docker-registry, and against one that breaks what it can."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.config import Config, Proxies
from minidock.errors import (
    Cancelled,
    Corrupt,
    ImageNotFound,
    LimitExceeded,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryUnauthorized,
    RegistryUnreachable,
    Timeout,
    Unsupported,
)
from minidock.images.references import parse
from minidock.registry import quick
from minidock.registry.blobs import BlobReader
from minidock.registry.cancel import Cancel
from minidock.registry.client import Client
from minidock.registry.credentials import Login
from minidock.registry.repository import Repository
from minidock.registry.wire import Limits
from tests.certificates import Authority
from tests.conftest import wait_for
from tests.hostile import HostileRegistry
from tests.images import tar_of
from tests.registry import (
    OCI_MANIFEST,
    OTHER_PASSWORD,
    OTHER_USERNAME,
    PASSWORD,
    USERNAME,
    Registry,
    build_image,
    digest_of,
    get_blob,
    push_blob,
    push_image,
)
from tests.tokens import TokenServer

IMAGE = build_image([tar_of(("file", bytes(range(256)) * 3000))], compress="none")
LAYER = IMAGE.layers[0]
DIGEST = digest_of(LAYER)
ALICE = Login(USERNAME, PASSWORD)
SHORT = Limits(connect=2, read=1, answer=2, window=1, rate=100_000)


class Kept:
    """Credentials that are in no file."""

    def __init__(self, **logins: Login) -> None:
        self.logins = logins
        self.asked: list[str] = []

    def lookup(self, host: str) -> Login | None:
        self.asked.append(host)
        return self.logins.get(host, self.logins.get("everywhere"))


Connect = Callable[..., Repository]


@pytest.fixture
def connect(docker_config: Path) -> Iterator[Connect]:
    """``connect(server, "some/app")``: a repository by a client of its own."""
    clients: list[Client] = []

    def make(
        server: Registry | HostileRegistry,
        path: str = "app",
        *,
        login: Login | None = None,
        config: Config | None = None,
        limits: Limits | None = None,
        push: bool = False,
        env: dict[str, str] | None = None,
    ) -> Repository:
        kept = Kept(everywhere=login) if login else Kept()
        environment = env if env is not None else getattr(server, "env", {})
        client = Client(config or Config(), kept, limits=limits, environment=environment)  # type: ignore[arg-type]
        clients.append(client)
        return client.repository(parse(f"{server.host}/{path}"), push=push)

    yield make
    for client in clients:
        client.close()


def fetch(repository: Repository, digest: str = DIGEST, size: int | None = len(LAYER), offset: int = 0) -> bytes:
    """A blob, by one reader."""
    parts = []
    view = memoryview(bytearray(1 << 16))
    with repository.blob(digest, size=size, offset=offset) as reader:
        start = reader.offset
        while count := reader.readinto(view):
            parts.append(bytes(view[:count]))
    assert start in (0, offset)
    return b"".join(parts)


def drain(reader: BlobReader, view: memoryview, got: bytearray | None = None) -> None:
    """Read to the end."""
    while count := reader.readinto(view):
        if got is not None:
            got += view[:count]


@pytest.fixture
def blob_file(tmp_path: Path) -> Callable[[bytes], int]:
    """A descriptor on some bytes."""

    def make(data: bytes) -> int:
        path = tmp_path / hashlib.sha256(data).hexdigest()
        path.write_bytes(data)
        return os.open(path, os.O_RDONLY)

    return make


# -- what works


@pytest.mark.parametrize("kind", ["plain", "tls", "mutual", "basic", "token"])
def test_pull(
    kind: str,
    make_registry: Callable[..., Registry],
    authority: Authority,
    request: pytest.FixtureRequest,
    connect: Connect,
) -> None:
    options: dict[str, dict[str, object]] = {
        "plain": {},
        "tls": {"authority": authority},
        "mutual": {"authority": authority, "client_certs": True},
        "basic": {"basic": True},
    }
    tokens = request.getfixturevalue("token_server") if kind == "token" else None
    registry = make_registry(**({"tokens": tokens} if tokens else options[kind]))
    pushed = push_image(registry, "some/app", "v1", [tar_of(("a", b"b" * 3_000_000))], compress="none")
    login = Login(registry.username, registry.password) if registry.username else None
    repository = connect(registry, "some/app", login=login)
    head = repository.head("v1")
    assert head is not None
    manifest = repository.manifest("v1")
    assert (head.digest, head.media_type, head.size) == (pushed.manifest, OCI_MANIFEST, len(manifest.data))
    assert (manifest.digest, manifest.media_type) == (pushed.manifest, OCI_MANIFEST)
    assert repository.manifest(pushed.manifest).data == manifest.data
    (layer,) = json.loads(manifest.data)["layers"]
    whole = fetch(repository, layer["digest"], layer["size"])
    assert digest_of(whole) == layer["digest"]
    assert fetch(repository, layer["digest"], layer["size"], 12345) == whole[12345:]
    assert fetch(repository, layer["digest"], layer["size"], layer["size"]) == b""
    assert fetch(repository, layer["digest"], None) == whole
    assert repository.has_blob(layer["digest"]) == layer["size"]
    assert repository.has_blob("sha256:" + "0" * 64) is None
    assert list(repository.tags()) == ["v1"]
    with pytest.raises(ImageNotFound, match=r"manifest for .*/some/app:nope not found: manifest unknown"):
        repository.manifest("nope")
    with pytest.raises(ImageNotFound):
        repository.head("nope")
    with pytest.raises(NotFound):
        fetch(repository, "sha256:" + "0" * 64)
    if kind == "token":
        assert tokens is not None
        assert len(tokens.issued) == 1  # one for all of that
        assert tokens.issued[0].scopes == ("repository:some/app:pull",)
        query = tokens.requests[0].query
        assert query["account"] == [USERNAME]
        assert query["client_id"] == ["minidock"]


@pytest.mark.parametrize("kind", ["plain", "tls", "basic", "token"])
@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_push(
    kind: str,
    size: int,
    make_registry: Callable[..., Registry],
    authority: Authority,
    request: pytest.FixtureRequest,
    connect: Connect,
    blob_file: Callable[[bytes], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens = request.getfixturevalue("token_server") if kind == "token" else None
    options: dict[str, object] = {"tokens": tokens} if tokens else {"basic": kind == "basic"}
    registry = make_registry(**options, **({"authority": authority} if kind == "tls" else {}))
    login = Login(registry.username, registry.password) if registry.username else None
    repository = connect(registry, "made/here", login=login, push=True)
    monkeypatch.setattr("minidock.registry.uploads.MONOLITHIC", 1000)  # a megabyte is large enough for a test
    data = os.urandom(size)
    digest = digest_of(data)
    told: list[int] = []
    fd = blob_file(data)
    repository.upload(digest, size, fd, told.append)
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0
    os.close(fd)
    assert told[-1] == size
    assert told == sorted(told)
    assert get_blob(registry, "made/here", digest) == data
    manifest = build_image([], config={"Cmd": [str(size)]})
    fd = blob_file(manifest.config)
    repository.upload(digest_of(manifest.config), len(manifest.config), fd)
    os.close(fd)
    named = repository.put_manifest("v1", manifest.media_type, manifest.manifest)
    assert named == digest_of(manifest.manifest) == repository.manifest("v1").digest
    repository.delete_manifest(named)
    with pytest.raises(ImageNotFound):
        repository.manifest("v1")


def test_mount(token_registry: Registry, connect: Connect, blob_file: Callable[[bytes], int]) -> None:
    data = os.urandom(100_000)
    digest = push_blob(token_registry, "there/it/is", data)
    repository = connect(token_registry, "new", login=ALICE, push=True)
    assert repository.mount(digest, "there/it/is")
    assert repository.has_blob(digest) == len(data)
    assert token_registry.requests("PATCH") == token_registry.requests("PUT", "uploads") == []
    assert token_registry.tokens is not None
    assert any("repository:there/it/is:pull" in issue.scopes for issue in token_registry.tokens.issued)
    other = os.urandom(1000)
    assert not repository.mount(digest_of(other), "there/it/is")
    token_registry.forget()
    fd = blob_file(other)
    repository.upload(digest_of(other), len(other), fd)
    os.close(fd)
    assert token_registry.requests("POST") == []  # in the session that the mount opened
    assert get_blob(token_registry, "new", digest_of(other)) == other


def test_pages_of_tags(hostile: HostileRegistry, registry: Registry, connect: Connect) -> None:
    for page, more in enumerate(('<?n=3&last=2>; rel="next"', '</v2/app/tags/list?p=2>; rel="next"', "")):
        path = ("/v2/app/tags/list?n=1000", "/v2/app/tags/list?n=3&last=2", "/v2/app/tags/list?p=2")[page]
        hostile.serve(path, json.dumps({"tags": [f"v{page}"]}).encode(), "application/json", Link=more)
    assert list(connect(hostile).tags()) == ["v0", "v1", "v2"]
    hostile.rule("/tags/", headers={"Link": f'<{registry.url}/v2/app/tags/list>; rel="next"'})
    with pytest.raises(RegistryError, match="at another host"):
        list(connect(hostile).tags())
    hostile.clear()
    hostile.rule("/tags/", headers={"Link": '</v2/app/tags/list?p=2>; rel="next"'})
    assert list(connect(hostile).tags()) == ["v0", "v2"]  # it would never end
    hostile.clear()
    hostile.rule("/tags/", status=200, body=b'{"tags": null}')
    assert list(connect(hostile).tags()) == []


def test_search_by_catalog(
    registry: Registry, auth_registry: Registry, docker_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minidock.registry.search._PAGE", 2)
    for name in ("a/web", "b/other", "c/webserver", "d/web", "web"):
        push_image(registry, name, "x")
    with Client(Config(), Kept(), environment={}) as client:  # type: ignore[arg-type]
        found = client.search(f"{registry.host}/web")
        assert [result.name for result in found] == ["a/web", "c/webserver", "d/web", "web"]
        assert [result.name for result in client.search(f"{registry.host}/web", 2)] == ["a/web", "c/webserver"]
        assert client.search(f"{registry.host}/web", filters={"stars": ["3"]}) == []
        with pytest.raises(RegistryUnauthorized, match="minidock login"):
            client.search(f"{auth_registry.host}/web")


def test_search_api(hostile: HostileRegistry, docker_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [
        {"name": "one", "description": "A \u2014 b", "star_count": 7, "is_official": True, "is_automated": False},
        {"name": "two", "description": None, "star_count": 1},
    ]
    body = json.dumps({"num_results": 2, "results": results}).encode()
    hostile.serve("/v1/search", body, "application/json")
    with Client(Config(), Kept(), environment={}) as client:  # type: ignore[arg-type]
        one, two = client.search(f"{hostile.host}/some words")
        assert (one.name, one.star_count, one.is_official) == ("one", 7, True)
        assert (two.name, two.description) == ("two", "")
        assert hostile.requests("GET", "/v1/search")[0].path == "/v1/search?q=some+words&n=25"
        assert client.search(f"{hostile.host}/x", filters={"is-official": ["true"]}) == [one]
        assert client.search(f"{hostile.host}/x", filters={"stars": ["8"]}) == []
        monkeypatch.setattr("minidock.registry.search._HUB_INDEX", hostile.url)
        assert client.search("x", 1) == [one]
        hostile.rule("/v1/search", status=400)
        with pytest.raises(RegistryError, match="refused with 400"):
            client.search("x")


# -- credentials


def test_wrong_and_no_credentials(auth_registry: Registry, token_registry: Registry, connect: Connect) -> None:
    for registry in (auth_registry, token_registry):
        push_image(registry, "app", "x")
        for login in (None, Login(USERNAME, "wrong")):
            for ask in ("head", "manifest"):
                with pytest.raises(RegistryUnauthorized, match="minidock login"):
                    getattr(connect(registry, login=login), ask)("x")
    with pytest.raises(RegistryUnauthorized, match=r"pull access denied for .*/app, repository does not exist or may"):
        connect(auth_registry).manifest("x")
    assert connect(auth_registry, login=Login(OTHER_USERNAME, OTHER_PASSWORD)).head("x") is not None


def test_check_login(auth_registry: Registry, token_registry: Registry, docker_config: Path) -> None:
    with Client(Config(), Kept(), environment={}) as client:  # type: ignore[arg-type]
        assert client.check_login(auth_registry.host, ALICE) == ALICE
        for registry in (auth_registry, token_registry):
            with pytest.raises(RegistryUnauthorized, match=r"incorrect username|unauthorized|authentication required"):
                client.check_login(registry.host, Login(USERNAME, "wrong"))
    with Client(Config(), Kept(), environment={}) as client:  # type: ignore[arg-type]
        kept = client.check_login(token_registry.host, ALICE)
    assert (kept.password, kept.username) == ("", USERNAME)
    assert kept.identity_token
    push_image(token_registry, "app", "x")
    with Client(Config(), Kept(everywhere=kept), environment={}) as client:  # type: ignore[arg-type]
        assert client.repository(parse(f"{token_registry.host}/app")).head("x") is not None
    assert token_registry.tokens is not None
    assert token_registry.tokens.issued[-1].how == "refresh_token"


def test_server_without_oauth(token_registry: Registry, token_server: TokenServer, connect: Connect) -> None:
    push_image(token_registry, "app", "x")
    token_server.post = False
    token_server.token_key = "access_token"
    assert connect(token_registry, login=Login(USERNAME, PASSWORD, "an-identity")).head("x") is not None
    assert [request.method for request in token_server.requests] == ["POST", "GET"]


def test_registry_token(token_registry: Registry, token_server: TokenServer, connect: Connect) -> None:
    push_image(token_registry, "app", "x")
    token = token_server.sign(["repository:app:pull"], USERNAME)
    token_server.requests.clear()
    assert connect(token_registry, login=Login("", "", "", token)).head("x") is not None
    assert token_server.requests == []


def test_token_ends_in_the_middle(
    token_registry: Registry, token_server: TokenServer, connect: Connect, blob_file: Callable[[bytes], int]
) -> None:
    pushed = push_image(token_registry, "app", "x")
    token_server.valid = 0  # the registry takes none of them
    repository = connect(token_registry, login=ALICE, push=True)
    with pytest.raises(RegistryUnauthorized):
        repository.manifest("x")
    assert len(token_server.issued) == 1  # the one that it had just got is no worse than another
    token_server.valid = 300
    assert repository.manifest("x").digest == pushed.manifest  # the 401 renews it
    assert len(token_server.issued) == 2
    data = os.urandom(200_000)
    fd = blob_file(data)
    revoked = repository._session.authorizer._tokens  # as time would
    for key, token in revoked.items():
        revoked[key] = token._replace(text=token_server.sign([], USERNAME, valid=0))
    repository.upload(digest_of(data), len(data), fd)
    os.close(fd)
    assert len(token_server.issued) == 3
    assert get_blob(token_registry, "app", digest_of(data)) == data


def test_token_is_renewed_before_its_end(token_registry: Registry, token_server: TokenServer, connect: Connect) -> None:
    push_image(token_registry, "app", "x")
    repository = connect(token_registry, login=ALICE)
    repository.head("x")
    tokens = repository._session.authorizer._tokens
    for key, token in tokens.items():
        tokens[key] = token._replace(until=0.0)
    token_registry.forget()
    repository.head("x")
    assert len(token_server.issued) == 2
    assert token_registry.requests(status=401) == []


def test_token_server_fails(token_registry: Registry, token_server: TokenServer, connect: Connect) -> None:
    push_image(token_registry, "app", "x")
    token_server.refuse = [500, 503]
    assert connect(token_registry, login=ALICE).head("x") is not None
    token_server.refuse = [403]
    with pytest.raises(RegistryUnauthorized, match=r"get a token for .*: refused by the test"):
        connect(token_registry, login=ALICE).head("x")


@pytest.mark.parametrize("status", [403, 404])
def test_registry_that_hides(hostile: HostileRegistry, connect: Connect, status: int) -> None:
    """Without a login it says that there is nothing, and asks for one nowhere but at /v2/."""
    hostile.add("app", "x", IMAGE)
    hostile.rule("/v2/$", status=200, times=1)  # the question for the protocol
    hostile.rule("/v2/$", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    hostile.rule("/manifests/", status=status, times=1)
    assert connect(hostile, login=ALICE).manifest("x").data == IMAGE.manifest
    hostile.clear()
    hostile.rule("/manifests/", status=404)
    for login in (ALICE, None):
        repository = connect(hostile, login=login)
        for _ in range(2):
            with pytest.raises(ImageNotFound):
                repository.manifest("x")
    assert len([seen for seen in hostile.requests("GET") if seen.path == "/v2/"]) == 3


def test_token_server_must_be_safe(hostile: HostileRegistry, connect: Connect, authority: Authority) -> None:
    hostile.add("app", "x", IMAGE)
    for realm in ("", "ftp://a/token", "http://user:pw@127.0.0.1/token", "file:///etc/passwd"):
        hostile.challenge = f'Bearer realm="{realm}",service="s"'
        with pytest.raises(RegistryError, match="token server"):
            connect(hostile, login=ALICE).head("x")
    hostile.challenge = 'Digest realm="x", nonce="y", Negotiate'
    with pytest.raises(RegistryUnauthorized, match="asks for digest, negotiate"):
        connect(hostile, login=ALICE).head("x")


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"[]", b'{"token":1}', b"{}", b'{"token":"a\\r\\nX: y"}', b"[" * 100_000, b"x" * (2 << 20)],
)
def test_bad_answers_of_token_servers(hostile: HostileRegistry, connect: Connect, answer: bytes) -> None:
    hostile.challenge = f'Bearer realm="{hostile.url}/token",service="s"'
    hostile.accept = lambda headers: False
    hostile.rule("^/token", status=200, body=answer)
    with pytest.raises(RegistryError) as caught:
        connect(hostile, login=ALICE).head("x")
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


# -- redirects


def test_redirect_drops_credentials(
    hostile: HostileRegistry, make_hostile: Callable[..., HostileRegistry], connect: Connect
) -> None:
    """CVE-2020-15157, and back again: what left the registry's origin is not trusted when it leads back."""
    other = make_hostile()
    hostile.challenge = 'Basic realm="x"'
    hostile.add("app", "x", IMAGE)
    other.add("app", "x", IMAGE)
    hostile.rule("/blobs/", redirect=other.url, skip=1)
    assert fetch(connect(hostile, login=ALICE)) == LAYER
    assert "authorization" in hostile.requests("GET", "/blobs/")[-1].headers
    assert [seen.headers.get("authorization") for seen in other.requests()] == [None]
    other.clear()
    other.rule("/blobs/", redirect=f"{hostile.url}/elsewhere")
    with pytest.raises(RegistryError):
        fetch(connect(hostile, login=ALICE))
    assert hostile.requests("GET", "/elsewhere")
    assert all("authorization" not in seen.headers for seen in hostile.requests("GET", "/elsewhere"))
    assert all("authorization" not in seen.headers for seen in other.requests())


def test_redirect_within_the_origin_keeps_credentials(hostile: HostileRegistry, connect: Connect) -> None:
    hostile.challenge = 'Basic realm="x"'
    hostile.add("app", "x", IMAGE)
    hostile.add("moved", "x", IMAGE)
    hostile.rule("/app/blobs/", redirect=f"/v2/moved/blobs/{DIGEST}")
    assert fetch(connect(hostile, login=ALICE)) == LAYER


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://x/", "http://[", "gopher://x", "http://\x7f/"])
def test_redirects_that_are_refused(hostile: HostileRegistry, connect: Connect, target: str) -> None:
    hostile.rule("/blobs/", status=307, headers={"Location": target})
    with pytest.raises(RegistryError, match="redirects to"):
        fetch(connect(hostile))


def test_redirects_without_end(hostile: HostileRegistry, connect: Connect) -> None:
    hostile.rule("/blobs/", redirect=f"{hostile.url}/v2/app/blobs/{DIGEST}")
    with pytest.raises(RegistryError, match="more than 10 redirects"):
        fetch(connect(hostile))


def test_redirect_from_https_to_http(
    make_hostile: Callable[..., HostileRegistry],
    connect: Connect,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if loopback were any host.
    monkeypatch.setattr("minidock.registry.hosts.is_loopback", lambda host: False)
    plain, secure = make_hostile(), make_hostile(authority=authority)
    plain.add("app", "x", IMAGE)
    secure.add("app", "x", IMAGE)
    folder = tmp_path / secure.host
    folder.mkdir()
    (folder / "ca.crt").write_bytes(authority.cert.read_bytes())
    env = {"MINIDOCK_CERTS_D": str(tmp_path)}
    assert fetch(connect(secure, env=env)) == LAYER
    secure.rule("/blobs/", redirect=plain.url)
    with pytest.raises(RegistryError, match="from https to http"):
        fetch(connect(secure, env=env))
    assert plain.requests() == []
    secure.challenge = f'Bearer realm="{plain.url}/token"'
    with pytest.raises(RegistryError, match="does not use https"):
        connect(secure, env=env, login=ALICE).head("x")
    with pytest.raises(RegistryUnreachable, match="certificate is not trusted"):
        connect(secure, env={}).head("x")
    with pytest.raises(RegistryUnreachable):
        connect(plain, env={}, config=Config(max_download_attempts=1)).head("x")  # no http where nothing allows it
    insecure = Config(insecure_registries=(secure.host, "127.0.0.0/8"))
    secure.challenge = None
    assert fetch(connect(secure, env={}, config=insecure)) == LAYER
    assert connect(plain, env={}, config=insecure).head("x") is not None


# -- attempts


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
        repository.manifest("x", cancel=Cancel(timeout=0.3))
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
    thread.join(20)
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


# -- broken and lying streams


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


def test_further_places(
    hostile: HostileRegistry, make_hostile: Callable[..., HostileRegistry], connect: Connect
) -> None:
    other = make_hostile()
    other.add("else", "x", IMAGE)
    hostile.challenge = 'Basic realm="x"'
    url = f"{other.url}/v2/else/blobs/{DIGEST}"
    places = ("file:///etc/passwd", "http://not.loopback.invalid/x", f"{other.url}/nothing", url)
    with connect(hostile, login=ALICE).blob(DIGEST, size=len(LAYER), urls=places) as reader:
        got = bytearray()
        drain(reader, memoryview(bytearray(1 << 16)), got)
    assert got == LAYER
    assert all("authorization" not in seen.headers for seen in other.requests())


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


# -- uploads that break


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


# -- mirrors and proxies


def test_mirrors(make_hostile: Callable[..., HostileRegistry], docker_config: Path) -> None:
    broken, mirror, proxy = make_hostile(), make_hostile(), make_hostile()
    broken.rule("", status=404)
    mirror.add("library/app", "x", IMAGE)
    config = Config(registry_mirrors=(broken.url, f"{mirror.url}/"), max_download_attempts=1)
    kept = Kept(**{"docker.io": ALICE})
    with Client(config, kept, environment={"HTTPS_PROXY": proxy.url}) as client:  # type: ignore[arg-type]
        repository = client.repository(parse("app"))
        assert repository.manifest("x").data == IMAGE.manifest
        assert fetch(repository) == LAYER
        with pytest.raises(RegistryError):  # and what they have not, Docker Hub is asked for, here by a bad proxy
            repository.manifest("y")
    assert proxy.requests("CONNECT")[0].path == "registry-1.docker.io:443"
    assert all("authorization" not in seen.headers for seen in mirror.requests())


def test_unwilling_mirror_is_asked_once(make_hostile: Callable[..., HostileRegistry], docker_config: Path) -> None:
    dead, mirror = make_hostile(), make_hostile()
    dead.rule("", status=429, headers={"Retry-After": "3600"})
    mirror.add("library/app", "x", IMAGE)
    with Client(Config(registry_mirrors=(dead.url, mirror.url)), Kept(), environment={}) as client:  # type: ignore[arg-type]
        repository = client.repository(parse("app"))
        assert repository.manifest("x").data == IMAGE.manifest
        assert fetch(repository) == LAYER
    assert len(dead.requests()) == 1


def test_proxy(make_hostile: Callable[..., HostileRegistry], docker_config: Path, connect: Connect) -> None:
    proxy = make_hostile()
    proxy.serve("http://registry.test:5000/v2/app/manifests/x", IMAGE.manifest, IMAGE.media_type)
    proxy.rule("http://registry.test:5000/v2/$", status=200)
    proxy.rule("", method="CONNECT", status=502)
    url = f"http://user:p%40ss@{proxy.host}"
    config = Config(insecure_registries=("registry.test:5000",), max_download_attempts=1)
    with Client(config, Kept(), environment={"http_proxy": url, "HTTPS_PROXY": url}) as client:  # type: ignore[arg-type]
        manifest = client.repository(parse("registry.test:5000/app")).manifest("x")
    assert manifest.data == IMAGE.manifest
    assert {seen.headers["proxy-authorization"] for seen in proxy.requests()} == {"Basic dXNlcjpwQHNz"}


class Tunnel:
    """A proxy that knows CONNECT only, and connects to this machine whatever the name; ``seen`` are its requests."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://user:p%40ss@127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.seen.append(head)
        port = int(head.split()[1].rpartition(b":")[2])
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    (server if ready is client else client).sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)


def test_tunnel(tls_registry: Registry, docker_config: Path) -> None:
    """TLS to a host that only the proxy can find, with the CA of that host."""
    pushed = push_image(tls_registry, "app", "x")
    name = f"registry.test:{tls_registry.port}"
    (tls_registry.certs_d / name).symlink_to(tls_registry.host)
    tunnel = Tunnel()
    try:
        proxies = Proxies(https_proxy=tunnel.url)
        with Client(Config(proxies=proxies), Kept(), environment=tls_registry.env) as client:  # type: ignore[arg-type]
            assert client.repository(parse(f"{name}/app")).manifest("x").digest == pushed.manifest
        with (
            Client(Config(proxies=proxies), Kept(), environment={}) as client,  # type: ignore[arg-type]
            pytest.raises(RegistryUnreachable, match="certificate is not trusted"),
        ):
            client.repository(parse(f"{name}/app")).manifest("x")
    finally:
        tunnel.close()
    assert tunnel.seen[0].startswith(f"CONNECT {name} ".encode())
    assert b"proxy-authorization: basic dxnlcjpwqhnz" in tunnel.seen[0].lower()


def test_password_does_not_go_over_plain_http(
    hostile: HostileRegistry, docker_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minidock.registry.hosts.is_loopback", lambda host: False)
    hostile.challenge = 'Basic realm="x"'
    hostile.add("library/app", "x", IMAGE)
    config = Config(registry_mirrors=(hostile.url,), max_download_attempts=1)
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"}
    with (
        Client(config, Kept(everywhere=ALICE), environment=nowhere) as client,  # type: ignore[arg-type]
        pytest.raises(RegistryUnreachable),
    ):
        client.repository(parse("app")).manifest("x")
    assert hostile.requests()
    assert all("authorization" not in seen.headers for seen in hostile.requests())


def test_insecure_tls(make_registry: Callable[..., Registry], authority: Authority, connect: Connect) -> None:
    registry = make_registry(authority=authority)
    pushed = push_image(registry, "app", "x")
    assert connect(registry, env={}).manifest("x").digest == pushed.manifest  # this machine's needs no CA


def test_ipv6(make_registry: Callable[..., Registry], connect: Connect, blob_file: Callable[[bytes], int]) -> None:
    repository = connect(make_registry(address="[::1]"), push=True)
    fd = blob_file(LAYER)
    repository.upload(DIGEST, len(LAYER), fd)
    os.close(fd)
    assert fetch(repository) == LAYER


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
        thread.join(10)


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
    with repository.blob(DIGEST, size=len(LAYER), cancel=Cancel(timeout=0.7)) as reader, pytest.raises(Timeout):
        drain(reader, view)


# -- the quick way


def test_quick_head(
    registry: Registry, tls_registry: Registry, auth_registry: Registry, hostile: HostileRegistry
) -> None:
    pushed = push_image(registry, "some/app", "v1")
    found = quick.head(Config(), parse(f"{registry.host}/some/app:v1"), {})
    assert found is not None
    assert (found.digest, found.media_type) == (pushed.manifest, OCI_MANIFEST)
    assert quick.head(Config(), parse(f"{registry.host}/some/app@{pushed.manifest}"), {}) == found
    assert quick.head(Config(), parse(f"{registry.host}/some/app:v2"), {}) is None
    assert quick.head(Config(), parse(f"{tls_registry.host}/app:v1"), tls_registry.env) is None
    assert quick.head(Config(), parse(f"{tls_registry.host}/app:v1"), {}) is None
    push_image(auth_registry, "app", "v1")
    assert quick.head(Config(), parse(f"{auth_registry.host}/app:v1"), {}) is None
    hostile.add("app", "x", IMAGE)
    reference = parse(f"{hostile.host}/app:x")
    assert quick.head(Config(), reference, {}) is not None
    hostile.rule("/manifests/", headers={"Docker-Content-Digest": None}, times=1)
    assert quick.head(Config(), reference, {}) is None
    hostile.rule("/manifests/", redirect=registry.url, times=1)
    assert quick.head(Config(), reference, {}) is None
    registry.stop()
    assert quick.head(Config(), parse(f"{registry.host}/some/app:v1"), {}) is None
