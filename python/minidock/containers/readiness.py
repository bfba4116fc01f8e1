"""Waiting until a container is ready: a port listens, a line is in its log, a page is there."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Self

from minidock.containers import logs, states
from minidock.containers.ports import port_name
from minidock.errors import Conflict, ContainerNotFound, InvalidArgument, MinidockError, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.containers.container import Container
    from minidock.containers.lifecycle import Lifecycle

_FIRST_LOOK = 0.002
_LONGEST_LOOK = 0.05
_ANSWER_SECONDS = 5.0
"""How long one answer to a request may take; then it is asked for again."""
_LAST_LINES = 5
_LISTENING, _UNCONNECTED = "0A", "07"
"""States of sockets in /proc/net: a TCP socket that listens, a UDP socket that hears everybody."""


class HostPort(int):
    """A port to connect to from this host, with the address that it is at."""

    host: str

    def __new__(cls, port: int, host: str) -> Self:
        """Make a number of a port, with a host."""
        made = super().__new__(cls, port)
        made.host = host
        return made

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as ``socket.create_connection`` takes them."""
        return self.host, int(self)

    @property
    def url(self) -> str:
        """``http://HOST:PORT``."""
        return f"http://[{self.host}]:{int(self)}" if ":" in self.host else f"http://{self.host}:{int(self)}"


class _Deadline:
    """Looks at a container again and again, not too often, until there is no time left."""

    def __init__(self, container: Container, lifecycle: Lifecycle, what: str, timeout: float) -> None:
        self._container = container
        self._lifecycle = lifecycle
        self._what = what
        self._timeout = timeout
        self._end = time.monotonic() + timeout
        self.note = ""
        """What was wrong at the last look."""

    def looks(self) -> Iterator[None]:
        """Yield for each look, and wait in between. Raises Conflict when the container has ended, Timeout."""
        pause = _FIRST_LOOK
        while True:
            self.require_alive()
            yield
            left = self._end - time.monotonic()
            if left <= 0:
                note = f": {self.note}" if self.note else ""
                raise Timeout(f"container {self._container.short_id}: {self._what} within {self._timeout:g} s{note}")
            time.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_LOOK)

    def left(self) -> float:
        """The seconds that are left."""
        return max(0.0, self._end - time.monotonic())

    def require_alive(self) -> None:
        """Raise Conflict when the container does not run, and is not started again."""
        container = self._container
        try:
            container.reload()
        except ContainerNotFound as error:
            raise Conflict(f"container {container.short_id} has ended and been removed: {self._what}") from error
        if container.state.status not in states.ALIVE and not _starting(container, self._lifecycle):
            raise ended(container, self._what)


def _starting(container: Container, lifecycle: Lifecycle) -> bool:
    row = lifecycle.store.containers.find(container.id)
    return container.state.status == states.CREATED and row is not None and row.state == states.RUNNING


def ended(container: Container, what: str) -> Conflict:
    """Return the error for a container that has ended too early, with its last lines."""
    state = container.state
    if state.status == states.CREATED:
        return Conflict(f"container {container.short_id} has not been started: {what}")
    try:
        text = container.logs(tail=_LAST_LINES).decode(errors="replace").strip()
    except MinidockError:
        text = ""
    last = f"; its last output: {text}" if text else ""
    return Conflict(f"container {container.short_id} has ended with {state.exit_code}: {what}{last}")


def wait_for_port(container: Container, lifecycle: Lifecycle, port: int | str, timeout: float) -> HostPort:
    """See :meth:`Container.wait_for_port`."""
    name = port_name(str(port))
    number, _, protocol = name.partition("/")
    if protocol not in ("tcp", "udp"):
        raise InvalidArgument(f"port {name}: only tcp and udp can be waited for")
    deadline = _Deadline(container, lifecycle, f"nothing has listened on port {name}", timeout)
    for _ in deadline.looks():
        if container.state.pid and _listens(container.state.pid, protocol, int(number)):
            return _reached(container, int(number), name)
    raise AssertionError("looks end by an exception")


