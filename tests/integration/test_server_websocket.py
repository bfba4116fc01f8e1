"""A container's streams by a websocket of `minidock serve`."""

from __future__ import annotations

import base64
import os
import socket
import time

import docker
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, Request

from tests.conftest import wait_for
from tests.serving import Served


class Websocket:
    """A client."""

    def __init__(self, server: Served, target: str) -> None:
        self.sock = server.socket(20)
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.sock.sendall(self.protocol.send(Request(host="localhost", target=target)))
        self.found: list[object] = []
        self.until(AcceptConnection)

    def until(self, kind: type) -> object:
        """Read until there is an event of a kind, and return it."""
        while True:
            for event in self.protocol.events():
                self.found.append(event)
            for event in self.found:
                if isinstance(event, kind):
                    return event
            data = self.sock.recv(65536)
            self.protocol.receive_data(data or None)

    def text(self) -> bytes:
        return b"".join(bytes(event.data) for event in self.found if isinstance(event, BytesMessage))

    def send(self, event: Ping | BytesMessage | CloseConnection) -> None:
        self.sock.sendall(self.protocol.send(event))


def test_attach(server: Served, client: docker.DockerClient) -> None:
    """From before the start to the end: input, output without headers, pings, and a close."""
    box = client.containers.create(
        "busybox", "sh -c 'echo first; cat; echo last >&2'", stdin_open=True, network_mode="none"
    )
    ws = Websocket(server, f"/v1.51/containers/{box.id}/attach/ws?stream=1&stdin=1&stdout=1&stderr=1")
    box.start()
    wait_for(lambda: ws.until(BytesMessage) is not None, 10, "output")
    ws.send(Ping(b"there?"))
    assert ws.until(Pong) == Pong(b"there?")
    ws.send(BytesMessage(data=b"x" * 100_000 + b"\n"))
    while ws.text().count(b"x") < 100_000:
        ws.found = [BytesMessage(data=ws.text())]
        ws.protocol.receive_data(ws.sock.recv(65536))
        ws.found += list(ws.protocol.events())
    ws.send(CloseConnection(code=1000))
    ws.until(CloseConnection)
    ws.sock.close()
    assert box.wait(timeout=60)["StatusCode"] == 0
    assert ws.text().startswith(b"first\nxxx")
    assert box.logs(tail=1) == b"last\n"
    box.remove()


def test_output_to_the_end(server: Served, client: docker.DockerClient) -> None:
    box = client.containers.create("busybox", "sh -c 'echo a; echo b >&2; exit 3'", network_mode="none")
    ws = Websocket(server, f"/containers/{box.id}/attach/ws?stream=1&stdout=1&stderr=1")
    box.start()
    ws.until(CloseConnection)
    assert sorted(ws.text().split()) == [b"a", b"b"]
    ws.sock.close()
    box.remove()


def test_clients_that_go_and_handshakes_that_are_none(server: Served, client: docker.DockerClient) -> None:
    box = client.containers.run("busybox", "cat", stdin_open=True, tty=True, network_mode="none", detach=True)
    before = server.descriptors(), server.threads()
    for _ in range(10):
        ws = Websocket(server, f"/containers/{box.id}/attach/ws?stream=1&stdin=1&stdout=1")
        ws.sock.close()
    wait_for(lambda: (server.descriptors(), server.threads()) <= before, 20, "the end of what served them")
    assert box.status == "created"
    box.reload()
    assert box.status == "running"
    head = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    for more in ({}, {"Sec-WebSocket-Key": "short"}, {"Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode()}):
        version = {} if len(more) == 0 or "short" in more.values() else {"Sec-WebSocket-Version": "12"}
        found = server("GET", f"/containers/{box.id}/attach/ws?stream=1", headers={**head, **more, **version})
        assert (found.status, found.message) == (400, "bad handshake: a websocket of version 13 is needed")
    with server.socket() as sock:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET /containers/{box.id}/attach/ws?stream=1&stdout=1 HTTP/1.1", "Host: x", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", ""]
        sock.sendall("\r\n".join(lines).encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 101 ")
        sock.sendall(b"\xff" * 100)  # no frame
        sock.shutdown(socket.SHUT_WR)
        time.sleep(0.1)
    wait_for(lambda: (server.descriptors(), server.threads()) <= before, 20, "the end of what served it")
    box.remove(force=True)
