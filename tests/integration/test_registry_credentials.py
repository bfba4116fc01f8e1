"""Passwords and tokens: who gets them, when they are renewed, and who must not get them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.config import Config
from minidock.errors import ImageNotFound, RegistryError, RegistryUnauthorized, RegistryUnreachable
from minidock.images.references import parse
from minidock.registry.client import Client
from minidock.registry.credentials import Login
from tests.certificates import Authority
from tests.hostile import HostileRegistry
from tests.integration.registry_clients import ALICE, DIGEST, IMAGE, LAYER, Connect, Kept, fetch
from tests.registry import OTHER_PASSWORD, OTHER_USERNAME, PASSWORD, USERNAME, Registry, digest_of, get_blob, push_image
from tests.tokens import TokenServer


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
