"""`minidock serve` as a server: its socket, versions, headers, malformed requests, vanishing clients, its end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import minidock
from minidock.server.buildkit import is_available
from tests.conftest import Cli, Roots, wait_for
from tests.serving import Api, Served, served


def test_ping_and_headers(server: Served) -> None:
    for path in ("/_ping", "/v1.24/_ping", "/v1.51/_ping"):
        found = server("GET", path)
        assert (found.status, found.data) == (200, b"OK")
        assert found.headers["api-version"] == "1.51"
        assert found.headers["ostype"] == "linux"
        assert found.headers["docker-experimental"] == "false"
        assert found.headers["builder-version"] == ("2" if is_available() else "1")
        assert found.headers["server"].startswith("minidock/")
    head = server("HEAD", "/_ping")
    assert (head.status, head.data, head.headers["api-version"]) == (200, b"", "1.51")
    assert server("GET", "/version").json["ApiVersion"] == "1.51"
    assert server("GET", "/info").json["OSType"] == "linux"


def test_paths_that_nothing_is_served_at(server: Served) -> None:
    for method, path, status, words in (
        ("GET", "/nope", 404, "page not found"),
        ("PATCH", "/version", 404, "page not found"),
        ("GET", "/v1.52/_ping", 400, "client version 1.52 is too new. Maximum supported API version is 1.51"),
        ("GET", "/v1.23/_ping", 400, "client version 1.23 is too old. Minimum supported API version is 1.24"),
        ("GET", "/swarm", 503, "This node is not a swarm manager."),
        ("GET", "/services", 503, "This node is not a swarm manager."),
        ("POST", "/build/cancel", 400, "build ID not provided"),
        ("GET", "/plugins/nope/json", 404, 'plugin "nope" not found'),
        ("POST", "/plugins/pull?remote=x", 501, "minidock has no plugins"),
        ("GET", "/containers/%FF/json", 400, "the path is not UTF-8"),
        ("GET", "/containers/nope/json", 404, "No such container: nope"),
        ("GET", "/containers/json?filters=%7B", 400, "invalid filter"),
        ("GET", "/containers/json?limit=x", 400, "invalid syntax"),
        ("GET", "/images/nope/json", 404, "No such image: nope"),
    ):
        found = server(method, path)
        assert found.status == status, (path, found)
        assert found.headers["content-type"] == "application/json"
        assert found.message.startswith(words) or words in found.message
    assert server("GET", "/plugins").json == []


MALFORMED = [
    (b"nonsense\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
    (b"GET /_ping HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    (b"GET /_ping HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", 400),
    (b"GET /_ping HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400),
    (b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", 400),
    (b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
    (b"POST /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /auth HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 501),
    (b"POST /auth HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", 400),
    (b"GET /_ping HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 200000 + b"\r\n\r\n", 431),
]


def test_malformed(server: Served) -> None:
    for data, status in MALFORMED:
        answer = server.raw(data)
        assert answer.split(b" ", 2)[1] == str(status).encode(), (data[:100], answer)
        assert answer.count(b"HTTP/1.1 ") == 1, "nothing behind it is taken for a request"
        assert server("GET", "/_ping").status == 200


def test_bodies(server: Served) -> None:
    def create(data: bytes, kind: str = "application/json") -> tuple[int, str]:
        found = server("POST", "/containers/create", data, {"Content-Type": kind})
        return found.status, found.message

    assert create(b"{}") == (400, "config cannot be empty in order to create a container")
    assert create(b"null")[0] == 400
    assert create(b"[]")[0] == 400
    assert create(b"{")[0] == 400
    assert create(b"{} {}")[0] == 400
    assert create(b"[" * 100000)[0] == 400
    assert create(b'{"Image": 3}')[0] == 400
    assert create(b'{"Image": "busybox", "HostConfig": {"Memory": "64m"}}')[0] == 400
    assert create(b'{"Image": "busybox"}', "text/plain")[0] == 400
    assert create(b'{"Image": "busybox", "HostConfig": {"Binds": ["./a:/b"]}}')[0] == 400
    head = b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    assert b" 413 " in server.raw(head + b"Content-Length: 17000000\r\n\r\n")
    assert b" 413 " in server.raw(
        head + b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b" " * (1 << 20) + b"\r\n") * 17
    )
    names = ("Hostname", "Env", "Cmd", "Entrypoint", "Labels", "Volumes", "Healthcheck")
    nulls: dict[str, object] = dict.fromkeys(names)
    nulls |= {
        "image": "busybox",
        "HOSTCONFIG": {"Binds": None, "PortBindings": {"80/tcp": None}, "NetworkMode": "none"},
    }
    made = server("POST", "/containers/create?name=nulls", {**nulls, "Unknown": 1})
    assert made.status == 201, made
    assert sorted(made.json) == ["Id", "Warnings"]
    again = server("POST", "/containers/create?name=/nulls", nulls)
    assert again.status == 409
    assert "is already in use by container" in again.message


def test_one_connection_many_requests(server: Served) -> None:
    """Keep-alive, pipelining, a body that nobody wants, HTTP/1.0, and waiting for 100."""
    ping = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
    assert server.raw(ping * 5).count(b"HTTP/1.1 200 OK") == 5
    unwanted = b"POST /containers/nope/start HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    found = server.raw(unwanted + ping)
    assert (found.count(b"HTTP/1.1 404"), found.count(b"HTTP/1.1 200")) == (1, 1)
    assert server.raw(b"GET /_ping HTTP/1.0\r\n\r\n", end=False).endswith(b"OK")
    expecting = b"POST /containers/create HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
    with server.socket() as sock:
        sock.sendall(expecting + b"Content-Type: application/json\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"{}")
        assert b"config cannot be empty in order to create a container" in sock.recv(1000)


def test_nobody_blocks_anybody(server: Served, roots: Roots) -> None:
    """Half requests, silent clients and followers do not keep others from an answer, and go without a trace."""
    first = server("POST", "/containers/create?name=long", {"Image": "busybox", "Cmd": ["sleep", "60"],
                                                            "HostConfig": {"NetworkMode": "none"}})  # fmt: skip
    assert server("POST", f"/containers/{first.json['Id']}/start").status == 204
    before = server.descriptors(), server.threads()
    heads = (
        b"GET /_ping HTT",
        b"",
        b"POST /auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
        b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /containers/long/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /containers/long/stats HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /containers/long/wait HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /containers/long/attach?stream=1&stdout=1&stderr=1&stdin=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /containers/long/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\n\r\n",
    )
    for _ in range(3):
        socks = [server.socket() for head in heads for _ in range(4)]
        for sock, head in zip(socks, [head for head in heads for _ in range(4)], strict=True):
            sock.sendall(head)
        assert server("GET", "/_ping").status == 200
        assert server("GET", "/containers/json").json[0]["Names"] == ["/long"]
        for sock in socks:
            sock.close()
    wait_for(lambda: (server.descriptors(), server.threads()) <= before, 20, f"descriptors and threads as {before}")
    assert server("GET", "/containers/long/json").json["State"]["Running"] is True
    with minidock.Engine(str(roots.data), str(roots.run), str(roots.config)) as engine:
        engine.containers.get("long").remove(force=True)


def test_socket_is_root_s_alone(roots: Roots) -> None:
    with served(roots) as server:
        found = server.path.stat()
        assert stat.S_IMODE(found.st_mode) == 0o660
        assert (found.st_uid, found.st_gid) == (0, 0)
        second = subprocess.run(
            [sys.executable, "-m", "minidock", "serve", "--socket", str(server.path)],
            env=roots.env,
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert second.returncode == 1
        assert b"another server listens there" in second.stderr
        assert server.stop() == 0
        assert not server.path.exists()
    with served(roots, "--group", "1") as server:
        assert server.path.stat().st_gid == 1
        server.kill()
        assert server.path.exists()
    with served(roots) as server:  # what the dead one has left is in nobody's way
        assert server("GET", "/_ping").status == 200


def test_sockets_of_the_configuration(roots: Roots) -> None:
    """``hosts`` and ``group``: several sockets of one server; what is no Unix socket is refused before any is made."""
    paths = [roots.config.parent / "one.sock", roots.config.parent / "two.sock"]
    settings = json.loads(roots.config.read_text())

    def serve(hosts: list[str]) -> subprocess.Popen[bytes]:
        roots.config.write_text(json.dumps({**settings, "hosts": hosts, "group": "1"}))
        return subprocess.Popen([sys.executable, "-m", "minidock", "serve"], env=roots.env, stderr=subprocess.PIPE)

    with serve([f"unix://{path}" for path in paths]) as process:
        wait_for(lambda: all(path.exists() for path in paths), 20, "two sockets")
        for path in paths:
            assert Api(path)("GET", "/_ping").status == 200
            assert path.stat().st_gid == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not any(path.exists() for path in paths)
    for host, words in (("tcp://0.0.0.0:2375", b"on Unix sockets only"), ("fd://", b"no socket (LISTEN_FDS)")):
        with serve([f"unix://{paths[0]}", host]) as process:
            assert words in process.communicate(timeout=60)[1]
            assert process.returncode == 1
        assert not paths[0].exists()


def test_sockets_that_cannot_be(cli: Cli, roots: Roots) -> None:
    place = roots.config.parent / "file"
    place.write_text("x")
    for arguments, words in (
        (["--socket", str(place)], "something else than a socket"),
        (["--socket", f"/tmp/{'x' * 120}"], "the path is longer than"),
        (["--socket", "/proc/nowhere/s.sock"], "listen on"),
        (["--group", "no-such-group"], "group 'no-such-group' does not exist on this host"),
    ):
        done = cli("serve", *arguments)
        assert done.returncode == 1
        assert words in done.stderr.decode()
    assert place.read_text() == "x"


_HANDING_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "minidock", "serve"])
"""


