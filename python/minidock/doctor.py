"""``minidock doctor``: what works on this host, what does not, and what to do about it.

The helper tries the system calls in scratch processes (``minidock-runtime probe``); this module adds what only Python
knows: the installation, the roots, the configuration, and what the kernel was built with.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Literal

import msgspec

from minidock import helper
from minidock.errors import MinidockError, SystemFailure, Timeout
from minidock.spec import decoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.engine import Engine

TIMEOUT = 30.0
"""Seconds after which the helper is killed; it bounds each of its groups itself."""

_OPTION = re.compile(r"CONFIG_[A-Z0-9_]+")


class Check(msgspec.Struct):
    """One finding. ``meaning`` and ``advice`` are empty where all is well."""

    group: str
    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    meaning: str = ""
    advice: str = ""


def doctor(engine: Engine | str | os.PathLike[str] = "/var/lib/minidock") -> list[Check]:
    """Return all findings for an engine, or for a data root by its path; nothing is left behind.

    Raises Timeout and SystemFailure when the helper itself does not work in a way that no finding can tell.
    """
    if isinstance(engine, str | os.PathLike):
        data_root, run_root, labels = os.path.abspath(os.fspath(engine)), "", True
    else:
        data_root, run_root = engine.data_root, engine.run_root
        labels = engine.config.selinux_enabled is not False
    checks = installation(data_root, run_root)
    try:
        path = helper.shipped()
    except MinidockError:
        return checks
    try:
        found = decoding.decode(_output([path, "probe", "--json", "--data-root", data_root]), list[Check])
    except msgspec.DecodeError as error:
        raise SystemFailure(f"run {path} probe: unreadable report: {error}; install minidock again") from error
    if not labels:
        found = [check for check in found if check.name != "SELinux policy"]
    others = [] if isinstance(engine, str | os.PathLike) else firewalls(engine.run_root)
    last = max((at for at, check in enumerate(found) if check.group == "network"), default=len(found) - 1)
    found[last + 1 : last + 1] = others
    return checks + with_kernel_options(found, kernel_options())


def firewalls(run_root: str) -> list[Check]:
    """Look for what drops the packets of a run root's containers though our own table lets them pass."""
    from minidock import _native
    from minidock.networks import naming

    table = naming.table(run_root)
    try:
        others = _native.firewall_others(table)
        problems = _native.firewall_problems(table)
    except _native.NativeError:
        return []  # the kernel has no nf_tables, as another finding says
    checks = [
        Check("network", "other firewalls", "ok", f"{chain} drops what is forwarded, but not what is the containers'")
        for chain, is_open in others
        if is_open
    ]
    for problem in problems:
        meaning = "containers may reach nobody, and nobody their published ports"
        advice = "minidock network repair tries it again, and says the same if others do not let it"
        checks.append(Check("network", "other firewalls", "warn", problem, meaning, advice))
    return checks or [Check("network", "other firewalls", "ok", "none drops what is forwarded")]


def healthy(checks: Sequence[Check]) -> bool:
    """Whether containers can run with their default isolation: no finding is a failure."""
    return all(check.status != "fail" for check in checks)


def to_json(checks: Sequence[Check]) -> bytes:
    """Return the findings as a JSON array of objects, for ``minidock doctor --json``."""
    return msgspec.json.format(msgspec.json.encode(checks), indent=2)


def installation(data_root: str, run_root: str = "") -> list[Check]:
    """Look at the helper program and the roots."""
    checks = []
    try:
        path = helper.shipped()
    except MinidockError as error:
        advice = "install minidock again: pip install --force-reinstall minidock"
        checks.append(Check("minidock", "helper", "fail", str(error), "no container can be started", advice))
    else:
        checks.append(Check("minidock", "helper", "ok", path))
    for name, root in (("data root", data_root), ("run root", run_root)):
        if root:
            checks.append(_root(name, root))
    return checks


def _root(name: str, path: str) -> Check:
    """A root must be root's alone: SECURITY, promise on stored data."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return Check("minidock", name, "ok", f"{path} (made when first used)")
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        return Check("minidock", name, "fail", f"{path}: {why}", "nothing can be stored", "run as root")
    mode = status.st_mode & 0o777
    if mode & 0o077 or status.st_uid != 0:
        found = f"{path}: mode {mode:04o}, owner {status.st_uid}"
        advice = f"chown root {path} && chmod 0700 {path}"
        return Check("minidock", name, "warn", found, "other users can read or change files of containers", advice)
    return Check("minidock", name, "ok", path)


def kernel_options() -> dict[str, str]:
    """Return what the running kernel was built with, ``CONFIG_X`` to its value; empty where the kernel does not say."""
    import gzip

    release = os.uname().release
    for path in ("/proc/config.gz", f"/boot/config-{release}", f"/lib/modules/{release}/config"):
        try:
            if path.endswith(".gz"):
                with gzip.open(path, "rt", encoding="ascii", errors="replace") as file:
                    text = file.read(1 << 22)
            else:
                with open(path, encoding="ascii", errors="replace") as file:
                    text = file.read(1 << 22)
        except (OSError, EOFError):
            continue
        lines = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
        return {name: value for name, equals, value in lines if equals}
    return {}


def with_kernel_options(checks: Sequence[Check], options: dict[str, str]) -> list[Check]:
    """Add, to findings that name options of the kernel, how this kernel was built; nothing if that is not known."""
    told = []
    for check in checks:
        names = list(dict.fromkeys(_OPTION.findall(check.advice))) if check.status != "ok" else []
        if options and names:
            states = [f"{name}={options[name]}" if name in options else f"{name} is not set" for name in names]
            advice = f"{check.advice} (this kernel: {', '.join(states)})"
            told.append(msgspec.structs.replace(check, advice=advice))
        else:
            told.append(check)
    return told


def _output(arguments: list[str]) -> bytes:
    """Run the helper and return what it wrote. Raises Timeout, SystemFailure."""
    import select
    import signal

    out, into = os.pipe2(os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, into, 1),
        (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
    ]
    try:
        try:
            pid = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions)
        finally:
            os.close(into)
    except OSError as error:
        os.close(out)
        raise SystemFailure(f"run {arguments[0]}: {(error.strerror or 'failed').lower()}") from error
    chunks = []
    try:
        deadline = time.monotonic() + TIMEOUT
        waiting = select.poll()
        waiting.register(out, select.POLLIN)
        while True:
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise Timeout(f"run {arguments[0]} probe: no answer after {TIMEOUT:.0f} seconds")
            chunk = os.read(out, 1 << 16)
            if not chunk:
                break
            chunks.append(chunk)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(out)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        raise SystemFailure(f"run {arguments[0]} probe: it ended with {code}; install minidock again")
    return b"".join(chunks)
