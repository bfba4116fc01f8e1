"""The helper's OCI runtime command line, on real bundles."""

from __future__ import annotations

import array
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock import helper
from tests.conftest import Roots, wait_for
from tests.rootfs import busybox_tar

WAITING = "trap 'echo term; exit 7' TERM; echo started; while :; do sleep 0.05; done"


class Runtime:
    """The helper with a state root, a bundle and a cgroup parent of the test's own."""

    def __init__(self, roots: Roots) -> None:
        self.base = roots.data.parent
        self.state = self.base / "state"
        self.bundle = self.base / "bundle"
        self.parent = roots.cgroup_parent
        self.program = os.environ.get("MINIDOCK_TEST_HELPER", helper.shipped())
        self.bundle.mkdir()
        with tarfile.open(busybox_tar()) as tar:
            tar.extractall(self.bundle / "rootfs", filter="fully_trusted")
        self.ok("spec", "--bundle", str(self.bundle))
        self.config(["true"])

    def config(self, args: list[str], *, id: str = "c", **changes: Any) -> None:
        """Write the bundle's document: the runtime's own template, with ``args`` and changes of whole sections."""
        path = self.bundle / "config.json"
        document = json.loads(path.read_text())
        document["process"].update(terminal=False, args=args)
        document["process"].update(changes.pop("process", {}))
        document["linux"]["cgroupsPath"] = f"{self.parent}/{id}"
        document["linux"].update(changes.pop("linux", {}))
        document.update(changes)
        path.write_text(json.dumps(document))

    def argv(self, *args: str) -> list[str]:
        return [self.program, "--root", str(self.state), *args]

    def __call__(self, *args: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        kwargs = {"stdin": subprocess.DEVNULL, "capture_output": True, "cwd": self.bundle} | kwargs
        return subprocess.run(self.argv(*args), text=True, timeout=60, check=False, **kwargs)

    def ok(self, *args: str) -> str:
        done = self(*args, cwd="/")
        assert done.returncode == 0, f"{args}: {done.stderr}"
        return done.stdout

    def create(self, id: str = "c", *args: str, **kwargs: Any) -> Path:
        """Create a container whose stdout is the file that comes back: a pipe would be held open by it."""
        out = self.base / f"{id}.out"
        with out.open("wb") as file:
            done = self("create", *args, id, stdout=file, stderr=file, capture_output=False, **kwargs)
        assert done.returncode == 0, out.read_text()
        return out

    def status(self, id: str = "c") -> str:
        return str(json.loads(self.ok("state", id))["status"])

    def stopped(self, id: str = "c") -> bool:
        return self.status(id) == "stopped"


@pytest.fixture
def runtime(roots: Roots) -> Iterator[Runtime]:
    it = Runtime(roots)
    yield it
    for id in it.ok("list", "-q").split():
        it.ok("delete", "--force", id)


def test_run_gives_output_and_exit_code_and_leaves_nothing(runtime: Runtime) -> None:
    runtime.config(["sh", "-c", "echo out; echo err >&2; cat; exit 42"])
    done = runtime("run", "c", input="typed", stdin=None)
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\ntyped", "err\n")
    assert runtime.ok("list", "-q") == ""
    assert os.listdir(runtime.state) == []


def test_the_life_cycle(runtime: Runtime) -> None:
    runtime.config(["sh", "-c", WAITING])
    pid_file = runtime.base / "pid"
    out = runtime.create("c", "--pid-file", str(pid_file))
    state = json.loads(runtime.ok("state", "c"))
    assert state["status"] == "created"
    assert state["id"] == "c"
    assert state["ociVersion"].startswith("1.")
    assert state["bundle"] == str(runtime.bundle)
    assert state["pid"] == int(pid_file.read_text())
    assert out.read_text() == ""
    runtime.ok("start", "c")
    wait_for(lambda: out.read_text() == "started\n")
    assert runtime.status() == "running"
    assert "exists" in runtime("create", "c").stderr
    for refused in (["start", "c"], ["delete", "c"], ["resume", "c"]):
        done = runtime(*refused)
        assert (done.returncode, "it is running" in done.stderr) == (1, True), refused
    assert state["pid"] in json.loads(runtime.ok("ps", "--format", "json", "c"))
    assert json.loads(runtime.ok("list", "--format", "json"))[0]["pid"] == state["pid"]
    runtime.ok("kill", "c", "TERM")
    wait_for(runtime.stopped)
    assert out.read_text() == "started\nterm\n"
    assert json.loads(runtime.ok("state", "c"))["pid"] == 0
    for refused in (["kill", "c"], ["start", "c"], ["exec", "c", "true"], ["pause", "c"], ["ps", "c"]):
        done = runtime(*refused)
        assert (done.returncode, "it is stopped" in done.stderr) == (1, True), refused
    runtime.ok("delete", "c")
    assert runtime("delete", "c").returncode == 1
    runtime.ok("delete", "--force", "c")


def test_a_created_container_is_killed_and_deleted_without_having_run(runtime: Runtime) -> None:
    runtime.config(["sh", "-c", "echo ran"])
    out = runtime.create()
    assert "it is created" in runtime("delete", "c").stderr
    assert runtime.status() == "created"
    runtime.ok("kill", "c", "KILL")
    wait_for(runtime.stopped)
    runtime.ok("delete", "c")
    assert out.read_text() == ""


@pytest.mark.parametrize("user", [0, 1000])
def test_a_held_container_of_any_user_starts(runtime: Runtime, user: int) -> None:
    runtime.config(["id", "-u"], process={"user": {"uid": user, "gid": user}})
    out = runtime.create()
    runtime.ok("start", "c")
    wait_for(runtime.stopped)
    assert out.read_text() == f"{user}\n"


def test_a_held_container_in_a_user_namespace_starts(runtime: Runtime) -> None:
    document = json.loads((runtime.bundle / "config.json").read_text())
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    linux = {
        "namespaces": [*document["linux"]["namespaces"], {"type": "user"}],
        "uidMappings": maps,
        "gidMappings": maps,
    }
    runtime.config(["cat", "/proc/self/uid_map"], linux=linux)
    out = runtime.create()
    runtime.ok("start", "c")
    wait_for(runtime.stopped)
    assert out.read_text().split() == ["0", "100000", "65536"]


def test_exec_joins_namespaces_and_changes_what_it_is_told(runtime: Runtime) -> None:
    runtime.config(["sh", "-c", WAITING])
    out = runtime.create()
    runtime.ok("start", "c")
    wait_for(lambda: out.read_text() == "started\n")
    assert runtime.ok("exec", "c", "cat", "/proc/1/comm") == "sh\n"
    script = "id -u; id -g; pwd; echo $A; grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status; exit 9"
    done = runtime("exec", "-u", "1000:1001", "--cwd", "/tmp", "-e", "A=b c", "--", "c", "sh", "-c", script)
    assert done.returncode == 9
    assert done.stdout.split("\n")[:4] == ["1000", "1001", "/tmp", "b c"]
    assert "CapEff:\t0000000000000000" in done.stdout
    assert "NoNewPrivs:\t1" in done.stdout
    assert runtime("exec", "c", "/nope").returncode == 127
    assert runtime("exec", "c", "/etc").returncode == 126
    assert "not a number" in runtime("exec", "-u", "root", "c", "true").stderr
    document = runtime.base / "process.json"
    process = {"args": ["sh", "-c", "echo $X"], "cwd": "/", "env": ["X=doc", "PATH=/bin"], "user": {"uid": 0, "gid": 0}}
    document.write_text(json.dumps(process))
    assert runtime.ok("exec", "--process", str(document), "c") == "doc\n"
    pid_file = runtime.base / "exec.pid"
    detached = ["exec", "--detach", "--pid-file", str(pid_file), "c", "sleep", "60"]
    assert runtime(*detached, capture_output=False, stdout=subprocess.DEVNULL).returncode == 0
    pid = int(pid_file.read_text())
    assert pid in json.loads(runtime.ok("ps", "-f", "json", "c"))
    runtime.ok("kill", "--all", "c", "KILL")
    wait_for(runtime.stopped)
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())


