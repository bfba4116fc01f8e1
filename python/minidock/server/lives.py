"""Clients that attach to, or wait for, containers before they are started, as ``docker run`` does.

What they need is known by the server that starts the container only: its first streams, and how it ended if it is
removed then. Everything else is asked of the container's supervisor or the store, which any number of servers may do.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

import msgspec

from minidock import _native
from minidock.containers import control, states
from minidock.containers.exits import exit_status
from minidock.containers.settling import KILLED
from minidock.errors import Conflict, ContainerNotFound, MinidockError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.containers.record import Record
    from minidock.engine import Engine
    from minidock.server.streams import Channels

_ATTACH_NOBODY = msgspec.json.encode({"op": "attach", "streams": ["stdout", "stderr"]})


_READY_SECONDS = 5.0
_REMEMBERED = 256


class Arrival:
    """A client that attaches before the start."""

    def __init__(self, channels: Channels, detach_keys: str | None) -> None:
        self.channels = channels
        self.detach_keys = detach_keys
        self.ready = False
        """It has been told that its streams follow; before that, nothing may be sent to it."""
        self.taken = False
        """The container has its streams, or could not be started; until then a start may be about to use them."""
        self.supervisor: _native.Supervisor | None = None
        """What its streams last as long as, if the container was not started with them."""


class Life:
    """What is expected of one container."""

    def __init__(self) -> None:
        self.users = 0
        self.arrivals: list[Arrival] = []
        self.following = False
        """This server has started it, and will know its end."""
        self.ends = 0
        self.exit_code = 0
        self.removed = False


class Lives:
    """The containers that clients of this server expect something of."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lives: dict[str, Life] = {}
        self.changed = threading.Condition()
        """Held for every look at a life; told of every change."""
        self._codes: dict[str, int] = {}
        """How the last containers ended that clients had attached to before they were started."""

    def code_of(self, container_id: str) -> int | None:
        """How a container ended that may be gone: some clients attach, start, and only then wait."""
        with self.changed:
            return self._codes.get(container_id)

    @contextlib.contextmanager
    def expecting(self, container_id: str) -> Iterator[Life]:
        """The life of a container, for the time of a ``with`` block."""
        with self.changed:
            life = self._lives.setdefault(container_id, Life())
            life.users += 1
        try:
            yield life
        finally:
            self._leave(container_id, life)

    def _leave(self, container_id: str, life: Life) -> None:
        with self.changed:
            life.users -= 1
            if not life.users and self._lives.get(container_id) is life:
                del self._lives[container_id]

    def start(self, container_id: str, detach_keys: str | None = None) -> bool:
        """Start a container, with the streams of who waits for that; False when it runs already.

        Raises as ``control.start``.
        """
        with self.changed:
            life = self._lives.get(container_id)
            if life is not None:
                life.users += 1
                self.changed.wait_for(lambda: all(one.ready for one in life.arrivals), _READY_SECONDS)
                arrivals = [one for one in life.arrivals if one.ready]
                life.arrivals = [one for one in life.arrivals if not one.ready]
        if life is None:
            supervisor, _ = control.start(self._engine.lifecycle, container_id)
            if supervisor is None:
                return False
            supervisor.close()
            return True
        try:
            return self._start(container_id, life, arrivals, detach_keys)
        finally:
            with self.changed:
                for arrival in arrivals:
                    arrival.taken = True
                self.changed.notify_all()
            self._leave(container_id, life)

    def _start(self, container_id: str, life: Life, arrivals: list[Arrival], detach_keys: str | None) -> bool:
        lifecycle = self._engine.lifecycle
        record, state = lifecycle.settle(lifecycle.store.containers.get(container_id))
        if state.status in (states.RUNNING, states.RESTARTING):
            self._join(record, arrivals)
            return False
        rest = arrivals[1:]
        supervisor: _native.Supervisor | None
        try:
            supervisor = self._spawn(container_id, arrivals, detach_keys)
        except Conflict:
            row = lifecycle.store.containers.find(container_id)
            if row is None or row.state != states.RUNNING:
                raise
            # Somebody else starts it at the same time, and that is waited for.
            rest = arrivals
            supervisor, _ = control.start(lifecycle, container_id)
        if supervisor is not None:
            reader = self._read_nothing(record) if len(rest) < len(arrivals) and not record.config.tty else None
            with self.changed:
                life.users += 1
                life.following = True
            arguments = (container_id, life, supervisor, reader, bool(arrivals))
            threading.Thread(target=self._follow, args=arguments, name="minidock-life", daemon=True).start()
        self._join(record, rest)
        return supervisor is not None

    def _spawn(self, container_id: str, arrivals: list[Arrival], detach_keys: str | None) -> _native.Supervisor:
        """Start it with the streams of the first of these."""
        if not arrivals:
            return self._engine.lifecycle.start(container_id)[0]
        channels = arrivals[0].channels
        supervisor, _ = self._engine.lifecycle.start(
            container_id,
            stdin=channels.stdin,
            stdout=channels.stdout,
            stderr=channels.stderr,
            framed=channels.framed,
            detach_keys=arrivals[0].detach_keys or detach_keys,
        )
        return supervisor

    def _join(self, record: Record, arrivals: list[Arrival]) -> None:
        """Connect clients to a container that runs."""
        for arrival in arrivals:
            with contextlib.suppress(MinidockError, _native.NativeError):
                arrival.supervisor = attach(self._engine, record, arrival.channels, arrival.detach_keys)

    def _read_nothing(self, record: Record) -> _native.Supervisor | None:
        """Attach a reader who throws everything away: the container is not to end because its first client goes."""
        try:
            reader = self._engine.lifecycle.connect(record.id)
        except MinidockError:
            return None
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            reader.request(_ATTACH_NOBODY, [null, null], control.ANSWER_SECONDS)
        except _native.NativeError:
            reader.close()
            return None
        finally:
            os.close(null)
        return reader

    def _follow(
        self,
        container_id: str,
        life: Life,
        supervisor: _native.Supervisor,
        reader: _native.Supervisor | None,
        attended: bool,
    ) -> None:
        """Wait for the end of what was started here, and do what the client of a supervisor has to do then."""
        final, code = True, KILLED
        try:
            with contextlib.suppress(_native.NativeError):
                packet = supervisor.wait()
                if packet is not None:
                    code = exit_status(packet).exit_code
                    final = bool(msgspec.json.decode(packet).get("final", True))
            with self.changed:
                life.ends += 1
                life.exit_code = code
                life.following = False
                self._codes.pop(container_id, None)
                self._codes[container_id] = code
                if len(self._codes) > _REMEMBERED:
                    del self._codes[next(iter(self._codes))]
                self.changed.notify_all()
            if final and attended:
                self._settle(container_id, life)
        finally:
            supervisor.close()
            if reader is not None:
                reader.close()
            self._leave(container_id, life)

    def _settle(self, container_id: str, life: Life) -> None:
        lifecycle = self._engine.lifecycle
        try:
            lifecycle.settle(lifecycle.store.containers.get(container_id))
        except ContainerNotFound:
            with self.changed:
                life.removed = True
                self.changed.notify_all()
        except MinidockError:
            return  # the next look at it does it


def attach(engine: Engine, record: Record, channels: Channels, detach_keys: str | None) -> _native.Supervisor:
    """Connect a client to a running container; its streams last as long as what is returned is open.

    Raises Conflict when it does not run.
    """
    from minidock._errors import translate
    from minidock.errors import NotFound

    names = ("stdin", "framed" if channels.framed else "stdout", "stderr")
    given = zip(names, (channels.stdin, channels.stdout, channels.stderr), strict=True)
    streams = [(name, fd) for name, fd in given if fd is not None]
    lifecycle = engine.lifecycle
    lifecycle.emit(record, "attach")
    try:
        supervisor = lifecycle.connect(record.id)
    except NotFound as error:
        raise Conflict(f"container {record.id} is not running") from error
    request: dict[str, object] = {"op": "attach", "streams": [name for name, _ in streams]}
    if detach_keys is not None:
        request["detach_keys"] = detach_keys
    try:
        supervisor.request(msgspec.json.encode(request), [fd for _, fd in streams], control.ANSWER_SECONDS)
    except _native.NativeError as error:
        supervisor.close()
        raise translate(error) from error
    return supervisor
