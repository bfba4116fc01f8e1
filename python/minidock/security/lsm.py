"""Linux security modules: the AppArmor profile and SELinux labels of one container."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from minidock import _native
from minidock.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.security.options import SecurityOptions

DEFAULT_PROFILE = "minidock-default"
UNCONFINED = "unconfined"


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into the bundle; ``None`` where the host has no such module or the container is to be free of it."""

    apparmor_profile: str | None = None
    """``process.apparmorProfile``."""
    process_label: str | None = None
    """``process.selinuxLabel``."""
    mount_label: str | None = None
    """``linux.mountLabel``: a context that the root filesystem's mount is given, also where the process has none."""
    warnings: tuple[str, ...] = ()


_APPARMOR = "/sys/module/apparmor/parameters/enabled"

_found: tuple[bool, bool] | None = None


def host() -> tuple[bool, bool]:
    """Return whether containers can have AppArmor profiles, and SELinux labels.

    Looked up once: neither comes or goes while the kernel runs, but for securityfs, which may be mounted late.
    """
    global _found  # noqa: PLW0603 - see above
    if _found is not None:
        return _found
    found = (_native.apparmor_enabled(), _native.selinux_enabled())
    if found[0] or not _apparmor_is_on():
        _found = found
    return found


def _apparmor_is_on() -> bool:
    """Whether the kernel enforces AppArmor, be its profiles within reach or not."""
    try:
        with open(_APPARMOR, "rb") as file:
            return file.read(1) == b"Y"
    except OSError:
        return False


def selinux(enabled: bool | None) -> bool:
    """Whether containers get SELinux labels; ``enabled`` is the configuration's ``selinux-enabled``."""
    return enabled is not False and host()[1]


def labels(
    options: SecurityOptions, *, privileged: bool, selinux: bool | None = None, used_levels: Callable[[], set[str]]
) -> Labels:
    """Return a container's profile and labels, and see to it that the kernel has the profile (:func:`ensure`).

    Every start decides of the profile again (:func:`apparmor`). ``selinux`` is the configuration's ``selinux-enabled``.
    ``used_levels`` yields the SELinux levels of the other containers and is called only where labels are made.

    Raises:
        NotFound, Unsupported: as :func:`apparmor`.
        InvalidArgument: a label option that cannot be part of a label, or a label that the policy does not know.
        Unsupported: the policy has no types for containers.
    """
    has_selinux = host()[1]
    profile, warnings = apparmor(options, privileged=privileged)
    process = mount = None
    try:
        if has_selinux and selinux is not False:
            disable = options.label_disable or (privileged and not options.labels)
            made = _native.selinux_labels(list(options.labels.items()), disable, set() if disable else used_levels())
            process, mount = (label or None for label in made)
        elif options.labels:
            why = "selinux-enabled is false" if has_selinux else "the kernel has no SELinux"
            warnings.append(f"security option label has no effect: {why}")
    except _native.NativeError as e:
        from minidock._errors import translate

        raise translate(e) from e
    return Labels(apparmor_profile=profile, process_label=process, mount_label=mount, warnings=tuple(warnings))


def apparmor(options: SecurityOptions, *, privileged: bool) -> tuple[str | None, list[str]]:
    """Return the profile of a container that starts on this host now, and warnings; the kernel has it (:func:`ensure`).

    Raises:
        NotFound, Unsupported: as :func:`ensure`.
        Unsupported: a profile was asked for, and the kernel's are out of reach.
    """
    if host()[0]:
        profile = options.apparmor or (UNCONFINED if privileged else DEFAULT_PROFILE)
        ensure(profile)
        return profile, []
    if options.apparmor in (None, UNCONFINED):
        return None, []
    if _apparmor_is_on():
        raise Unsupported(
            f"use AppArmor profile {options.apparmor}: the kernel has AppArmor, but securityfs is not mounted, so its "
            "profiles are out of reach: mount -t securityfs securityfs /sys/kernel/security"
        )
    return None, [f"apparmor={options.apparmor} has no effect: the kernel has no AppArmor"]


def ensure(profile: str) -> None:
    """See to it that the kernel has a container's AppArmor profile; the default one is loaded if it lacks it.

    Raises:
        NotFound: another profile that is not loaded.
        Unsupported: the default profile is not loaded and the host cannot load it.
    """
    if profile in ("", UNCONFINED):
        return
    try:
        _native.apparmor_ensure(profile)
    except _native.NativeError as e:
        from minidock._errors import translate

        raise translate(e) from e
