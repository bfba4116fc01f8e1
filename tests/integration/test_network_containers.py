"""Containers on networks: the plain picture, addresses, names, published ports, what inspect and ps show."""

from __future__ import annotations

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import minidock
import minidock.networks.network
from minidock.errors import AddressInUse, Conflict, ContainerNotFound, InvalidArgument, NetworkNotFound
from tests import net
from tests.conftest import Cli, wait_for

SLEEP = ["sleep", "1000"]


def ran(engine: minidock.Engine, command: list[str] | None = None, **options: Any) -> minidock.Container:
    """A busybox that runs in the background."""
    return engine.containers.run("busybox", command or SLEEP, detach=True, **options)


def settings(container: minidock.Container) -> dict[str, Any]:
    """Its NetworkSettings now."""
    container.reload()
    found: dict[str, Any] = container.attrs["NetworkSettings"]
    return found


def said(container: minidock.Container, *command: str) -> str:
    """What a command in it prints."""
    return container.exec(list(command), check=True).stdout.decode()


def fetched(container: minidock.Container, host: str, port: int = 80, timeout: float = 30) -> str:
    """What a web server answers to one who is in a container's network."""
    container.reload()
    return net.in_namespace(container.state.pid, lambda: net.get(host, port, timeout=timeout))


def test_the_plain_picture(net_busybox: minidock.Engine) -> None:
    """A bridge, containers at .2, .3 and .4, three web servers published on three ports."""
    first = net.free_port()
    ports = [first, *(net.free_port() for _ in range(2))]
    webs = [
        ran(net_busybox, net.serving(f"web{number}"), name=f"web{number}", publish=[f"{port}:80"])
        for number, port in enumerate(ports)
    ]
    for number, (web, port) in enumerate(zip(webs, ports, strict=True)):
        assert web.ip.endswith(f".{number + 2}")
        assert web.wait_for_port(80, timeout=60) == port
        assert web.wait_for_http("/") == port
        for host in (*net.LOOPBACKS, *net.host_addresses()):
            assert net.get(host, port) == f"web{number}\n", host
        assert net.get(web.ip, 80) == f"web{number}\n"
    assert fetched(webs[0], webs[2].ip) == "web2\n"
    gateway = settings(webs[0])["Gateway"]
    assert fetched(webs[0], gateway, ports[1]) == "web1\n"
    assert fetched(webs[0], gateway, ports[0]) == "web0\n"  # by way of the host to itself


def test_run_has_the_default_network(net_busybox: minidock.Engine) -> None:
    result = net_busybox.containers.run("busybox", ["ip", "-4", "addr", "show", "eth0"], remove=True)
    assert re.search(rb"inet [0-9.]+\.2/[0-9]+ ", result.stdout)
    assert not net_busybox.store.networks.every()
    result = net_busybox.containers.run("busybox", ["cat", "/proc/net/route"], remove=True, network="none")
    assert len(result.stdout.splitlines()) == 1


def test_inspect_as_docker_has_it(net_busybox: minidock.Engine) -> None:
    port = net.free_port()
    container = net_busybox.containers.create(
        "busybox", SLEEP, publish=[f"{port}:80", "127.0.0.1::81/udp"], expose=[99], name="aa"
    )
    before = settings(container)
    assert before["Ports"] == {}
    assert before["Networks"]["bridge"]["NetworkID"] == before["SandboxKey"] == ""
    container.start()
    now = settings(container)
    bridge = now["Networks"]["bridge"]
    assert now["Ports"]["80/tcp"] == [{"HostIp": host, "HostPort": str(port)} for host in net.EVERYWHERE]
    [binding] = now["Ports"]["81/udp"]
    assert binding["HostIp"] == "127.0.0.1"
    assert int(binding["HostPort"]) > 1023
    assert now["Ports"]["99/tcp"] is None
    assert container.ports == now["Ports"]
    for key in ("IPAddress", "Gateway", "MacAddress", "EndpointID", "IPPrefixLen"):
        assert now[key] == bridge[key] != ""
    assert bridge["NetworkID"] == net_busybox.networks.get("bridge").id
    digits = "".join(f"{int(part):02x}" for part in bridge["IPAddress"].split("."))
    assert bridge["MacAddress"].replace(":", "") == f"0242{digits}"
    assert said(container, "cat", "/sys/class/net/eth0/address").strip() == bridge["MacAddress"]
    assert bridge["DNSNames"] is None
    container.stop(timeout=0)
    after = settings(container)
    assert after["Ports"] == {}
    assert (after["IPAddress"], after["Networks"]["bridge"]["IPAddress"], container.ip) == ("", "", "")
    assert after["Networks"]["bridge"]["NetworkID"] == bridge["NetworkID"]
    assert not net_busybox.store.networks.every()


