"""A client on a container's own streams: by a connection that is taken over, or by a websocket."""

from __future__ import annotations

import contextlib
import select
from typing import TYPE_CHECKING

from minidock import _native
from minidock.containers import states
from minidock.containers.parse import detach_keys
from minidock.errors import ContainerNotFound, MinidockError, Unsupported
from minidock.server import lives, streams
from minidock.server.handlers.container_streams import stream_type
from minidock.server.handlers.containers import container_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from minidock.containers.container import Container
    from minidock.server.http import Request

_LOOK = 0.2
"""Seconds after which somebody else's start of a container is seen."""


class Client:
    """One client that attaches: ``socket`` is where the streams go, ``connection`` tells that it has gone."""

    def __init__(
        self,
        request: Request,
        container: Container,
        connection: socket.socket,
        streams_to: socket.socket,
        confirm: Callable[[], None],
        *,
        raw: bool,
    ) -> None:
        self.request = request
        self.container = container
        self.connection = connection
        self.socket = streams_to
        self.confirm = confirm
        self.raw = raw or container.record.config.tty
        """Output goes without headers."""
        query = request.query
        self.stdin = query.flag("stdin") and container.record.config.open_stdin
        self.stdout, self.stderr = query.flag("stdout"), query.flag("stderr")
        keys = detach_keys.detach_keys(query.text("detachKeys"))
        self.keys = keys if self.stdin and (container.record.config.tty or query.text("detachKeys")) else None

    def attach(self, early: bytes) -> None:
        """Connect it until it goes, or the container's run is over; one that does not run is waited for."""
        running = self.container.state.status == states.RUNNING
        if running or not self.request.query.flag("stream"):
            self.confirm()
            streams.await_read(self.connection)
            self._send_logs()
        if not self.request.query.flag("stream"):
            return
        channels = streams.Channels(self.socket, early)
        with channels.open(
            stdin=self.stdin,
            stdout=self.stdout,
            stderr=self.stderr,
            tty=self.container.record.config.tty,
            can_frame=True,
            raw=self.raw,
        ):
            if running:
                self._join(channels)
            else:
                self._arrive(lives.Arrival(channels, self.keys))

    def _send_logs(self) -> None:
        """Send what the container has written before, if the client wants it."""
        if not self.request.query.flag("logs"):
            return
        try:
            with self.container.logs(stream=True, stdout=self.stdout, stderr=self.stderr) as log:
                for number, data in log.text():
                    streams.send(self.socket, (data if self.raw else streams.frame(number, data),))
        except Unsupported:
            return

    def _join(self, channels: streams.Channels) -> None:
        """Keep it connected to a running container until one of them goes."""
        try:
            supervisor = lives.attach(self.request.engine, self.container.record, channels, self.keys)
        except MinidockError:
            return
        channels.give()
        self._stay(supervisor)

    def _stay(self, supervisor: _native.Supervisor) -> None:
        with supervisor:
            poll = select.poll()
            poll.register(supervisor.fileno(), select.POLLIN)
            poll.register(self.connection, 0)
            with contextlib.suppress(_native.NativeError):
                # What a client sends at once may have been the keys: told together with the answer to the request.
                while not self.request.server.stopping and supervisor.wait_attached(0) is None:
                    if poll.poll(1000):
                        return

    def _arrive(self, arrival: lives.Arrival) -> None:
        """Wait until the container is started, by whomever, and has this client's streams."""
        shared = self.request.server.lives
        with shared.expecting(self.container.id) as life:
            with shared.changed:
                life.arrivals.append(arrival)
            try:
                # Now, and not before: the client will start the container when it has read this.
                self.confirm()
                streams.await_read(self.connection)
                self._send_logs()
                with shared.changed:
                    arrival.ready = True
                    shared.changed.notify_all()
                self._wait(life, arrival)
            finally:
                self._leave(life, arrival)
                # A start that is about to use its streams has them to its end: their numbers would be another's soon.
                with shared.changed:
                    shared.changed.wait_for(lambda: arrival.taken)
                if arrival.supervisor is not None:
                    arrival.supervisor.close()

    def _leave(self, life: lives.Life, arrival: lives.Arrival) -> bool:
        """Expect a start no more; False when one has begun."""
        with self.request.server.lives.changed:
            if arrival not in life.arrivals:
                return False
            life.arrivals.remove(arrival)
            arrival.taken = True
            return True

    def _wait(self, life: lives.Life, arrival: lives.Arrival) -> None:
        shared = self.request.server.lives
        while True:
            with shared.changed:
                if not arrival.taken:
                    shared.changed.wait(_LOOK)
                taken = arrival.taken
            if taken:
                arrival.channels.give()
                if arrival.supervisor is not None:
                    self._stay(arrival.supervisor)
                return
            if self.request.server.stopping or streams.has_gone(self.connection):
                return
            try:
                self.container.reload()
            except ContainerNotFound:
                return
            if self.container.state.status == states.RUNNING and self._leave(life, arrival):
                self._join(arrival.channels)
                return


def _attachable(request: Request) -> Container:
    """Return the container that the path names. Raises Conflict for one that is paused, restarting or removed."""
    container = container_of(request)
    if container.state.status not in (states.CREATED, states.EXITED):
        states.require("attach", container.state.status, container.id)
    detach_keys.detach_keys(request.query.text("detachKeys"))
    return container


def attach(request: Request) -> None:
    """``POST /containers/{id}/attach``: the connection is the container's streams from then on."""
    container = _attachable(request)
    kind = stream_type(request, tty=container.record.config.tty)
    connection, early = request.hijack()
    with connection:
        Client(request, container, connection, connection, lambda: request.confirm(kind), raw=False).attach(early)


def attach_websocket(request: Request) -> None:
    """``GET /containers/{id}/attach/ws``: the same by a websocket, without headers."""
    from minidock.server import websockets

    container = _attachable(request)
    key = websockets.accept_key(request)
    connection, early = request.hijack()
    with connection:
        tunnel = websockets.Tunnel(connection, early)

        def confirm() -> None:
            request.confirm_websocket(key)
            tunnel.begin()

        try:
            Client(request, container, connection, tunnel.inner, confirm, raw=True).attach(b"")
        finally:
            tunnel.finish()
