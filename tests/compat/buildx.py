"""The peers' docker with buildx and compose, unmodified, against a `minidock serve` of a test module's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import minidock
from tests.compat.beside import PEERS, PEERS_ROOT
from tests.conftest import Roots, roots_of_their_own
from tests.rootfs import busybox_tar
from tests.serving import Served, served

ROOT = PEERS_ROOT / "root" / "usr"
PLUGINS = ROOT / "libexec" / "docker" / "cli-plugins"
PLAIN = ("--progress", "plain")


class Docker(NamedTuple):
    """The peers' command, and the server that it talks to."""

    server: Served
    engine: minidock.Engine
    env: dict[str, str]

    def popen(self, *words: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [ROOT / "bin" / "docker", *words],
            cwd=cwd,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, *words: str, cwd: Path, data: bytes = b"", code: int = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [ROOT / "bin" / "docker", *words],
            cwd=cwd,
            env={**self.env, **env},
            input=data,
            capture_output=True,
            timeout=100,
            check=False,
        )
        out, err = (data.decode(errors="replace") for data in (done.stdout, done.stderr))
        assert done.returncode == code, (words, out, err)
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def build(self, cwd: Path, *words: str, data: bytes = b"", code: int = 0, **env: str) -> str:
        """Build; returns the log."""
        return self.run("build", "--network", "none", *PLAIN, *words, cwd=cwd, data=data, code=code, **env).stderr

    def cat(self, image: str, path: str) -> str:
        return self.run("run", "--rm", "--network", "none", image, "cat", path, cwd=Path("/")).stdout


@pytest.fixture(scope="module")
def module_roots() -> Iterator[Roots]:
    with roots_of_their_own({"bridge": "none"}) as roots:
        yield roots


@pytest.fixture(scope="module")
def docker(module_roots: Roots, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """One server for all: it serves many builds, as it would."""
    if not PEERS.exists() or not (PLUGINS / "docker-buildx").exists():
        pytest.skip("the peers' docker is not here")
    if subprocess.run([PLUGINS / "docker-buildx", "version"], capture_output=True, check=False).returncode:
        pytest.skip("the peers' buildx does not run outside their root")
    config = tmp_path_factory.mktemp("docker")
    (config / "cli-plugins").mkdir()
    for name in ("docker-buildx", "docker-compose"):
        (config / "cli-plugins" / name).symlink_to(PLUGINS / name)
    root, run = str(module_roots.data), str(module_roots.run)
    with (
        minidock.Engine(data_root=root, run_root=run, config=str(module_roots.config)) as engine,
        served(module_roots) as server,
    ):
        engine.images.import_(str(busybox_tar()), repository="busybox", changes=['CMD ["sh"]'])
        env = {**os.environ, "DOCKER_HOST": server.url, "DOCKER_CONFIG": str(config)}
        for name in ("DOCKER_BUILDKIT", "BUILDX_BUILDER", "SOURCE_DATE_EPOCH"):
            env.pop(name, None)
        yield Docker(server, engine, env)
        assert "Traceback" not in server.log.read_text()
