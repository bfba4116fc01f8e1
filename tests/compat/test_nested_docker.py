"""Engines in each other's containers: Docker's daemon in minidock's, minidock in Docker's."""

from __future__ import annotations

import secrets
import shutil
import site
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from tests.compat.beside import PEERS, PEERS_ROOT
from tests.hosts.test_nested import INNER
from tests.rootfs import busybox_tar, packages_tar

DOCKER = """
set -e
dockerd --data-root /inner/docker -H unix:///run/inner.sock --exec-root /run/inner --pidfile /run/inner.pid >/log 2>&1 &
daemon=$!
export DOCKER_HOST=unix:///run/inner.sock
tries=0
until docker version >/dev/null 2>&1; do
  kill -0 $daemon && [ $tries -lt 300 ] || { tail -20 /log; exit 1; }
  tries=$((tries + 1)); sleep 0.2
done
docker import - busybox <"$TAR" >/dev/null
docker run --rm --network none busybox echo the inner one
docker run -d --name one --memory 32m --pids-limit 20 busybox sleep 1000 >/dev/null
docker exec one sh -c 'echo another; ip -o addr show eth0 | wc -l'
docker run --rm --network none --memory 16m busybox dd if=/dev/zero of=/dev/null bs=200M count=1 || echo "killed $?"
docker rm -f one >/dev/null
docker ps -aq
kill $daemon
wait $daemon
"""


@pytest.mark.skipif(
    not (PEERS_ROOT / "root/usr/sbin/dockerd").exists(), reason="the peers' docker is not installed: peers up"
)
def test_docker_in_minidock(engine: minidock.Engine) -> None:
    """The daemon with its default network and limits, on a volume, in a privileged container."""
    result = engine.containers.run(
        None,
        ["sh", "-c", DOCKER],
        rootfs=str(PEERS_ROOT / "root"),
        privileged=True,
        network="none",
        remove=True,
        volumes=["inner:/inner", f"{busybox_tar()}:/busybox.tar:ro"],
        environment={"TAR": "/busybox.tar", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert result.exit_code == 0, result
    assert result.stdout.decode().split("\n") == ["the inner one", "another", "1", "killed 137", ""], result


@pytest.fixture
def docker_image() -> Iterator[tuple[str, str]]:
    """A Debian with Python as an image of Docker's, and a directory with minidock, as Docker's daemon sees it."""
    name = f"minidock-nested-{secrets.token_hex(3)}"
    if not PEERS.exists() or subprocess.run([PEERS, "docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip("the peers' docker does not run: peers up")
    folder = PEERS_ROOT / "data" / name
    folder.mkdir()
    try:
        packages = Path(site.getsitepackages()[0])
        for one in ("click", "h11", "msgspec", "rich", "urllib3", "wsproto"):
            shutil.copytree(packages / one, folder / one)
        shutil.copytree(Path(minidock.__file__).parent, folder / "minidock")
        shutil.copy(busybox_tar(), folder / "busybox.tar")
        with packages_tar("python3").open("rb") as tar:
            subprocess.run([PEERS, "docker", "import", "-", name], stdin=tar, check=True, capture_output=True)
        yield name, f"/srv/peers/{name}"
    finally:
        subprocess.run([PEERS, "docker", "rmi", "-f", name], capture_output=True, check=False)
        shutil.rmtree(folder)


def test_minidock_in_docker(docker_image: tuple[str, str]) -> None:
    """A privileged container of Docker's, with a volume for the data root."""
    image, folder = docker_image
    env = [
        f"--env={pair}"
        for pair in ("PYTHON=python3", "PYTHONPATH=/minidock", "TAR=/minidock/busybox.tar", "HOME=/root")
    ]
    options = ["--rm", "--privileged", "--network=none", "-v", "/inner", "-v", f"{folder}:/minidock:ro", *env]
    done = subprocess.run(
        [PEERS, "docker", "run", *options, image, "sh", "-c", INNER], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["the inner one", "another", "killed 137", ""], done
