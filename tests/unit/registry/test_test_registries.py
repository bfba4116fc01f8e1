"""The registries that the tests of the registry client stand on do what their docstrings say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.images import tar_of
from tests.registry import (
    ACCEPT,
    DOCKER_LIST,
    Registry,
    basic_header,
    digest_of,
    get_blob,
    get_manifest,
    has_link,
    list_blobs,
    list_tags,
    open_uploads,
    push_blob,
    push_image,
    push_index,
)
from tests.tokens import TokenServer

LAYERS = [tar_of(("a", b"1")), tar_of(("b", b"2"))]


@pytest.mark.parametrize("docker_types", [False, True])
@pytest.mark.parametrize("how", ["gzip", "zstd", "none"])
def test_push_and_read_back(registry: Registry, how: str, docker_types: bool) -> None:
    pushed = push_image(
        registry, "some/app", "v1", LAYERS, compress=how, docker_types=docker_types, config={"Cmd": ["x"]}
    )
    manifest = json.loads(get_manifest(registry, "some/app", "v1").body)
    config = json.loads(get_blob(registry, "some/app", pushed.config))
    assert config["rootfs"]["diff_ids"] == [digest_of(layer) for layer in LAYERS]
    assert manifest["config"]["digest"] == pushed.config
    assert pushed == push_image(
        registry, "some/app", "v2", LAYERS, compress=how, docker_types=docker_types, config={"Cmd": ["x"]}
    )
    assert list_tags(registry, "some/app") == ["v1", "v2"]
    assert set(list_blobs(registry)) == {*pushed, *(layer["digest"] for layer in manifest["layers"])}


def test_index_and_log(registry: Registry) -> None:
    one = push_image(registry, "app", "", LAYERS[:1], platform="linux/amd64")
    two = push_image(registry, "app", "", LAYERS[1:], platform="linux/arm/v7", docker_types=True)
    images = [(one.manifest, "linux/amd64"), (two.manifest, "linux/arm/v7")]
    digest = push_index(registry, "app", "all", images, docker_types=True)
    found = get_manifest(registry, "app", "all")
    assert found.headers["content-type"] == DOCKER_LIST
    assert digest_of(found.body) == digest
    assert json.loads(found.body)["manifests"][1]["platform"]["variant"] == "v7"
    assert registry.accesses() == []  # the oracle's own requests do not count

    blob = push_blob(registry, "app", b"0123456789")
    headers = {"User-Agent": "client", "Range": "bytes=4-"}
    assert registry.request("GET", f"/v2/app/blobs/{blob}", headers=headers).body == b"456789"
    (access,) = registry.requests("GET", blob)
    assert (access.status, access.size) == (206, 6)
    registry.forget()
    assert registry.accesses() == []

    assert registry.request("POST", "/v2/app/blobs/uploads/").status == 202
    assert open_uploads(registry, "app") == 1
    assert registry.request("POST", f"/v2/other/blobs/uploads/?mount={blob}&from=app").status == 201
    assert has_link(registry, "other", blob)
    assert registry.request("DELETE", f"/v2/app/manifests/{digest}").status == 202
    assert registry.request("GET", "/v2/app/manifests/all", headers={"Accept": ACCEPT}).status == 404


def test_stop_and_start_keep_port_and_storage(registry: Registry) -> None:
    pushed = push_image(registry, "app", "x", LAYERS)
    host = registry.host
    registry.stop()
    with pytest.raises(ConnectionRefusedError):
        registry.request("GET", "/v2/")
    registry.start()
    assert registry.host == host
    assert digest_of(get_manifest(registry, "app", "x").body) == pushed.manifest


def test_tls(tls_registry: Registry) -> None:
    pushed = push_image(tls_registry, "app", "x", LAYERS)
    assert digest_of(get_manifest(tls_registry, "app", "x").body) == pushed.manifest
    assert (tls_registry.certs_d / tls_registry.host / "ca.crt").is_file()


def test_client_certificates(make_registry: Callable[..., Registry], authority: Authority) -> None:
    registry = make_registry(authority=authority, client_certs=True)
    push_image(registry, "app", "x", LAYERS)
    assert (registry.certs_d / registry.host / "client.key").is_file()


def test_basic(auth_registry: Registry) -> None:
    push_image(auth_registry, "app", "x", LAYERS)
    refused = auth_registry.request("GET", "/v2/", authorized=False)
    assert refused.status == 401
    assert refused.headers["www-authenticate"].startswith("Basic realm=")
    for header, status in (
        (basic_header("alice", "s3cret"), 200),
        (basic_header("bob", ":pa ss:wörd"), 200),
        (basic_header("alice", "wrong"), 401),
    ):
        headers = {"Authorization": header}
        assert auth_registry.request("GET", "/v2/", headers=headers, authorized=False).status == status


def test_tokens(token_registry: Registry, token_server: TokenServer) -> None:
    push_image(token_registry, "app", "x", LAYERS)
    refused = token_registry.request("GET", "/v2/app/manifests/x", authorized=False)
    assert refused.status == 401
    challenge = refused.headers["www-authenticate"]
    assert challenge.startswith(f'Bearer realm="{token_server.realm}",service="minidock-tests"')
    assert 'scope="repository:app:pull"' in challenge

    def status(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}", "Accept": ACCEPT}
        return token_registry.request("GET", "/v2/app/manifests/x", headers=headers, authorized=False).status

    def get(headers: dict[str, str], **query: str) -> tuple[int, dict[str, object]]:
        return token_server.answer("GET", {name: [value] for name, value in query.items()}, headers)

    _, nobody = get({}, scope="repository:app:pull")
    assert status(str(nobody["token"])) == 401
    login = {"authorization": basic_header("alice", "s3cret")}
    _, alice = get(login, scope="repository:app:pull", offline_token="true")
    assert status(str(alice["token"])) == 200
    form = {
        "grant_type": ["refresh_token"],
        "refresh_token": [str(alice["refresh_token"])],
        "scope": ["repository:app:pull,push"],
    }
    _, refreshed = token_server.answer("POST", form, {})
    assert status(str(refreshed["access_token"])) == 200
    assert get({"authorization": basic_header("alice", "no")})[0] == 401
    assert [issue.how for issue in token_server.issued] == ["get", "get", "refresh_token"]
    assert len(token_server.requests) == 4

    token_server.valid = 0
    _, stale = get(login, scope="repository:app:pull")
    time.sleep(1.1)  # the claim counts in whole seconds
    assert status(str(stale["token"])) == 401


def test_pull_through(registry: Registry, make_registry: Callable[..., Registry]) -> None:
    pushed = push_image(registry, "library/app", "x", LAYERS)
    mirror = make_registry(proxy=registry.url)
    assert digest_of(get_manifest(mirror, "library/app", "x").body) == pushed.manifest
    assert registry.requests(part="library/app/manifests")


def test_nothing_stays(registry_folder: Path) -> None:
    with Registry(registry_folder / "one") as registry:
        process = registry._process
        assert process is not None
    assert process.returncode == -9
    assert not registry.folder.exists()