def test_pause_stops_all_processes_until_resume(runtime: Runtime) -> None:
    runtime.config(["sh", "-c", "while :; do echo x; sleep 0.01; done"])
    out = runtime.create()
    runtime.ok("start", "c")
    wait_for(lambda: out.stat().st_size > 4)
    runtime.ok("pause", "c")
    assert runtime.status() == "paused"
    size = out.stat().st_size
    time.sleep(0.1)
    assert out.stat().st_size == size
    assert "it is paused" in runtime("exec", "c", "true").stderr
    runtime.ok("resume", "c")
    wait_for(lambda: out.stat().st_size > size)
    runtime.ok("pause", "c")
    runtime.ok("kill", "c", "KILL")
    wait_for(runtime.stopped)


def test_limits_are_set_and_updated(runtime: Runtime) -> None:
    limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
    runtime.config(
        ["sh", "-c", WAITING],
        linux={"resources": {"memory": {"limit": 64 << 20}, "devices": [{"allow": False, "access": "rwm"}]}},
    )
    out = runtime.create()
    runtime.ok("start", "c")
    wait_for(lambda: out.read_text() == "started\n")
    assert int(runtime("exec", "c", "sh", "-c", limit).stdout) == 64 << 20
    assert runtime.ok("exec", "c", "head", "-c", "1", "/dev/zero") == "\0"
    runtime.ok("update", "--memory", str(32 << 20), "--pids-limit", "50", "c")
    assert int(runtime("exec", "c", "sh", "-c", limit).stdout) == 32 << 20
    stats = json.loads(runtime.ok("events", "--stats", "c"))
    assert stats["data"]["memory"]["limit"] == 32 << 20
    assert stats["data"]["pids"]["limit"] == 50
    assert "no limit is given" in runtime("update", "c").stderr


