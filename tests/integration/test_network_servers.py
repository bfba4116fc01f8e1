"""Real servers and their real clients, from Debian's packages: by published port, by name, by address."""

from __future__ import annotations

import pytest

import minidock
from tests import net
from tests.rootfs import servers_tar

pytestmark = pytest.mark.timeout(400)

POSTGRES = """
bin=$(echo /usr/lib/postgresql/*/bin)
$bin/initdb -D /tmp/pg -A trust >/dev/null
echo "host all all all trust" >>/tmp/pg/pg_hba.conf
exec $bin/postgres -D /tmp/pg -h '*' -k /tmp
"""


def test_servers(net_engine: minidock.Engine) -> None:
    net_engine.images.import_(str(servers_tar()), repository="servers")
    net_engine.networks.create("app")
    containers = net_engine.containers
    port = net.free_port()
    web = containers.run(
        "servers", ["nginx", "-g", "daemon off;"], detach=True, name="web", network="app", publish=[f"{port}:80"]
    )
    cache = containers.run(
        "servers",
        ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""],
        detach=True,
        name="cache",
        network="app",
        network_aliases=["redis"],
        publish=["6379"],
    )
    database = containers.run(
        "servers", ["sh", "-ec", POSTGRES], detach=True, name="db", network="app", user="postgres"
    )

    assert web.wait_for_http("/", timeout=30) == port
    for host in ("127.0.0.1", "::1", *net.host_addresses()):
        assert "Welcome to nginx" in net.get(host, port)

    def client(*command: str) -> str:
        done = containers.run("servers", list(command), remove=True, network="app")
        assert done.exit_code == 0, done
        return done.stdout.decode().strip()

    cache.wait_for_log("Ready to accept connections", timeout=30)
    assert client("redis-cli", "-h", "redis", "set", "answer", "42") == "OK"
    assert client("redis-cli", "-h", cache.ip, "get", "answer") == "42"
    by_host = ["redis-cli", "-h", "127.0.0.1", "-p", str(int(cache.wait_for_port(6379))), "get", "answer"]
    assert containers.run("servers", by_host, remove=True, network="host").stdout == b"42\n"

    database.wait_for_log("ready to accept connections", timeout=60)
    assert client("psql", "-h", "db", "-U", "postgres", "-tAc", "select 6 * 7") == "42"