def test_files_as_docker_writes_them(net_busybox: minidock.Engine) -> None:
    net_busybox.networks.create("web")
    container = ran(net_busybox, hostname="h", domainname="example", extra_hosts=["gw:host-gateway", "x:192.0.2.1"])
    gateway = settings(container)["Gateway"]
    assert said(container, "cat", "/etc/hosts").endswith(f"{gateway}\tgw\n192.0.2.1\tx\n{container.ip}\th.example h\n")
    assert "127.0.0.11" not in said(container, "cat", "/etc/resolv.conf")
    container = ran(net_busybox, hostname="h", network="web")
    assert said(container, "cat", "/etc/hosts").endswith(f"{container.ip}\th\n")
    text = said(container, "cat", "/etc/resolv.conf")
    assert [line for line in text.splitlines() if line.startswith("nameserver")] == ["nameserver 127.0.0.11"]
    assert "ndots:0" in text


def look_up(container: minidock.Container, name: str) -> set[str]:
    """The IPv4 addresses that a name has for a container."""
    result = container.exec(["nslookup", name, "127.0.0.11"])
    found = re.findall(r"^Address(?: [0-9]+)?: ([0-9.]+)\b", result.stdout.decode(), re.M)
    return {address for address in found if address != "127.0.0.11"}


def test_names(net_busybox: minidock.Engine) -> None:
    net_busybox.networks.create("web")
    net_busybox.networks.create("other")
    one = ran(net_busybox, name="one", network="web", network_aliases=["svc"], hostname="hh")
    two = ran(net_busybox, name="two", network="web", network_aliases=["svc"])
    far = ran(net_busybox, name="far", network="other")
    for name in ("one", "hh", one.short_id):
        assert look_up(two, name) == {one.ip}, name
    assert look_up(two, "svc") == {one.ip, two.ip}
    assert look_up(two, "two") == {two.ip}
    assert look_up(far, "one") == set()
    one.rename("uno")
    assert look_up(two, "uno") == {one.ip}
    assert look_up(two, "one") == set()
    one.remove(force=True)
    wait_for(lambda: look_up(two, "svc") == {two.ip}, 5)


def test_several_networks(net_busybox: minidock.Engine) -> None:
    for name in ("web", "app", "inner"):
        net_busybox.networks.create(name, internal=name == "inner")
    container = ran(net_busybox, network=["web", "inner", "name=app,gw-priority=-1,alias=x"])
    shown = settings(container)["Networks"]
    assert list(shown) == ["app", "inner", "web"]
    assert shown["app"]["DNSNames"] == [container.name, "x", container.short_id]
    assert shown["inner"]["Gateway"] == ""
    assert said(container, "ls", "/sys/class/net").split() == ["eth0", "eth1", "eth2", "lo"]
    assert f"default via {shown['web']['Gateway']} dev eth2" in said(container, "ip", "route")
    assert (settings(container)["IPAddress"], container.ip) == ("", shown["app"]["IPAddress"])


def test_networks_are_apart(net_busybox: minidock.Engine) -> None:
    for name in ("web", "app"):
        net_busybox.networks.create(name)
    web = ran(net_busybox, net.serving("web"), network="web")
    app = ran(net_busybox, network="app")
    web.wait_for_port(80, timeout=60)
    with pytest.raises(OSError, match="timed out"):
        fetched(app, web.ip, timeout=1)