def _listens(pid: int, protocol: str, port: int) -> bool:
    """Whether a socket in the network of a process is open to others than that network itself."""
    wanted = _LISTENING if protocol == "tcp" else _UNCONNECTED
    for family in ("", "6"):
        try:
            with open(f"/proc/{pid}/net/{protocol}{family}", encoding="ascii") as file:
                text = file.read()
        except OSError:
            continue
        for line in text.splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, digits = local.partition(":")
            if state == wanted and int(digits, 16) == port and not _is_loopback(address):
                return True
    return False


def _is_loopback(digits: str) -> bool:
    """Whether an address of /proc/net is one of the loopback interface's: words in the host's order of bytes."""
    import socket
    import sys

    words = [int(digits[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(digits), 8)]
    address = b"".join(words)
    return address[0] == 127 if len(address) == 4 else address == socket.inet_pton(socket.AF_INET6, "::1")


def _reached(container: Container, port: int, name: str) -> HostPort:
    """Return where a port of a container is reached from this host. Raises Conflict where it is not."""
    mode = container.record.host_config.network_mode
    if mode == "host":
        return HostPort(port, "127.0.0.1")
    for binding in (container.inspect().network_settings.ports or {}).get(name) or ():
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(binding.host_ip, binding.host_ip)  # noqa: S104
        return HostPort(int(binding.host_port), host)
    if not container.ip:
        raise Conflict(f"container {container.short_id} has no address of its own, and port {name} is not published")
    return HostPort(port, container.ip)


def wait_for_log(container: Container, lifecycle: Lifecycle, text: str | re.Pattern[str], timeout: float) -> str:
    """See :meth:`Container.wait_for_log`."""
    pattern = re.compile(re.escape(text)) if isinstance(text, str) else text
    what = f"no line of its output has had {text if isinstance(text, str) else text.pattern!r}"
    deadline = _Deadline(container, lifecycle, what, timeout)
    for _ in deadline.looks():
        since = container.state.started_at
        partial = {"stdout": b"", "stderr": b""}
        try:
            with logs.Log(container, lifecycle, since=since, follow=True, timeout=deadline.left()) as log:
                for record in log:
                    whole = partial[record.stream] + record.data
                    line = whole.decode(errors="replace").rstrip("\r\n")
                    if pattern.search(line):
                        return line
                    partial[record.stream] = b"" if whole.endswith(b"\n") else whole[-_KEPT:]
        except Timeout:
            continue  # in the words of this wait
    raise AssertionError("looks end by an exception")


_KEPT = 1 << 16
"""Bytes of a line without an end that are looked at together."""


def wait_for_http(
    container: Container,
    lifecycle: Lifecycle,
    path: str,
    *,
    port: int | str,
    status: int | range | None,
    timeout: float,
) -> HostPort:
    """See :meth:`Container.wait_for_http`."""
    if not path.startswith("/") or not path.isprintable() or " " in path:
        raise InvalidArgument(f"{path[:60]!a}: a path that begins with / is needed")
    end = time.monotonic() + timeout
    found = wait_for_port(container, lifecycle, port, timeout)
    shown = "any status" if status is None else f"{status}"
    what = f"{found.url}{path} has not answered with {shown}"
    deadline = _Deadline(container, lifecycle, what, max(0.0, end - time.monotonic()))
    for _ in deadline.looks():
        code, deadline.note = _get(found, path, min(_ANSWER_SECONDS, max(0.01, deadline.left())))
        if code and (status is None or code in (status if isinstance(status, range) else (status,))):
            return found
    raise AssertionError("looks end by an exception")


def _get(at: HostPort, path: str, timeout: float) -> tuple[int, str]:
    """Return the status of an answer, 0 without one, and what there is to say of it."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(at.host, int(at), timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close", "User-Agent": "minidock"})
        answer = connection.getresponse()
    except (OSError, HTTPException) as error:
        return 0, str(error) or type(error).__name__
    finally:
        connection.close()
    return answer.status, f"it answers {answer.status} {answer.reason}".rstrip()
