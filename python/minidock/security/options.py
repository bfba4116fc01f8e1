"""``--security-opt``, by Docker's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from minidock import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

BUILTIN = "builtin"
UNCONFINED = "unconfined"

_LABEL_KEYS = ("user", "role", "type", "level", "filetype")
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class SecurityOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--security-opt`` asked for."""

    seccomp: str | None = None
    """``builtin``, ``unconfined``, or a profile's JSON text; ``None`` if not said."""
    no_new_privileges: bool | None = None
    apparmor: str | None = None
    """A profile's name or ``unconfined``."""
    label_disable: bool = False
    labels: dict[str, str] = {}
    """SELinux: any of user, role, type, level, filetype."""
    systempaths_unconfined: bool = False
    """No masked and no read-only paths."""
    writable_cgroups: bool | None = None
    """Whether /sys/fs/cgroup can be written to; ``None`` if not said: in privileged containers."""


def load_files(options: Iterable[str]) -> list[str]:
    """Return the options with each seccomp profile's file replaced by its text, as a container's record stores them.

    Raises:
        InvalidArgument: an option has no value, or a profile cannot be read or is no JSON.
    """
    loaded = []
    for option in options:
        key, value = _split(option)
        if key == "seccomp" and value not in (BUILTIN, UNCONFINED) and not value.lstrip().startswith("{"):
            loaded.append("seccomp=" + _read_profile(value))
        else:
            loaded.append(option)
    return loaded


def parse(options: Iterable[str]) -> SecurityOptions:
    """Return what the options say; of one option given twice the later counts. ``=`` and ``:`` both separate.

    Raises:
        InvalidArgument: an option is unknown, or its value is missing or makes no sense.
    """
    seccomp: str | None = None
    apparmor: str | None = None
    no_new_privileges: bool | None = None
    label_disable = systempaths = False
    writable_cgroups: bool | None = None
    labels: dict[str, str] = {}
    for option in options:
        key, value = _split(option)
        if key == "seccomp":
            seccomp = value
        elif key == "no-new-privileges":
            no_new_privileges = True if option == key else _boolean(option, value)
        elif key == "apparmor":
            apparmor = value
        elif key == "label":
            if value == "disable":
                label_disable = True
            else:
                name, text = _label(value)
                labels[name] = text
        elif key == "systempaths" and value == UNCONFINED:
            systempaths = True
        elif key == "writable-cgroups":
            writable_cgroups = _boolean(option, value)
        else:
            raise _invalid(option)
    return SecurityOptions(
        seccomp=seccomp,
        no_new_privileges=no_new_privileges,
        apparmor=apparmor,
        label_disable=label_disable,
        labels=labels,
        systempaths_unconfined=systempaths,
        writable_cgroups=writable_cgroups,
    )


def _split(option: str) -> tuple[str, str]:
    """Return key and value; only no-new-privileges may lack the value."""
    key, separator, value = option.partition("=")
    if not separator:
        key, separator, value = option.partition(":")
    if key != "no-new-privileges" and not value:
        raise _invalid(option)
    if "\0" in option:
        raise errors.InvalidArgument(f'invalid --security-opt: "{key}" contains a NUL byte')
    return key, value


def _boolean(option: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise _invalid(option)


def _label(value: str) -> tuple[str, str]:
    name, separator, text = value.partition(":")
    if not separator or not text or name not in _LABEL_KEYS:
        raise errors.InvalidArgument(
            f'invalid --security-opt: bad label option "{value}": use disable, or user, role, type, level or filetype '
            "followed by : and a value"
        )
    return name, text


def _read_profile(path: str) -> str:
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_PROFILE + 1)
    except OSError as e:
        why = (e.strerror or str(e)).lower()
        raise errors.InvalidArgument(f"opening seccomp profile ({path}) failed: {why}") from e
    if len(text) > _MAX_PROFILE:
        raise errors.InvalidArgument(f"seccomp profile ({path}) is over {_MAX_PROFILE} bytes")
    try:
        return msgspec.json.format(text, indent=-1).decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise errors.InvalidArgument(f"compacting json for seccomp profile ({path}) failed: {e}") from e


_MAX_PROFILE = 1 << 20


def _invalid(option: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(f'invalid --security-opt: "{option}"')
