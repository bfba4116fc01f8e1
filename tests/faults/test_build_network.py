"""A network that fails in the middle of a build: of what ADD fetches, and of caches in registries."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock.build import events, fetching
from minidock.build.failures import BuildFailed
from minidock.errors import RegistryError
from minidock.registry import session, wire
from minidock.store.cleaner import cleaner
from tests.certificates import Authority
from tests.conftest import Cli, Roots
from tests.faults.build_state import left
from tests.hostile import HostileRegistry
from tests.integration.building import build, out, steps
from tests.registry import Registry

SIZE = 200_000
FETCHED: list[tuple[dict[str, Any], str]] = [
    ({"truncate_after": 1000}, "the connection broke, or ended early"),
    ({"reset_after": 1000}, "the connection broke, or ended early"),
    ({"length": SIZE + 1, "truncate_after": SIZE}, "the connection broke, or ended early"),
    ({"stall_after": 1000}, "no answer for 1 s"),
    ({"rate": 4000}, "bytes in 1 s"),
    ({"endless": True}, "larger than 0 GiB"),
    ({"status": 503}, "invalid response status 503"),
    ({"redirect": "http://127.0.0.1:1/file"}, "connect to 127.0.0.1:1: connection refused"),
    ({"redirect": "/file"}, "more than 10 redirects"),
    ({"redirect": "file:///etc/passwd"}, "which is no web address"),
]
"""How a server treats a request, and what is said of it."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a second seem long, and a megabyte much."""
    monkeypatch.setattr(fetching, "_LIMITS", wire.Limits(connect=1, read=1, answer=1, window=1, rate=1 << 20))
    monkeypatch.setattr(fetching, "_MAX_SIZE", 1 << 20)
    monkeypatch.setattr(wire, "TICK", 0.05)


@pytest.mark.usefixtures("impatient")
def test_what_add_fetches(
    engine: minidock.Engine, busybox: str, roots: Roots, hostile: HostileRegistry, tmp_path: Path
) -> None:
    """The step fails and says why, leaves nothing, and is not in the cache; with a whole file it passes."""
    hostile.serve("/file", b"x" * SIZE)
    dockerfile = f"FROM {busybox}\nADD {hostile.url}/file?token=hidden /f\n"
    for rule, words in FETCHED:
        hostile.clear()
        hostile.rule("/file", **rule)
        with pytest.raises(BuildFailed) as caught:
            build(engine, tmp_path, dockerfile)
        assert words in caught.value.reason, rule
        assert caught.value.reason.startswith("fetch http://127.0.0.1:")
        assert "hidden" not in caught.value.reason
        assert caught.value.line == 2
        cleaner.flush()
        assert left(roots) == []
        assert engine.builder.entries() == []
    hostile.clear()
    assert out(engine, build(engine, tmp_path, dockerfile), "wc -c < /f") == f"{SIZE}\n"


def test_what_has_no_certificate(
    engine: minidock.Engine, busybox: str, make_hostile: Callable[..., HostileRegistry], tmp_path: Path,
    authority: Authority,
) -> None:  # fmt: skip
    """A server that nobody vouches for, one that speaks something else, and none."""
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    silent.close()
    plain = make_hostile()
    for url, words in (
        (f"{make_hostile(authority=authority).url}/f", "certificate verify failed"),
        (f"https://{plain.host}/f", "wrong version number|record layer failure"),
        (f"http://127.0.0.1:{port}/f", "connection refused"),
        ("http://nowhere.invalid/f", ""),
    ):
        with pytest.raises(BuildFailed, match=f"fetch {url}: .*({words})"):
            build(engine, tmp_path, f"FROM {busybox}\nADD {url} /f\n")


CACHED = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /u\nRUN head -c 300000 /dev/urandom > /big\n"
Seen = list[events.Event]


def cached(engine: minidock.Engine, directory: Path, **options: Any) -> list[bool]:
    """Build; returns which steps came from a cache."""
    seen: Seen = []
    build(engine, directory, CACHED, progress=seen.append, **options)
    return list(steps(seen).values())


