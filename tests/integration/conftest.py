"""Fixtures of the tests of the registry client, of mounts, and of the server."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from minidock import Engine, _native
from minidock.config import Config
from minidock.images.references import parse
from minidock.registry.client import Client
from minidock.registry.credentials import Login
from minidock.registry.repository import Repository
from minidock.registry.wire import Limits
from tests.conftest import Roots
from tests.hostile import HostileRegistry
from tests.integration.registry_clients import Connect, Kept
from tests.registry import Registry
from tests.serving import Served, served


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


@pytest.fixture
def blob_file(tmp_path: Path) -> Callable[[bytes], int]:
    """A descriptor on some bytes."""

    def make(data: bytes) -> int:
        path = tmp_path / hashlib.sha256(data).hexdigest()
        path.write_bytes(data)
        return os.open(path, os.O_RDONLY)

    return make


@pytest.fixture
def source(roots: Roots) -> Path:
    """A directory of the host with a file, which containers may use where SELinux is enforced, too."""
    path = roots.data.parent / "source"
    path.mkdir()
    if _native.selinux_enabled():
        os.setxattr(path, "security.selinux", b"system_u:object_r:container_file_t:s0\0")  # the file's as well
    (path / "file").write_text("host\n")
    return path


@pytest.fixture
def image(engine: Engine, busybox: str) -> str:
    """An image with two volumes, one of them with content."""
    script = "mkdir -p /full/sub; cd /full; echo image >file; ln file hard; chown 5:6 /full; chmod 2750 /full"
    container = engine.containers.create(busybox, ["sh", "-c", script], network="none")
    container.start()
    container.wait()
    container.commit("vol", changes=["VOLUME /full", "VOLUME /empty"])
    container.remove()
    return "vol"


@pytest.fixture
def server(roots: Roots, busybox: str) -> Iterator[Served]:
    """`minidock serve` on the test's roots, with the image ``busybox``."""
    with served(roots) as it:
        yield it


@pytest.fixture
def client(server: Served) -> Iterator[docker.DockerClient]:
    """docker-py, which knows nothing of minidock."""
    it = docker.DockerClient(base_url=server.url, version="auto", timeout=60)
    yield it
    it.close()
