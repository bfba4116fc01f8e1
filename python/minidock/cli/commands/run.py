"""``run`` and ``create``."""

from __future__ import annotations

import os

from minidock.cli.commands.create_flags import CREATE_FLAGS, RUN_FLAGS
from minidock.cli.flags import Command
from minidock.cli.output import complain, line
from minidock.cli.words import UsageError
from minidock.errors import ImageNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.containers.container import Container
    from minidock.containers.result import ExitStatus


def _environment(entries: list[str]) -> list[str]:
    """``KEY`` alone means the caller's value; a variable that the caller does not have is left out, as in Docker."""
    found = []
    for entry in entries:
        if not entry or entry.startswith("="):
            raise UsageError(f"invalid environment variable: {entry}")
        if "=" in entry:
            found.append(entry)
        elif entry in os.environ:
            found.append(f"{entry}={os.environ[entry]}")
    return found


def _create(session: Session, values: Values, arguments: list[str], *, to_start: bool) -> Container:
    """Create the container that the command line describes, and show the engine's warnings."""
    options: dict[str, Any] = values.options()
    if to_start and values["detach"]:
        options["attach"] = []
    if "env" in values:
        options["environment"] = _environment(values["env"])
    if "storage-opt" in values:
        options["storage_opt"] = dict(_pair(entry, "storage-opt") for entry in values["storage-opt"])
    image: str | None = None
    if values["rootfs"] == "":
        raise UsageError('invalid argument "" for "--rootfs" flag: must be a directory')
    if "rootfs" not in values:
        if not arguments:
            raise UsageError("an image is needed, or --rootfs (see 'minidock run --help')", 1)
        image, arguments = arguments[0], arguments[1:]
    containers = session.engine.containers
    create = containers.create_to_start if to_start else containers.create
    container = _created(session, create, image, arguments, options, quiet=values["quiet"])
    for warning in container.warnings:
        session.warn(warning)
    return container


def _created(
    session: Session,
    create: Callable[..., Container],
    image: str | None,
    command: list[str],
    options: dict[str, Any],
    *,
    quiet: bool,
) -> Container:
    """Create the container; its image is pulled first, shown on standard error, if ``--pull`` says so."""
    pull = options.pop("pull", "missing")
    if pull not in ("always", "missing", "never"):
        raise UsageError(f'invalid pull option: \'{pull}\': must be one of "always", "missing" or "never"')
    if image is None:
        return create(None, command or None, **options)
    if pull != "always":
        try:
            return create(image, command or None, pull="never", **options)
        except ImageNotFound:
            if pull == "never":
                raise
    _pull(session, image, options.get("platform"), quiet=quiet, missing=pull == "missing")
    return create(image, command or None, pull="never", **options)


def _pull(session: Session, image: str, platform: str | None, *, quiet: bool, missing: bool) -> None:
    from minidock.cli.commands.transfer import pull_image
    from minidock.images import references

    if references.is_id(image):
        raise ImageNotFound(f"no such image: {image}")
    reference = references.parse(image).with_default_tag()
    if missing and not quiet:
        complain(f"Unable to find image '{reference.familiar}' locally")
    pull_image(session, reference, platform=platform, quiet=quiet, fd=2)


def _pair(entry: str, flag: str) -> tuple[str, str]:
    key, equals, value = entry.partition("=")
    if not equals:
        raise UsageError(f'invalid argument "{entry}" for "--{flag}" flag: must be KEY=VALUE')
    return key, value


def _run(session: Session, values: Values, arguments: list[str]) -> int:
    """Run in the foreground and end with the command's exit code; or in the background, and print the id."""
    if values["detach"]:
        return _run_detached(session, values, arguments)
    if values["wait"]:
        raise UsageError("--wait needs --detach", 1)
    attached = set(values["attach"]) or {"stdout", "stderr"}
    attached.discard("stdin")
    if values["interactive"]:
        attached.add("stdin")
    tty = values["tty"]
    if tty and "stdin" in attached and not os.isatty(0):
        raise UsageError("the input device is not a TTY", 1)
    container = _create(session, values, arguments, to_start=True)
    try:
        return attach(session, container, attached, sig_proxy=values["sig-proxy"], detach_keys=values["detach-keys"])
    except BaseException:
        container.discard_unstarted()
        raise


def _run_detached(session: Session, values: Values, arguments: list[str]) -> int:
    """Start the container and print its id, which is printed even when it could not be started, as in Docker."""
    if values["attach"]:
        raise UsageError("conflicting options: cannot specify both --attach and --detach", 1)
    container = _create(session, values, arguments, to_start=True)
    shown = len(container.warnings)
    try:
        container.start()
    except BaseException:
        container.discard_unstarted()
        raise
    finally:
        for warning in container.warnings[shown:]:
            session.warn(warning)
        line(container.id)
    if values["wait"]:
        container.wait(condition="healthy")
    return 0


def attach(
    session: Session,
    container: Container,
    streams: set[str],
    *,
    sig_proxy: bool,
    detach_keys: str | None,
    running: bool = False,
) -> int:
    """Start ``container`` on this process's own streams (those named), wait, and return its exit code.

    One that is ``running`` is attached to. 0 when the user has typed the detach keys.
    """
    shown = len(container.warnings)
    if not sig_proxy:
        end_by_exception()
    try:
        connect = container.attach if running else container.start_attached
        status = connect(
            stdin=0 if "stdin" in streams else None,
            stdout=1 if "stdout" in streams else None,
            stderr=2 if "stderr" in streams else None,
            sig_proxy=sig_proxy,
            detach_keys=detach_keys,
        )
    finally:
        for warning in container.warnings[shown:]:
            session.warn(warning)
    return 0 if status is None else finished(status)


def finished(status: ExitStatus) -> int:
    """The exit code of a container that was in the foreground; says so when its time was over."""
    if status.timed_out:
        complain("minidock: the container was killed: it ran longer than its --timeout")
    return status.exit_code


def end_by_exception() -> None:
    """Let the signals that end this process unwind it, so that a terminal in raw mode is restored."""
    import signal

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, end)


def _create_command(session: Session, values: Values, arguments: list[str]) -> int:
    line(_create(session, values, arguments, to_start=False).id)
    return 0


RUN = Command(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create a container from an image, start it, and pass its streams, signals and exit code through.",
    RUN_FLAGS,
    _run,
    interspersed=False,
    complete="images",
)
CREATE = Command(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create a container from an image without starting it, and print its id.",
    CREATE_FLAGS,
    _create_command,
    interspersed=False,
    complete="images",
)
