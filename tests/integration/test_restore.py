"""``system restore``: after a boot everything is found stopped, and what is to run is started."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import minidock
from tests.conftest import Cli, Roots, wait_for
from tests.faults.state import cgroups, containers, supervisors


def power_off(roots: Roots, *, run_root_stays: bool = False) -> None:
    """What a boot leaves of running containers: no process, no cgroup, another boot id, and no run root on a tmpfs."""
    pids = {}
    for file in (roots.run / "containers").glob("*/pid"):
        pids[file] = json.loads(file.read_text())
    for pid in supervisors(roots):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(Path(f"/proc/{file['pid']}").exists() for file in pids.values()))
    for group in sorted(cgroups(roots), reverse=True):
        wait_for(lambda group=group: not Path(group, "cgroup.procs").read_text())  # type: ignore[misc]
        for path, _, _ in os.walk(group, topdown=False):
            os.rmdir(path)
    if run_root_stays:
        # Both ids belong to somebody else by now, who happens to have started at the same tick of its boot.
        stat = Path("/proc/self/stat").read_text()
        start = int(stat[stat.rindex(")") + 2 :].split()[19])
        mine = {"supervisor": os.getpid(), "pid": os.getpid(), "supervisor_start": start, "start_time": start}
        for path, file in pids.items():
            path.write_text(json.dumps({**file, **mine, "boot_id": "earlier"}))
    else:
        shutil.rmtree(roots.run)
    with contextlib.closing(sqlite3.connect(roots.data / "minidock.db")) as database:
        database.execute("UPDATE meta SET value = 'earlier' WHERE key = 'boot_id'")
        database.commit()


def statuses(cli: Cli) -> dict[str, str]:
    return {line["Names"]: line["State"] for line in containers(cli)}


@pytest.mark.parametrize("run_root_stays", [False, True])
def test_after_a_boot(cli_busybox: Cli, roots: Roots, run_root_stays: bool) -> None:
    cli = cli_busybox

    def run(name: str, policy: str, *command: str, flags: tuple[str, ...] = ("-d",)) -> None:
        flags = (*flags, "--stop-signal=KILL", "--name", name, *(("--restart", policy) if policy else ()))
        cli.ok("run", *flags, "busybox", *(command or ("sleep", "1000")))

    run("no", "no")
    run("always", "always")
    run("always-stopped", "always")
    run("unless", "unless-stopped")
    run("unless-stopped", "unless-stopped")
    run("unless-killed", "unless-stopped")
    run("failure", "on-failure")
    run("failure-zero", "on-failure", "true")
    run("failure-most", "on-failure:1", "false")
    run("paused", "always")
    run("removed", "", flags=("-d", "--rm"))
    cli.ok("create", "--restart", "always", "--name", "created", "busybox", "true")
    cli.ok("stop", "always-stopped", "unless-stopped")
    cli.ok("kill", "unless-killed")
    cli.ok("unpause", cli.ok("pause", "paused").strip())
    wait_for(lambda: statuses(cli)["failure-most"] == statuses(cli)["failure-zero"] == "exited")

    power_off(roots, run_root_stays=run_root_stays)
    found = statuses(cli)
    assert found.pop("created") == "created"
    assert set(found.values()) == {"exited"}
    assert "removed" not in found

    wanted = {"always", "always-stopped", "unless", "failure", "paused"}
    assert set(cli.ok("system", "restore").split()) == wanted
    assert {name for name, status in statuses(cli).items() if status == "running"} == wanted
    assert cli.ok("inspect", "-f", "{{.RestartCount}}", "always") == "0\n"
    assert cli.ok("system", "restore") == ""
    cli.ok("rm", "-f", *statuses(cli))


def test_shutdown_in_order(cli_busybox: Cli, roots: Roots) -> None:
    """SIGTERM to a supervisor, as systemd sends it, stops its container, which nobody has stopped by hand."""
    script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    cli_busybox.ok("run", "-d", "--restart", "unless-stopped", "--name", "one", "busybox", "sh", "-c", script)
    wait_for(lambda: "ready" in cli_busybox.ok("logs", "one"))
    for pid in supervisors(roots):
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: statuses(cli_busybox)["one"] == "exited")
    power_off(roots)
    assert cli_busybox.ok("inspect", "-f", "{{.State.ExitCode}}", "one") == "3\n"
    assert cli_busybox.ok("system", "restore") == "one\n"
    cli_busybox.ok("rm", "-f", "one")


def test_joined_namespaces_and_failures(cli_busybox: Cli, engine: minidock.Engine, roots: Roots) -> None:
    def run(name: str, *flags: str) -> str:
        flags = ("-d", "--name", name, "--restart=always", *flags)
        return cli_busybox.ok("run", *flags, "busybox", "sleep", "1000").strip()

    run("donor", "--ipc=shareable")
    run("joining", "--ipc=container:donor")
    cli_busybox.ok("rename", "donor", "gone")
    run("donor", "--ipc=shareable")  # the older one joins the younger one
    broken = run("broken")
    power_off(roots)
    (roots.data / "containers" / broken / "rw").rename(roots.data / "gone")
    done = engine.containers.restore()
    names = [container.name for container in done.started]
    assert sorted(names) == ["donor", "gone", "joining"]
    assert names.index("donor") < names.index("joining")
    ((container, error),) = done.failed
    assert container.name == "broken"
    assert isinstance(error, minidock.MinidockError)
    assert container.status == "exited"
    (roots.data / "gone").rename(roots.data / "containers" / broken / "rw")
    assert [container.name for container in engine.containers.restore().started] == ["broken"]


def test_several_at_once(cli_busybox: Cli, roots: Roots) -> None:
    for n in range(6):
        cli_busybox.ok("run", "-d", "--restart", "always", "--name", f"many-{n}", "busybox", "sleep", "1000")
    power_off(roots)
    processes = [
        cli_busybox.popen("system", "restore", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")
    assert set(statuses(cli_busybox).values()) == {"running"}
    lines = cli_busybox.ok("events", "--until", "0s", "-f", "event=start").splitlines()
    assert len(lines) == 12
    cli_busybox.ok("rm", "-f", *statuses(cli_busybox))


def test_unit(cli: Cli, roots: Roots, tmp_path: Path) -> None:
    text = cli.ok("system", "restore", "--unit")
    command = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    words = command.removeprefix("ExecStart=-").split()
    assert words[1:] == [
        *("--config", str(roots.config), "--data-root", str(roots.data), "--run-root", str(roots.run)),
        *("system", "restore"),
    ]
    assert Path(words[0]).parent == Path(sys.executable).parent
    assert subprocess.run(words, check=True, capture_output=True).stdout == b""
    analyze = shutil.which("systemd-analyze")
    if analyze is not None:
        unit = tmp_path / "minidock-test.service"
        odd = cli("--data-root", '/var/lib/a "b" %n', "system", "restore", "--unit").stdout.decode()
        for content in (text, odd):
            unit.write_text(content)
            done = subprocess.run(
                [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
            )
            assert unit.name not in done.stderr