def test_hooks_run_in_order_with_the_state_on_stdin(runtime: Runtime) -> None:
    log = runtime.base / "hooks"
    moments = ["prestart", "createRuntime", "poststart", "poststop"]

    def hook(name: str) -> list[dict[str, Any]]:
        return [{"path": "/bin/sh", "args": ["sh", "-c", f"(echo {name}; cat; echo) >> {log}"]}]

    inside = [{"path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/start-hook"], "env": ["PATH=/bin"]}]
    hooks: dict[str, Any] = {name: hook(name) for name in moments} | {"startContainer": inside}
    runtime.config(
        ["cat", "/tmp/start-hook"], hooks=hooks, annotations={"a": "b"}, root={"path": "rootfs", "readonly": False}
    )
    done = runtime("run", "c")
    assert json.loads(done.stdout)["status"] == "created", done.stderr
    lines = log.read_text().split()
    assert lines[::2] == moments
    states = [json.loads(line) for line in lines[1::2]]
    assert [state["status"] for state in states][1::2] == ["creating", "stopped"]
    assert all(state["annotations"] == {"a": "b"} and state["id"] == "c" for state in states)


def test_a_failing_hook_stops_the_container(runtime: Runtime) -> None:
    mark = runtime.base / "poststop"
    fail = [{"path": "/bin/false"}]
    after = [{"path": "/bin/sh", "args": ["sh", "-c", f"echo x >> {mark}"]}]
    runtime.config(["sh", "-c", "echo ran"], hooks={"createRuntime": fail})
    done = runtime("run", "c")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "/bin/false" in done.stderr
    runtime.config(["true"], hooks={"poststop": fail + after})
    assert runtime("run", "c").returncode == 0
    assert mark.read_text() == "x\n"


def test_errors_go_to_the_log_in_the_form_that_was_asked_for(runtime: Runtime) -> None:
    log = runtime.base / "log"
    done = runtime("--log", str(log), "--log-format", "json", "state", "absent")
    assert done.returncode == 1
    line = json.loads(log.read_text())
    assert (line["level"], line["msg"]) == ("error", "find container absent: it does not exist")
    assert "T" in line["time"]
    assert runtime("--log-format", "xml", "--log", str(log), "list").returncode == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "a verb is missing"),
        (["nope"], "no such verb"),
        (["create"], "the container's id is missing"),
        (["create", "a/b"], "use letters"),
        (["create", ".."], "use letters"),
        (["state", "c", "d"], "unexpected argument"),
        (["create", "--nope", "c"], "--nope"),
        (["create", "--no-pivot", "c"], "without pivot_root"),
        (["create", "--preserve-fds", "3", "c"], "not open"),
        (["create", "--console-socket", "/x", "c"], "needs a process with a terminal"),
        (["--systemd-cgroup", "list"], "cgroupfs"),
        (["--rootless", "true", "list"], "needs root"),
        (["checkpoint", "c"], "no checkpoints"),
        (["kill", "absent", "NOPE"], "not a signal"),
        (["run", "--bundle", "/nonexistent", "c"], "open bundle"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(runtime: Runtime, args: list[str], message: str) -> None:
    done = runtime(*args)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert runtime.ok("list", "-q") == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ociVersion": "2.0.0"}, "ociVersion"),
        ({"root": {"path": "nowhere"}}, "open root filesystem"),
        ({"process": {"args": ["/nope"]}}, "no such file"),
        ({"process": {"args": ["/etc"]}}, "is a directory"),
        ({"process": {"cwd": "relative"}}, "absolute"),
        ({"process": {"capabilities": {"bounding": ["CAP_NOPE"]}}}, "config.json"),
        ({"linux": {"resources": {"devices": [{"allow": True, "type": "x"}]}}}, ""),
        ({"hostname": "x", "linux": {"namespaces": [{"type": "mount"}]}}, "uts"),
        (
            {
                "hostname": "x",
                "linux": {"namespaces": [{"type": "mount"}, {"type": "uts", "path": "/proc/self/ns/uts"}]},
            },
            "uts",
        ),
    ],
)
def test_a_document_that_makes_no_sense_leaves_nothing_behind(
    runtime: Runtime, changes: dict[str, Any], message: str
) -> None:
    before = os.uname().nodename
    runtime.config(["true"], **changes)
    done = runtime("run", "c")
    assert done.returncode in (1, 126, 127)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not runtime.state.exists() or os.listdir(runtime.state) == []
    assert os.uname().nodename == before


