"""Networks and published ports by docker-py against `minidock serve`."""

from __future__ import annotations

import urllib.request

import docker
import pytest
from docker.errors import APIError, NotFound

import minidock
from tests.conftest import Roots, wait_for
from tests.serving import served

_WEB = ["sh", "-c", "mkdir /w; echo page > /w/index.html; exec busybox httpd -f -p 80 -h /w"]
_EMPTY: tuple[list[object] | None, ...] = ([], None)


def test_networks(net_roots: Roots, net_busybox: minidock.Engine) -> None:
    with served(net_roots) as server:
        client = docker.DockerClient(base_url=server.url, version="auto", timeout=60)
        ipam = docker.types.IPAMConfig(
            pool_configs=[docker.types.IPAMPool(subnet="10.213.7.0/24", gateway="10.213.7.1")]
        )
        net = client.networks.create("app", ipam=ipam, labels={"a": "b"})
        assert net.attrs["IPAM"]["Config"] == [{"Subnet": "10.213.7.0/24", "Gateway": "10.213.7.1"}]
        with pytest.raises(APIError) as taken:
            client.networks.create("app")
        assert taken.value.status_code == 409
        web = client.containers.run(
            "busybox",
            _WEB,
            name="web",
            detach=True,
            network="app",
            networking_config={"app": client.api.create_endpoint_config(aliases=["site"], ipv4_address="10.213.7.9")},
            ports={"80/tcp": ("127.0.0.1", None)},
        )
        web.reload()
        assert web.attrs["NetworkSettings"]["Networks"]["app"]["IPAddress"] == "10.213.7.9"
        port = web.ports["80/tcp"][0]
        assert port["HostIp"] == "127.0.0.1"

        def page() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port['HostPort']}/", timeout=60) as found:
                    return bool(found.read() == b"page\n")
            except OSError:
                return False

        wait_for(page, 10, "the published port")
        said = client.containers.run("busybox", ["wget", "-qO-", "http://site/"], network="app", remove=True)
        assert said == b"page\n"
        other = client.networks.create("other")
        other.connect(web, aliases=["second"])
        assert [one.name for one in client.networks.get("other").containers] == ["web"]
        with pytest.raises(APIError, match="has active endpoints"):
            other.remove()
        other.disconnect(web)
        other.remove()
        assert [one.name for one in client.networks.list(filters={"label": "a=b"})] == ["app"]
        web.remove(force=True)
        plain = client.containers.run("busybox", ["sh", "-c", "ip -4 addr show eth0 | grep -c inet"], remove=True)
        assert plain == b"1\n"
        net.remove()
        with pytest.raises(NotFound):
            client.networks.get("app")
        assert client.networks.prune() == {"NetworksDeleted": None}
        client.close()


def test_what_networks_forbid(net_roots: Roots, net_busybox: minidock.Engine) -> None:
    with served(net_roots) as server:
        made = {"Name": "app", "IPAM": {"Config": [{"Subnet": "10.213.8.0/24"}]}}
        assert server("POST", "/networks/create", made).status == 201
        body = {"Image": "busybox", "Cmd": ["sleep", "100"], "HostConfig": {"NetworkMode": "app"}}
        assert server("POST", "/containers/create?name=web", body).status == 201
        assert server("POST", "/containers/web/start").status == 204
        for method, target, sent, status, words in (
            ("DELETE", "/networks/app", None, 403, "has active endpoints"),
            ("DELETE", "/networks/bridge", None, 403, "bridge is a pre-defined network and cannot be removed"),
            ("DELETE", "/networks/nope", None, 404, "network nope not found"),
            ("POST", "/networks/create", {"Name": "app"}, 409, "network with name app already exists"),
            ("POST", "/networks/create", {"Name": "none"}, 403, "operation is not permitted on predefined"),
            ("POST", "/networks/create", {**made, "Name": "other"}, 403, "Pool overlaps with other one"),
            ("POST", "/networks/app/connect", {"Container": "web"}, 403, "already exists in network app"),
            ("POST", "/networks/host/connect", {"Container": "web"}, 400, "cannot connect container to host network"),
            ("POST", "/networks/none/connect", {"Container": "web"}, 400, "in private (none) mode"),
            ("POST", "/networks/app/connect", {"Container": "nope"}, 404, "No such container: nope"),
        ):
            found = server(method, target, sent)
            assert found.status == status, (method, target, found)
            assert words in found.message
        assert server("DELETE", "/containers/web?force=1").status == 204
        assert server("DELETE", "/networks/app").status == 204


def test_a_port_without_bindings_is_not_published(net_roots: Roots, net_busybox: minidock.Engine) -> None:
    with served(net_roots) as server:
        for bindings in _EMPTY:
            host = {"PortBindings": {"80/tcp": bindings}}
            body = {"Image": "busybox", "Cmd": ["sleep", "100"], "ExposedPorts": {"80/tcp": {}}, "HostConfig": host}
            assert server("POST", "/containers/create?name=web", body).status == 201
            assert server("POST", "/containers/web/start").status == 204
            ports = server("GET", "/containers/web/json").json["NetworkSettings"]["Ports"]
            assert ports == {"80/tcp": None}
            assert server("DELETE", "/containers/web?force=1").status == 204