def test_an_internal_network_has_no_way_out(net_busybox: minidock.Engine) -> None:
    net_busybox.networks.create("inner", internal=True)
    port = net.free_port()
    container = ran(net_busybox, network="inner", name="aa", publish=[f"{port}:80"])
    other = ran(net_busybox, network="inner", name="bb")
    assert "default" not in said(container, "ip", "route")
    assert settings(container)["Ports"] == {"80/tcp": None}
    assert look_up(container, "bb") == {other.ip}
    assert said(container, "ping", "-c", "1", "-W", "2", other.ip)
    with net.listener("127.0.0.1", port):
        pass  # nobody has it


def test_containers_that_may_not_talk_to_each_other(net_busybox: minidock.Engine) -> None:
    net_busybox.networks.create("quiet", options={"com.docker.network.bridge.enable_icc": "false"})
    one = ran(net_busybox, net.serving("one"), network="quiet")
    two = ran(net_busybox, network="quiet")
    one.wait_for_port(80, timeout=60)
    with pytest.raises(OSError, match=r"timed out|No route"):
        fetched(two, one.ip, timeout=1)
    assert net.get(one.ip, 80) == "one\n"


def subnet_of(network: minidock.networks.network.Network) -> str:
    """The first three numbers of a network's addresses."""
    return str(network.attrs["IPAM"]["Config"][0]["Gateway"]).rpartition(".")[0]


def test_addresses_that_are_asked_for(net_busybox: minidock.Engine) -> None:
    chosen = subnet_of(net_busybox.networks.create("chosen"))
    net_busybox.networks.get("chosen").remove()
    net_busybox.networks.create("own", ipam={"Config": [{"Subnet": f"{chosen}.0/24"}]})
    container = ran(net_busybox, network="own", ip=f"{chosen}.9", mac_address="02:42:01:02:03:04", name="aa")
    assert container.ip == f"{chosen}.9"
    assert settings(container)["Networks"]["own"]["IPAMConfig"] == {"IPv4Address": f"{chosen}.9"}
    assert said(container, "cat", "/sys/class/net/eth0/address") == "02:42:01:02:03:04\n"
    with pytest.raises(AddressInUse, match=f"address already in use: container aa has {chosen}.9 on network own"):
        ran(net_busybox, network="own", ip=f"{chosen}.9")
    with pytest.raises(AddressInUse, match="address already in use"):
        ran(net_busybox, network="own", ip=f"{chosen}.1")
    assert ran(net_busybox, network="own").ip == f"{chosen}.2"
    with pytest.raises(InvalidArgument, match="no configured subnet or ip-range contain the IP address"):
        ran(net_busybox, network="own", ip="192.0.2.1")
    with pytest.raises(InvalidArgument, match="invalid IPv4 address: zz"):
        ran(net_busybox, network="own", ip="zz")
    with pytest.raises(InvalidArgument, match="user specified IP address is supported on user defined networks only"):
        ran(net_busybox, ip="172.17.0.9")
    net_busybox.networks.create("any")
    with pytest.raises(InvalidArgument, match="only when connecting to networks with user configured subnets"):
        ran(net_busybox, network="any", ip="172.17.0.9")
    assert len(net_busybox.containers.list(all=True)) == 4  # two could not be started


@net.needs_ipv6
def test_ipv6(net_busybox: minidock.Engine) -> None:
    net_busybox.networks.create("six", enable_ipv6=True)
    container = ran(net_busybox, net.serving("six"), network="six", name="aa")
    other = ran(net_busybox, network="six")
    shown = settings(container)["Networks"]["six"]
    assert shown["GlobalIPv6Address"].startswith("fd")
    assert shown["IPv6Gateway"]
    assert f"{shown['GlobalIPv6Address']}\t{container.short_id}\n" in said(container, "cat", "/etc/hosts")
    container.wait_for_port(80, timeout=60)
    assert net.get(shown["GlobalIPv6Address"], 80) == "six\n"
    assert fetched(other, shown["GlobalIPv6Address"]) == "six\n"
    assert "default via" in said(container, "ip", "-6", "route")


