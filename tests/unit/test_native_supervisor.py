"""The client's side of a supervisor, against a stand-in: the system's Python, made to run a file named ``supervise``.

The stand-in talks like docs/supervisor.md; what a real supervisor does is tested in ``tests/integration``.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import sys
import termios
import threading
import time
from ast import literal_eval
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock import _native
from minidock._native import HelperFile, NativeError, Supervisor, SupervisorGone
from tests.conftest import wait_for
from tests.leaks import children

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")

PRELUDE = """
import json, os, socket, sys, time
control = socket.socket(fileno=3)
say = lambda **packet: control.send(json.dumps(packet).encode())
hear = lambda: json.loads(control.recv(65536) or b"null")
if os.fork(): os._exit(0)
"""

Stand = Callable[[str], Path]


@pytest.fixture(scope="module")
def helper() -> HelperFile:
    return _native.open_helper(os.path.realpath(sys.executable))


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    def write(body: str) -> Path:
        (tmp_path / "supervise").write_text(PRELUDE + body)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return write


STARTED = 'say(event="started", pid=7, start_time=1, warnings=[])\n'
EXITED = 'say(event="exited", exit_code=3)\n'


def is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def kind(error: pytest.ExceptionInfo[NativeError]) -> str:
    return str(error.value.args[1])


def test_run_captured_gives_streams_and_packets(helper: HelperFile, stand_in: Stand) -> None:
    bundle = stand_in(
        STARTED + "data = sys.stdin.buffer.read()\nos.write(1, data.upper() * 20000)\nos.write(2, b'e')\n" + EXITED
    )
    first, out, err, exited = _native.run_captured(helper, bundle, input=b"hello", timeout=30)
    assert json.loads(first)["pid"] == 7
    assert out == b"HELLO" * 20000
    assert err == b"e"
    assert exited is not None
    assert json.loads(exited)["exit_code"] == 3


def test_the_helper_gets_four_descriptors_and_nothing_of_the_environment(helper: HelperFile, stand_in: Stand) -> None:
    body = """
names = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
links = {os.path.basename(name): os.readlink(name) for name in names if os.path.exists(name)}
os.write(1, json.dumps([links, dict(os.environ), os.getsid(0), sys.orig_argv]).encode())
"""
    bundle = stand_in(STARTED + body + EXITED)
    _, out, err, _ = _native.run_captured(helper, bundle, timeout=30)
    links, environment, session, argv = json.loads(out)
    assert links.pop("0") == "/dev/null", err
    assert [link.partition(":")[0] for number, link in sorted(links.items()) if int(number) < 4] == [
        "pipe",
        "pipe",
        "socket",
    ]
    # Others are what this process itself was started with (the real helper closes those), and the stand-in's script.
    inherited = {str(fd) for fd in range(4, 1024) if is_inheritable(fd)}
    assert {link for number, link in links.items() if int(number) > 3 and number not in inherited} <= {
        str(bundle / "supervise")
    }
    assert environment.pop("GLIBC_TUNABLES").startswith("glibc.malloc.")  # ours, for a small supervisor
    assert set(environment) <= {"LC_CTYPE"}  # CPython sets it itself
    assert session != os.getsid(0)
    assert argv == ["minidock-runtime", "supervise", "--bundle", str(bundle)]


def test_an_error_packet_ends_the_run(helper: HelperFile, stand_in: Stand) -> None:
    bundle = stand_in('say(event="error", kind="not-found", exit_code=127)\n')
    first, out, err, exited = _native.run_captured(helper, bundle, timeout=30)
    assert json.loads(first)["exit_code"] == 127
    assert (out, err, exited) == (b"", b"", None)
    with Supervisor.spawn(helper, bundle) as supervisor:
        supervisor.wait_started(30)
        with pytest.raises(NativeError) as error:
            supervisor.wait(30)
        assert kind(error) == "conflict"


def test_a_supervisor_that_dies_silently_is_its_own_error(helper: HelperFile, stand_in: Stand) -> None:
    bundle = stand_in("")
    with pytest.raises(SupervisorGone):
        _native.run_captured(helper, bundle, timeout=30)
    bundle = stand_in(STARTED)
    with Supervisor.spawn(helper, bundle) as supervisor:
        supervisor.wait_started(30)
        with pytest.raises(SupervisorGone, match="without a word"):
            supervisor.wait(30)


def test_output_over_the_limit_kills_the_container(helper: HelperFile, stand_in: Stand, tmp_path: Path) -> None:
    body = "import threading\n" + STARTED + "os.write(1, b'x' * 1001)\n"
    bundle = stand_in(body + f"open({str(tmp_path / 'heard')!r}, 'w').write(json.dumps(hear()))\n" + EXITED)
    with pytest.raises(NativeError, match="longer than 1000 bytes") as error:
        _native.run_captured(helper, bundle, timeout=30, limit=1000)
    assert kind(error) == "limit"
    assert json.loads((tmp_path / "heard").read_text()) == {"op": "signal", "signal": signal.SIGKILL}


def test_a_deadline_is_a_timeout(helper: HelperFile, stand_in: Stand) -> None:
    bundle = stand_in(STARTED + "hear()\n" + EXITED)
    with pytest.raises(NativeError) as error:
        _native.run_captured(helper, bundle, timeout=0.2)
    assert kind(error) == "timeout"
    with Supervisor.spawn(helper, bundle) as supervisor:
        supervisor.wait_started(30)
        assert supervisor.wait(0.05) is None
        supervisor.stop(signal.SIGTERM, 1000)
        assert json.loads(supervisor.wait(30) or b"")["exit_code"] == 3


@pytest.mark.parametrize("timeout", [-1.0, float("nan")])
def test_a_senseless_timeout_is_refused(helper: HelperFile, stand_in: Stand, timeout: float) -> None:
    with Supervisor.spawn(helper, stand_in(STARTED + EXITED)) as supervisor:
        with pytest.raises(NativeError, match="seconds from 0"):
            supervisor.wait(timeout)
        assert supervisor.wait(1e300)


def test_messages_arrive_as_documented(helper: HelperFile, stand_in: Stand) -> None:
    bundle = stand_in(STARTED + "print([hear() for _ in range(4)], flush=True)\n" + EXITED)
    with Supervisor.spawn(helper, bundle, capture=True) as supervisor:
        supervisor.signal(15)
        supervisor.stop(2, 500)
        supervisor.resize(24, 80)
        supervisor.close_stdin()
        out, _, _ = supervisor.communicate(timeout=30)
        heard = literal_eval(out.decode())
        assert heard == [
            {"op": "signal", "signal": 15},
            {"op": "stop", "signal": 2, "timeout_ms": 500},
            {"op": "resize", "rows": 24, "cols": 80},
            {"op": "close-stdin"},
        ]
        for senseless in (0, -1, 65):
            with pytest.raises(NativeError, match="not a signal"):
                supervisor.signal(senseless)


def test_signal_handlers_run_during_every_wait(helper: HelperFile, stand_in: Stand) -> None:
    class WokenError(Exception):
        pass

    def handler(_number: int, _frame: object) -> None:
        raise WokenError

    bundle = stand_in(STARTED + "hear()\n")
    previous = signal.signal(signal.SIGALRM, handler)
    try:
        waits: list[Callable[[Supervisor], object]] = [Supervisor.wait, Supervisor.communicate, Supervisor.interact]
        for wait in waits:
            with Supervisor.spawn(helper, bundle) as supervisor:
                signal.setitimer(signal.ITIMER_REAL, 1)
                with pytest.raises(WokenError):
                    wait(supervisor)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_several_threads_may_wait_and_closing_wakes_them(helper: HelperFile, stand_in: Stand) -> None:
    supervisor = Supervisor.spawn(helper, stand_in(STARTED + "hear()\n"))
    results: list[object] = []
    begun = threading.Semaphore(0)

    def wait() -> None:
        supervisor.wait_started(30)
        begun.release()
        try:
            results.append(supervisor.wait(30))
        except NativeError as error:
            results.append(error)

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    supervisor.wait_started(30)
    for _ in threads:
        assert begun.acquire(timeout=30)
    time.sleep(0.3)  # they are in the next call by now
    supervisor.close()
    for thread in threads:
        thread.join(60)
    assert [type(result) for result in results] == [SupervisorGone] * 5
    with pytest.raises(NativeError, match="it is closed"):
        supervisor.fileno()


def test_no_child_is_left_behind(helper: HelperFile, stand_in: Stand) -> None:
    bundle = stand_in(STARTED + EXITED)
    had = children()

    def none_after_another() -> bool:
        # A first process that ends late is reaped with the next one.
        _native.run_captured(helper, bundle, timeout=30)
        return children() <= had

    wait_for(none_after_another, 20, "the end of all children")


def test_interact_copies_streams(helper: HelperFile, stand_in: Stand) -> None:
    bundle = stand_in(STARTED + "data = sys.stdin.buffer.read()\nos.write(1, data * 100000)\n" + EXITED)
    typed, typing = os.pipe()
    shown, screen = os.pipe()
    os.write(typing, b"abc")
    os.close(typing)
    seen = bytearray()

    def read() -> None:
        while chunk := os.read(shown, 65536):
            seen.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    with Supervisor.spawn(helper, bundle, stdin_pipe=True, capture=True) as supervisor:
        assert supervisor.interact(typed, screen) is not None
    os.close(screen)
    reader.join(60)
    os.close(typed)
    os.close(shown)
    assert seen == b"abc" * 100000


def test_detach_keys_leave_the_container(helper: HelperFile, stand_in: Stand) -> None:
    bundle = stand_in(STARTED + "print(sys.stdin.buffer.read(1), flush=True)\nhear()\n")
    typed, typing = os.pipe()
    os.write(typing, b"a\x10\x11b")
    with Supervisor.spawn(helper, bundle, stdin_pipe=True) as supervisor:
        with pytest.raises(NativeError, match="ctrl-X"):
            supervisor.interact(typed, detach_keys="ctrl-")
        assert supervisor.interact(typed, detach_keys="ctrl-p,ctrl-q") is None
    os.close(typed)
    os.close(typing)


def test_bad_arguments_are_named(helper: HelperFile, tmp_path: Path) -> None:
    with pytest.raises(NativeError, match="not absolute") as error:
        Supervisor.spawn(helper, "relative")
    assert kind(error) == "invalid"
    with pytest.raises(NativeError, match="NUL"):
        Supervisor.spawn(helper, "/a\0b")
    with pytest.raises(NativeError, match="descriptor 9999"):
        Supervisor.spawn(helper, tmp_path, stdin=9999)
    with pytest.raises(NativeError, match="exclude each other"):
        Supervisor.spawn(helper, tmp_path, stdin=0, stdin_pipe=True)
    with pytest.raises(NativeError) as error:
        _native.open_helper(tmp_path / "absent")
    assert kind(error) == "not-found"
    with _native.open_helper(os.path.realpath(sys.executable)) as opened:
        pass
    with pytest.raises(NativeError, match="it is closed"):
        Supervisor.spawn(opened, tmp_path)


def test_raw_mode_is_restored_once() -> None:
    master, slave = pty.openpty()
    try:
        before = termios.tcgetattr(slave)
        with _native.raw_mode(slave) as raw:
            assert not termios.tcgetattr(slave)[3] & termios.ECHO
            raw.restore()
            assert termios.tcgetattr(slave) == before
            termios.tcsetwinsize(slave, (33, 99))
        held = _native.raw_mode(slave)
        del held
        assert termios.tcgetattr(slave) == before
        assert _native.window_size(slave) == (33, 99)
    finally:
        os.close(master)
        os.close(slave)
    with Path("/dev/null").open() as null, pytest.raises(NativeError, match="inappropriate ioctl"):
        _native.raw_mode(null.fileno())