def test_socket_of_systemd(roots: Roots) -> None:
    """LISTEN_FDS: the socket is theirs and stays; one that is no Unix socket is refused."""
    path = roots.config.parent / "given.sock"
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        listening.bind(str(path))
        listening.listen()
        notify.bind(str(roots.config.parent / "notify.sock"))
        notify.settimeout(20)
        env = {**roots.env, "NOTIFY_SOCKET": str(roots.config.parent / "notify.sock")}
        process = subprocess.Popen(
            [sys.executable, "-c", _HANDING_OVER, str(listening.fileno())], env=env, pass_fds=[listening.fileno()]
        )
        try:
            assert notify.recv(100) == b"READY=1"
            assert Api(path)("GET", "/_ping").status == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert path.exists()
        finally:
            process.kill()
            process.wait()
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        done = subprocess.run(
            [sys.executable, "-c", _HANDING_OVER, str(tcp.fileno())],
            env=roots.env,
            pass_fds=[tcp.fileno()],
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert b"no listening Unix socket" in done.stderr


def test_sockets_beside_systemds(roots: Roots, tmp_path: Path) -> None:
    """The configuration's ``hosts``: what systemd has not made is made, for its group, and goes with the server."""
    given, link, other = roots.config.parent / "given.sock", tmp_path / "link", roots.config.parent / "other.sock"
    link.symlink_to(given)
    hosts = ["fd://", f"unix://{link}", f"unix://{other}"]
    roots.config.write_text(json.dumps({**json.loads(roots.config.read_text()), "hosts": hosts, "group": "1234"}))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(given))
        listening.listen()
        process = subprocess.Popen(
            [sys.executable, "-c", _HANDING_OVER, str(listening.fileno())],
            env=roots.env,
            pass_fds=[listening.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            lines = [process.stderr.readline() for _ in range(2)]
            assert lines == [f"minidock: serving on {path}\n" for path in (given, other)]
            for path in (given, other):
                assert Api(path)("GET", "/_ping").status == 200
            found = other.stat()
            assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 1234, 0o660)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert given.exists()
            assert not other.exists()
        finally:
            process.kill()
            process.wait()
            process.stderr.close()  # type: ignore[union-attr]


def test_the_end_of_a_server(server: Served, roots: Roots, cli: Cli) -> None:
    """Stopped or killed, containers run on, and the next server knows everything; streams end."""
    body = {"Image": "busybox", "Cmd": ["sh", "-c", "while :; do echo x; sleep 0.05; done"],
            "HostConfig": {"NetworkMode": "none"}}  # fmt: skip
    server("POST", "/containers/create?name=lasting", body)

    followers = []

    def follow(target: str, method: str = "GET") -> threading.Thread:
        sock = server.socket(60)
        sock.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

        def run() -> None:
            with sock, contextlib.suppress(ConnectionResetError):  # of a server that was killed
                while sock.recv(65536):
                    pass

        thread = threading.Thread(target=run)
        thread.start()
        followers.append(thread)
        return thread

    follow("/containers/lasting/attach?stream=1&stdout=1&stderr=1", "POST")
    follow("/containers/lasting/wait?condition=next-exit", "POST")
    wait_for(lambda: server.threads() >= 5, 10, "followers")
    assert server("POST", "/containers/lasting/start").status == 204
    pid = server("GET", "/containers/lasting/json").json["State"]["Pid"]
    for target in ("/events", "/containers/lasting/logs?follow=1&stdout=1", "/containers/lasting/stats"):
        follow(target)
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    for thread in followers:
        # The container's own streams may last, as they are its supervisor's.
        thread.join(0.2)
    second = Served(roots, server.path)
    assert second("GET", "/containers/lasting/json").json["State"]["Pid"] == pid
    follow("/events")
    follow("/containers/lasting/logs?follow=1&stdout=1")
    wait_for(lambda: second.threads() >= 4, 10, "followers")
    assert second.stop() == 0
    assert Path(f"/proc/{pid}").exists()
    cli.ok("rm", "-f", "lasting")
    for thread in followers:
        thread.join(60)
        assert not thread.is_alive()
