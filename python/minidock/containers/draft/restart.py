"""The restart policy: ``no``, ``on-failure[:N]``, ``always``, ``unless-stopped``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from minidock.containers.draft.base import Handler, text
from minidock.errors import InvalidArgument
from minidock.spec.docker import RestartPolicy

if TYPE_CHECKING:
    from minidock.containers.draft.base import Draft
    from minidock.spec.docker import HostConfig

_MAX_COUNT = (1 << 63) - 1


def restart_policy(value: object) -> RestartPolicy:
    """Return the policy that a text, or docker-py's mapping (``Name``, ``MaximumRetryCount``), means.

    Empty text is ``no``. Raises InvalidArgument in Docker's words, TypeError for another type.
    """
    if isinstance(value, Mapping):
        if unknown := set(value) - {"Name", "MaximumRetryCount"}:
            raise InvalidArgument(f"invalid restart policy: unknown key {sorted(map(str, unknown))[0][:60]!a}")
        name, count = text(value.get("Name") or ""), value.get("MaximumRetryCount", 0)
        if isinstance(count, bool) or not isinstance(count, int):
            raise InvalidArgument("invalid restart policy format: maximum retry count must be an integer")
    else:
        name, count = _split(text(value))
    return _checked(name or "no", count)


def _split(policy: str) -> tuple[str, int]:
    name, colon, count = policy.partition(":")
    if colon and not name:
        raise InvalidArgument("invalid restart policy format: no policy provided before colon")
    if count and not re.fullmatch(r"[+-]?[0-9]{1,19}", count, re.ASCII):
        raise InvalidArgument("invalid restart policy format: maximum retry count must be an integer")
    return name, int(count or 0)


def _checked(name: str, count: int) -> RestartPolicy:
    if count > _MAX_COUNT:
        raise InvalidArgument("invalid restart policy format: maximum retry count must be an integer")
    if name not in ("no", "always", "on-failure", "unless-stopped"):
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{name[:60]}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if name != "on-failure" and count:
        more = " and cannot be negative" if count < 0 else ""
        raise InvalidArgument(f"invalid restart policy: maximum retry count can only be used with 'on-failure'{more}")
    if count < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    return RestartPolicy(name=name, maximum_retry_count=count)


def check_restart(host_config: HostConfig) -> None:
    """Refuse a policy for a container that is removed at its end."""
    if host_config.auto_remove and host_config.restart_policy.name != "no":
        raise InvalidArgument("conflicting options: cannot specify both --restart and --rm")


def _restart(draft: Draft, value: object) -> None:
    draft.host_config.restart_policy = restart_policy(value)


HANDLERS: dict[str, Handler] = {"restart": _restart, "restart_policy": _restart}
