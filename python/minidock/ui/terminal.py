"""A terminal: a command in a running container, with its own tty, on a websocket."""

from __future__ import annotations

import contextlib
import shlex
import socket
import threading
from typing import TYPE_CHECKING

import msgspec

from minidock.errors import CommandNotFound, InvalidArgument, MinidockError
from minidock.server.failures import Vanished
from minidock.spec import decoding
from minidock.ui.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.containers.execs import Exec
    from minidock.server.http import Request

_SHELLS = (["bash"], ["sh"])
"""The first one that the container has."""
_CHUNK = 1 << 16
_LARGEST = 1000


class Told(msgspec.Struct):
    """A message in text: the terminal has another size."""

    rows: int
    columns: int


def run(request: Request) -> None:
    """``GET /containers/{id}/exec``, a websocket: bytes are the terminal's, text is a :class:`Told`.

    ``command`` is in a shell's words; without one a shell is started. The last message has the ``exit`` code. What runs
    in the terminal ends with its command, and when the client goes.
    """
    text = request.query.text("command").strip()
    try:
        commands = (shlex.split(text),) if text else _SHELLS
    except ValueError as error:
        raise InvalidArgument(f"command: {str(error).lower()}") from None
    size = _size(request.query.number("rows") or 24, request.query.number("columns") or 80)
    with Channel(request) as channel:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                made = _start(request, commands, theirs.fileno(), size)
            writer = threading.Thread(target=_write, args=(channel, ours), name="minidock-terminal", daemon=True)
            writer.start()
            channel.listen(lambda message: _hear(made, ours, message), lambda: _hang_up(made))
            try:
                code = made.wait()
                writer.join()
            finally:
                made.close()
            channel.json({"exit": code})


def _start(request: Request, commands: Sequence[list[str]], fd: int, size: tuple[int, int]) -> Exec:
    """Start the first of these commands that the container has. Raises as starting an exec."""
    for at, command in enumerate(commands, 1):
        made = request.engine.execs.create(
            request.names["id"], command, stdin=True, stdout=True, tty=True, environment={"TERM": "xterm-256color"}
        )
        try:
            made.start(stdin=fd, stdout=fd, size=size, bound=True)
        except CommandNotFound:
            if at == len(commands):
                raise
        else:
            return made
    raise AssertionError("there is a command")


def _size(rows: int, columns: int) -> tuple[int, int]:
    return min(max(rows, 1), _LARGEST), min(max(columns, 1), _LARGEST)


def _write(channel: Channel, ours: socket.socket) -> None:
    """Send what the command writes."""
    with contextlib.suppress(OSError, Vanished):
        while data := ours.recv(_CHUNK):
            channel.data(data)


def _hear(made: Exec, ours: socket.socket, message: str | bytes) -> None:
    """Take a message: what was typed, or the terminal's size."""
    with contextlib.suppress(OSError, MinidockError, msgspec.DecodeError):
        if isinstance(message, bytes):
            ours.sendall(message)
        else:
            told = decoding.decode(message, Told)
            made.resize(*_size(told.rows, told.columns))


def _hang_up(made: Exec) -> None:
    """The window is closed: what ran in it ends."""
    with contextlib.suppress(MinidockError):
        made.kill()
