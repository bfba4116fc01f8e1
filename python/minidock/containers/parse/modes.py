"""Namespace modes: ``host``, ``private``, ``container:NAME`` and so on."""

from __future__ import annotations

from minidock.errors import InvalidArgument


def pid_mode(text: str) -> str:
    """Return ``""`` (private), ``host`` or ``container:NAME``."""
    return _mode(text, "PID", ("", "private", "host"), joins=True, private=("", "private"))


def ipc_mode(text: str) -> str:
    """Return ``""`` (the engine's default), ``private``, ``shareable``, ``host``, ``none`` or ``container:NAME``."""
    return _mode(text, "IPC", ("", "private", "shareable", "host", "none"), joins=True)


def uts_mode(text: str) -> str:
    """Return ``""`` (private) or ``host``."""
    return _mode(text, "UTS", ("", "private", "host"), private=("", "private"))


def cgroupns_mode(text: str) -> str:
    """Return ``""`` (the host's default), ``private`` or ``host``."""
    return _mode(text, "CGROUP", ("", "private", "host"))


def userns_mode(text: str) -> str:
    """Return ``""`` (the configuration's default), ``host`` or ``remap``."""
    return _mode(text, "USER", ("", "host", "remap", "private"), private=("private",), instead="remap")


def _mode(
    text: str,
    noun: str,
    words: tuple[str, ...],
    *,
    joins: bool = False,
    private: tuple[str, ...] = (),
    instead: str = "",
) -> str:
    if text in words:
        return instead if text in private else text
    if joins and text.startswith("container:") and len(text) > len("container:"):
        return text
    raise InvalidArgument(f"invalid {noun} mode: {text}")


def joined(mode: str) -> str | None:
    """Return the container that a mode joins, or None."""
    return mode.removeprefix("container:") if mode.startswith("container:") else None
