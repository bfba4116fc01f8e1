"""What the security package decides for one container: capabilities, filter, labels, privileges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from minidock.errors import InvalidArgument
from minidock.security import capabilities, options, seccomp

if TYPE_CHECKING:
    from minidock.config import Config
    from minidock.spec.docker import HostConfig


class Walls(msgspec.Struct, frozen=True):
    """The decisions."""

    capabilities: list[str]
    seccomp_bpf: str | None
    """Path of the compiled filter; None is unconfined."""
    seccomp_profile: bytes | None
    """The profile that the filter was made from; None is the default one."""
    no_new_privileges: bool
    options: options.SecurityOptions


_Key = tuple[tuple[str, ...], tuple[str, ...], bool, tuple[str, ...]]


class Builder:
    """Makes walls, and remembers them: the same options give the same."""

    def __init__(self, config: Config, seccomp_directory: str) -> None:
        self._config = config
        self._directory = seccomp_directory
        self._made: dict[_Key, Walls] = {}

    def walls(self, host_config: HostConfig) -> Walls:
        """Return what ``host_config`` means on this host. Raises InvalidArgument and Unsupported."""
        key = (
            tuple(host_config.cap_add or ()),
            tuple(host_config.cap_drop or ()),
            host_config.privileged,
            tuple(host_config.security_opt or ()),
        )
        made = self._made.get(key)
        if made is None:
            if len(self._made) > 64:
                self._made.clear()
            made = self._made[key] = self._make(host_config)
        return made

    def _make(self, host_config: HostConfig) -> Walls:
        chosen = list(
            capabilities.select(
                host_config.cap_add or (), host_config.cap_drop or (), privileged=host_config.privileged
            )
        )
        wanted = options.parse(host_config.security_opt or ())
        profile = wanted.seccomp
        if profile is None and not host_config.privileged:
            profile = self._default_profile()
        unconfined = profile == options.UNCONFINED or (profile is None and host_config.privileged)
        text = None if profile in (None, options.BUILTIN, options.UNCONFINED) else str(profile).encode()
        path = None if unconfined else seccomp.compiled(self._directory, text, chosen)
        nnp = wanted.no_new_privileges
        return Walls(
            capabilities=chosen,
            seccomp_bpf=path,
            seccomp_profile=text,
            no_new_privileges=self._config.no_new_privileges if nnp is None else nnp,
            options=wanted,
        )

    def _default_profile(self) -> str | None:
        """Return the configuration's ``seccomp-profile``: a word, a file's text, or None."""
        name = self._config.seccomp_profile
        if not name or name in (options.BUILTIN, options.UNCONFINED):
            return name or None
        try:
            return options.load_files([f"seccomp={name}"])[0].removeprefix("seccomp=")
        except InvalidArgument as error:
            raise InvalidArgument(f"configuration key seccomp-profile: {error}") from error
