"""python-on-whales, unmodified, with the peers' docker command against `minidock serve`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import python_on_whales
from python_on_whales import DockerClient
from python_on_whales.exceptions import DockerException, NoSuchContainer

import minidock
from tests.compat.beside import PEERS
from tests.compat.suites.engines import PEERS_ROOT
from tests.conftest import Roots
from tests.serving import served


@pytest.fixture
def docker(
    net_roots: Roots, net_busybox: minidock.Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[DockerClient]:
    program = PEERS_ROOT / "root" / "usr" / "bin" / "docker"
    if not PEERS.exists() or not program.exists():
        pytest.skip("the peers' docker command is not here")
    plugins = tmp_path / "config" / "cli-plugins"
    plugins.mkdir(parents=True)
    for plugin in (PEERS_ROOT / "root" / "usr" / "libexec" / "docker" / "cli-plugins").iterdir():
        (plugins / plugin.name).symlink_to(plugin)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    with served(net_roots) as server:
        yield DockerClient(client_call=[os.fspath(program)], host=server.url)


def test_containers(docker: DockerClient, tmp_path: Path) -> None:
    assert docker.run("busybox", ["echo", "hi"], remove=True, networks=["none"]) == "hi"
    made = docker.run("busybox", ["sleep", "60"], detach=True, name="whale", labels={"a": "b"}, networks=["none"])
    assert isinstance(made, python_on_whales.Container)
    assert made.state.running
    assert made.config.labels == {"a": "b"}
    assert [one.name for one in docker.ps(filters=[("name", "whale")])] == ["whale"]
    assert made.execute(["sh", "-c", "echo $A"], envs={"A": "B"}) == "B"
    with pytest.raises(DockerException) as caught:
        made.execute(["sh", "-c", "exit 7"])
    assert caught.value.return_code == 7
    (tmp_path / "in").write_text("data")
    docker.copy(tmp_path / "in", (made, "/root/in"))
    docker.copy((made, "/root/in"), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "data"
    made.rename("other")
    made.pause()
    assert docker.container.inspect("other").state.paused
    made.unpause()
    made.restart(time=0)
    assert docker.stats(made)[0].container_name == "other"
    assert docker.container.diff(made)["/root/in"] == "A"
    made.stop(time=0)
    assert docker.wait(made) == 137
    made.remove()
    with pytest.raises(NoSuchContainer):
        docker.container.inspect("other")


def test_logs_are_followed(docker: DockerClient) -> None:
    script = "for i in 1 2 3; do echo $i; sleep 0.1; done"
    made = docker.run("busybox", ["sh", "-c", script], detach=True, networks=["none"])
    assert isinstance(made, python_on_whales.Container)
    assert list(docker.logs(made, follow=True, stream=True)) == [
        ("stdout", b"1\n"),
        ("stdout", b"2\n"),
        ("stdout", b"3\n"),
    ]
    made.remove(force=True)


def test_images(docker: DockerClient, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo built > /file\nCMD cat /file\n")
    docker.legacy_build(tmp_path, tags=["made:1"])
    docker.tag("made:1", "other:2")
    docker.save("other:2", output=tmp_path / "tar")
    docker.image.remove(["made:1", "other:2"])
    assert docker.load(tmp_path / "tar") == ["other:2"]
    assert docker.run("other:2", remove=True, networks=["none"]) == "built"
    assert docker.image.inspect("other:2").config.cmd == ["/bin/sh", "-c", "cat /file"]
    docker.image.remove("other:2")
    assert not docker.image.exists("other:2")


def test_volumes_and_networks(docker: DockerClient) -> None:
    volume = docker.volume.create("vol", labels={"a": "b"})
    network = docker.network.create("net")
    served = docker.run(
        "busybox", ["sleep", "60"], detach=True, name="aa", networks=["net"], volumes=[(volume, "/data")]
    )
    other = docker.run("busybox", ["sleep", "60"], detach=True, name="bb", networks=["net"], network_aliases=["alias"])
    assert isinstance(served, python_on_whales.Container)
    assert isinstance(other, python_on_whales.Container)
    served.execute(["ping", "-c1", "alias"])
    served.execute(["touch", "/data/f"])
    assert len(docker.network.inspect("net").containers) == 2
    docker.network.disconnect(network, other)
    docker.remove([served, other], force=True)
    network.remove()
    volume.remove()
    assert docker.volume.list() == []


def test_events_and_the_system(docker: DockerClient) -> None:
    before = docker.system.info().containers
    made = docker.run("busybox", ["true"], detach=True, name="whale", networks=["none"])
    assert isinstance(made, python_on_whales.Container)
    docker.wait(made)
    made.remove()
    seen = [
        one.action
        for one in docker.system.events(since=timedelta(hours=1), until=datetime.now(), filters={"type": "container"})
    ]
    assert [one for one in seen if one in ("create", "start", "die", "destroy")] == [
        "create",
        "start",
        "die",
        "destroy",
    ]
    assert docker.system.info().containers == before == 0
    assert docker.system.disk_free().images.total_count == len(docker.image.list())


def test_compose(docker: DockerClient, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services: {web: {image: busybox, command: [sleep, '60'], network_mode: none}}\n")
    client = DockerClient(
        client_call=docker.client_config.client_call, host=docker.client_config.host, compose_files=[file]
    )
    client.compose.up(detach=True)
    assert [one.state.running for one in client.compose.ps()] == [True]
    assert client.compose.execute("web", ["echo", "in"], tty=False) == "in"
    client.compose.down(timeout=0)
    assert client.compose.ps() == []
