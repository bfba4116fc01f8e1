"""``serve``."""

from __future__ import annotations

import os

from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _serve(session: Session, values: Values, arguments: list[str]) -> int:
    """Serve until somebody ends this process; containers run on."""
    engine = session.engine_to_serve()
    from minidock.server import listening
    from minidock.server.serving import Server

    hosts = [f"unix://{os.path.abspath(values['socket'])}"] if values["socket"] else engine.config.hosts
    group = values["group"] or engine.config.group
    given = listening.handed_over()
    listeners = [*given, *listening.configured(hosts, group, given=given, replace=bool(values["replace"]))]
    server = Server(engine, listeners)
    for listener in listeners:
        complain(f"minidock: serving on {listener.path or listener.socket.getsockname()}")
    listening.tell_ready()
    server.run()
    return 0


SERVE = Command(
    "[OPTIONS]",
    "Answer Docker's Engine API on a Unix socket: point DOCKER_HOST=unix://PATH there. Whoever may open it has root's"
    " rights on this host. Ends with SIGTERM; containers run on.",
    [
        Flag("group", "string", "Group that may open the socket; root alone unless given", short="G"),
        Flag(
            "replace", "bool", "Take the place of a server that listens there; it answers what it was asked, and ends"
        ),
        Flag(
            "socket",
            "string",
            "Where to listen (default /run/minidock.sock), beside the sockets of systemd's LISTEN_FDS",
        ),
    ],
    _serve,
    maximum=0,
)