def test_any_port_and_all_ports(net_busybox: minidock.Engine) -> None:
    container = ran(net_busybox, net.serving("x"), ports={80: None}, expose=[81], publish_all_ports=True)
    ports = settings(container)["Ports"]
    [binding] = ports["80/tcp"]
    assert binding["HostIp"] == "127.0.0.1"
    port = container.wait_for_http("/", timeout=60)
    assert port == int(binding["HostPort"])
    assert port.address == ("127.0.0.1", port)
    assert port.url == f"http://127.0.0.1:{port}"
    assert {one["HostIp"] for one in ports["81/tcp"]} == set(net.EVERYWHERE)
    assert len({one["HostPort"] for one in ports["81/tcp"]}) == 1


def test_udp(net_busybox: minidock.Engine) -> None:
    container = ran(net_busybox, publish=["53/udp"])

    def echo() -> socket.socket:
        it = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        it.bind(("", 53))
        return it

    with net.in_namespace(container.state.pid, echo) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.settimeout(60)
        client.settimeout(60)
        port = container.wait_for_port("53/udp", timeout=60)
        for host in ("127.0.0.1", *net.host_addresses()):
            client.sendto(b"hello", (host, port))
            data, sender = server.recvfrom(100)
            server.sendto(data.upper(), sender)
            assert client.recvfrom(100) == (b"HELLO", (host, port)), host


def test_ranges(net_busybox: minidock.Engine) -> None:
    first = net.free_port()
    one = ran(net_busybox, publish=[f"{first}-{first + 9}:80"])
    two = ran(net_busybox, publish=[f"{first}-{first + 9}:80"])
    numbers = [int(settings(it)["Ports"]["80/tcp"][0]["HostPort"]) for it in (one, two)]
    assert numbers[0] != numbers[1]
    assert all(first <= number < first + 10 for number in numbers)


def test_a_port_that_another_container_has(net_busybox: minidock.Engine) -> None:
    port = net.free_port()
    holder = ran(net_busybox, publish=[f"{port}:80"], name="holder")
    for text in (f"{port}:80", f"127.0.0.1:{port}:80", *([f"[::]:{port}:80"] if net.HAS_IPV6 else [])):
        container = net_busybox.containers.create("busybox", SLEEP, publish=[text])
        with pytest.raises(Conflict, match=r"failed: port is already allocated \(by container holder\)"):
            container.start()
        container.reload()
        state = container.attrs["State"]
        assert (state["Status"], state["ExitCode"]) == ("created", 128)
        assert "port is already allocated" in state["Error"]
        with pytest.raises(Conflict, match="by container holder"):
            net_busybox.containers.run("busybox", ["true"], publish=[text], remove=True)
    assert len(net_busybox.store.networks.every()) == 1
    holder.stop(timeout=0)
    wait_for(lambda: not net_busybox.store.networks.every(), 5)
    container.start()


def test_a_port_of_a_container_that_took_any(net_busybox: minidock.Engine) -> None:
    port = int(settings(ran(net_busybox, publish=["80"], name="holder"))["Ports"]["80/tcp"][0]["HostPort"])
    with pytest.raises(Conflict, match=r"port is already allocated \(by container holder\)"):
        net_busybox.containers.run("busybox", ["true"], publish=[f"{port}:80"], remove=True)


def test_a_port_that_another_program_has(net_busybox: minidock.Engine) -> None:
    port = net.free_port()
    with net.listener("127.0.0.1", port), pytest.raises(Conflict, match=f":{port}/tcp: address already in use"):
        net_busybox.containers.run("busybox", ["true"], publish=[f"{port}:80"], remove=True)
    assert not net_busybox.containers.list(all=True)
    assert not net_busybox.store.networks.every()


def test_what_cannot_be_published(net_busybox: minidock.Engine) -> None:
    with pytest.raises(InvalidArgument, match="cannot assign requested address"):
        net_busybox.containers.run("busybox", ["true"], publish=["203.0.113.9:8080:80"], remove=True)
    with pytest.raises(InvalidArgument, match="published twice"):
        net_busybox.containers.create("busybox", publish=["8080:80", "8080:80"])
    with pytest.raises(Conflict, match="by this container"):
        net_busybox.containers.run("busybox", ["true"], publish=["8080:80", "8080:81"], remove=True)


