"""The socket of an agent, with clients that want to do harm."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.build import agents


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    """A served agent whose host is not there; its socket's path."""
    before = threading.active_count()
    path = str(tmp_path / "socket")
    with agents.Served(agents.Agent(socket=str(tmp_path / "none")), path, mode=0o600, owner=(os.getuid(), os.getgid())):
        yield path
    assert threading.active_count() <= before


@contextlib.contextmanager
def connected(path: str) -> Iterator[socket.socket]:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(30)
        client.connect(path)
        yield client


@pytest.mark.parametrize(
    "data", [b"\0\0\0\0", struct.pack(">I", 1 << 20), b"\xff" * 64, struct.pack(">I", agents._MOST + 1) + b"\x0b"]
)
def test_lengths_that_cannot_be(place: str, data: bytes) -> None:
    """The connection ends, without an answer; others go on."""
    with connected(place) as client:
        client.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    with connected(place) as client:
        agents.send(client, bytes([agents.IDENTITIES]))
        assert agents.receive(client) == bytes([agents.FAILURE])


def test_messages_that_do_not_come_through(place: str) -> None:
    """Only two kinds of them do: the agent behind is never asked to change."""
    with connected(place) as client:
        for kind in range(256):
            agents.send(client, bytes([kind]) + b"x" * 300)
            assert agents.receive(client) == bytes([agents.FAILURE])


def test_too_many_and_those_that_stay(tmp_path: Path) -> None:
    """What is too much is closed at once; the end waits for nobody who says nothing, or half of something."""
    path = str(tmp_path / "socket")
    agent = agents.Agent(socket=str(tmp_path / "none"))
    with contextlib.ExitStack() as stack:
        with agents.Served(agent, path, mode=0o600, owner=(os.getuid(), os.getgid())):
            clients = [stack.enter_context(connected(path)) for _ in range(agents._CONNECTIONS)]
            for client in clients[1:]:
                client.sendall(b"\0\0")
            agents.send(clients[0], bytes([agents.IDENTITIES]))
            assert agents.receive(clients[0]) == bytes([agents.FAILURE])
            extra = stack.enter_context(connected(path))
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                agents.send(extra, bytes([agents.IDENTITIES]))
                assert extra.recv(1) == b""
        for client in clients:
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
