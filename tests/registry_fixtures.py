"""Fixtures around :mod:`tests.registry`; `tests/conftest.py` makes them known everywhere.

Each registry lives for one test. The fixtures set ``DOCKER_CONFIG`` to an empty directory of the test, and those with
TLS set ``MINIDOCK_CERTS_D``, for this process and for commands that start after them (`registry.env` has the latter).
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.hostile import HostileRegistry
from tests.registry import Registry
from tests.tokens import TokenServer

__all__ = [
    "auth_registry",
    "authority",
    "docker_config",
    "hostile",
    "make_hostile",
    "make_registry",
    "registry",
    "registry_folder",
    "tls_registry",
    "token_registry",
    "token_server",
]


@pytest.fixture
def registry_folder() -> Iterator[Path]:
    """A directory for the files of the test's registries."""
    base = Path("/var/tmp") / f"mdr-{secrets.token_hex(4)}"
    base.mkdir(mode=0o700)
    yield base
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def docker_config(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ``DOCKER_CONFIG`` directory of the test's own."""
    path = registry_folder / "docker"
    path.mkdir(mode=0o700)
    monkeypatch.setenv("DOCKER_CONFIG", str(path))
    return path


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The certificate authority of the test run."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def make_registry(registry_folder: Path, docker_config: Path) -> Iterator[Callable[..., Registry]]:
    """Start registries: ``make_registry(authority=…, basic=True, tokens=…, proxy=…)``, as :class:`Registry` takes."""
    made: list[Registry] = []

    def make(**options: object) -> Registry:
        registry = Registry(registry_folder / f"registry{len(made)}", **options)  # type: ignore[arg-type]
        made.append(registry)
        return registry

    yield make
    for registry in made:
        registry.close()


@pytest.fixture
def registry(make_registry: Callable[..., Registry]) -> Registry:
    """A registry that speaks plain HTTP and lets everybody do everything."""
    return make_registry()


@pytest.fixture
def tls_registry(
    make_registry: Callable[..., Registry], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Registry:
    """A registry with a certificate of the test run's private CA."""
    made = make_registry(authority=authority)
    monkeypatch.setenv("MINIDOCK_CERTS_D", str(made.certs_d))
    return made


@pytest.fixture
def auth_registry(make_registry: Callable[..., Registry]) -> Registry:
    """A registry with Basic authentication: ``registry.username``, ``registry.password``."""
    return make_registry(basic=True)


@pytest.fixture
def token_server(registry_folder: Path) -> Iterator[TokenServer]:
    """The token server behind ``token_registry``; change its fields, read ``issued`` and ``requests``."""
    server = TokenServer(registry_folder / "tokens")
    yield server
    server.close()


@pytest.fixture
def token_registry(make_registry: Callable[..., Registry], token_server: TokenServer) -> Registry:
    """A registry that wants tokens of ``token_server``, which is also ``registry.tokens``."""
    return make_registry(tokens=token_server)


@pytest.fixture
def hostile() -> Iterator[HostileRegistry]:
    """A scriptable registry in memory over plain HTTP, see :mod:`tests.hostile`."""
    with HostileRegistry() as made:
        yield made


@pytest.fixture
def make_hostile() -> Iterator[Callable[..., HostileRegistry]]:
    """Start several scriptable registries: ``make_hostile(authority=…, upstream=registry.url)``."""
    made: list[HostileRegistry] = []

    def make(**options: object) -> HostileRegistry:
        made.append(HostileRegistry(**options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for registry in made:
        registry.close()
