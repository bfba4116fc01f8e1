"""``attach``."""

from __future__ import annotations

import os

from minidock.cli.commands.run import end_by_exception, finished
from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain
from minidock.cli.words import UsageError
from minidock.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _attach(session: Session, values: Values, arguments: list[str]) -> int:
    """Connect this process's streams to a running container and end with its exit code."""
    container = session.engine.containers.get(arguments[0])
    state = container.state
    if not state.running:
        raise Conflict("you cannot attach to a stopped container, start it first")
    if state.paused:
        raise Conflict("you cannot attach to a paused container, unpause it first")
    if state.restarting:
        raise Conflict("you cannot attach to a restarting container, wait until it is running")
    config = container.record.config
    wanted = not values["no-stdin"]
    if config.tty and wanted and not os.isatty(0):
        raise UsageError("the input device is not a TTY", 1)
    if not values["sig-proxy"]:
        end_by_exception()
    status = container.attach(
        stdin=0 if wanted and config.open_stdin else None,
        stdout=1,
        stderr=2,
        sig_proxy=values["sig-proxy"],
        detach_keys=values["detach-keys"],
    )
    if status is None:
        complain("read escape sequence")
        return 1
    return finished(status)


ATTACH = Command(
    "[OPTIONS] CONTAINER",
    "Connect standard input, output and error to a running container.",
    [
        Flag("detach-keys", "keys", "Keys that leave it running (default ctrl-p,ctrl-q)"),
        Flag("no-stdin", "bool", "Do not connect standard input"),
        Flag("sig-proxy", "bool", "Pass signals on to the container's process", default=True),
    ],
    _attach,
    minimum=1,
    maximum=1,
    complete="containers",
)
