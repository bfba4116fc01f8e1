"""gRPC's client side of a session's connection, against a server of h2 that may do anything."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest

from minidock.server.buildkit import transport
from minidock.server.buildkit.transport import CallFailed, Transport

BIG = bytes(range(256)) * 40_000
"""More than any window."""


FAILED = [(":status", "200"), ("grpc-status", "5"), ("grpc-message", "no%20such%20secret")]


def framed(data: bytes, flag: int = 0) -> bytes:
    return struct.pack(">BL", flag, len(data)) + data


class Peer:
    """The other end: it collects what a stream sends, and does what a test says with each event."""

    def __init__(self, connection: socket.socket, react: Callable[[Peer, h2.events.Event], None]) -> None:
        self.connection = connection
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.http.initiate_connection()
        self.received = bytearray()
        self._react = react
        self._waiting: dict[int, bytes] = {}
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def answer(self, stream: int) -> None:
        self.http.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])

    def write(self, stream: int, data: bytes) -> None:
        """Send as much as there is room for, and the rest when there is."""
        data = self._waiting.pop(stream, b"") + data
        while data and (size := min(len(data), self.http.local_flow_control_window(stream), 16384)):
            self.http.send_data(stream, data[:size])
            data = data[size:]
        if data:
            self._waiting[stream] = data

    def status(self, stream: int, code: object, text: str = "") -> None:
        self.http.send_headers(stream, [("grpc-status", str(code)), ("grpc-message", text)], end_stream=True)

    def _serve(self) -> None:
        with self.connection:
            self.connection.sendall(self.http.data_to_send())
            try:
                while data := self.connection.recv(65536):
                    for event in self.http.receive_data(data):
                        if isinstance(event, h2.events.DataReceived):
                            self.received += event.data
                            self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                        if isinstance(event, h2.events.WindowUpdated) and event.stream_id in self._waiting:
                            self.write(event.stream_id, b"")
                        self._react(self, event)
                    self.connection.sendall(self.http.data_to_send())
            except (OSError, h2.exceptions.ProtocolError):  # what came too late for a stream that has ended
                return


@pytest.fixture
def connect() -> Iterator[Callable[..., Transport]]:
    ends: list[tuple[Transport, threading.Thread, Peer]] = []

    def make(react: Callable[[Peer, h2.events.Event], None]) -> Transport:
        ours, theirs = socket.socketpair()
        found = Transport(ours)
        thread = threading.Thread(target=found.serve)
        thread.start()
        ends.append((found, thread, Peer(theirs, react)))
        return found

    yield make
    for found, thread, peer in ends:
        found.close()
        thread.join(30)
        peer.thread.join(30)
        assert not thread.is_alive()
        assert not peer.thread.is_alive()


def on_request(act: Callable[[Peer, int], None]) -> Callable[[Peer, h2.events.Event], None]:
    def react(peer: Peer, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            act(peer, event.stream_id)

    return react


def test_both_directions(connect: Callable[..., Transport]) -> None:
    def react(peer: Peer, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            headers = dict(event.headers)
            assert headers[":path"] == "/service/Method"
            assert headers["content-type"] == "application/grpc"
            assert headers["dir-name"] == "context"
            peer.answer(event.stream_id)
        if isinstance(event, h2.events.StreamEnded):
            assert bytes(peer.received) == framed(b"one") + framed(b"") + framed(BIG)
            peer.write(event.stream_id, framed(b"a") + framed(BIG) + framed(b""))
        whole = isinstance(event, h2.events.WindowUpdated) and not peer._waiting and event.stream_id
        if whole and not ended:
            ended.append(event)
            peer.status(event.stream_id, 0)

    ended: list[h2.events.Event] = []
    call = connect(react).call("/service/Method", [("dir-name", "context")])
    call.send(b"one", b"")
    call.send(BIG)
    call.end()
    assert list(call) == [b"a", BIG, b""]
    assert call.take() == []
    with pytest.raises(CallFailed):
        call.send(b"late")


@pytest.mark.parametrize(
    ("act", "code", "words"),
    [
        (lambda peer, stream: peer.http.send_headers(stream, FAILED, end_stream=True), 5, "no such secret"),
        (lambda peer, stream: (peer.answer(stream), peer.status(stream, 2, "bad")), 2, "bad"),
        (lambda peer, stream: (peer.answer(stream), peer.status(stream, "x", "odd")), 2, "odd"),
        (lambda peer, stream: peer.http.send_headers(stream, [(":status", "404")], end_stream=True), 2, "status 404"),
        (lambda peer, stream: (peer.answer(stream), peer.http.end_stream(stream)), 2, "without a status"),
        (lambda peer, stream: peer.http.reset_stream(stream), 1, "ended the call"),
        (lambda peer, stream: (peer.answer(stream), peer.write(stream, framed(b"x", 1))), 8, "not understood"),
        (lambda peer, stream: (peer.answer(stream), peer.write(stream, b"\0\xff\xff\xff\xff")), 8, "not understood"),
        (lambda peer, _stream: peer.connection.shutdown(socket.SHUT_RDWR), 14, "connection has ended"),
        (lambda peer, _stream: peer.connection.sendall(b"\0\0\1" + b"\0" * 7), 14, "connection has ended"),
        (lambda peer, _stream: peer.http.close_connection(1), 14, "connection has ended"),
    ],
)
def test_calls_that_fail(
    connect: Callable[..., Transport], act: Callable[[Peer, int], object], code: int, words: str
) -> None:
    found = connect(on_request(act))
    call = found.call("/service/Method")
    with pytest.raises(CallFailed, match=words) as error:
        call.take(30)
    assert error.value.code == code
    call.cancel()


def test_nobody_answers(connect: Callable[..., Transport]) -> None:
    found = connect(lambda _peer, _event: None)
    call = found.call("/service/Method")
    with pytest.raises(CallFailed) as error:
        call.take(0.01)
    assert error.value.code == transport.DEADLINE

    def wait() -> None:
        with pytest.raises(CallFailed):
            call.take()

    waiting = threading.Thread(target=wait)
    waiting.start()
    call.cancel()
    waiting.join(30)
    assert not waiting.is_alive()
    found.close()
    with pytest.raises(CallFailed):
        found.call("/service/Method")


def test_one_that_takes_nothing_holds_up_nobody_else(connect: Callable[..., Transport]) -> None:
    """A call whose window is full waits; others go on, and an end frees it."""

    def react(peer: Peer, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived) and dict(event.headers)[":path"] == "/quick":
            peer.answer(event.stream_id)
            peer.write(event.stream_id, framed(b"done"))
            peer.status(event.stream_id, 0)

    found = connect(react)
    slow = found.call("/slow")
    failed = threading.Event()

    def send() -> None:
        try:
            while True:
                slow.send(BIG)
        except CallFailed:
            failed.set()

    thread = threading.Thread(target=send)
    thread.start()
    assert found.call("/quick").take(30) == [b"done"]
    slow.cancel()
    thread.join(30)
    assert failed.is_set()
