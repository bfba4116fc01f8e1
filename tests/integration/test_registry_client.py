"""The registry client against Debian's docker-registry: what works, and the quick look at a manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.config import Config
from minidock.errors import ImageNotFound, NotFound, RegistryError, RegistryUnauthorized
from minidock.images.references import parse
from minidock.registry import quick
from minidock.registry.client import Client
from minidock.registry.credentials import Login
from tests.certificates import Authority
from tests.hostile import HostileRegistry
from tests.images import tar_of
from tests.integration.registry_clients import ALICE, IMAGE, Connect, Kept, fetch
from tests.registry import OCI_MANIFEST, USERNAME, Registry, build_image, digest_of, get_blob, push_blob, push_image


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
