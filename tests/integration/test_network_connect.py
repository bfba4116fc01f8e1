"""Networks of containers that run already: connect, disconnect, faults."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock.errors import Conflict, ContainerNotFound, InvalidArgument, NetworkNotFound
from tests import net
from tests.conftest import Cli, Roots, wait_for
from tests.integration.test_network_containers import look_up, ran, said, settings


def routes(container: minidock.Container) -> list[str]:
    return [line.strip() for line in said(container, "ip", "route").splitlines() if line.startswith("default")]


def actions(engine: minidock.Engine, container: minidock.Container) -> list[tuple[str, str]]:
    """The events of networks of a container."""
    found = engine.events(since=0, until="0s", filters={"type": "network"})
    with found:
        events = [event for event in found if event.attributes.get("container") == container.id]
    return [(event.action, event.attributes["name"]) for event in events]


def test_connect_and_disconnect(net_busybox: minidock.Engine) -> None:
    for name in ("app", "web"):
        net_busybox.networks.create(name)
    web = ran(net_busybox, name="web", network="web")
    container = ran(net_busybox, name="aa")
    bridge = settings(container)["Gateway"]
    inode = said(container, "stat", "-c", "%i", "/etc/hosts")
    network = net_busybox.networks.get("web")
    network.connect(container, aliases=["x"])
    shown = settings(container)["Networks"]["web"]
    assert shown["Aliases"] == ["x"]
    assert shown["DNSNames"] == ["aa", "x", container.short_id]
    assert f"{shown['IPAddress']}\t{container.short_id}\n" in said(container, "cat", "/etc/hosts")
    assert said(container, "stat", "-c", "%i", "/etc/hosts") == inode
    assert "nameserver 127.0.0.11" in said(container, "cat", "/etc/resolv.conf")
    assert look_up(container, "web") == {web.ip}
    assert look_up(web, "x") == {shown["IPAddress"]}
    assert routes(container) == [f"default via {bridge} dev eth0"]
    with pytest.raises(Conflict, match="endpoint with name aa already exists in network web"):
        network.connect(container)
    network.disconnect(container)
    assert list(settings(container)["Networks"]) == ["bridge"]
    assert shown["IPAddress"] not in said(container, "cat", "/etc/hosts")
    assert look_up(web, "x") == set()
    with pytest.raises(Conflict, match=f"container {container.id} is not connected to network web"):
        network.disconnect(container)
    assert actions(net_busybox, container)[-2:] == [("connect", "web"), ("disconnect", "web")]


def test_the_default_route_goes_where_it_should(net_busybox: minidock.Engine) -> None:
    for name in ("app", "web"):
        net_busybox.networks.create(name)
    port = net.free_port()
    container = ran(net_busybox, net.serving("x"), network="web", publish=[f"{port}:80"])
    container.wait_for_http("/", timeout=60)
    net_busybox.networks.get("app").connect(container)
    shown = settings(container)["Networks"]
    assert routes(container) == [f"default via {shown['app']['Gateway']} dev eth1"]
    assert net.get("127.0.0.1", port) == "x\n"
    net_busybox.networks.get("app").disconnect(container)
    assert routes(container) == [f"default via {shown['web']['Gateway']} dev eth0"]
    net_busybox.networks.get("app").connect(container)
    net_busybox.networks.get("web").disconnect(container)
    assert routes(container) == [f"default via {shown['app']['Gateway']} dev eth1"]
    for host in ("127.0.0.1", *net.host_addresses()):
        assert net.get(host, port) == "x\n"
    net_busybox.networks.get("app").disconnect(container)
    assert routes(container) == []
    assert settings(container)["Networks"] == {}
    net_busybox.networks.get("app").connect(container)
    assert len(routes(container)) == 1
    assert net.get("127.0.0.1", port) == "x\n"


def test_containers_that_do_not_run(net_busybox: minidock.Engine) -> None:
    for name in ("app", "web"):
        net_busybox.networks.create(name)
    container = net_busybox.containers.create("busybox", ["sleep", "1000"])
    net_busybox.networks.get("web").connect(container)
    net_busybox.networks.get("web").connect(container, aliases=["x"])
    net_busybox.networks.get("bridge").disconnect(container)
    assert list(settings(container)["Networks"]) == ["web"]
    container.start()
    assert said(container, "ls", "/sys/class/net").split() == ["eth0", "lo"]
    assert settings(container)["Networks"]["web"]["Aliases"] == ["x"]
    container.stop(timeout=0)
    net_busybox.networks.get("web").disconnect(container)
    assert settings(container)["Networks"] == {}
    container.start()
    assert said(container, "ls", "/sys/class/net").split() == ["lo"]


def test_from_no_network_to_one(net_busybox: minidock.Engine) -> None:
    network = net_busybox.networks.create("web")
    container = ran(net_busybox, net.serving("x"), network="none", name="aa")
    with pytest.raises(InvalidArgument, match=r"one of the networks in private \(none\) mode"):
        network.connect(container)
    net_busybox.networks.get("none").disconnect(container)
    assert settings(container)["Networks"] == {}
    network.connect(container)
    assert container.wait_for_port(80, timeout=60).address == (settings(container)["Networks"]["web"]["IPAddress"], 80)
    assert net.get(container.ip, 80) == "x\n"


def test_what_cannot_be_connected(net_busybox: minidock.Engine) -> None:
    network = net_busybox.networks.create("web")
    container = ran(net_busybox)
    with pytest.raises(ContainerNotFound):
        network.connect("nosuch")
    with pytest.raises(InvalidArgument, match="cannot connect container to host network"):
        net_busybox.networks.get("host").connect(container)
    with pytest.raises(InvalidArgument, match=r"one of the networks in private \(none\) mode"):
        net_busybox.networks.get("none").connect(container)
    with pytest.raises(InvalidArgument, match="only when connecting to networks with user configured subnets"):
        network.connect(container, ipv4_address="192.0.2.1")
    on_host = ran(net_busybox, network="host")
    with pytest.raises(InvalidArgument, match="container sharing network namespace with another container or host"):
        network.connect(on_host)
    with pytest.raises(InvalidArgument, match="cannot disconnect container from host network"):
        net_busybox.networks.get("host").disconnect(on_host)
    with pytest.raises(Conflict, match="is not connected to network web"):
        network.disconnect(container)
    other = ran(net_busybox, network="web")
    with pytest.raises(InvalidArgument, match="network-scoped alias is supported only for containers in user defined"):
        net_busybox.networks.get("bridge").connect(other, aliases=["x"])
    container.remove(force=True)
    other.remove(force=True)
    network.remove()
    with pytest.raises(NetworkNotFound):
        network.connect(on_host)


def test_a_supervisor_that_is_killed_leaves_nothing(net_busybox: minidock.Engine, net_roots: Roots) -> None:
    net_busybox.networks.create("web")
    port = net.free_port()
    options: dict[str, Any] = {"publish": [f"{port}:80"], "name": "aa"}
    container = ran(net_busybox, net.serving("x"), network="web", **options)
    container.wait_for_http("/", timeout=60)
    ends = container.record.endpoints["web"]
    file = net_roots.run / "networks" / ends.network / "endpoints" / container.id
    assert file.exists()
    assert ends.host_interface in net.interfaces()
    os.kill(_supervisor(net_roots, container), signal.SIGKILL)
    wait_for(lambda: settings(container) and container.status == "exited", 10)
    assert not file.exists()
    assert not net_busybox.store.networks.every()
    wait_for(lambda: ends.host_interface not in net.interfaces(), 5)
    container.remove()
    again = ran(net_busybox, net.serving("y"), network="web", ip=None, **options)
    assert again.wait_for_http("/", timeout=60) == port
    for host in net.host_addresses():
        assert net.get(host, port) == "y\n"


def _supervisor(roots: Roots, container: minidock.Container) -> int:
    from minidock.containers import liveness

    file = liveness.pid_file(str(roots.run / "containers" / container.id))
    assert file is not None
    return file.supervisor


def test_after_a_boot_nothing_is_left(net_busybox: minidock.Engine, net_cli: Cli, net_roots: Roots) -> None:
    """The run root is gone, and so is every process, who started it too: as after a boot."""
    net_cli.ok("run", "-d", "--name", "aa", "-p", "80", "busybox", *net.serving("x"))
    container = net_busybox.containers.get("aa")
    ends = container.record.endpoints["bridge"]
    bridge = net_busybox.networks.get("bridge").record.bridge
    container.reload()
    for pid in (_supervisor(net_roots, container), container.state.pid):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: ends.host_interface not in net.interfaces(), 5)
    net_busybox.close()
    shutil.rmtree(net_roots.run)
    assert bridge in net.interfaces()
    container = net_busybox.containers.get("aa")
    assert container.status == "exited"
    assert not net_busybox.store.networks.every()
    container.start()
    container.wait_for_http("/", timeout=60)
    # Its subnet may be another one: in this test the old bridge was in the way, which after a boot it is not.
    now = container.record.endpoints["bridge"].network
    assert (Path(net_roots.run) / "networks" / now / "network.json").exists()


def test_restarts_keep_what_they_have(net_busybox: minidock.Engine) -> None:
    net_busybox.networks.create("web")
    port = net.free_port()
    container = ran(net_busybox, net.serving("x"), network="web", restart="always", publish=[f"{port}:80"], name="aa")
    other = ran(net_busybox, network="web")
    before = container.ip
    container.wait_for_http("/", timeout=60)
    os.kill(container.state.pid, signal.SIGKILL)
    wait_for(lambda: settings(container) and container.record.restart_count == 1 and container.status == "running", 10)
    assert container.wait_for_http("/", timeout=60) == port
    assert container.ip == before
    assert look_up(other, "aa") == {before}
    container.restart(timeout=0)
    assert container.wait_for_http("/", timeout=60) == port


def test_an_address_is_used_again_last(net_busybox: minidock.Engine) -> None:
    net_busybox.networks.create("web")
    first = ran(net_busybox, network="web")
    address = first.ip
    first.remove(force=True)
    assert ran(net_busybox, network="web").ip != address
