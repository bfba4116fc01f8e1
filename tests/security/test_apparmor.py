"""What the AppArmor profile ``minidock-default`` denies, on hosts that have AppArmor (SECURITY.md section 4)."""

from __future__ import annotations

from pathlib import Path

import pytest

import minidock
from minidock.errors import NotFound

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
pytestmark = pytest.mark.skipif(
    not ENABLED.exists() or ENABLED.read_text().strip() != "Y", reason="this kernel runs without AppArmor"
)
CURRENT = ["cat", "/proc/self/attr/current"]


def test_containers_and_execs_are_confined(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.run(busybox, ["sleep", "1000"], detach=True)
    assert container.exec(CURRENT).stdout == b"minidock-default (enforce)\n"
    assert Path(f"/proc/{container.state.pid}/attr/current").read_text() == "minidock-default (enforce)\n"
    assert container.attrs["AppArmorProfile"] == "minidock-default"
    # Its own processes may signal one another, and the host may signal them.
    assert container.exec(["sh", "-c", "sleep 100 & kill -9 $!; wait $!; echo $?"]).stdout == b"137\n"
    container.kill("KILL")
    assert container.wait() == 137


@pytest.mark.parametrize("options", [{"security_opt": ["apparmor=unconfined"]}, {"privileged": True}])
def test_it_can_be_left_out(engine: minidock.Engine, busybox: str, options: dict[str, object]) -> None:
    assert engine.containers.run(busybox, CURRENT, remove=True, **options).stdout == b"unconfined\n"  # type: ignore[call-overload]


def test_a_profile_that_is_not_there(engine: minidock.Engine, busybox: str) -> None:
    with pytest.raises(NotFound, match="no-such-profile"):
        engine.containers.run(busybox, ["true"], security_opt=["apparmor=no-such-profile"])


@pytest.mark.parametrize(
    "command",
    [
        "mount -t tmpfs none /tmp",
        "echo h > /proc/sysrq-trigger",
        "echo 1 > /proc/sys/kernel/panic",
        "cat /proc/kcore",
    ],
)
def test_what_root_with_all_capabilities_may_not(engine: minidock.Engine, busybox: str, command: str) -> None:
    """Neither masks nor missing capabilities are in the way here: the profile is what says no."""
    done = engine.containers.run(
        busybox,
        ["sh", "-c", command],
        cap_add=["ALL"],
        security_opt=["systempaths=unconfined", "seccomp=unconfined"],
        remove=True,
        check=False,
    )
    assert done.exit_code != 0
    assert b"ermission denied" in done.stderr
