"""Mirrors, proxies, insecure registries: where the client goes."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.config import Config, Proxies
from minidock.errors import RegistryError, RegistryUnreachable
from minidock.images.references import parse
from minidock.registry.client import Client
from tests.certificates import Authority
from tests.hostile import HostileRegistry
from tests.integration.registry_clients import ALICE, DIGEST, IMAGE, LAYER, Connect, Kept, fetch
from tests.registry import Registry, push_image


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
        with client, contextlib.suppress(ConnectionError):  # a client may just go away
            self._relay(client)

    def _relay(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(4096)
            if not data:
                return
            head += data
        self.seen.append(head)
        port = int(head.split()[1].rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port)) as server:
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
            thread.join(60)


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
