"""Sockets that heed a cancellation within half a second, and give up on a peer that stalls or trickles.

urllib3 and http.client block in a socket's calls. Those of these sockets wait in short ticks, and between them ask the
:class:`Guard` that the thread has set by :func:`guarded`. So nothing above has to know about any of this.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from minidock.errors import RegistryUnreachable

if TYPE_CHECKING:
    from minidock.registry.cancel import Cancel

TICK = 0.5
_MAX_HEAD = 512 << 10
"""Most bytes of an answer before its body: status lines, also of "100 Continue", and headers."""
_TLS_PIECE = 64 << 10


class Limits(NamedTuple):
    """How long, in seconds, a peer may do nothing, and how slow it may be."""

    connect: float = 10
    read: float = 30
    answer: float = 300
    """Until an answer begins whose request had a body: a registry hashes and stores a blob meanwhile."""
    window: float = 60
    rate: int = 1024
    """Bytes a second, over any ``window``."""


class Stalled(RegistryUnreachable):
    """The peer does nothing, or too little."""


class Hopeless(RegistryUnreachable):
    """What another attempt would not change: no such host, a certificate that is not trusted."""


class NobodyThere(RegistryUnreachable):
    """The port is closed: nobody may ever have listened there."""


class Guard:
    """Watches the socket calls of one request. ``peer`` is for messages."""

    __slots__ = ("_bytes", "_cancel", "_head", "_idle_since", "_limits", "_sending", "_window", "peer")

    def __init__(self, peer: str, limits: Limits, cancel: Cancel | None) -> None:
        self.peer = peer
        self._limits = limits
        self._cancel = cancel
        self._head: int | None = None
        self._sending = False
        self._restart()

    def _restart(self) -> None:
        self._idle_since = self._window = time.monotonic()
        self._bytes = 0

    def resume(self) -> None:
        """Leave out the time since the last byte: the caller was busy, not the peer."""
        now = time.monotonic()
        self._window += now - self._idle_since
        self._idle_since = now

    def head(self, *, begins: bool) -> None:
        """Say that an answer's head begins or ended."""
        self._head = 0 if begins else None

    def check(self) -> None:
        """Raise what the caller's cancellation raises."""
        if self._cancel is not None:
            self._cancel.check()

    def waited(self) -> None:
        """A tick went by without a byte. Raises Stalled, or what :meth:`check` raises."""
        self.check()
        limit = self._limits.answer if self._sending else self._limits.read
        if time.monotonic() - self._idle_since >= limit:
            raise Stalled(f"{self.peer}: no answer for {limit:g} s")

    def sent(self, count: int) -> None:
        """Bytes left."""
        if not self._sending:
            self._sending = True
            self._restart()
        self._moved(count)

    def received(self, count: int) -> None:
        """Bytes came. Raises Stalled for a trickle."""
        if self._sending:
            self._sending = False
            self._restart()
        self._moved(count)
        if self._head is not None:
            self._head += count
            if self._head > _MAX_HEAD:
                raise Stalled(f"{self.peer}: the head of its answer has more than {_MAX_HEAD} bytes")

    def _moved(self, count: int) -> None:
        now = self._idle_since = time.monotonic()
        self._bytes += count
        self.check()
        passed = now - self._window
        if passed >= self._limits.window:
            if self._bytes < passed * self._limits.rate:
                raise Stalled(f"{self.peer}: only {self._bytes} bytes in {passed:.0f} s")
            self._window, self._bytes = now, 0


_thread = threading.local()


@contextlib.contextmanager
def guarded(guard: Guard) -> Iterator[None]:
    """Let ``guard`` watch this thread's sockets."""
    previous = getattr(_thread, "guard", None)
    _thread.guard = guard
    try:
        yield
    finally:
        _thread.guard = previous


def _guard() -> Guard:
    guard = getattr(_thread, "guard", None)
    if guard is None:  # a call that no request makes, such as a TLS farewell
        guard = Guard("connection", Limits(), None)
    return guard


def _receive(call: Callable[[], Any], size: Callable[[Any], int]) -> Any:
    guard = _guard()
    while True:
        try:
            got = call()
        except TimeoutError:
            guard.waited()
            continue
        guard.received(size(got))
        return got


def _send_all(send: Callable[[memoryview], int], data: Any, piece: int) -> None:
    guard = _guard()
    view = memoryview(data).cast("B")
    while view:
        try:
            count = send(view[:piece])
        except TimeoutError:
            guard.waited()
            continue
        guard.sent(count)
        view = view[count:]


class _Socket(socket.socket):
    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        call = super().recv_into
        return int(_receive(lambda: call(buffer, nbytes, flags), int))

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        call = super().recv
        return bytes(_receive(lambda: call(bufsize, flags), len))

    def sendall(self, data: Any, flags: int = 0) -> None:
        send = super().send
        _send_all(lambda view: send(view, flags), data, 1 << 30)


