"""Finds the command, reads its flags, runs it, and turns whatever happens into one line and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys

from minidock.cli import surface
from minidock.cli.flags import Command, Flag, HelpWanted, Values, parse
from minidock.cli.output import complain, printable, write
from minidock.cli.session import LEVELS, Session
from minidock.cli.words import UsageError, parse_bool
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "minidock"


def _no_run(session: Session, values: Values, arguments: list[str]) -> int:
    raise AssertionError("the global flags are not a command")


GLOBAL = Command(
    "[OPTIONS] COMMAND",
    "Images and containers without a daemon",
    [
        Flag("config", "string", "Configuration file, with daemon.json's keys (default /etc/minidock/config.json)"),
        Flag("context", "string", short="c", reason=surface.NO_DAEMON, harmless="default"),
        Flag("data-root", "string", "Where images and containers are kept (default /var/lib/minidock)"),
        Flag("debug", "bool", "Show where in minidock an error comes from", short="D"),
        Flag("host", "string", short="H", reason=surface.NO_DAEMON),
        Flag("log-level", "string", "What to report: debug, info, warn, error or fatal", short="l", default="info"),
        Flag("run-root", "string", "Where the state of running containers is kept (default /run/minidock)"),
        Flag("tls", reason=surface.NO_DAEMON),
        Flag("tlscacert", "string", reason=surface.NO_DAEMON),
        Flag("tlscert", "string", reason=surface.NO_DAEMON),
        Flag("tlskey", "string", reason=surface.NO_DAEMON),
        Flag("tlsverify", reason=surface.NO_DAEMON),
        Flag("version", "bool", "Show the version and end", short="v"),
    ],
    _no_run,
    interspersed=False,
)


def main() -> None:
    """The program: run with the process's arguments and end the process."""
    import gc

    gc.disable()  # a short life; collections while importing cost milliseconds
    _open_standard_streams()
    Session.alone = True
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError, ValueError):
            stream.flush()
    os._exit(code)  # the interpreter's own clean-up costs milliseconds and has nothing to do


def _open_standard_streams() -> None:
    """Occupy descriptors 0 to 2, so that no database of ours gets the number of a closed standard stream."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if fd == 0 else os.O_WRONLY)


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code; every failure is one line on standard error."""
    session = Session()
    try:
        return _outcome(session, argv)
    except BrokenPipeError:
        _silence_stdout()
        return 141
    except KeyboardInterrupt:
        ignore_interrupts()
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception as error:
        if session.debug:
            _traceback()
        complain(f"{PROGRAM}: {_describe(error)}")
        return 125
    finally:
        try:
            session.close()
        except Exception as error:
            complain(f"{PROGRAM}: close the engine: {_describe(error)}")


def ignore_interrupts() -> None:
    """Have who presses Ctrl-C again wait for what tidies up after the first time. Then the process ends."""
    if Session.alone:
        import signal

        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _outcome(session: Session, argv: Sequence[str]) -> int:
    """Run the command line; a failure that minidock foresees is reported here."""
    command = ""
    try:
        if f"_{PROGRAM.upper()}_COMPLETE" in os.environ:
            from minidock.cli.tree import complete

            return complete(os.environ[f"_{PROGRAM.upper()}_COMPLETE"])
        command, rest = _settings(session, argv)
        return _dispatch(session, command, rest) if command else 0
    except MinidockError as error:
        if session.debug:
            _traceback()
        complain(f"{PROGRAM}: {error}")
        if isinstance(error, UsageError) or error.exit_code != 125 or surface.canonical(command) == "container run":
            return error.exit_code
        return 1


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f" {error.filename}" if error.filename else ""
        return f"{error.strerror.lower()}{where}"
    if isinstance(error, MemoryError):
        return "out of memory"
    return f"internal error: {type(error).__name__}: {error} (run with --debug for details, and please report it)"


def _traceback() -> None:
    import traceback

    write(traceback.format_exc(), 2)


