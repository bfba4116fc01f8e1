"""The two engines that others' test suites run against, each in a network namespace of its own.

Nothing that a suite leaves or prunes touches what else is on the host. What uses this is a program of its own.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.compat.beside import PEERS
from tests.compat.suites.hub import hub
from tests.conftest import roots_of_their_own
from tests.registry import Registry
from tests.serving import UnixConnection, served

_CLONE_NEWNET = 0x40000000
PEERS_ROOT = Path(os.environ.get("PEERS_ROOT", "/var/tmp/peers"))


@contextmanager
def engine(name: str, folder: Path) -> Iterator[tuple[str, Registry]]:
    """DOCKER_HOST of an engine without images, and its hub, whose files are in a folder.

    ``docker`` is a new daemon of the peers', ``minidock`` is ours. The process moves into a new network namespace.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    make = peers_engine if name == "docker" else our_engine
    with hub(folder / "hub") as registry, make(registry.url) as host:
        yield host, registry


@contextmanager
def our_engine(mirror: str) -> Iterator[str]:
    """`minidock serve` on roots of its own; nothing may be left of them but networks, which go with the namespace."""
    import minidock

    with roots_of_their_own({"registry-mirrors": [mirror]}) as roots, served(roots) as server:
        yield server.url
        with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as it:
            for container in it.containers.list(all=True):
                container.remove(force=True)
            for network in it.networks.list():
                if network.name not in ("bridge", "host", "none"):
                    network.remove()


@contextmanager
def peers_engine(mirror: str) -> Iterator[str]:
    """A dockerd of the peers' with a data root of its own."""
    name = f"suites-{secrets.token_hex(3)}"
    data, run = f"/srv/peers/{name}", f"/run/{name}"
    socket = PEERS_ROOT / "run" / f"{name}.sock"
    options = ["--data-root", data, "--exec-root", run, "--pidfile", f"{run}.pid", "-H", f"unix://{run}.sock"]
    log = (PEERS_ROOT / f"{name}.log").open("wb")
    daemon = subprocess.Popen(
        [PEERS, "exec", "dockerd", *options, "--registry-mirror", mirror],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    try:
        end = time.monotonic() + 60
        while not _answers(socket):
            assert daemon.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < end, "dockerd does not answer"
            time.sleep(0.05)
        yield f"unix://{socket}"
    finally:
        daemon.terminate()
        daemon.wait(60)
        log.close()
        for left in (PEERS_ROOT / "run").glob(f"{name}*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        shutil.rmtree(PEERS_ROOT / "data" / name, ignore_errors=True)
        print(Path(log.name).read_text()[-20000:], file=sys.stderr)
        Path(log.name).unlink()


def _answers(socket: Path) -> bool:
    try:
        connection = UnixConnection(socket)
        connection.request("GET", "/_ping")
        return connection.getresponse().read() == b"OK"
    except OSError:
        return False
