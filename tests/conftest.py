"""Fixtures that every test shares: roots of its own, images made from packages, and a check that nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from minidock.security import lsm
from minidock.store import spread
from tests import leaks, net
from tests.leaks import Snapshot
from tests.registry_fixtures import *  # noqa: F403 - the fixtures
from tests.rootfs import busybox_tar

if TYPE_CHECKING:
    import minidock

# No test sees the developer's own logins; the fixture `docker_config` gives a test a place for its own.
os.environ["DOCKER_CONFIG"] = "/proc/no-docker-config"

# What is not on loopback is asked of a proxy that is not there: no test ever reaches a registry of the world.
NO_WAY_OUT = {"http-proxy": "http://127.0.0.1:9", "https-proxy": "http://127.0.0.1:9"}

# Examples have 0.2 s each by default, and what makes them a second: on a busy machine each may take longer at times.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

# A shell starts what it puts into the background with SIGINT ignored, and so would be all that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

NETWORKED = re.compile("network|compose|docker_cli|docker_py|lifecycle")
"""Names of files whose tests make networks on the host in ways of their own."""
NETWORK_FIXTURES = re.compile(r"\bnet_(roots|engine|busybox|cli)\b|roots_of_their_own\(\{\}")

EXPECTED_SKIPS = Path(__file__).with_name("expected_skips.txt")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--strict-skips", action="store_true", help="fail on a skip that expected_skips.txt does not list")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Root-only directories get the ``root`` marker and are skipped, with the reason, for another user."""
    for item in items:
        folder = item.path.relative_to(config.rootpath / "tests").parts[0]
        if folder in ("integration", "security", "faults", "compat", "hosts"):
            item.add_marker(pytest.mark.root)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """A file's tests are in one process, as they share fixtures, and all tests of networks in one.

    The host has one network: two engines at once may choose the same subnet.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith("tests/vm/"):  # each machine is its own
                return nodeid
            return _group(config.rootpath / nodeid.split("::", maxsplit=1)[0])

        def _assign_work_unit(self, node: Any) -> None:
            # What takes minutes and can't be divided comes first, or all would wait for it in the end.
            for part in ("/packaging/", "/network/", "/vm/"):
                for scope in [scope for scope in self.workqueue if part in scope]:
                    self.workqueue.move_to_end(scope, last=False)
            super()._assign_work_unit(node)

    return Scheduler(config, log)


@cache
def _group(path: Path) -> str:
    return "/network/" if NETWORKED.search(path.name) or NETWORK_FIXTURES.search(path.read_text()) else str(path)


class _Host:
    """The host before all tests. With several processes of tests, only their parent can tell what they leave."""

    def __init__(self) -> None:
        self.before = net.host() if leaks.ALONE and os.geteuid() == 0 else None
        self.snapshot = Snapshot.take()

    def left(self, patience: float = 30.0) -> list[str]:
        """Interfaces, routes, tables and namespaces that came or went, mounts and helpers that came."""
        if self.before is None:
            return []
        end = time.monotonic() + patience
        while True:
            now = net.host()
            found = [f"{name} {now[name] ^ was}" for name, was in self.before.items() if now[name] != was]
            found += Snapshot.leaks_of(Path("/var/tmp/mdt-"), "/mdt-", self.snapshot, 0)
            if not found or time.monotonic() > end:
                return found
            time.sleep(0.1)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    global _host  # noqa: PLW0603 - hooks have no other place
    if not hasattr(session.config, "workerinput"):
        _host = _Host()


_host: _Host
_skipped: list[tuple[str, str]] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append((report.nodeid, reason))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return
    for leak in _host.left():
        print(f"\nleft behind: {leak}", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if not session.config.getoption("--strict-skips"):
        return
    allowed = [line.split("#")[0].strip() for line in EXPECTED_SKIPS.read_text().splitlines()]
    allowed = [line for line in allowed if line]
    surprises = [(node, why) for node, why in _skipped if not any(node.startswith(prefix) for prefix in allowed)]
    for node, why in surprises:
        print(f"\nunexpected skip: {node}: {why}", file=sys.stderr)
    if surprises:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def tests_files_are_far_apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each test's files are somewhere else on the disk: thousands that delete what they made would wait for inodes."""
    spread.scatter(str(tmp_path_factory.getbasetemp()))


@dataclass(frozen=True)
class Roots:
    """A data root, a run root and a cgroup parent that belong to one test alone."""

    data: Path
    run: Path
    cgroup_parent: str
    config: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment for a `minidock` command on these roots."""
        return {
            **os.environ,
            "MINIDOCK_DATA_ROOT": str(self.data),
            "MINIDOCK_RUN_ROOT": str(self.run),
            "MINIDOCK_CONFIG": str(self.config),
        }


@pytest.fixture
def roots(request: pytest.FixtureRequest) -> Iterator[Roots]:
    """Roots of the test's own, without a default network. Afterwards nothing of them may be left."""
    with roots_of_their_own({"bridge": "none"}) as it:
        yield it


