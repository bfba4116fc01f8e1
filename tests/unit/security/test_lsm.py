"""The choice of AppArmor profile and SELinux labels, on hosts that are made up."""

from __future__ import annotations

from typing import Any

import pytest

from minidock import _native, errors
from minidock.security import lsm
from minidock.security.options import parse


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set what the kernel has; the loaded profiles are docker-default and the default one."""

    def ensure(name: str) -> None:
        if name not in (lsm.DEFAULT_PROFILE, "docker-default"):
            raise _native.NativeError(f"use AppArmor profile {name}: it is not loaded", "not-found", "", name, None)

    def have(*, apparmor: bool = False, selinux: bool = False) -> None:
        monkeypatch.setattr(lsm, "_found", (apparmor, selinux))

    monkeypatch.setattr(_native, "apparmor_ensure", ensure)
    return have


def labels(*options: str, privileged: bool = False, used: set[str] | None = None) -> lsm.Labels:
    return lsm.labels(parse(options), privileged=privileged, used_levels=lambda: used or set())


def test_kernel_without_modules(kernel: Any) -> None:
    kernel()
    assert labels() == labels("apparmor=unconfined", "label=disable") == lsm.Labels()
    assert labels("apparmor=x").warnings == ("apparmor=x has no effect: the kernel has no AppArmor",)
    assert labels("label=type:x").warnings == ("security option label has no effect: the kernel has no SELinux",)


def test_apparmor(kernel: Any) -> None:
    kernel(apparmor=True)
    assert labels().apparmor_profile == "minidock-default"
    assert labels(privileged=True).apparmor_profile == "unconfined"
    assert labels("apparmor=docker-default", privileged=True).apparmor_profile == "docker-default"
    assert labels("apparmor=unconfined").apparmor_profile == "unconfined"
    with pytest.raises(errors.NotFound, match="use AppArmor profile mine: it is not loaded"):
        labels("apparmor=mine")


def test_profile_is_looked_for_before_a_start(kernel: Any) -> None:
    kernel(apparmor=True)
    for name in ("", "unconfined", "minidock-default", "docker-default"):
        lsm.ensure(name)
    with pytest.raises(errors.NotFound, match="use AppArmor profile mine: it is not loaded"):
        lsm.ensure("mine")


def test_selinux(kernel: Any) -> None:
    kernel(selinux=True)
    made = labels()
    assert made.process_label is not None
    assert made.mount_label is not None
    assert made.process_label.startswith("system_u:system_r:")
    assert made.mount_label.startswith("system_u:object_r:")
    level = made.process_label.split(":", 3)[3]
    assert made.mount_label.endswith(level)
    free = lsm.Labels(mount_label="system_u:object_r:container_file_t:s0:c1022,c1023")
    assert labels("label=disable") == labels("label=disable", "label=type:x") == labels(privileged=True) == free
    chosen = labels("label=type:my_t", "label=level:s0:c5,c6", privileged=True)
    assert chosen.process_label == "system_u:system_r:my_t:s0:c5,c6"
    with pytest.raises(errors.InvalidArgument, match="cannot be part of a label"):
        labels('label=level:s0",exec')


def test_selinux_is_not_enabled(kernel: Any) -> None:
    kernel(selinux=True)
    off = lsm.labels(parse(["label=type:x"]), privileged=False, selinux=False, used_levels=set)
    assert off == lsm.Labels(warnings=("security option label has no effect: selinux-enabled is false",))
    assert [lsm.selinux(value) for value in (None, True, False)] == [True, True, False]
    kernel()
    assert [lsm.selinux(value) for value in (None, True, False)] == [False, False, False]


def test_levels_differ(kernel: Any) -> None:
    kernel(selinux=True)
    used: set[str] = set()
    for _ in range(200):
        process = labels(used=used).process_label
        assert process is not None
        level = process.split(":", 3)[3]
        assert level not in used
        used.add(level)


def test_cve_2021_43816_system_directories() -> None:
    _native.selinux_check_relabel("/srv/data")
    with pytest.raises(_native.NativeError, match="relabel /etc: relabelling it would change the host's own labels"):
        _native.selinux_check_relabel("/etc")


def test_this_hosts_modules_are_found_without_an_error() -> None:
    assert lsm.host() == lsm.host() == (_native.apparmor_enabled(), _native.selinux_enabled())