def test_a_network_that_is_not_there(net_busybox: minidock.Engine) -> None:
    container = net_busybox.containers.create("busybox", ["true"], network="later")
    with pytest.raises(NetworkNotFound, match="failed to set up container networking: network later not found"):
        container.start()
    container.reload()
    assert (container.status, container.attrs["State"]["ExitCode"]) == ("created", 128)
    net_busybox.networks.create("later")
    container.start()
    assert container.wait(timeout=60) == 0


def test_the_network_of_another_container(net_busybox: minidock.Engine) -> None:
    donor = ran(net_busybox, net.serving("donor"), name="donor", hostname="h", publish=["80"])
    guest = ran(net_busybox, name="guest", network="container:donor")
    donor.wait_for_port(80, timeout=60)
    assert fetched(guest, "127.0.0.1") == "donor\n"
    assert said(guest, "hostname") == "h\n"
    assert said(guest, "cat", "/etc/hosts") == said(donor, "cat", "/etc/hosts")
    guest.reload()
    assert guest.attrs["HostConfig"]["NetworkMode"] == f"container:{donor.id}"
    assert guest.attrs["NetworkSettings"]["Networks"] == {}
    assert guest.attrs["HostsPath"] == donor.attrs["HostsPath"]
    third = ran(net_busybox, name="third", network="container:guest")
    assert said(third, "cat", "/sys/class/net/eth0/address") == said(donor, "cat", "/sys/class/net/eth0/address")
    with pytest.raises(InvalidArgument, match="sharing network namespace"):
        net_busybox.networks.get("bridge").connect(guest)
    guest.stop(timeout=0)
    donor.stop(timeout=0)
    with pytest.raises(Conflict, match="cannot join network namespace of a non running container: container donor is"):
        guest.start()
    with pytest.raises(ContainerNotFound, match="joining network namespace of container: no such container: nosuch"):
        net_busybox.containers.run("busybox", ["true"], network="container:nosuch")


def test_links(net_busybox: minidock.Engine) -> None:
    given = {"environment": ["FOO=bar", "PATH=/x:/bin"], "expose": ["80", "90-92/udp", "53/udp"]}
    target = ran(net_busybox, name="target", **given)
    container = ran(net_busybox, name="aa", links=["target:my-db"], environment=["MY_DB_ENV_FOO=own"])
    assert f"{target.ip}\tmy-db {target.short_id} target\n" in said(container, "cat", "/etc/hosts")
    assert container.attrs["HostConfig"]["Links"] == ["/target:/aa/my-db"]
    # Learnt from Docker 28.
    entries = [
        f"{key}={value}"
        for key, value in [
            ("NAME", "/aa/my-db"), ("PORT", f"tcp://{target.ip}:80"), ("ENV_FOO", "own"),
            ("PORT_90_UDP_START", f"udp://{target.ip}:90"), ("PORT_90_UDP_PORT_START", "90"),
            ("PORT_90_UDP_PORT_END", "92"), ("PORT_90_UDP_END", f"udp://{target.ip}:92"),
            *(
                pair
                for port, proto in ((53, "udp"), (80, "tcp"), (90, "udp"), (91, "udp"), (92, "udp"))
                for pair in (
                    (f"PORT_{port}_{proto.upper()}", f"{proto}://{target.ip}:{port}"),
                    (f"PORT_{port}_{proto.upper()}_ADDR", target.ip),
                    (f"PORT_{port}_{proto.upper()}_PORT", str(port)),
                    (f"PORT_{port}_{proto.upper()}_PROTO", proto),
                )
            ),
        ]
    ]  # fmt: skip
    shown = said(container, "cat", "/proc/1/environ").split("\0")
    assert sorted(line for line in shown if line.startswith("MY_DB_")) == sorted(f"MY_DB_{one}" for one in entries)
    with pytest.raises(ContainerNotFound, match="could not get container for nosuch"):
        net_busybox.containers.create("busybox", links=["nosuch"])
    target.stop(timeout=0)
    with pytest.raises(Conflict, match="cannot link to a non running container: /target AS /bb/db"):
        ran(net_busybox, name="bb", links=["target:db"])