@contextlib.contextmanager
def roots_of_their_own(settings: dict[str, object]) -> Iterator[Roots]:
    """Roots with a configuration. Afterwards no mount, cgroup, process, interface or file of them may be left."""
    # Short: a Unix socket's path has at most 107 bytes.
    base = Path("/var/tmp") / f"mdt-{os.getpid()}-{secrets.token_hex(3)}"
    with tempfile.TemporaryDirectory(prefix="mdt-", dir="/var/tmp") as nursery:
        spread.scatter(nursery)
        born = Path(nursery) / base.name
        born.mkdir(mode=0o700)
        born.rename(base)
    parent = f"/{base.name}"
    config = base / "config.json"
    config.write_text(json.dumps({"cgroup-parent": parent, "proxies": NO_WAY_OUT, **settings}))
    before = Snapshot.take()
    yield Roots(base / "data", base / "run", parent, config)
    left = Snapshot.leaks_of(base, parent, before)
    # Clean up whatever was found, so that one leak fails one test.
    Snapshot.purge(base, parent)
    shutil.rmtree(base, ignore_errors=True)
    assert not left, "left behind: " + "; ".join(left)


@pytest.fixture
def net_roots() -> Iterator[Roots]:
    """Roots with a default network. Afterwards no bridge and no firewall of them may be left either."""
    from tests import net

    with roots_of_their_own({}) as it:
        yield it
        import minidock

        with minidock.Engine(data_root=str(it.data), run_root=str(it.run), config=str(it.config)) as engine:
            bridges = net.remove_all(engine)
        wait_for(lambda: not net.leaks(it, bridges), 5, f"the end of {net.leaks(it, bridges)}")


@pytest.fixture
def net_engine(net_roots: Roots) -> Iterator[minidock.Engine]:
    """An engine with a default network."""
    import minidock

    root, run = str(net_roots.data), str(net_roots.run)
    with minidock.Engine(data_root=root, run_root=run, config=str(net_roots.config)) as it:
        yield it


@pytest.fixture
def net_busybox(net_engine: minidock.Engine) -> minidock.Engine:
    """An engine with a default network, and the image ``busybox``."""
    net_engine.images.import_(str(busybox_tar()), repository="busybox", changes=['CMD ["sh"]'])
    return net_engine


@pytest.fixture
def net_cli(net_roots: Roots, net_busybox: minidock.Engine) -> Iterator[Cli]:
    """The ``minidock`` command on roots with a default network and the image ``busybox``."""
    command = Cli(net_roots)
    yield command
    command.close()


@pytest.fixture
def engine(roots: Roots) -> Iterator[minidock.Engine]:
    """An engine on the test's own roots; containers that the test leaves are removed by force at the end."""
    import minidock

    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as it:
        yield it
        for container in it.containers.list(all=True):
            container.remove(force=True)


@pytest.fixture
def busybox(engine: minidock.Engine) -> str:
    """The image ``busybox`` (Debian's static busybox), imported into the test's engine."""
    engine.images.import_(str(busybox_tar()), repository="busybox", changes=['CMD ["sh"]'])
    return "busybox"


class Cli:
    """The ``minidock`` command on a test's roots."""

    def __init__(self, roots: Roots) -> None:
        self.env = roots.env
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def argv(self) -> list[str]:
        """How the command starts."""
        return [sys.executable, "-m", "minidock"]

    def __call__(
        self, *args: str, input: bytes | None = None, timeout: float = 60, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self.argv, *args],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            timeout=timeout,
            env={**self.env, **(env or {})},
            check=False,
        )

    def ok(self, *args: str, input: bytes | None = None, timeout: float = 60) -> str:
        """Run, require success, return stdout as text."""
        done = self(*args, input=input, timeout=timeout)
        assert done.returncode == 0, f"{args}: {done.returncode}: {done.stderr.decode()}"
        return done.stdout.decode()

    def popen(self, *args: str, **kwargs: object) -> subprocess.Popen[bytes]:
        """Start without waiting."""
        process = subprocess.Popen([*self.argv, *args], env=self.env, **kwargs)  # type: ignore[call-overload]
        self._started.append(process)
        return process  # type: ignore[no-any-return]

    def close(self) -> None:
        """End what :meth:`popen` started, whatever became of the test."""
        for process in self._started:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()


@pytest.fixture
def cli(roots: Roots) -> Iterator[Cli]:
    """The ``minidock`` command on the test's roots."""
    command = Cli(roots)
    yield command
    command.close()


@pytest.fixture
def cli_busybox(cli: Cli) -> Cli:
    """The command, with the image ``busybox`` imported."""
    cli.ok("import", "--change", 'CMD ["sh"]', str(busybox_tar()), "busybox")
    return cli


def security_module() -> bool:
    """Whether AppArmor or SELinux is on.

    The kernel clears the death signal of a process that changes its profile or label by execve(2), so a container whose
    supervisor is killed ends with the next call of an engine there, and not by itself.
    """
    return any(lsm.host())


_PATIENCE = 30.0
"""The least that is waited before something is taken to come never: a busy machine takes many times as long."""


def wait_for(condition: object, timeout: float = _PATIENCE, what: str = "condition") -> None:
    """Poll ``condition()`` until it is true."""
    end = time.monotonic() + max(timeout, _PATIENCE) * leaks.SLOWNESS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, f"timed out waiting for {what}"
        time.sleep(0.01)
