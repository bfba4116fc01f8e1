"""Linux security modules: the AppArmor profile and SELinux labels of one container."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from minidock import _native

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


_found: tuple[bool, bool] | None = None


def host() -> tuple[bool, bool]:
    """Return whether the kernel has AppArmor, and SELinux. Looked up once: neither comes or goes while it runs."""
    global _found  # noqa: PLW0603 - see above
    if _found is None:
        _found = (_native.apparmor_enabled(), _native.selinux_enabled())
    return _found


def selinux(enabled: bool | None) -> bool:
    """Whether containers get SELinux labels; ``enabled`` is the configuration's ``selinux-enabled``."""
    return enabled is not False and host()[1]


def labels(
    options: SecurityOptions, *, privileged: bool, selinux: bool | None = None, used_levels: Callable[[], set[str]]
) -> Labels:
    """Return a container's profile and labels, and see to it that the kernel has the profile (:func:`ensure`).

    A start after a boot needs :func:`ensure` again. ``selinux`` is the configuration's ``selinux-enabled``.
    ``used_levels`` yields the SELinux levels of the other containers and is called only where labels are made.

    Raises:
        NotFound, Unsupported: as :func:`ensure`.
        InvalidArgument: a label option that cannot be part of a label, or a label that the policy does not know.
        Unsupported: the policy has no types for containers.
    """
    has_apparmor, has_selinux = host()
    warnings = []
    profile = process = mount = None
    try:
        if has_apparmor:
            profile = options.apparmor or (UNCONFINED if privileged else DEFAULT_PROFILE)
            ensure(profile)
        elif options.apparmor not in (None, UNCONFINED):
            warnings.append(f"apparmor={options.apparmor} has no effect: the kernel has no AppArmor")
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
