"""The server: accepts connections, gives each a thread, and stops without touching containers."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from minidock.server import routes
from minidock.server.failures import HttpError, Vanished, message_of, status_of
from minidock.server.http import Connection
from minidock.server.lives import Lives
from minidock.server.vanishing import Watch
from minidock.spec.docker import API_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.engine import Engine
    from minidock.server.buildkit.backend import Backend
    from minidock.server.http import Request
    from minidock.server.listening import Listener

MOST = 4096
"""Connections at once; more wait until some have gone."""
_STACK = 1 << 20
_NEW = 1.0
"""Seconds that a connection has to ask something when the server stops."""
_GRACE = 10.0
"""Seconds that requests have to be answered when the server stops."""


class Server:
    """One server on one engine. Several may serve one data root; containers need none of them."""

    command = "serve"
    """What the server's log calls it."""

    def __init__(self, engine: Engine, listeners: Sequence[Listener]) -> None:
        from minidock import __version__

        self.engine = engine
        self.watch = Watch()
        self.lives = Lives(engine)
        self.stopping = False
        self.head = (
            f"\r\nApi-Version: {API_VERSION}\r\nDocker-Experimental: false\r\nOstype: linux\r\n"
            f"Server: minidock/{__version__} (linux)\r\n\r\n"
        ).encode()
        """The end of every answer's head."""
        self._listeners = listeners
        self._backend: Backend | None = None
        self._backend_lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._lock = threading.Lock()
        self._fewer = threading.Condition(self._lock)
        self._wake, self._woken = socket.socketpair()

    def buildkit(self) -> Backend:
        """What serves BuildKit's gRPC, from its first use on."""
        with self._backend_lock:
            if self._backend is None:
                # What the command line does without (minidock.__main__), gRPC needs.
                if sys.modules.get("typing_extensions", sys) is None:
                    del sys.modules["typing_extensions"]
                from minidock.server.buildkit.backend import Backend

                self._backend = Backend(self.engine)
            return self._backend

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; for the main thread."""
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        threading.stack_size(_STACK)
        try:
            self._accept()
        finally:
            self._end()
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def stop(self) -> None:
        """Let :meth:`run` return, from another thread."""
        self.stopping = True
        with contextlib.suppress(OSError):
            self._wake.send(b"\0")

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            for listener in self._listeners:
                listener.socket.setblocking(False)
                selector.register(listener.socket, selectors.EVENT_READ)
            while not self.stopping:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        self._woken.recv(4096)
                        continue
                    self._take(key.fileobj)  # type: ignore[arg-type]

    def _take(self, listening: socket.socket) -> bool:
        """Accept a connection; False if nobody waits."""
        with self._lock:
            while len(self._connections) >= MOST and not self.stopping:
                self._fewer.wait(0.5)
        try:
            sock, _ = listening.accept()
        except BlockingIOError:
            return False
        except OSError:
            time.sleep(0.05)  # no descriptor is left: without a pause this would be asked for at every turn
            return False
        sock.setblocking(True)
        connection = Connection(self, sock)
        with self._lock:
            self._connections.add(connection)
        try:
            threading.Thread(target=self._serve, args=(connection,), name="minidock-http", daemon=True).start()
        except RuntimeError:
            self.forget(connection)
            sock.close()
        return True

    def _serve(self, connection: Connection) -> None:
        try:
            connection.serve()
        finally:
            self.forget(connection)

    def forget(self, connection: Connection) -> None:
        """Count a connection no more."""
        with self._lock:
            self._connections.discard(connection)
            self._fewer.notify_all()

    def handle(self, request: Request) -> None:
        """Find a request's handler and call it. Raises what that raises."""
        routes.handle(request)

    def answer(self, request: Request) -> None:
        """Answer one request, whatever happens. Raises Vanished when nobody is left to be answered."""
        try:
            self.handle(request)
        except Vanished:
            raise
        except Exception as raised:
            error = request.connection.failure or raised
            if isinstance(error, Vanished):
                raise error from raised
            if not isinstance(error, HttpError) and status_of(error) == 500:
                self._report(request, error)
            if request.answered:
                request.connection.interrupt()
                raise Vanished from error
            request.answer({"message": message_of(error)}, status_of(error))

    @staticmethod
    def _quiet(connections: list[Connection]) -> None:
        """Take no further requests of those that ask nothing now; what has been sent already is answered."""
        for connection in connections:
            if not connection.busy:
                connection.take_no_more()

    def _report(self, request: Request, error: Exception) -> None:
        """Write a failure to the server's log, standard error."""
        from minidock.errors import MinidockError

        line = f"minidock {self.command}: {request.method} {request.path or request.target.decode('latin-1')}: {error}"
        if not isinstance(error, MinidockError):
            line += "\n" + "".join(traceback.format_exception(error)).rstrip()
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)

    def _end(self) -> None:
        for listener in self._listeners:
            while listener.path and self._take(listener.socket):
                pass  # who waits at a socket that goes with this server; at others the next server takes them
            listener.close()
        self.watch.close()
        if self._backend is not None:
            self._backend.close()
        deadline = time.monotonic() + _GRACE
        with self._lock:
            # Who has just come may still ask one thing.
            while time.monotonic() < deadline - _GRACE + _NEW and any(one.is_new for one in self._connections):
                self._quiet([one for one in self._connections if not one.is_new])
                self._fewer.wait(_NEW / 20)
            self._quiet(list(self._connections))
        with self._lock:
            while self._connections and (left := deadline - time.monotonic()) > 0:
                self._fewer.wait(left)
            rest = list(self._connections)
        for connection in rest:
            connection.interrupt()
        self._wake.close()
        self._woken.close()
