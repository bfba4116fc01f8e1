"""Options of the process and of what is recorded about the container: command, user, environment, labels, streams."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from minidock.containers import names
from minidock.containers.draft.base import Draft, Handler, flag, one_or_more, text, texts
from minidock.containers.parse import hosts, keyvalues, signals, sizes, users
from minidock.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence


def words(command: str | Sequence[str]) -> list[str]:
    """Return a command as a list; text is split into words as a shell does."""
    if isinstance(command, str):
        if command.isascii() and not any(character in command for character in "\"'\\#"):
            return command.split()
        import shlex

        try:
            return shlex.split(command)
        except ValueError as error:
            raise InvalidArgument(f"command {command[:60]!a}: {str(error).lower()}") from error
    return [os.fspath(word) for word in command]


def set_command(draft: Draft, command: str | Sequence[str] | None) -> None:
    """Record the command; embedded NUL bytes are refused."""
    if command is None:
        return
    if isinstance(command, (bytes, dict)) or not hasattr(command, "__iter__"):
        raise InvalidArgument(f"command: text or a list of texts is needed, not {type(command).__name__}")
    try:
        draft.config.cmd = [_word(word) for word in words(command)] or None
    except TypeError as error:
        raise InvalidArgument(f"command: {error}") from error


def _word(word: object) -> str:
    if not isinstance(word, str):
        raise TypeError(f"text is needed, not {type(word).__name__}")
    if "\0" in word:
        raise InvalidArgument(f"command: {word[:60]!a} contains a NUL byte")
    return word


def _name(draft: Draft, value: object) -> None:
    draft.name = names.check(text(value))


def _entrypoint(draft: Draft, value: Any) -> None:
    entrypoint = [_word(word) for word in words(value)]
    draft.entrypoint_given = True
    draft.config.entrypoint = None if entrypoint in ([], [""]) else entrypoint


def _user(draft: Draft, value: object) -> None:
    draft.config.user = users.user(str(value) if isinstance(value, int) else text(value))


def _group_add(draft: Draft, value: Any) -> None:
    if isinstance(value, str):
        raise TypeError
    draft.host_config.group_add = [users.group(group) for group in value]


def _working_dir(draft: Draft, value: object) -> None:
    path = text(value)
    if path and not path.startswith("/"):
        raise InvalidArgument(f"the working directory '{path}' is invalid, it needs to be an absolute path")
    draft.config.working_dir = os.path.normpath(path).replace("//", "/") if path else ""


def _environment(draft: Draft, value: Any) -> None:
    draft.config.env = keyvalues.environment(value, draft.environ)


def _env_file(draft: Draft, value: object) -> None:
    for name in one_or_more(value):
        draft.env_file_entries += keyvalues.env_file(read_file(name), name, draft.environ)


def _label_file(draft: Draft, value: object) -> None:
    for name in one_or_more(value):
        draft.label_file_entries |= keyvalues.label_file(read_file(name), name)


def read_file(name: str) -> bytes:
    """Return what a file that the caller named holds; more than the parsers' limit is cut off right behind it."""
    try:
        with open(name, "rb") as file:
            return file.read(keyvalues.MAX_FILE + 1)
    except OSError as error:
        raise InvalidArgument(f"open {name}: {(error.strerror or 'failed').lower()}") from error


def _labels(draft: Draft, value: Any) -> None:
    draft.config.labels = keyvalues.labels(value)


def _annotations(draft: Draft, value: Any) -> None:
    draft.host_config.annotations = keyvalues.labels(value, "annotation")


def _hostname(draft: Draft, value: object) -> None:
    if value != "":
        draft.config.hostname = hosts.hostname(text(value))


def _domainname(draft: Draft, value: object) -> None:
    if value != "":
        draft.config.domainname = hosts.domainname(text(value))


def _tty(draft: Draft, value: object) -> None:
    draft.config.tty = flag(value)


def _stdin_open(draft: Draft, value: object) -> None:
    config = draft.config
    config.open_stdin = flag(value)
    detached = not (config.attach_stdin or config.attach_stdout or config.attach_stderr)
    config.stdin_once = config.open_stdin and not detached
    config.attach_stdin = config.attach_stdin or config.stdin_once


def _attach(draft: Draft, value: object) -> None:
    streams = [stream.lower() for stream in texts(value)]
    for stream in streams:
        if stream not in ("stdin", "stdout", "stderr"):
            raise InvalidArgument(f"valid streams are STDIN, STDOUT and STDERR, not {stream}")
    config = draft.config
    config.stdin_once = config.open_stdin and bool(streams)
    config.attach_stdin = "stdin" in streams or config.stdin_once
    config.attach_stdout = "stdout" in streams
    config.attach_stderr = "stderr" in streams


def _init(draft: Draft, value: object) -> None:
    draft.host_config.init = flag(value)


def _remove(draft: Draft, value: object) -> None:
    draft.host_config.auto_remove = flag(value)


def _owner(draft: Draft, value: object) -> None:
    if value not in ("process", "none", None):
        raise InvalidArgument(f"{value!r} is not an owner; it is 'process' or 'none'")
    draft.owned = value == "process"


def _cidfile(draft: Draft, value: object) -> None:
    draft.cidfile = draft.host_config.container_id_file = os.path.abspath(text(value))


def _timeout(draft: Draft, value: Any) -> None:
    seconds = float(value)
    if isinstance(value, bool) or not 0 < seconds < 1e9:
        raise InvalidArgument(f"{value} is not a number of seconds greater than 0")
    draft.timeout_ms = max(1, round(seconds * 1000))


def _stop_signal(draft: Draft, value: Any) -> None:
    signals.signal(value)
    draft.config.stop_signal = str(value)


def _stop_timeout(draft: Draft, value: Any) -> None:
    draft.config.stop_timeout = sizes.integer(value, -(1 << 31), (1 << 31) - 1)


def _runtime(draft: Draft, value: object) -> None:
    draft.host_config.runtime = text(value)


def _gpus(_draft: Draft, value: object) -> None:
    if value not in ("", False):
        raise Unsupported('could not select device driver "" with capabilities: [[gpu]]: GPUs are not supported')


HANDLERS: dict[str, Handler] = {
    "name": _name,
    "entrypoint": _entrypoint,
    "user": _user,
    "group_add": _group_add,
    "working_dir": _working_dir,
    "environment": _environment,
    "env_file": _env_file,
    "labels": _labels,
    "label_file": _label_file,
    "annotations": _annotations,
    "hostname": _hostname,
    "domainname": _domainname,
    "tty": _tty,
    "stdin_open": _stdin_open,
    "attach": _attach,
    "init": _init,
    "remove": _remove,
    "owner": _owner,
    "cidfile": _cidfile,
    "timeout": _timeout,
    "stop_signal": _stop_signal,
    "stop_timeout": _stop_timeout,
    "runtime": _runtime,
    "gpus": _gpus,
}