def _silence_stdout() -> None:
    """Nobody reads standard output any more: nothing that follows may fail for it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _settings(session: Session, argv: Sequence[str]) -> tuple[str, list[str]]:
    """Take the global flags; return the command's full name as typed ("" when all is done), and what follows it."""
    try:
        values, rest = parse(GLOBAL, argv)
    except HelpWanted:
        _help("")
        return "", []
    session.config = values["config"]
    session.data_root = values["data-root"]
    session.run_root = values["run-root"]
    session.debug = values["debug"] or _debug_variable()
    if "log-level" in values:
        session.level = values["log-level"]
    if session.level and session.level not in LEVELS:
        raise UsageError(f"unable to parse logging level: {session.level}", 1)
    session.debug = session.debug or session.level in ("debug", "trace")
    if values["version"]:
        from minidock.cli.commands.system import version_line

        write(version_line() + "\n")
        return "", []
    if not rest:
        _help("")
        return "", []
    words = 1
    if rest[0] in surface.GROUPS or surface.reason_for(rest[0]):
        while words < len(rest) and words < 3 and not rest[words].startswith("-"):
            words += 1
    return _longest(rest, words)


def _debug_variable() -> bool:
    text = os.environ.get("MINIDOCK_DEBUG", "")
    try:
        return bool(text) and parse_bool(text)
    except ValueError:
        raise UsageError(f"MINIDOCK_DEBUG={text}: must be true or false") from None


def _longest(rest: list[str], words: int) -> tuple[str, list[str]]:
    """The longest known name at the start of ``rest``."""
    for count in range(words, 1, -1):
        name = " ".join(rest[:count])
        if surface.canonical(name) in surface.IMPLEMENTED or name in surface.NEVER:
            return name, rest[count:]
    return rest[0], rest[1:]


def _dispatch(session: Session, name: str, rest: list[str]) -> int:
    if name == "help":
        return _help(" ".join(rest))
    canonical = surface.canonical(name)
    if canonical in surface.GROUPS:
        return _group(canonical, rest)
    if canonical not in surface.IMPLEMENTED:
        reason = surface.reason_for(name)
        if reason is None:
            raise UsageError(f"unknown command: {PROGRAM} {name} (see '{PROGRAM} --help')", 1)
        raise UsageError(reason.sentence(f"'{name}'"))
    command = surface.load(canonical)
    see = f"(see '{PROGRAM} {name} --help')"
    try:
        values, arguments = parse(command, rest)
    except HelpWanted:
        return _help(name)
    except UsageError as error:
        text = str(error)
        raise UsageError(text if "part of minidock" in text else f"{text} {see}") from None
    if canonical not in ("image import", "container cp", "volume import"):  # a file's name may be any bytes
        for word in rest:
            if not word.isascii() and any("\udc80" <= char <= "\udcff" for char in word):
                raise UsageError(f"argument {printable(word)[:200]}: not valid UTF-8")
    if len(arguments) < command.minimum or (command.maximum is not None and len(arguments) > command.maximum):
        raise UsageError(f"'{PROGRAM} {name}' {_wanted(command)} {see}", 1)
    return command.run(session, values, arguments) or 0


def _wanted(command: Command) -> str:
    """Docker's words for the number of arguments."""
    least, most = command.minimum, command.maximum
    if most == 0:
        return "accepts no arguments"
    number = least if most == least or most is None else most
    noun = "argument" if number == 1 else "arguments"
    if least == most:
        return f"requires {number} {noun}"
    if most is None:
        return f"requires at least {number} {noun}"
    return f"requires at least {least} and at most {most} {noun}" if least else f"requires at most {most} {noun}"


def _group(name: str, rest: list[str]) -> int:
    if not rest or rest[0] in ("--help", "-h", "help"):
        return _help(name)
    if rest[0].startswith("--"):
        raise UsageError(f"unknown flag: {rest[0].partition('=')[0]} (see '{PROGRAM} {name} --help')")
    if rest[0].startswith("-") and rest[0] != "-":
        raise UsageError(f"unknown shorthand flag: {rest[0][1]!r} in {rest[0]} (see '{PROGRAM} {name} --help')")
    raise UsageError(f"unknown command: {PROGRAM} {name} {rest[0]} (see '{PROGRAM} {name} --help')", 1)


def _help(name: str) -> int:
    from minidock.cli.tree import help_text

    write(help_text(name))
    return 0