def test_links_on_a_network_of_the_users_own(net_busybox: minidock.Engine) -> None:
    web = net_busybox.networks.create("web")
    other = net_busybox.networks.create("other")
    near = ran(net_busybox, name="near", network="web", links=["far:store", "nosuch:x"])
    assert look_up(near, "store") == set()
    far = ran(net_busybox, name="far", network="web")
    assert look_up(near, "store") == look_up(near, "store.web") == {far.ip}
    assert look_up(far, "store") == look_up(near, "x") == set()
    assert "store" not in said(near, "cat", "/etc/hosts")
    other.connect(far)
    other.connect(near, links=["far:elsewhere"])
    assert look_up(near, "elsewhere") == {settings(far)["Networks"]["other"]["IPAddress"]}
    far.restart(timeout=0)
    assert look_up(near, "store") == {settings(far)["Networks"]["web"]["IPAddress"]}
    web.disconnect(near)
    assert look_up(near, "store") == set()


@net.needs_ipv6
def test_ps_and_port(net_cli: Cli) -> None:
    port = net.free_port()
    net_cli.ok(
        "run", "-d", "--name", "aa", "-p", f"{port}:80", "-p", "127.0.0.1:0:81/udp", "--expose", "7", "busybox", *SLEEP
    )
    shown = net_cli.ok("ps", "--format", "{{.Ports}}|{{.Networks}}").strip()
    udp = net_cli.ok("port", "aa", "81/udp").strip()
    assert shown == f"7/tcp, 0.0.0.0:{port}->80/tcp, [::]:{port}->80/tcp, {udp}->81/udp|bridge"
    assert net_cli.ok("port", "aa") == f"80/tcp -> 0.0.0.0:{port}\n80/tcp -> [::]:{port}\n81/udp -> {udp}\n"
    assert net_cli.ok("port", "aa", "80") == f"0.0.0.0:{port}\n[::]:{port}\n"
    done = net_cli("port", "aa", "82")
    assert (done.returncode, done.stderr.decode().strip()) == (1, "minidock: no public port '82' published for aa")
    for filter_, found in (
        (f"publish={port}", "aa"), ("publish=1", ""), ("expose=80", "aa"), ("network=bridge", "aa"),
        ("network=none", ""),
    ):  # fmt: skip
        assert net_cli.ok("ps", "--filter", filter_, "--format", "{{.Names}}").strip() == found, filter_
    network = json.loads(net_cli.ok("network", "inspect", "bridge"))[0]
    assert net_cli.ok("ps", "-q", "--filter", f"network={network['Id']}").strip()
    [endpoint] = network["Containers"].values()
    assert endpoint["Name"] == "aa"
    net_cli.ok("stop", "-t", "0", "aa")
    assert net_cli.ok("ps", "-a", "--format", "{{.Ports}}|{{.Networks}}") == "|bridge\n"
    net_cli.ok("rm", "aa")


def test_bytes_are_counted(net_busybox: minidock.Engine) -> None:
    container = ran(net_busybox, net.serving("x"))
    container.wait_for_http("/", timeout=60)
    found = container.stats()
    assert [one.name for one in found.networks or ()] == ["eth0"]
    assert found.received_bytes > 0


def test_a_hundred_at_once(net_busybox: minidock.Engine) -> None:
    def start(number: int) -> minidock.Container:
        return ran(net_busybox, name=f"c{number}", publish=["80"])

    with ThreadPoolExecutor(8) as pool:
        containers = list(pool.map(start, range(100)))
    assert len({container.ip for container in containers}) == 100
    assert len({settings(container)["Ports"]["80/tcp"][0]["HostPort"] for container in containers}) == 100
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda container: container.remove(force=True), containers))
    assert not net_busybox.store.networks.every()
