"""``start``."""

from __future__ import annotations

import os

from minidock.cli.commands.run import attach
from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line
from minidock.cli.surface import NO_CHECKPOINT
from minidock.cli.words import UsageError
from minidock.errors import CommandNotExecutable, CommandNotFound, MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _start(session: Session, values: Values, arguments: list[str]) -> int:
    """Start containers in the background and print their names; with ``-a`` or ``-i`` one, in the foreground."""
    if values["attach"] or values["interactive"]:
        if len(arguments) > 1:
            raise UsageError("you cannot start and attach multiple containers at once", 1)
        container = session.engine.containers.get(arguments[0])
        config = container.record.config
        streams = {"stdout", "stderr"}
        if values["interactive"] and config.open_stdin:
            streams.add("stdin")
        if config.tty and "stdin" in streams and not os.isatty(0):
            raise UsageError("the input device is not a TTY", 1)
        try:
            return attach(
                session,
                container,
                streams,
                sig_proxy=values["sig-proxy"],
                detach_keys=values["detach-keys"],
                running=container.state.running,
            )
        except (CommandNotFound, CommandNotExecutable) as error:
            raise UsageError(str(error), 1) from error  # Docker: 126 and 127 are for `run`
    failed = 0
    for name in arguments:
        try:
            session.engine.containers.get(name).start()
        except MinidockError as error:
            complain(f"minidock: {error}")
            failed = 1
        else:
            line(name)
    return failed


START = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Start stopped containers, in the background; with --attach or --interactive one, in the foreground.",
    [
        Flag("attach", "bool", "Show its output and pass signals on", short="a"),
        Flag("interactive", "bool", "Connect standard input too", short="i"),
        Flag("sig-proxy", "bool", "Pass signals on to the container's process", default=True, hidden=True),
        Flag("checkpoint", "string", reason=NO_CHECKPOINT),
        Flag("checkpoint-dir", "string", reason=NO_CHECKPOINT),
        Flag("detach-keys", "keys", "Keys that leave it running in the background (default ctrl-p,ctrl-q)"),
    ],
    _start,
    minimum=1,
    complete="containers",
)