def test_preserved_descriptors_reach_the_process_and_others_do_not(runtime: Runtime) -> None:
    runtime.config(["sh", "-c", "for n in 3 4 5 6 7; do [ -e /proc/self/fd/$n ] && echo $n; done; cat <&3"])
    read, write = os.pipe()
    os.write(write, b"by fd 3")
    os.close(write)
    code = f"import os, sys; os.dup2({read}, 3); os.dup2(0, 4); os.execv(sys.argv[1], sys.argv[1:])"
    argv = [sys.executable, "-c", code, *runtime.argv("run", "--preserve-fds", "1", "c")]
    done = subprocess.run(
        argv, pass_fds=[read], capture_output=True, text=True, cwd=runtime.bundle, timeout=60, check=False
    )
    os.close(read)
    assert done.stdout == "3\nby fd 3", done.stderr


def test_a_terminal_goes_over_the_console_socket(runtime: Runtime) -> None:
    runtime.config(["sh", "-c", "tty; read line; echo got $line"], process={"terminal": True})
    assert "needs --console-socket" in runtime("create", "c").stderr
    path = runtime.base / "console"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)
        runtime.create("c", "--console-socket", str(path))
        connection, _ = server.accept()
        with connection:
            fds = array.array("i")
            _, control, _, _ = connection.recvmsg(64, socket.CMSG_SPACE(fds.itemsize))
            fds.frombytes(control[0][2][: fds.itemsize])
    master = fds[0]
    runtime.ok("start", "c")
    os.write(master, b"hello\n")
    seen = b""
    while b"got hello" not in seen:
        assert select.select([master], [], [], 10)[0], seen
        seen += os.read(master, 4096)
    os.close(master)
    assert b"/dev/pts/0" in seen
    wait_for(runtime.stopped)


def test_run_serves_its_callers_terminal_and_restores_it(runtime: Runtime) -> None:
    import termios

    runtime.config(["sh", "-c", "stty size; read line; echo got $line; exit 4"], process={"terminal": True})
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (33, 77))
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(
        runtime.argv("run", "c"), stdin=slave, stdout=slave, stderr=slave, cwd=runtime.bundle, start_new_session=True
    )
    seen = b""
    typed = False
    while b"got hello" not in seen:
        assert select.select([master], [], [], 10)[0], seen
        seen += os.read(master, 4096)
        if b"33 77" in seen and not typed:
            os.write(master, b"hello\r")
            typed = True
    assert process.wait(60) == 4
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_run_forwards_signals(runtime: Runtime) -> None:
    runtime.config(["sh", "-c", WAITING])
    process = subprocess.Popen(runtime.argv("run", "c"), stdout=subprocess.PIPE, cwd=runtime.bundle)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (7, b"term\n")
    runtime.config(["sh", "-c", "kill -9 $$"])
    # PID 1 cannot kill itself by a signal; its child can be killed.
    assert runtime("run", "c").returncode == 0
    assert runtime.ok("list", "-q") == ""


def test_a_killed_create_can_be_deleted(runtime: Runtime) -> None:
    (runtime.state / "half").mkdir(parents=True, mode=0o700)
    assert "being created" in runtime("state", "half").stderr
    assert runtime("delete", "half").returncode == 1
    assert runtime.ok("list", "-q") == ""
    runtime.ok("delete", "--force", "half")
    assert os.listdir(runtime.state) == []


def test_a_reused_process_number_is_not_the_container(runtime: Runtime) -> None:
    runtime.config(["sh", "-c", WAITING])
    runtime.create()
    record = runtime.state / "c" / "state.json"
    document = json.loads(record.read_text())
    real = document["init"]
    other = subprocess.Popen(["sleep", "60"])
    try:
        document["init"] = {"pid": other.pid, "start_time": real["start_time"] - 1}
        record.write_text(json.dumps(document))
        assert runtime.status() == "stopped"
        assert runtime("kill", "c", "KILL").returncode == 1
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    runtime.ok("delete", "c")
    # The real PID 1 was in the container's cgroup, and went with it.
    assert not Path(f"/proc/{real['pid']}").exists() or "Z" in Path(f"/proc/{real['pid']}/stat").read_text()


def test_features_names_what_is_there(runtime: Runtime) -> None:
    features = json.loads(runtime.ok("features"))
    assert features["linux"]["cgroup"] == {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True}
    assert "CAP_SYS_ADMIN" in features["linux"]["capabilities"]
    assert runtime.ok("--version").startswith("minidock-runtime version")
    assert "usage:" in runtime.ok("--help")
    assert "--console-socket" in runtime.ok("create", "--help")