@pytest.fixture
def between(engine: minidock.Engine, busybox: str, registry: Registry, make_hostile: Any, tmp_path: Path) -> Any:
    """A registry that has a cache of :data:`CACHED`, which this host has forgotten, behind one that can be hostile."""
    made = make_hostile(upstream=registry.url)
    build(engine, tmp_path, CACHED, cache_to=[f"type=registry,ref={made.host}/team/app"])
    engine.images.prune(filters={"dangling": ["true"]})
    engine.builder.prune(all=True)
    made.clear()
    return made


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ({"truncate_after": 1000, "times": 2}, [True, True]),
        ({"reset_after": 1000, "times": 2}, [True, True]),
        ({"status": 503, "times": 1}, [True, True]),
        ({"status": 404, "skip": 1}, [True, False]),
        ({"status": 403, "skip": 1}, [True, False]),
        ({"reset_after": 1000, "skip": 1}, [True, False]),
    ],
)
def test_a_cache_that_breaks_while_it_is_read(
    engine: minidock.Engine, between: HostileRegistry, roots: Roots, tmp_path: Path, rule: dict[str, Any],
    found: list[bool], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It goes on where it broke, or without what is not to be had; nothing half is used."""
    from minidock.images import pulling

    monkeypatch.setattr(pulling, "ATTEMPTS", 3)
    between.rule("/blobs/sha256", **{"skip": 1, **rule, **({"skip": rule["skip"] + 1} if "skip" in rule else {})})
    assert cached(engine, tmp_path, cache_from=[f"{between.host}/team/app"]) == found
    cleaner.flush()
    assert left(roots) == []
    assert cached(engine, tmp_path) == [True, True]


def test_a_cache_that_breaks_while_it_is_written(
    engine: minidock.Engine,
    between: HostileRegistry,
    roots: Roots,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection that breaks is taken up again; when it always breaks, the build is in the local cache."""
    where = f"type=registry,ref={between.host}/team/other"
    monkeypatch.setattr(session, "sleep", lambda _seconds, _cancel: None)
    between.rule("/uploads/", reset_upload_after=0)
    with pytest.raises(RegistryError):
        cached(engine, tmp_path, cache_to=[where])
    cleaner.flush()
    assert left(roots) == []
    assert cached(engine, tmp_path, cache_to=[f"{where},ignore-error=true"]) == [True, True]
    between.clear()
    between.rule("/uploads/", reset_upload_after=1000, times=1)
    assert cached(engine, tmp_path, cache_to=[where]) == [True, True]
    engine.images.prune(filters={"dangling": ["true"]})
    engine.builder.prune(all=True)
    between.clear()
    assert cached(engine, tmp_path, cache_from=[f"{between.host}/team/other"]) == [True, True]


def test_a_cache_that_wants_a_password(
    cli_busybox: Cli, auth_registry: Registry, docker_config: Path, tmp_path: Path
) -> None:
    """Without the right one a cache is not read, which is told, and not written, which is an error."""
    where = f"{auth_registry.host}/team/app"
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY Dockerfile /\n")

    def run(*words: str) -> tuple[int, str]:
        done = cli_busybox(
            "build", "--progress=plain", *words, str(tmp_path), env={"DOCKER_CONFIG": str(docker_config)}
        )
        return done.returncode, done.stderr.decode()

    for password in ("", "wrong", auth_registry.password):
        if password:
            word = base64.b64encode(f"{auth_registry.username}:{password}".encode()).decode()
            (docker_config / "config.json").write_text(json.dumps({"auths": {auth_registry.host: {"auth": word}}}))
        code, log = run("--cache-to", f"type=registry,ref={where}")
        assert code == (password != auth_registry.password), log
        if code:
            assert f"minidock login {auth_registry.host}" in log.splitlines()[-1]
        code, log = run("--cache-from", where)
        assert code == 0
        assert ("ERROR: " in log) == (password != auth_registry.password)
        assert "wrong" not in log