class _TlsSocket(ssl.SSLSocket):
    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        call = super().recv_into
        return int(_receive(lambda: call(buffer, nbytes, flags), int))

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        call = super().recv
        return bytes(_receive(lambda: call(buflen, flags), len))

    def sendall(self, data: Any, flags: int = 0) -> None:
        send = super().send
        _send_all(lambda view: send(view, flags), data, _TLS_PIECE)

    def do_handshake(self, block: bool = False) -> None:
        guard = _guard()
        while True:
            try:
                return super().do_handshake(block)
            except TimeoutError:
                try:
                    guard.waited()
                except BaseException:
                    self.close()  # ssl does so after an OSError only
                    raise


def context(verify: bool) -> ssl.SSLContext:
    """A client's TLS configuration, with the host's CAs or without verification."""
    made = ssl.create_default_context()
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    made.sslsocket_class = _TlsSocket
    return made


class _Plain(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self._dns_host, self.port)

    def getresponse(self) -> Any:
        return _answer(super().getresponse)


class _Tls(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self._dns_host, self.port)

    def getresponse(self) -> Any:
        return _answer(super().getresponse)


def _answer(get: Callable[[], Any]) -> Any:
    guard = _guard()
    guard.head(begins=True)
    try:
        return get()
    finally:
        guard.head(begins=False)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _Tls

    def _validate_conn(self, conn: Any) -> None:
        """As urllib3's, without its warning: ``insecure-registries`` says that no certificate is verified."""
        if conn.is_closed:
            conn.connect()


def manager(tls: ssl.SSLContext | None, proxy: str | None, *, connections: int = 16) -> urllib3.PoolManager:
    """Connections with one TLS configuration, through ``proxy`` or directly, as many of a host as threads want."""
    options: dict[str, Any] = {
        "num_pools": 32,
        "maxsize": connections,
        "retries": False,
        "timeout": urllib3.Timeout(connect=TICK, read=TICK),
        "ssl_context": tls,
    }
    made: urllib3.PoolManager
    if proxy is None:
        made = urllib3.PoolManager(**options)
    else:
        url = urllib3.util.parse_url(proxy)
        headers = None
        if url.auth:
            from urllib.parse import unquote

            headers = urllib3.make_headers(proxy_basic_auth=unquote(url.auth))
        bare = url._replace(auth=None).url
        secure = context(verify=True) if url.scheme == "https" else None
        made = urllib3.ProxyManager(bare, proxy_headers=headers, proxy_ssl_context=secure, **options)
    made.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
    return made


def _connect(host: str, port: int) -> socket.socket:
    """A connection to one of the host's addresses. Raises RegistryUnreachable."""
    guard = _guard()
    addresses = _resolve(host, port, guard)
    limit = _connect_limit(guard, len(addresses))
    cause, refused = "it has no address", bool(addresses)
    for family, kind, protocol, _, address in addresses:
        made = _Socket(family, kind | socket.SOCK_CLOEXEC, protocol)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            _connect_one(made, address, limit, guard)
            made.settimeout(TICK)
            return made
        except OSError as error:
            made.close()
            cause = (error.strerror or str(error)).lower()
            refused = refused and error.errno == errno.ECONNREFUSED
        except BaseException:
            made.close()
            raise
    raise (NobodyThere if refused else RegistryUnreachable)(f"connect to {host}:{port}: {cause}")


def _connect_limit(guard: Guard, addresses: int) -> float:
    return max(guard._limits.connect / max(1, addresses), min(2.0, guard._limits.connect))


def _connect_one(made: socket.socket, address: Any, limit: float, guard: Guard) -> None:
    made.setblocking(False)
    code = made.connect_ex(address)
    if code == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(made, select.POLLOUT)
        end = time.monotonic() + limit
        while not poll.poll(TICK * 1000):
            guard.check()
            if time.monotonic() >= end:
                raise OSError(errno.ETIMEDOUT, "timed out")
        code = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _resolve(host: str, port: int, guard: Guard) -> list[Any]:
    """The host's addresses. A name is looked up in a thread, which a name server that is silent may keep busy."""
    host = host.strip("[]")
    with contextlib.suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    found: list[Any] = []
    failed: list[Exception] = []
    done = threading.Event()

    def look() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            failed.append(error)
        finally:
            done.set()

    threading.Thread(target=look, name="minidock-resolve", daemon=True).start()
    end = time.monotonic() + guard._limits.read
    while not done.wait(TICK):
        guard.check()
        if time.monotonic() >= end:
            raise RegistryUnreachable(f"look up {host}: no answer from the name servers")
    if failed:
        cause = getattr(failed[0], "strerror", None) or str(failed[0])
        passing = isinstance(failed[0], socket.gaierror) and failed[0].errno == socket.EAI_AGAIN
        kind = RegistryUnreachable if passing else Hopeless
        raise kind(f"look up {host}: {cause[:1].lower()}{cause[1:]}; check the name and the network")
    return found
