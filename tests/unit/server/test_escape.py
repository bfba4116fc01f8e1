"""The keys that leave a terminal, found in what a client types, however it comes in pieces."""

from __future__ import annotations

import pytest

from minidock.containers.parse import detach_keys
from minidock.errors import InvalidArgument
from minidock.server.streams import Escape, frame, frames


@pytest.mark.parametrize(
    ("pieces", "passed", "left"),
    [
        ((b"ls\n",), b"ls\n", False),
        ((b"a\x10\x11b",), b"a", True),
        ((b"a\x10", b"\x11"), b"a", True),
        ((b"a\x10", b"b"), b"a\x10b", False),
        ((b"\x10\x10\x11",), b"\x10", True),
        ((b"\x11\x10", b"\x10", b"x"), b"\x11\x10\x10x", False),
    ],
)
def test_keys_are_found(pieces: tuple[bytes, ...], passed: bytes, left: bool) -> None:
    escape = Escape(detach_keys.encoded(""))
    found = [escape.read(piece) for piece in pieces]
    assert (b"".join(data for data, _ in found), found[-1][1]) == (passed, left)


def test_keys_as_bytes() -> None:
    assert detach_keys.encoded("ctrl-a,b,ctrl-@,ctrl-_") == b"\x01b\x00\x1f"
    with pytest.raises(InvalidArgument):
        detach_keys.encoded("ctrl-nope")


def test_a_header_for_each_line() -> None:
    assert frames(1, b"a\nb") == frame(1, b"a\n") + frame(1, b"b")
    assert frames(2, b"\n") == frame(2, b"\n")
    assert frames(1, b"") == b""
