"""Agents for ``RUN --mount=type=ssh``: a socket for one command; behind it an agent of this host, or keys of files.

What comes through is the question for identities and the one for a signature. Everything else (adding, removing and
locking keys, extensions) is refused, so that a command can change no agent of the host.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from minidock.build.options import cause
from minidock.errors import InvalidArgument, MinidockError
from minidock.images.parallel import started
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from minidock.build.agent_keys import Keys

FAILURE = 5
IDENTITIES, IDENTITIES_ANSWER = 11, 12
SIGN, SIGN_RESPONSE = 13, 14
_MOST = 256 << 10
"""The longest message, as OpenSSH has it."""
_CONNECTIONS = 64
_KEY_FILE = 100 << 10
_PAUSE = 0.1
_SECONDS = 60.0
"""For an agent of the host, which may ask somebody to confirm."""


class Agent(NamedTuple):
    """What ``--ssh`` gives: the socket of an agent, or keys."""

    socket: str = ""
    keys: Keys | None = None


def parse(spec: str, environ: Mapping[str, str]) -> tuple[str, Agent]:
    """Return what ``ID[=SOCKET|KEYFILE[,KEYFILE…]]`` means; keys are read now.

    Raises InvalidArgument, and Unsupported where a library is missing that can use keys.
    """
    name, _, rest = spec.partition("=")
    paths = [os.path.abspath(path) for path in rest.split(",") if path]
    if not paths:
        path = environ.get("SSH_AUTH_SOCK", "")
        if not path:
            raise InvalidArgument(f"invalid empty ssh agent socket: ssh {name}: SSH_AUTH_SOCK is not set")
        paths = [os.path.abspath(path)]
    sockets = [path for path in paths if _is_socket(name, path)]
    if not sockets:
        from minidock.build import agent_keys

        return name, Agent(keys=agent_keys.load([(path, _read(name, path)) for path in paths]))
    if len(sockets) < len(paths):
        raise InvalidArgument(f"ssh {name}: invalid combined agent and keys: give the socket of an agent, or files")
    if len(sockets) > 1:
        raise InvalidArgument(f"ssh {name}: only single socket allowed")
    return name, Agent(socket=sockets[0])


def _is_socket(name: str, path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"ssh {name}: {path}: {cause(error)}") from error


def _read(name: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_KEY_FILE + 1)
    except OSError as error:
        raise InvalidArgument(f"ssh {name}: {path}: {error.strerror}") from error
    if len(data) > _KEY_FILE:
        raise InvalidArgument(f"ssh {name}: {path} is larger than {_KEY_FILE >> 10} KiB: no key")
    return data


class _Answers(Protocol):
    """Whoever answers the questions of one connection."""

    def answer(self, message: bytes) -> bytes:
        """The answer to a message, both without their lengths. Raises OSError."""

    def stop(self) -> None:
        """Let an answer that is waited for be none; from another thread."""

    def close(self) -> None:
        """The connection has ended."""


class _Host:
    """One connection to an agent of this host."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_SECONDS)
        self._connected = self._stopped = False

    def answer(self, message: bytes) -> bytes:
        if not self._connected:
            self._socket.connect(self._path)
            self._connected = True
        if self._stopped:  # perhaps before there was a connection to end
            raise ConnectionError("the command has ended")
        send(self._socket, message)
        found = receive(self._socket)
        if found is None:
            raise ConnectionError("the agent has closed the connection")
        return found

    def stop(self) -> None:
        self._stopped = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


class Served:
    """An agent's socket for the time of a ``with`` block; connections end with it."""

    def __init__(self, agent: Agent, path: str, *, mode: int, owner: tuple[int, int]) -> None:
        """``path`` is where the socket is to be. Raises what making it raises."""
        self._agent = agent
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._lock = threading.Lock()
        self._open: dict[socket.socket, _Answers] = {}
        self._closed = False
        self._threads: list[threading.Thread] = []
        directory, name = os.path.split(path)
        try:
            fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._listener.bind(f"/proc/self/fd/{fd}/{name}")  # a socket's path has 107 bytes at most
                os.chown(name, *owner, dir_fd=fd, follow_symlinks=False)
                os.chmod(name, mode, dir_fd=fd)
            finally:
                os.close(fd)
            self._listener.listen(_CONNECTIONS)
        except OSError as error:
            self._listener.close()
            raise from_os(error, "make", path) from error

    def __enter__(self) -> Self:
        thread = threading.Thread(target=self._accept, name="minidock-build-agent", daemon=True)
        try:
            started(thread)
        except BaseException:
            self._listener.close()
            raise
        self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            connections = dict(self._open)
        for one in (self._listener, *connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for answers in connections.values():
            answers.stop()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED):
                    return
                time.sleep(_PAUSE)  # whoever asks waits until there is room again
                continue
            with self._lock:
                if self._closed or len(self._open) >= _CONNECTIONS:
                    connection.close()
                    continue
                try:
                    answers: _Answers = self._agent.keys or _Host(self._agent.socket)
                except OSError:  # no descriptor left
                    connection.close()
                    continue
                self._open[connection] = answers
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                thread = threading.Thread(
                    target=self._serve, args=(connection, answers), name="minidock-build-agent", daemon=True
                )
                try:
                    started(thread)
                except MinidockError:  # no thread left
                    del self._open[connection]
                    answers.close()
                    connection.close()
                    continue
                self._threads.append(thread)

    def _serve(self, connection: socket.socket, answers: _Answers) -> None:
        try:
            while (message := receive(connection)) is not None:
                if message[0] not in (IDENTITIES, SIGN):
                    send(connection, bytes([FAILURE]))
                    continue
                try:
                    found = answers.answer(message)
                except (OSError, MinidockError):
                    found = bytes([FAILURE])
                send(connection, found)
        except OSError:
            pass  # whoever asked is gone
        finally:
            with self._lock:
                del self._open[connection]
            answers.close()
            connection.close()


def send(connection: socket.socket, message: bytes) -> None:
    """Send a message, with its length before it."""
    connection.sendall(struct.pack(">I", len(message)) + message)


def receive(connection: socket.socket) -> bytes | None:
    """Receive a message, without its length; None at the connection's end. Raises OSError for one that is too long."""
    head = _exactly(connection, 4)
    if head is None:
        return None
    (length,) = struct.unpack(">I", head)
    if not 0 < length <= _MOST:
        raise ConnectionError(f"a message of {length} bytes")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    found = bytearray()
    while len(found) < size:
        data = connection.recv(min(size - len(found), 64 << 10))
        if not data:
            return None
        found += data
    return bytes(found)
