"""Options of ``exec``, checked: what a process in a running container is to be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from minidock.containers.parse import keyvalues, users
from minidock.errors import CommandNotFound, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minidock.containers.record import Record

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOT_ABSOLUTE = 128
"""Docker's exit code for a working directory that is not absolute."""


class ExecOptions(TypedDict, total=False):
    """Options of every kind of exec."""

    environment: Mapping[str, str] | Sequence[str] | None
    """Over the container's; a list's ``NAME`` takes this process's value, or the container's variable away."""
    env_file: str | Sequence[str] | None
    """Files of ``NAME=VALUE`` lines."""
    user: str | int | None
    """``NAME|UID[:GROUP|GID]``, the container's unless given."""
    workdir: str | None
    """An absolute path that exists, the container's unless given."""
    privileged: bool
    """All capabilities; the container's filter and labels stay."""
    tty: bool
    """A terminal of its own in the container."""
    timeout: float | None
    """All of it is killed after so many seconds."""


class ExecConfig(msgspec.Struct):
    """One exec as it was asked for."""

    command: list[str]
    environment: list[str] = []
    """``NAME=VALUE``, or ``NAME`` to take that variable of the container away."""
    user: str = ""
    """Empty: the container's."""
    working_dir: str = ""
    """Empty: the container's."""
    privileged: bool = False
    tty: bool = False
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    detach_keys: str = ""
    timeout_ms: int | None = None
    size: tuple[int, int] | None = None
    """Rows and columns of its terminal, unless its start says others."""


def config(
    command: str | Sequence[str],
    *,
    environment: Mapping[str, str] | Sequence[str] | None = None,
    env_file: str | Sequence[str] | None = None,
    user: str | int | None = None,
    workdir: str | None = None,
    privileged: bool = False,
    tty: bool = False,
    timeout: float | None = None,
    environ: Mapping[str, str] = os.environ,
) -> ExecConfig:
    """Return what these options mean; ``command`` as text is split into words as a shell does.

    Raises InvalidArgument for what makes no sense, and CommandNotFound for a command without a name.
    """
    from minidock.containers.draft.process import read_file, words

    if isinstance(command, (bytes, dict)) or not hasattr(command, "__iter__"):
        raise InvalidArgument(f"command: text or a list of texts is needed, not {type(command).__name__}")
    try:
        argv = [_word(word) for word in words(command)]
    except TypeError as error:
        raise InvalidArgument(f"command: {error}") from error
    if not argv:
        raise InvalidArgument("no exec command specified")
    if not argv[0]:
        raise CommandNotFound('execute "": executable file not found in $PATH')
    entries: list[str] = []
    for name in [env_file] if isinstance(env_file, str) else env_file or ():
        entries += keyvalues.env_file(read_file(name), name, environ)
    entries += keyvalues.environment(environment or (), environ)
    return ExecConfig(
        command=argv,
        environment=entries,
        user="" if user is None else users.user(str(user)),
        working_dir=_directory(workdir),
        privileged=privileged,
        tty=tty,
        timeout_ms=_milliseconds(timeout),
    )


def _word(word: object) -> str:
    if not isinstance(word, str):
        raise TypeError(f"text is needed, not {type(word).__name__}")
    if "\0" in word:
        raise InvalidArgument(f"command: {word[:60]!a} contains a NUL byte")
    return word


def _directory(path: str | None) -> str:
    if not path:
        return ""
    if "\0" in path:
        raise InvalidArgument(f"workdir: {path[:60]!a} contains a NUL byte")
    if not path.startswith("/"):
        error = InvalidArgument(f"the working directory '{path}' is invalid, it needs to be an absolute path")
        error.exit_code = _NOT_ABSOLUTE
        raise error
    return path


def _milliseconds(timeout: Any) -> int | None:
    if timeout is None:
        return None
    try:
        seconds = float(timeout)
    except (TypeError, ValueError):
        seconds = 0.0
    if isinstance(timeout, bool) or not 0 < seconds < 1e9:
        raise InvalidArgument(f"timeout: {timeout} is not a number of seconds greater than 0")
    return max(1, round(seconds * 1000))


def environment(record: Record, wanted: ExecConfig) -> list[str]:
    """Return the environment of the process, without HOME, which the helper takes from the container's passwd file."""
    base = [f"PATH={DEFAULT_PATH}", f"HOSTNAME={record.config.hostname}"]
    if wanted.tty:
        base.append("TERM=xterm")
    inherited = keyvalues.merge_environment(base, record.config.env or ())
    return keyvalues.merge_environment(inherited, wanted.environment)


def process(record: Record, wanted: ExecConfig, size: tuple[int, int] | None) -> dict[str, Any]:
    """Return the section ``process`` of the request (docs/supervisor.md); ``size`` is the terminal's, rows first."""
    made: dict[str, Any] = {
        "args": wanted.command,
        "env": environment(record, wanted),
        "cwd": wanted.working_dir or record.config.working_dir or "/",
        "terminal": wanted.tty,
        "size": (size or wanted.size) if wanted.tty else None,
        "user": {
            "user": wanted.user or record.config.user,
            "group_add": list(record.host_config.group_add or ()),
        },
    }
    if wanted.privileged:
        from minidock.security import capabilities

        made["capabilities"] = list(capabilities.NAMES)
    return made
