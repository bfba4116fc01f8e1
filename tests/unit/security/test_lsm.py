"""The choice of AppArmor profile and SELinux labels, on hosts that are made up."""

from __future__ import annotations

from pathlib import Path
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

    def have(*, apparmor: bool = False, selinux: bool = False, hidden: bool = False) -> None:
        monkeypatch.setattr(lsm, "_found", (apparmor, selinux))
        monkeypatch.setattr(lsm, "_apparmor_is_on", lambda: apparmor or hidden)

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


def test_apparmor_out_of_reach(kernel: Any) -> None:
    """Without securityfs nobody can tell whether there is a profile: one that was asked for is not left out."""
    kernel(hidden=True)
    assert labels() == labels(privileged=True) == labels("apparmor=unconfined") == lsm.Labels()
    with pytest.raises(errors.Unsupported, match=r"use AppArmor profile mine: .*mount -t securityfs securityfs /sys/"):
        labels("apparmor=mine")


def test_securityfs_may_be_mounted_late(monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = False
    monkeypatch.setattr(lsm, "_found", None)
    monkeypatch.setattr(lsm, "_apparmor_is_on", lambda: True)
    monkeypatch.setattr(_native, "apparmor_enabled", lambda: mounted)
    assert not lsm.host()[0]
    mounted = True
    assert lsm.host()[0]
    mounted = False
    assert lsm.host()[0], "looked up once it was found"


def test_a_start_decides_anew(kernel: Any) -> None:
    kernel(apparmor=True)
    assert lsm.apparmor(parse([]), privileged=False) == ("minidock-default", [])
    kernel()
    assert lsm.apparmor(parse([]), privileged=False) == (None, [])
    why = "apparmor=docker-default has no effect: the kernel has no AppArmor"
    assert lsm.apparmor(parse(["apparmor=docker-default"]), privileged=False) == (None, [why])


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


def test_cve_2021_43816_system_directories(tmp_path: Path) -> None:
    """Where nothing is relabelled they are refused themselves, and what is in them is not."""
    for path in ("/srv/data", "/etc/localtime", "/run/minidock.sock", "/run/user/1000/x"):
        _native.selinux_check_relabel(path, [])
    with pytest.raises(_native.NativeError, match="relabel /etc: relabelling it would change the host's own labels"):
        _native.selinux_check_relabel("/etc", [])
    link = tmp_path / "link"
    link.symlink_to("/etc")
    with pytest.raises(_native.NativeError, match="it is /etc, and relabelling it would change the host's own labels"):
        _native.selinux_check_relabel(str(link), [])
    with pytest.raises(_native.NativeError, match="minidock's own files in /var/lib/minidock"):
        _native.selinux_check_relabel("/var/lib/minidock", ["/run/minidock", "/var/lib/minidock"])


def test_this_hosts_modules_are_found_without_an_error() -> None:
    assert lsm.host() == lsm.host() == (_native.apparmor_enabled(), _native.selinux_enabled())
