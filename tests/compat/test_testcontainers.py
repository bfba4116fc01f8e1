"""testcontainers-python, unmodified, against `minidock serve`: containers, waiting, networks, images, files.

The package's source has no tests in it, so these are the flows of its documentation. Ryuk's own source is in no package
index either; ``suites/reaper.c`` speaks its protocol, and what the client does with it is the client's own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer, ExecConfig
from testcontainers.core.image import DockerImage
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import (
    CompositeWaitStrategy,
    ContainerStatusWaitStrategy,
    ExecWaitStrategy,
    FileExistsWaitStrategy,
    HealthcheckWaitStrategy,
    HttpWaitStrategy,
    LogMessageWaitStrategy,
    PortWaitStrategy,
)

import minidock
from tests.conftest import Roots, wait_for
from tests.serving import Served, served

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
SERVE = ["sh", "-c", "mkdir /www; echo page > /www/index.html; echo ready; exec httpd -f -p 80 -h /www"]


@pytest.fixture
def server(
    net_roots: Roots, net_busybox: minidock.Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Served]:
    """A server that clients of this process find by DOCKER_HOST; Ryuk is off."""
    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)
    monkeypatch.setattr(testcontainers_config, "sleep_time", 0.05)
    with served(net_roots) as it:
        monkeypatch.setenv("DOCKER_HOST", it.url)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        yield it


def url(container: DockerContainer) -> str:
    """Where port 80 of a container is for the host."""
    return f"http://{container.get_container_host_ip()}:{container.get_exposed_port(80)}/"


def get(where: str) -> bytes:
    with urllib.request.urlopen(where, timeout=60) as answer:
        return bytes(answer.read())


def test_a_container(server: Served, net_busybox: minidock.Engine, tmp_path: Path) -> None:
    """Ports, environment, volumes, files both ways, limits and labels; and nothing of it is left."""
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "file").write_text("from the host\n")
    (tmp_path / "env").write_text("FILE=yes\n")
    it = (
        DockerContainer("busybox")
        .with_command(SERVE)
        .with_exposed_ports(80)
        .with_env("A", "1")
        .with_env_file(tmp_path / "env")
        .with_name("tc")
        .with_volume_mapping(tmp_path / "mounted", "/mounted")
        .with_tmpfs_mount("/scratch", "size=1m")
        .with_copy_into_container(b"copied\n", "/etc/copied", 0o600)
        .with_kwargs(mem_limit="64m", hostname="named", labels={"a": "b"}, init=True)
        .waiting_for(HttpWaitStrategy(80).for_status_code(200).for_response_predicate(lambda text: "page" in text))
    )
    with it:
        assert get(url(it)) == b"page\n"
        assert it.status == "running"
        assert it.get_logs() == (b"ready\n", b"")
        script = "echo $A $FILE; cat /mounted/file /etc/copied; touch /mounted/x 2>&1; hostname; stat -c %a /etc/copied"
        code, output = it.exec(["sh", "-c", script])
        lines = ["1 yes", "from the host", "copied", "touch: /mounted/x: Read-only file system", "named", "600"]
        assert (code, output.decode().splitlines()) == (0, lines)
        where = ExecConfig(["sh", "-c", "pwd; id -u; echo $B; exit 3"], "app", {"B": "2"}, "/scratch")
        assert it.exec(where) == (3, b"/scratch\n1000\n2\n")
        it.copy_into_container(b"later\n", "/later")
        it.copy_from_container("/later", tmp_path / "back")
        assert (tmp_path / "back").read_text() == "later\n"
        info = it.get_container_info()
        assert info is not None
        assert info.HostConfig is not None
        assert info.HostConfig.Memory == 64 << 20
        assert it.get_wrapped_container().labels["a"] == "b"
        assert it.get_wrapped_container().labels["org.testcontainers"] == "true"
    assert net_busybox.containers.list(all=True) == []


@pytest.mark.parametrize(
    "strategy",
    [
        LogMessageWaitStrategy("ready"),
        PortWaitStrategy(80),
        ExecWaitStrategy(["test", "-e", "/www/index.html"]),
        ContainerStatusWaitStrategy(),
        HealthcheckWaitStrategy(),
        CompositeWaitStrategy(LogMessageWaitStrategy("ready"), HttpWaitStrategy(80, "/index.html")),
    ],
    ids=lambda one: type(one).__name__,
)
def test_waiting(server: Served, strategy: object) -> None:
    check = {"test": ["CMD", "test", "-e", "/www/index.html"], "interval": 100_000_000}
    it = DockerContainer("busybox", command=SERVE, ports=[80], healthcheck=check)  # type: ignore[arg-type]

    def answers() -> bool:
        with contextlib.suppress(OSError):  # not each of them waits for httpd
            return get(url(it)) == b"page\n"
        return False

    with it.waiting_for(strategy.with_startup_timeout(60)):  # type: ignore[attr-defined]
        wait_for(answers)


def test_waiting_in_vain(server: Served, net_busybox: minidock.Engine, tmp_path: Path) -> None:
    """What never comes is given up, and the container is gone."""
    it = DockerContainer("busybox", command=["sleep", "60"])  # type: ignore[arg-type]
    for strategy in (LogMessageWaitStrategy("never"), FileExistsWaitStrategy(tmp_path / "never")):
        with pytest.raises(TimeoutError), it.waiting_for(strategy.with_startup_timeout(1)):
            pass
        assert net_busybox.containers.list(all=True) == []


def test_its_end(server: Served) -> None:
    with DockerContainer("busybox", command=["sh", "-c", "echo out; echo err >&2; exit 3"]) as it:  # type: ignore[arg-type]
        assert it.wait() == 3
        assert it.get_logs() == (b"out\n", b"err\n")


def test_networks(server: Served, net_busybox: minidock.Engine) -> None:
    """Two on a network of their own, by an alias; a third that is connected later."""
    with Network() as network:
        shop = DockerContainer("busybox", command=SERVE, network=network, network_aliases=["shop"])  # type: ignore[arg-type]
        buyer = DockerContainer("busybox", command=["sleep", "60"], network=network)  # type: ignore[arg-type]
        late = DockerContainer("busybox", command=["sleep", "60"])  # type: ignore[arg-type]
        with shop.waiting_for(LogMessageWaitStrategy("ready")), buyer, late:
            fetch = ["sh", "-c", "until wget -qO- http://shop/; do sleep 0.1; done 2>/dev/null"]
            assert buyer.exec(fetch) == (0, b"page\n")
            assert late.exec(["nslookup", "shop"]).exit_code != 0
            network.connect(late.get_container_id(), ["late"])
            assert late.exec(fetch) == (0, b"page\n")
            assert buyer.exec(["ping", "-c1", "late"]).exit_code == 0
    assert {one.name for one in net_busybox.networks.list()} == {"bridge", "host", "none"}


def test_images(server: Served, net_busybox: minidock.Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the context\n")
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nARG NAME\nCOPY file /\nRUN echo $NAME >> /file\nCMD cat /file\n"
    )
    with DockerImage(tmp_path, tag="made:1", buildargs={"NAME": "argument"}, clean_up=True) as image:
        assert image.short_id
        with DockerContainer(str(image)) as it:
            assert it.wait() == 0
            assert it.get_logs()[0] == b"of the context\nargument\n"
    assert "made:1" not in {tag for one in net_busybox.images.list() for tag in one.tags}


CLIENT = """
import os, sys
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID
network = Network().create()
it = DockerContainer("busybox", command=["sleep", "600"], network=network).start()
it.get_docker_client().client.volumes.create("kept", labels={LABEL_SESSION_ID: SESSION_ID})
print(it.get_container_id(), flush=True)
sys.stdin.read()
"""


def test_ryuk_reaps_after_its_client_was_killed(
    server: Served, net_busybox: minidock.Engine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """All that a killed client has made goes; what others have made stays."""
    source = Path(__file__).parent / "suites" / "reaper.c"
    subprocess.run(["cc", "-O1", "-static", "-o", tmp_path / "ryuk", source], check=True)
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY ryuk /ryuk\nCMD ["/ryuk"]\n')
    net_busybox.images.build(str(tmp_path), tags=["testcontainers/ryuk:0.8.1"])
    others = net_busybox.containers.run("busybox", ["sleep", "600"], detach=True, network="none")
    env = {**os.environ, "RYUK_RECONNECTION_TIMEOUT": "1s", "HOME": str(tmp_path)}
    client = subprocess.Popen([sys.executable, "-c", CLIENT], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert client.stdout is not None
        made = client.stdout.readline().decode().strip()
        names = {one.name for one in net_busybox.containers.list()}
        assert len(names) == 3
        assert any(name.startswith("testcontainers-ryuk-") for name in names)
        assert made in {one.id for one in net_busybox.containers.list()}
        assert len(net_busybox.networks.list()) == 4
        client.send_signal(signal.SIGKILL)
        wait_for(lambda: [one.id for one in net_busybox.containers.list(all=True)] == [others.id], 30, "the reaper")
        assert {one.name for one in net_busybox.networks.list()} == {"bridge", "host", "none"}
        assert net_busybox.volumes.list() == []
    finally:
        client.kill()
        client.communicate()
        others.remove(force=True)
