"""What the AppArmor profile ``minidock-default`` denies, on hosts that have AppArmor (SECURITY.md section 4)."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path

import pytest

import minidock
from minidock.errors import NotFound
from minidock.security import lsm
from tests.conftest import Cli, wait_for
from tests.integration.verbs import reaches

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
pytestmark = pytest.mark.skipif(
    not ENABLED.exists() or ENABLED.read_text().strip() != "Y", reason="this kernel runs without AppArmor"
)
CURRENT = ["cat", "/proc/self/attr/current"]
CONFINED = "minidock-default (enforce)\n"


def unload() -> None:
    """Unload the default profile, as ``aa-remove-unknown`` does; what runs under it is unconfined from then on."""
    with contextlib.suppress(FileNotFoundError):
        Path("/sys/kernel/security/apparmor/.remove").write_text("minidock-default")


def elsewhere(cli: Cli, script: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command of minidock after a script, in a mount namespace of their own."""
    command = ["unshare", "--mount", "sh", "-c", f'{script} && exec "$@"', "sh", *cli.argv, *argv]
    return subprocess.run(command, env=cli.env, capture_output=True, text=True, timeout=300, check=False)


def doctor(cli: Cli, script: str) -> dict[str, dict[str, str]]:
    """What ``doctor`` finds about security after a script, by name."""
    found = json.loads(elsewhere(cli, script, "doctor", "--json").stdout)
    return {one["name"]: one for one in found if one["group"] == "security"}


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


def test_init_is_confined(engine: minidock.Engine, busybox: str) -> None:
    """And so it can be signalled from inside, and what it forwards arrives."""
    script = 'trap "exit 7" USR1; touch /ready; while :; do sleep 0.02; done'
    container = engine.containers.run(busybox, ["sh", "-c", script], init=True, detach=True)
    pid = container.state.pid
    assert Path(f"/proc/{pid}/attr/current").read_text() == CONFINED
    wait_for(lambda: Path(f"/proc/{pid}/root/ready").exists(), what="traps")
    assert container.exec(["cat", "/proc/1/attr/current", "/proc/self/attr/current"]).stdout == 2 * CONFINED.encode()
    assert container.exec(["kill", "-USR1", "1"]).exit_code == 0
    assert container.wait() == 7


@pytest.mark.parametrize("options", [{"security_opt": ["apparmor=unconfined"]}, {"privileged": True}])
def test_init_can_be_left_out(engine: minidock.Engine, busybox: str, options: dict[str, object]) -> None:
    command = ["cat", "/proc/1/attr/current", "/proc/self/attr/current"]
    done = engine.containers.run(busybox, command, init=True, remove=True, **options)  # type: ignore[call-overload]
    assert done.stdout == b"unconfined\nunconfined\n"


def test_exec_loads_a_profile_that_has_gone(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.run(busybox, ["sleep", "1000"], detach=True)
    unload()
    assert container.exec(CURRENT).stdout == CONFINED.encode()


def test_a_restart_loads_a_profile_that_has_gone(engine: minidock.Engine, busybox: str) -> None:
    script = "cat /proc/self/attr/current; [ -e /go ] && exit 0; until [ -e /go ]; do sleep 0.05; done; exit 1"
    container = engine.containers.run(busybox, ["sh", "-c", script], restart="on-failure:3", detach=True)
    wait_for(lambda: container.logs() == CONFINED.encode(), 30, "its first run")
    unload()
    Path(f"/proc/{container.state.pid}/root/go").touch()
    reaches(container, "exited", 1)
    assert container.wait() == 0
    assert container.logs() == 2 * CONFINED.encode()


def test_a_health_check_loads_a_profile_that_has_gone(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.run(
        busybox, ["sleep", "1000"], health_cmd="cat /proc/self/attr/current", health_interval=0.5, detach=True
    )

    def checks() -> list[dict[str, object]]:
        container.reload()
        found: list[dict[str, object]] = container.attrs["State"]["Health"]["Log"] or []
        return found

    wait_for(checks, 60, "a check")
    unload()
    seen: set[object] = {one["Start"] for one in checks()}

    def two_more() -> bool:
        # The first of them may have been on its way.
        return len({one["Start"] for one in checks()} - seen) > 1

    wait_for(two_more, 60, "two more checks")
    last = checks()[-1]
    assert (last["ExitCode"], last["Output"]) == (0, CONFINED)


def test_a_start_decides_anew(engine: minidock.Engine, busybox: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that was made under a kernel without AppArmor is confined under one with it, and the reverse."""
    with monkeypatch.context() as before:
        before.setattr(lsm, "_found", (False, False))
        before.setattr(lsm, "_apparmor_is_on", lambda: False)
        container = engine.containers.create(busybox, CURRENT)
        assert container.attrs["AppArmorProfile"] == ""
    container.start()
    container.wait()
    container.reload()
    assert container.attrs["AppArmorProfile"] == "minidock-default"
    assert container.logs() == CONFINED.encode()
    with monkeypatch.context() as after:
        after.setattr(lsm, "_found", (False, False))
        container.start()
    container.wait()
    container.reload()
    assert container.attrs["AppArmorProfile"] == ""
    assert container.logs() == CONFINED.encode() + b"unconfined\n"


def test_without_securityfs(cli_busybox: Cli) -> None:
    hide = "umount -l /sys/kernel/security"
    command = ["run", "--rm", "busybox", *CURRENT]
    assert elsewhere(cli_busybox, hide, *command).stdout == "unconfined\n"
    refused = elsewhere(
        cli_busybox, hide, "run", "--rm", "--security-opt", "apparmor=minidock-default", "busybox", "true"
    )
    assert refused.returncode == 125
    assert "mount -t securityfs securityfs /sys/kernel/security" in refused.stderr
    shown = ["info", "--format", "{{json .SecurityOptions}}"]
    assert "name=apparmor" not in elsewhere(cli_busybox, hide, *shown).stdout
    assert "name=apparmor" in elsewhere(cli_busybox, "true", *shown).stdout
    said = doctor(cli_busybox, hide)["security modules"]
    assert (said["status"], said["advice"]) == ("warn", "mount -t securityfs securityfs /sys/kernel/security")
    assert said["meaning"].startswith("containers run without AppArmor")


def test_without_a_profile_and_a_parser(cli_busybox: Cli) -> None:
    """What would keep every container from its start is a failure for doctor."""
    assert "AppArmor profile" not in doctor(cli_busybox, "true")
    no_parser = "for parser in /sbin /usr/sbin; do mount --bind /dev/null $parser/apparmor_parser; done"
    unload()
    said = doctor(cli_busybox, no_parser)["AppArmor profile"]
    assert said["status"] == "fail"
    assert "has no apparmor_parser" in said["found"]
    refused = elsewhere(cli_busybox, no_parser, "run", "--rm", "busybox", "true")
    assert refused.returncode == 125
    assert "has no apparmor_parser" in refused.stderr
    free = ["run", "--rm", "--security-opt", "apparmor=unconfined", "busybox", *CURRENT]
    assert elsewhere(cli_busybox, no_parser, *free).stdout == "unconfined\n"
    assert cli_busybox.ok("run", "--rm", "busybox", *CURRENT) == CONFINED
    assert "AppArmor profile" not in doctor(cli_busybox, no_parser), "it is loaded: containers start"
