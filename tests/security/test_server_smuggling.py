"""HTTP that can be read in two ways, or not at all: nothing of it is taken for another request than it is."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.conftest import Roots, wait_for
from tests.serving import Served, served

PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
HIDDEN = POST + b'Content-Length: 20\r\n\r\n{"Name": "smuggled"}'
"""What would make a volume if it was taken for a request."""

REFUSED: dict[str, tuple[bytes, int]] = {
    "length and chunks": (CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n" + HIDDEN, 400),
    "chunks and length": (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN, 400),
    "two lengths": (POST + b"Content-Length: 0\r\nContent-Length: 2\r\n\r\n{}" + HIDDEN, 400),
    "a list of lengths": (POST + b"Content-Length: 0, 2\r\n\r\n{}" + HIDDEN, 400),
    "a signed length": (POST + b"Content-Length: +2\r\n\r\n{}" + HIDDEN, 400),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n" + HIDDEN, 400),
    "a hexadecimal length": (POST + b"Content-Length: 0x2\r\n\r\n{}" + HIDDEN, 400),
    "a length of other digits": (POST + "Content-Length: ٢\r\n\r\n{}".encode() + HIDDEN, 400),
    "a length without a number": (POST + b"Content-Length:\r\n\r\n" + HIDDEN, 400),
    "a length of 23 digits": (POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + HIDDEN, 400),
    "space before the colon": (POST + b"Content-Length : 2\r\n\r\n{}" + HIDDEN, 400),
    "space before the name": (b"GET /_ping HTTP/1.1\r\n Host: x\r\n\r\n" + HIDDEN, 400),
    "no name": (b"GET /_ping HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n" + HIDDEN, 400),
    "another coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN, 501),
    "two codings": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN, 501),
    "chunks twice": (CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN, 501),
    "a carriage return in a header": (b"GET /_ping HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n" + HIDDEN, 400),
    "a zero byte in a header": (b"GET /_ping HTTP/1.1\r\nHost: x\r\nA: b\0\r\n\r\n" + HIDDEN, 400),
    "a zero byte in the path": (b"GET /_ping\0 HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN, 400),
    "two hosts": (b"GET /_ping HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + HIDDEN, 400),
    "two spaces": (b"GET  /_ping HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN, 400),
    "empty lines before": (b"\r\n\r\n" + PING + HIDDEN, 400),
    "another version": (b"GET /_ping HTTP/1.2\r\nHost: x\r\n\r\n" + HIDDEN, 505),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN, 505),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n" + HIDDEN, 400),
    "a size that is none": (CHUNKED + b"\r\n0x2\r\n{}\r\n0\r\n\r\n" + HIDDEN, 400),
    "a negative size": (CHUNKED + b"\r\n-2\r\n{}\r\n0\r\n\r\n" + HIDDEN, 400),
    "a size of 21 digits": (CHUNKED + b"\r\n" + b"0" * 20 + b"2\r\n{}\r\n0\r\n\r\n" + HIDDEN, 400),
    "a size that ends in a line feed": (CHUNKED + b"\r\n2\n{}\r\n0\r\n\r\n" + HIDDEN, 400),
    "a line feed in an extension": (CHUNKED + b"\r\n2;a=b\n{}\r\n0\r\n\r\n" + HIDDEN, 400),
    "more than the chunk's size": (CHUNKED + b"\r\n2\r\n{}x\r\n0\r\n\r\n" + HIDDEN, 400),
    "a chunk that ends in a line feed": (CHUNKED + b"\r\n2\r\n{}\n0\r\n\r\n" + HIDDEN, 400),
    "a trailer that is none": (CHUNKED + b"\r\n2\r\n{}\r\n0\r\nX y\r\n\r\n" + HIDDEN, 400),
    "a head of 200 KiB": (b"GET /_ping HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 200_000 + b"\r\n\r\n" + HIDDEN, 431),
    "20,000 headers": (b"GET /_ping HTTP/1.1\r\nHost: x\r\n" + b"A: aaaaaaaaaaaa\r\n" * 20_000 + b"\r\n" + HIDDEN, 431),
    "a path of 200 KiB": (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN, 431),
    "200 KiB without a line's end": (b"GET /_ping HTTP/1.1\r\nHost: x\r\n" + b"a" * 200_000, 431),
    "an extension of 200 KiB": (CHUNKED + b"\r\n2;" + b"a" * 200_000 + b"\r\n{}\r\n0\r\n\r\n" + HIDDEN, 400),
    "a trailer of 200 KiB": (CHUNKED + b"\r\n0\r\nA: " + b"a" * 200_000 + b"\r\n\r\n" + HIDDEN, 400),
}
"""Each gets one answer, and the connection is closed."""

TAKEN: dict[str, tuple[bytes, list[int]]] = {
    "two in one": (PING + PING, [200, 200]),
    "a body that nobody wants": (b"POST /containers/nope/start HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                                 % len(HIDDEN) + HIDDEN + PING, [404, 200]),
    "a body of GET": (b"GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN)
                      + HIDDEN + PING, [200, 200]),
    "extensions": (b"POST /containers/nope/start HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                   b'2;a=b;c="d"\r\n{}\r\n0\r\n\r\n' + PING, [404, 200]),
    "trailers": (b"POST /containers/nope/start HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                 b"2\r\n{}\r\n0\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n" + PING, [404, 200]),
    "folded": (b"GET /_ping HTTP/1.1\r\nHost: x\r\nA: b\r\n Content-Length: 100\r\n\r\n" + PING, [200, 200]),
    "the same length twice": (b"POST /containers/nope/start HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                              b"Content-Length: 2\r\n\r\n{}" + PING, [404, 200]),
    "absolute": (b"GET http://elsewhere/_ping HTTP/1.1\r\nHost: x\r\n\r\n", [200]),
    "line feeds alone": (b"GET /_ping HTTP/1.1\nHost: x\n\n" + PING, [200, 200]),
    "no slash": (b"GET _ping HTTP/1.1\r\nHost: x\r\n\r\n" + PING, [404, 200]),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n" + PING, [404, 200]),
    "CONNECT": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n" + PING, [404, 200]),
    "small letters": (b"get /_ping HTTP/1.1\r\nHost: x\r\n\r\n" + PING, [404, 200]),
    "HTTP/1.0": (b"GET /_ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + HIDDEN, [200]),
    "HTTP/1.0 with chunks": (b"POST /containers/nope/start HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
                             b"0\r\n\r\n" + HIDDEN, [404]),
    "an upgrade that nobody has": (b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
                                   + PING, [200, 200]),
    "close": (b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + HIDDEN, [200]),
}  # fmt: skip
"""Each is answered so, and nothing else is taken for a request."""


@pytest.fixture
def server(roots: Roots) -> Iterator[Served]:
    with served(roots) as it:
        yield it


def statuses(answer: bytes) -> list[int]:
    return [int(part.split(b" ", 1)[0]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def test_every_request_is_what_it_is(server: Served) -> None:
    assert statuses(server.raw(HIDDEN)) == [201]
    assert server("DELETE", "/volumes/smuggled").status == 204
    before = server.descriptors()
    for what, (data, status) in REFUSED.items():
        answer = server.raw(data, end=False)
        assert statuses(answer) == [status], (what, answer)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b'{"message":"' in body, what
        assert b"\r\nContent-Type: application/json" in head, what
        assert b"\r\nConnection: close" in head or b"malformed request body" in body, what
    for what, (data, wanted) in TAKEN.items():
        assert statuses(server.raw(data)) == wanted, what
    assert server("GET", "/volumes").json["Volumes"] == []
    wait_for(lambda: server.descriptors() <= before, 10, "descriptors")
    assert "Traceback" not in server.log.read_text()


def test_pieces(server: Served) -> None:
    """Requests that come byte by byte, and answers that nobody waits for."""
    with server.socket() as sock:
        for byte in PING[:-1]:
            sock.send(bytes([byte]))
        sock.send(PING[-1:] + PING)
        answer = b""
        while answer.count(b"OK") < 4:
            answer += sock.recv(65536)
        assert statuses(answer) == [200, 200]
    body = b'{"Name": "' + b"v" * 40 + b'"}'
    with server.socket() as sock:
        sock.sendall(CHUNKED + b"\r\n")
        for byte in body:
            sock.sendall(b"1\r\n%c\r\n" % byte)
        sock.sendall(b"0\r\n\r\n")
        assert statuses(sock.recv(65536)) == [201]
    before = server.descriptors()
    for _ in range(50):
        with server.socket() as sock:
            sock.sendall(PING * 100)
    wait_for(lambda: server.descriptors() <= before, 10, "descriptors")
    assert server("GET", "/_ping").status == 200


def test_what_comes_behind_a_connection_that_was_taken_over(roots: Roots, busybox: str) -> None:
    """It is the container's input, and no request: not even while the server waits for the start."""
    with served(roots) as server:
        body = {"Image": busybox, "Cmd": ["cat"], "OpenStdin": True, "StdinOnce": True, "AttachStdin": True,
                "HostConfig": {"NetworkMode": "none"}}  # fmt: skip
        assert server("POST", "/containers/create?name=taken", body).status == 201
        attach = b"POST /containers/taken/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: x\r\n"
        with server.socket(30) as sock:
            sock.sendall(attach + b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n" + HIDDEN)
            assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
            assert server("POST", "/containers/taken/start").status == 204
            sock.sendall(HIDDEN)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while data := sock.recv(4096):
                answer += data
        said, rest = b"", answer
        while rest:
            length = int.from_bytes(rest[4:8], "big")
            said, rest = said + rest[8 : 8 + length], rest[8 + length :]
        assert said == HIDDEN * 2
        assert server("GET", "/volumes").json["Volumes"] == []
        # Refused, so that it is not taken over: then what follows is a request.
        nope = attach.replace(b"taken", b"nope") + b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        assert statuses(server.raw(nope + PING)) == [404, 200]
        assert server("DELETE", "/containers/taken?v=1&force=1").status == 204


def test_sockets_belong_to_root(roots: Roots) -> None:
    """Nobody else can even connect."""
    with served(roots) as server:
        read_end, write_end = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.chmod(roots.config.parent, 0o755)
                os.setgid(65534)
                os.setgroups([])
                os.setuid(65534)
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(str(server.path))
                os.write(write_end, b"connected")
            except PermissionError:
                os.write(write_end, b"denied")
            finally:
                os._exit(0)
        os.close(write_end)
        assert os.waitpid(child, 0)[1] == 0
        assert os.read(read_end, 100) == b"denied"
        os.close(read_end)
