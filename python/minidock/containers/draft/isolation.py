"""Options of namespaces, capabilities and other walls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.containers.draft.base import Draft, Handler, flag, text, texts
from minidock.containers.parse import modes, sysctls

if TYPE_CHECKING:
    from collections.abc import Callable


def _mode(attribute: str, parse: Callable[[str], str]) -> Handler:
    def handle(draft: Draft, value: object) -> None:
        setattr(draft.host_config, attribute, parse(text(value)))

    return handle


def _cap_add(draft: Draft, value: object) -> None:
    from minidock.security.capabilities import normalise

    draft.host_config.cap_add = normalise(texts(value), "CapAdd")


def _cap_drop(draft: Draft, value: object) -> None:
    from minidock.security.capabilities import normalise

    draft.host_config.cap_drop = normalise(texts(value), "CapDrop")


def _privileged(draft: Draft, value: object) -> None:
    draft.host_config.privileged = flag(value)


def _security_opt(draft: Draft, value: object) -> None:
    from minidock.security.options import load_files, parse

    given = load_files(texts(value))
    parse(given)
    draft.host_config.security_opt = given


def _sysctls(draft: Draft, value: Any) -> None:
    draft.host_config.sysctls = sysctls.sysctls(value)


HANDLERS: dict[str, Handler] = {
    "pid_mode": _mode("pid_mode", modes.pid_mode),
    "ipc_mode": _mode("ipc_mode", modes.ipc_mode),
    "uts_mode": _mode("uts_mode", modes.uts_mode),
    "cgroupns": _mode("cgroupns_mode", modes.cgroupns_mode),
    "userns_mode": _mode("userns_mode", modes.userns_mode),
    "cap_add": _cap_add,
    "cap_drop": _cap_drop,
    "privileged": _privileged,
    "security_opt": _security_opt,
    "sysctls": _sysctls,
}
