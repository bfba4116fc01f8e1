"""The server's sockets: its own, or those that systemd hands over. Unix sockets only."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import struct
from typing import TYPE_CHECKING

from minidock.errors import Conflict, InvalidArgument
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT = "/run/minidock.sock"
_MODE = 0o660
_BACKLOG = 512
_PROBE_SECONDS = 5.0
_FIRST = 3
_LONGEST = 107 - len(".1234567.new")


class Listener:
    """A listening socket; ``path`` is what is removed at the end, empty for a socket that somebody else made."""

    def __init__(self, listening: socket.socket, path: str = "") -> None:
        self.socket = listening
        self.path = path
        self._inode = _inode(path) if path else None

    def close(self) -> None:
        """Listen no more, and remove the socket's file unless it is another server's by now."""
        self.socket.close()
        if self.path and _inode(self.path) == self._inode:
            with contextlib.suppress(OSError):
                os.unlink(self.path)


def own(path: str, group: str | None, *, replace: bool = False) -> Listener:
    """Make the socket at ``path``, for root and ``group`` only. What a dead server has left there is replaced.

    ``replace``: a server of minidock that listens there is asked to end once this one has its place.

    Raises InvalidArgument for a path or group that is none, Conflict when somebody listens there or it is no socket.
    """
    path = os.path.abspath(path)
    gid = _group(group)
    if len(os.fsencode(path)) > _LONGEST:
        raise InvalidArgument(f"socket {path}: the path is longer than {_LONGEST} bytes")
    before_us = _predecessor(path) if replace else None
    if before_us is None:
        _require_free(path)
    fresh = f"{path}.{os.getpid()}.new"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        before = os.umask(0o777 & ~_MODE | 0o060)  # nobody of the group before it is the right one
        try:
            listening.bind(fresh)
        finally:
            os.umask(before)
        if gid is not None:
            os.chown(fresh, 0, gid)
        os.chmod(fresh, _MODE)
        listening.listen(_BACKLOG)
        # From here on every client comes to this socket; those that wait at the other one are served by its server.
        os.rename(fresh, path)
        if before_us is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(before_us, signal.SIGTERM)
    except OSError as error:
        listening.close()
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise from_os(error, "listen on", path) from error
    finally:
        if before_us is not None:
            os.close(before_us)
    return Listener(listening, path)


def unix_paths(hosts: Sequence[str]) -> list[str]:
    """Return the paths of the configuration's ``hosts``, without those that systemd makes (``fd://``).

    Raises InvalidArgument for what is no Unix socket.
    """
    paths = []
    for host in hosts:
        if host.startswith("fd://"):
            continue
        if not host.startswith("unix:///"):
            raise InvalidArgument(f"hosts: {host[:100]}: the API is on Unix sockets only: unix:///path")
        paths.append(host.removeprefix("unix://"))
    return paths


def configured(
    hosts: Sequence[str], group: str | None, *, given: Sequence[Listener] = (), replace: bool = False
) -> list[Listener]:
    """Make the sockets of the configuration's ``hosts`` that systemd has not ``given``.

    Without any of either, the default one. Raises as :func:`own`, and InvalidArgument for what is no Unix socket.
    """
    if not (given or hosts):
        hosts = (f"unix://{DEFAULT}",)
    for host in hosts:
        if host.startswith("fd://") and not given:
            raise InvalidArgument(f"hosts: {host}: systemd has handed over no socket (LISTEN_FDS)")
    names = [listener.socket.getsockname() for listener in given]
    theirs = {os.path.realpath(name) for name in names if isinstance(name, str)}  # an abstract one's is bytes
    paths = [path for path in unix_paths(hosts) if os.path.realpath(path) not in theirs]
    made: list[Listener] = []
    try:
        made.extend(own(path, group, replace=replace) for path in paths)
    except BaseException:
        for listener in made:
            listener.close()
        raise
    return made


def handed_over(environ: dict[str, str] | os._Environ[str] = os.environ) -> list[Listener]:
    """Return the sockets that systemd has opened for this process (LISTEN_FDS); none if it has not.

    Raises InvalidArgument for one that is no listening Unix socket: the API is never on a network.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    found = []
    for fd in range(_FIRST, _FIRST + int(count)):
        os.set_inheritable(fd, False)
        given = socket.socket(fileno=fd)
        if (
            given.family != socket.AF_UNIX
            or given.type != socket.SOCK_STREAM
            or not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        ):
            raise InvalidArgument(f"descriptor {fd} of LISTEN_FDS is no listening Unix socket; the API is on no other")
        found.append(Listener(given))
    return found


def tell_ready() -> None:
    """Tell systemd that the server is there, if it wants to know (NOTIFY_SOCKET)."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, contextlib.suppress(OSError):
        notify.connect("\0" + address[1:] if address.startswith("@") else address)
        notify.sendall(b"READY=1")


def _group(name: str | None) -> int | None:
    if not name:
        return None
    if name.isascii() and name.isdigit():
        return int(name)
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise InvalidArgument(f"group {name[:60]!r} does not exist on this host: groupadd {name[:60]}") from None


def _require_free(path: str) -> None:
    """Raise Conflict unless there is nothing at ``path``, or a socket that nobody listens on."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"socket {path}: there is something else than a socket; remove it, or choose another --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(path)
        except OSError:
            return
    raise Conflict(f"socket {path}: another server listens there; stop it, or choose another --socket")


def _predecessor(path: str) -> int | None:
    """Return a descriptor of the process that listens at ``path``; None if nobody does.

    Raises Conflict when it is no server of minidock, or its socket is another one's, such as systemd's.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(path)
        except OSError:
            return None
        pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        try:
            process = os.pidfd_open(pid) if pid > 1 else -1
        except OSError:
            process = -1
        answer = b""
        with contextlib.suppress(OSError):
            probe.sendall(b"HEAD /_ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while data := probe.recv(4096):
                answer += data
    if process < 0 or b"\r\nServer: minidock/" not in answer:
        if process >= 0:
            os.close(process)
        why = "systemd has made it: systemctl restart minidock-api.service" if pid == 1 else "minidock has not made it"
        raise Conflict(f"socket {path}: its server cannot be replaced, as {why}")
    return process


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
