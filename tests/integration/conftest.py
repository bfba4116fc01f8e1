"""Fixtures of the tests of the registry client."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.config import Config
from minidock.images.references import parse
from minidock.registry.client import Client
from minidock.registry.credentials import Login
from minidock.registry.repository import Repository
from minidock.registry.wire import Limits
from tests.hostile import HostileRegistry
from tests.integration.registry_clients import Connect, Kept
from tests.registry import Registry


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
