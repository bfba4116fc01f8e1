"""Options of the image and of the root filesystem."""

from __future__ import annotations

import os
from typing import Any

from minidock.containers.draft.base import Draft, Handler, flag, text
from minidock.errors import InvalidArgument, Unsupported


def _platform(draft: Draft, value: object) -> None:
    draft.platform = text(value) or None


def _pull(draft: Draft, value: object) -> None:
    if value not in ("always", "missing", "never"):
        raise InvalidArgument(f'invalid pull option: "{text(value)}": must be one of "always", "missing" or "never"')
    draft.pull = text(value)


def _rootfs(draft: Draft, value: object) -> None:
    path = os.path.abspath(text(os.fspath(value)))  # type: ignore[call-overload]
    if not os.path.isdir(path):
        reason = "not a directory" if os.path.exists(path) else "no such directory"
        raise InvalidArgument(f"{path}: {reason}")
    draft.rootfs = path


def _read_only(draft: Draft, value: object) -> None:
    draft.host_config.readonly_rootfs = flag(value)


def _storage_opt(_draft: Draft, value: Any) -> None:
    if value:
        raise Unsupported("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")


HANDLERS: dict[str, Handler] = {
    "platform": _platform,
    "pull": _pull,
    "rootfs": _rootfs,
    "read_only": _read_only,
    "storage_opt": _storage_opt,
}
