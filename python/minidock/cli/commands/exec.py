"""``exec``."""

from __future__ import annotations

import os

from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain
from minidock.cli.words import UsageError, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _exec(session: Session, values: Values, arguments: list[str]) -> int:
    """Run a command in a running container, in the foreground unless ``--detach``, and end with its exit code."""
    tty = values["tty"]
    stdin = values["interactive"] and not values["detach"]
    for entry in values["env"]:
        if not entry or entry.startswith("="):
            raise UsageError(
                f"invalid argument {quote(entry)} for {quote('-e, --env')} flag: invalid environment variable: {entry}"
            )
    if tty and stdin and not os.isatty(0):
        raise UsageError("the input device is not a TTY", 1)
    from minidock.containers import exec_options, execs

    wanted = exec_options.config(
        arguments[1:],
        environment=values["env"],
        env_file=values["env-file"],
        user=values["user"],
        workdir=values["workdir"],
        privileged=values["privileged"],
        tty=tty,
        timeout=values["timeout"],
    )
    lifecycle = session.engine.lifecycle
    if values["detach"]:
        execs.detached(lifecycle, arguments[0], wanted)
        return 0
    if tty and stdin:
        from minidock.cli.commands.run import end_by_exception

        end_by_exception()
    warnings: list[str] = []
    result = execs.attached(
        lifecycle,
        arguments[0],
        wanted,
        stdin=0 if stdin else None,
        stdout=1,
        stderr=2,
        detach_keys=values["detach-keys"],
        warnings=warnings,
    )
    for warning in warnings:
        session.warn(warning)
    if result is None:
        complain("read escape sequence")
        return 1
    if result.timed_out:
        complain("minidock: the command was killed: it ran longer than its --timeout")
    return result.exit_code


EXEC = Command(
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    "Run a command in a running container. In the foreground it is killed, with all that it has started, when this "
    "program ends before it.",
    [
        Flag("detach", "bool", "Run it in the background", short="d"),
        Flag("detach-keys", "keys", "Keys that leave it running (default ctrl-p,ctrl-q)"),
        Flag(
            "env",
            "list",
            "Environment variable, KEY=VALUE; KEY alone takes the caller's value, or removes the container's",
            short="e",
        ),
        Flag("env-file", "list", "File of environment variables, one a line"),
        Flag("interactive", "bool", "Connect standard input", short="i"),
        Flag("privileged", "bool", "Give it all capabilities"),
        Flag("timeout", "seconds", "Kill it after this time (90s, 5m; a bare number is seconds)"),
        Flag("tty", "bool", "Give it a terminal", short="t"),
        Flag("user", "string", "User, NAME|UID[:GROUP|GID]", short="u"),
        Flag("workdir", "string", "Working directory in the container", short="w"),
    ],
    _exec,
    minimum=2,
    interspersed=False,
    complete="containers",
)
