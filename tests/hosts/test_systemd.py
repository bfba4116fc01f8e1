"""A host whose init is systemd: slices and scopes, reloads, the ends of services and sessions."""

from __future__ import annotations

import json
import os
import pty
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock.containers import liveness, scopes
from minidock.errors import InvalidArgument, MinidockError
from tests.conftest import Cli, Roots, roots_of_their_own, wait_for
from tests.rootfs import busybox_tar

pytestmark = pytest.mark.skipif(not scopes.systemd_runs(), reason="systemd does not run on this host")
V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def systemctl(*words: str, check: bool = True) -> str:
    done = subprocess.run(["systemctl", *words], check=False, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def shown(unit: str, *names: str) -> dict[str, str]:
    lines = systemctl("show", unit, *(f"--property={name}" for name in names)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def group_of(pid: int) -> str:
    """The cgroup by which systemd knows a process."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    wanted = "0::" if V2 else ":name=systemd:"
    return next(line.split(":", 2)[2] for line in lines if wanted in line)


def supervisor(roots: Roots, container: minidock.Container) -> int:
    file = liveness.pid_file(str(roots.run / "containers" / container.id))
    assert file is not None
    return file.supervisor


def pid(container: minidock.Container) -> int:
    container.reload()
    found: int = container.attrs["State"]["Pid"]
    return found


@pytest.fixture
def slice_name() -> Iterator[str]:
    """A slice of the test's own, below another one."""
    outer = f"mdt{secrets.token_hex(3)}"
    yield f"{outer}-inner.slice"
    systemctl("stop", f"{outer}.slice", check=False)
    systemctl("reset-failed", f"{outer}.slice", f"{outer}-inner.slice", check=False)


def run(engine: minidock.Engine, image: str, *command: str, **options: Any) -> minidock.Container:
    return engine.containers.run(
        image, list(command) or ["sleep", "1000"], detach=True, network="none", stop_signal="KILL", **options
    )


def test_a_container_in_a_slice(engine: minidock.Engine, busybox: str, roots: Roots, slice_name: str) -> None:
    container = run(engine, busybox, cgroup_parent=slice_name, memory="64m", pids_limit=20)
    unit = f"minidock-{container.id}.scope"
    at = f"/{slice_name.split('-', maxsplit=1)[0]}.slice/{slice_name}/{unit}"
    found = shown(unit, "ControlGroup", "Delegate", "ActiveState", "Slice", "Description")
    assert found == {
        "ControlGroup": at,
        "Delegate": "yes",
        "ActiveState": "active",
        "Slice": slice_name,
        "Description": f"minidock container {container.name}",
    }
    assert group_of(pid(container)) == f"{at}/container"
    assert group_of(supervisor(roots, container)) == f"{at}/supervisor"
    base = Path("/sys/fs/cgroup") if V2 else Path("/sys/fs/cgroup/memory")
    limit = base / f"{at.strip('/')}/container" / ("memory.max" if V2 else "memory.limit_in_bytes")
    assert limit.read_text() == f"{64 << 20}\n"
    # systemd's defaults for services are not a container's: it has its own limits, and its stop timeout with a margin.
    bounds = shown(unit, "TasksMax", "TimeoutStopUSec", "Before", "DefaultDependencies")
    assert "minidock.service" in bounds.pop("Before").split(), "so that a shutdown stops it afterwards"
    assert bounds == {"TasksMax": "infinity", "TimeoutStopUSec": "20s", "DefaultDependencies": "no"}
    tasks = Path("/sys/fs/cgroup" if V2 else "/sys/fs/cgroup/pids") / at.strip("/")
    assert (tasks / "pids.max").read_text() == "max\n"
    assert (tasks / "container/pids.max").read_text() == "20\n"
    # All that is done to a running container finds its cgroup there.
    assert container.exec(["cat", "/proc/self/cgroup"]).exit_code == 0
    container.pause()
    assert container.status == "paused"
    container.unpause()
    assert container.stats(stream=False).pids.current >= 1
    assert len(container.top().processes) == 1
    container.update(memory="32m", memswap_limit="32m")
    assert limit.read_text() == f"{32 << 20}\n"
    # The scope ends with the container, and is there again.
    container.restart()
    assert group_of(pid(container)) == f"{at}/container"
    container.kill()
    container.wait()
    wait_for(lambda: shown(unit, "LoadState")["LoadState"] == "not-found", 20, "the end of the scope")
    container.start()
    assert shown(unit, "ActiveState")["ActiveState"] == "active"
    container.remove(force=True)
    wait_for(lambda: shown(unit, "LoadState")["LoadState"] == "not-found", 20, "the end of the scope")
    wait_for(lambda: not list(Path("/sys/fs/cgroup").glob(f"**/{unit}")), 20, "the end of its cgroups")


def test_weights_count_beside_other_scopes(engine: minidock.Engine, busybox: str, slice_name: str) -> None:
    """A group's weight counts beside its siblings: the container's own group is alone in its scope."""
    container = run(engine, busybox, cgroup_parent=slice_name, cpu_shares=2048, stop_timeout=-1)
    base = Path("/sys/fs/cgroup") if V2 else Path("/sys/fs/cgroup/cpu")
    scope = base / group_of(pid(container)).strip("/").removesuffix("/container")
    file = "cpu.weight" if V2 else "cpu.shares"
    first = int((scope / file).read_text())
    assert first == int((scope / "container" / file).read_text()) > (100 if V2 else 1024)
    # What has no time of its own to end in gets systemd's: it is not to hold up a shutdown for ever.
    assert shown(scope.name, "TimeoutStopUSec")["TimeoutStopUSec"] not in ("infinity", "20s")
    container.update(cpu_shares=128)
    systemctl("daemon-reload")
    assert int((scope / file).read_text()) == int((scope / "container" / file).read_text()) < (100 if V2 else 1024)
    container.remove(force=True)


def test_it_is_started_again_in_its_scope(engine: minidock.Engine, busybox: str, roots: Roots, slice_name: str) -> None:
    script = "echo run; sleep 0.2; exit 3"
    container = run(
        engine,
        busybox,
        "sh",
        "-c",
        script,
        cgroup_parent=slice_name,
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
    )
    wait_for(lambda: container.logs() == b"run\n" * 3, 30)
    wait_for(lambda: (container.reload(), container.status)[1] == "exited", 30)
    container.remove()


def test_run_with_its_output(engine: minidock.Engine, busybox: str, slice_name: str) -> None:
    result = engine.containers.run(busybox, ["cat", "/proc/self/cgroup"], cgroup_parent=slice_name, remove=True)
    assert result.exit_code == 0
    with pytest.raises(MinidockError):
        engine.containers.run(busybox, ["/no/such"], cgroup_parent=slice_name, remove=True)
    wait_for(lambda: "minidock-" not in systemctl("list-units", "--all", "--type=scope", "--plain"), 20)


def test_stopped_by_systemd(engine: minidock.Engine, busybox: str, slice_name: str) -> None:
    """Whoever stops the scope stops the container; it is found so, and starts again."""
    container = run(engine, busybox, cgroup_parent=slice_name)
    systemctl("stop", f"minidock-{container.id}.scope")
    wait_for(lambda: (container.reload(), container.status)[1] == "exited", 30)
    container.start()
    container.reload()
    assert container.status == "running"
    container.remove(force=True)


@pytest.mark.parametrize("name", ["-x.slice", "x-.slice", "a--b.slice", ".slice"])
def test_no_slice(engine: minidock.Engine, busybox: str, name: str) -> None:
    with pytest.raises(InvalidArgument, match="no name of a slice"):
        engine.containers.create(busybox, ["true"], cgroup_parent=name)
    assert engine.containers.list(all=True) == []


@pytest.fixture
def by_systemd() -> Iterator[Roots]:
    with roots_of_their_own(
        {"bridge": "none", "exec-opts": ["native.cgroupdriver=systemd"], "cgroup-parent": ""}
    ) as it:
        yield it


def test_the_driver(by_systemd: Roots) -> None:
    """As with Docker's driver of that name: in system.slice, and a parent must be a slice."""
    roots = by_systemd
    with minidock.Engine(str(roots.data), str(roots.run), str(roots.config)) as engine:
        engine.images.import_(str(busybox_tar()), repository="busybox")
        assert engine.info()["CgroupDriver"] == "systemd"
        container = run(engine, "busybox")
        assert group_of(pid(container)) == f"/system.slice/minidock-{container.id}.scope/container"
        container.remove(force=True)
        with pytest.raises(InvalidArgument, match="should be a valid slice named as"):
            engine.containers.create("busybox", ["true"], cgroup_parent="/some/where")


@pytest.mark.parametrize("verb", ["daemon-reload", "daemon-reexec"])
def test_limits_survive(engine: minidock.Engine, busybox: str, roots: Roots, slice_name: str, verb: str) -> None:
    """systemd takes no controller from groups that it does not manage, and none of those that it has given away."""
    options = {"memory": "64m", "cpus": "0.5", "pids_limit": 20}
    both = [run(engine, busybox, **options), run(engine, busybox, cgroup_parent=slice_name, **options)]
    names = ("memory.max", "cpu.max", "pids.max")

    def limits() -> list[str]:
        if not V2:
            lines = [Path(f"/proc/{pid(one)}/cgroup").read_text() for one in both]
            return sorted(line for text in lines for line in text.splitlines())
        places = [Path("/sys/fs/cgroup", group_of(pid(one)).strip("/")) for one in both]
        return [(place / name).read_text() for place in places for name in names]

    before = limits()
    unit = f"mdt-{secrets.token_hex(3)}"
    systemctl(verb)
    # Another unit that wants controllers, and its end, make systemd look at the whole tree again.
    subprocess.run(
        ["systemd-run", "--quiet", "--wait", f"--unit={unit}", "--property=MemoryMax=99M", "true"], check=True
    )
    systemctl(verb)
    assert limits() == before
    for container in both:
        hungry = "dd if=/dev/zero of=/dev/null bs=200M count=1"
        assert container.exec(["sh", "-c", hungry]).exit_code == 137
        container.remove(force=True)


START = """
import os, subprocess, sys, time
subprocess.run([sys.executable, "-m", "minidock", "run", "-d", "--network", "none", "--stop-signal", "KILL",
                "--name", sys.argv[1], "busybox", "sleep", "1000"], check=True, stdout=subprocess.DEVNULL)
subprocess.run([sys.executable, "-m", "minidock", "exec", "-d", sys.argv[1], "sleep", "999"], check=True)
open(sys.argv[2], "w").close()
time.sleep(float(sys.argv[3]))
"""


@pytest.mark.parametrize("kind", ["service", "scope"])
def test_the_unit_that_started_it_ends(
    cli_busybox: Cli, engine: minidock.Engine, roots: Roots, tmp_path: Path, kind: str
) -> None:
    """A CI job's service, a user's session: systemd kills all that is in it, and a container is not in it."""
    unit = f"mdt-{secrets.token_hex(3)}.{kind}"
    done = tmp_path / "done"
    environment = {**cli_busybox.env, "PATH": os.environ["PATH"]}
    settings = [f"--setenv={name}={value}" for name, value in environment.items()]
    words = ["--scope"] if kind == "scope" else ["--property=KillMode=control-group", *settings]
    command = [sys.executable, "-c", START, "lasting", str(done), "1000"]
    words = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", *words, *command]
    with subprocess.Popen(words, env=environment) as runner:
        try:
            wait_for(done.exists, 60)
            container = engine.containers.get("lasting")
            assert group_of(supervisor(roots, container)) == "/minidock/supervisors"
        finally:
            systemctl("stop", unit)
            runner.wait(60)
    wait_for(lambda: shown(unit, "ActiveState")["ActiveState"] in ("inactive", "failed"), 20)
    container.reload()
    assert container.status == "running"
    assert [row[-1] for row in container.top().processes] == ["sleep 1000", "sleep 999"]
    container.remove(force=True)


@pytest.fixture
def logind() -> Iterator[None]:
    """logind ends whatever a session leaves, of root too."""
    settings = Path("/run/systemd/logind.conf.d/mdt.conf")
    settings.parent.mkdir(parents=True, exist_ok=True)
    # Nobody excluded stands for root.
    settings.write_text("[Login]\nKillUserProcesses=yes\nKillExcludeUsers=nobody\n")
    systemctl("restart", "systemd-logind")
    yield
    settings.unlink()
    systemctl("restart", "systemd-logind")


@pytest.mark.skipif(
    not any("pam_systemd" in path.read_text() for path in Path("/etc/pam.d").glob("common-session")),
    reason="logins are no sessions of systemd's here: pam_systemd is not in use",
)
def test_a_logout(cli_busybox: Cli, engine: minidock.Engine, roots: Roots, tmp_path: Path, logind: None) -> None:
    """All that a user's session has started ends with it, and a container does not."""
    script = tmp_path / "session"
    exports = [f"export {name}={shlex.quote(value)}" for name, value in cli_busybox.env.items()]
    lines = [
        *exports,
        f"cat /proc/self/cgroup >{tmp_path}/group",
        f"setsid sleep 998 </dev/null >/dev/null 2>&1 & echo $! >{tmp_path}/other",
        shlex.join([sys.executable, "-c", START, "lasting", f"{tmp_path}/done", "0"]),
    ]
    script.write_text("\n".join(lines))
    # On a terminal: what has none is a session of the class `background`, if any.
    master, slave = pty.openpty()
    subprocess.run(["su", "-", "root", "-c", f"sh {script}"], check=True, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.close(master)
    assert (tmp_path / "done").exists()
    assert "/session-" in (tmp_path / "group").read_text()
    other = int((tmp_path / "other").read_text())
    wait_for(lambda: not Path(f"/proc/{other}").exists(), 60, "the end of what the session left")
    container = engine.containers.get("lasting")
    assert container.status == "running"
    assert group_of(supervisor(roots, container)) == "/minidock/supervisors"
    assert [row[-1] for row in container.top().processes] == ["sleep 1000", "sleep 999"]
    container.remove(force=True)


def test_info_says_what_is_there(engine: minidock.Engine) -> None:
    found = engine.info()
    assert found["CgroupVersion"] == ("2" if V2 else "1")
    assert found["CgroupDriver"] == "cgroupfs"
    assert json.dumps(found["SecurityOptions"]).count("seccomp") == 1
