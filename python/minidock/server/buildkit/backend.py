"""The gRPC server of one minidock server: made at its first use, on a socket that nobody else can open."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc

from minidock.server.buildkit import private
from minidock.server.buildkit.jobs import Jobs
from minidock.server.buildkit.services import Services
from minidock.server.buildkit.sessions import Sessions

if TYPE_CHECKING:
    import socket

    from minidock.engine import Engine

_CALLS = 512
"""At once: a build takes three, and those that wait take a thread each."""
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", -1),
    # Clients ask often whether this is still there.
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class Backend:
    """What ``/grpc`` and ``/session`` lead to."""

    def __init__(self, engine: Engine) -> None:
        engine.store.paths.prepare()
        root = engine.store.paths.run
        self.sessions = Sessions()
        self._jobs = Jobs(engine, self.sessions)
        self._place = private.Place(root)
        pool = ThreadPoolExecutor(_CALLS, thread_name_prefix="minidock-grpc")
        self._server = grpc.server(pool, options=_OPTIONS)
        self._server.add_generic_rpc_handlers(Services(engine, self._jobs).handlers())
        self._server.add_insecure_port(f"unix:{self._place.path}")
        self._server.start()
        self._place.seal()

    def serve(self, connection: socket.socket, early: bytes) -> None:
        """Serve one connection until it ends; closes it."""
        private.splice(connection, self._place.connect(), early)

    def close(self) -> None:
        """Cancel all builds."""
        self._jobs.close()
        self._server.stop(5).wait()
        self._place.close()
