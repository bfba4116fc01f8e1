"""``system install``, ``system uninstall``: systemd's units."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess

from minidock.cli import systemd
from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line, write
from minidock.containers import scopes
from minidock.errors import Conflict, InvalidArgument, SystemFailure, Unsupported
from minidock.store.failures import from_os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.config import Config

_SOCKET = "/run/minidock.sock"
_LONGEST = 107
_SYSTEMCTL_SECONDS = 90
_MARK = "# Written by `minidock system install`: sha256:"
_MARKED = re.compile(rb"(?s)# Written by `minidock system install`: sha256:([0-9a-f]{64})\n(.*)")


def _marked(text: str) -> bytes:
    """A unit with a first line by which it is known again, unless somebody changes it."""
    data = text.encode()
    return f"{_MARK}{hashlib.sha256(data).hexdigest()}\n".encode() + data


def _is_ours(data: bytes) -> bool:
    found = _MARKED.fullmatch(data)
    return found is not None and hashlib.sha256(found[2]).hexdigest().encode() == found[1]


def _directory(values: Values) -> str:
    prefix, root = values["prefix"] or "", values["root"] or ""
    for name, path in (("prefix", prefix), ("root", root)):
        if path and not os.path.isabs(path):
            raise InvalidArgument(f"--{name} {path}: an absolute path is needed")
    folder = f"{prefix.rstrip('/')}/lib/systemd/system" if prefix else systemd.ADMINISTRATORS
    return root.rstrip("/") + folder


def _sockets(values: Values, config: Config) -> list[str]:
    """Where the API is served: the units' own socket, and the configuration's, which are there before the server is."""
    from minidock.server import listening

    paths = dict.fromkeys([values["socket"] or _SOCKET, *listening.unix_paths(config.hosts)])
    for path in paths:
        if not os.path.isabs(path) or len(os.fsencode(path)) > _LONGEST or not path.isprintable() or " " in path:
            where = "--socket " if path == values["socket"] else "hosts: unix://"
            raise InvalidArgument(
                f"{where}{path}: an absolute path of at most {_LONGEST} bytes without spaces is needed"
            )
    return list(paths)


def _units(session: Session, values: Values) -> dict[str, bytes]:
    config = systemd.configuration(session, values["root"] or "")
    paths, group = _sockets(values, config), values["group"] or config.group or "root"
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}", group):
        where = "--group" if values["group"] else "the configuration's group"
        raise InvalidArgument(f"{where} {group[:60]!r}: no group can have this name")
    if not (values["root"] or values["print"]):
        import grp

        try:
            # systemd opens no socket for a number without a name either.
            _ = grp.getgrgid(int(group)) if group.isdigit() else grp.getgrnam(group)
        except (KeyError, OverflowError):
            add = f"groupadd --gid {group} NAME" if group.isdigit() else f"groupadd {group}"
            raise InvalidArgument(f"group {group!r} does not exist on this host: {add}") from None
    texts = systemd.units(session, config, paths, group, serve_group=values["group"] or "")
    return {name: _marked(text) for name, text in texts.items()}


def _read(path: str) -> bytes | None:
    """What a unit's file holds; None if there is none, nothing if it is no regular file."""
    try:
        if os.path.islink(path) or not os.path.isfile(path):
            return b"" if os.path.lexists(path) else None
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise from_os(error, "read", path) from error


def _require_ours(paths: list[str], *, force: bool) -> None:
    """Raise Conflict for files that somebody else has written, or changed."""
    foreign = [path for path in paths if (data := _read(path)) is not None and not _is_ours(data)]
    if foreign and not force:
        raise Conflict(
            f"{', '.join(foreign)}: not as minidock has written it; put changes into {foreign[0]}.d/*.conf, or replace "
            "it with --force"
        )


def _write(path: str, data: bytes) -> None:
    fresh = f"{path}.{os.getpid()}.new"
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o644)
            file.write(data)
            os.fsync(fd)
        os.rename(fresh, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise from_os(error, "write", path) from error


def _systemctl(*words: str, seconds: float | None = _SYSTEMCTL_SECONDS) -> str:
    try:
        done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        why = f"no end within {seconds:.0f} s; look at: systemctl list-jobs"
        raise SystemFailure(f"systemctl {' '.join(words)}: {why}") from error
    except OSError as error:
        raise SystemFailure(f"systemctl {' '.join(words)}: {error}") from error
    if done.returncode:
        why = "; ".join(done.stderr.split("\n")).strip("; ") or f"exit code {done.returncode}"
        raise SystemFailure(f"systemctl {' '.join(words)}: {why}")
    return done.stdout


def _forget(name: str) -> None:
    """Let systemd forget a unit whose file has gone: one that is active or failed would stay as it is.

    Without its file, minidock.service has no ExecStopPost=: its end stops no container.
    """
    lines = _systemctl("show", "--property=LoadState,ActiveState", name).splitlines()
    if "LoadState=not-found" not in lines:
        return  # another directory has a unit of that name
    if "ActiveState=failed" in lines:
        _systemctl("reset-failed", name)
    elif "ActiveState=inactive" not in lines:
        _systemctl("stop", name)


def _reachable(values: Values) -> bool:
    """Whether this host's systemd is to know of it. Raises Unsupported when it is not there."""
    if values["root"]:
        return False
    if not scopes.systemd_runs():
        raise Unsupported(
            "systemd does not run on this host: --print shows the units, --root DIR writes them below a directory; "
            "`minidock serve` needs none of them"
        )
    if shutil.which("systemctl") is None:
        raise Unsupported(
            "systemd runs on this host, but its command systemctl is not in PATH: add its directory, or let --root / "
            "write or remove the files alone"
        )
    return True


def _install(session: Session, values: Values, arguments: list[str]) -> int:
    """Write the units, or show them."""
    folder, units = _directory(values), _units(session, values)
    if values["print"]:
        for name, data in units.items():
            write(f"# {folder}/{name}\n{data.decode()}\n")
        return 0
    here = _reachable(values)
    paths = {f"{folder}/{name}": data for name, data in units.items()}
    _require_ours(list(paths), force=values["force"])
    changed = []
    for path, data in paths.items():
        if _read(path) == data:
            line(f"{path}: unchanged")
            continue
        _write(path, data)
        changed.append(path)
        line(f"{path}: written")
    if not here:
        return 0
    if changed:
        _systemctl("daemon-reload")
    if values["now"]:
        # Started now, so that the first shutdown finds something to stop. That starts what is to run, which may wait
        # for the network, and lasts as long as it lasts.
        _systemctl("enable", "--now", systemd.SOCKET, systemd.RESTORE, seconds=None)
    else:
        complain(f"to begin: systemctl enable --now {systemd.SOCKET} {systemd.RESTORE}")
    if changed:
        # An open socket keeps its path and its group; with it the server starts again, too.
        of_socket = any(path.endswith(f"/{systemd.SOCKET}") for path in changed)
        unit = systemd.SOCKET if of_socket else systemd.SERVICE
        complain(f"a server that runs already: systemctl try-restart {unit} (containers go on)")
    return 0


def _uninstall(session: Session, values: Values, arguments: list[str]) -> int:
    """Remove the units."""
    folder = _directory(values)
    here = _reachable(values)
    paths = [f"{folder}/{name}" for name in systemd.NAMES]
    there = [path for path in paths if os.path.lexists(path)]
    _require_ours(there, force=values["force"])
    if not there:
        complain("no unit of minidock is installed there")
        return 0
    names = [os.path.basename(path) for path in there]
    if here:
        # Not minidock.service while it has its file: stopping it would stop all containers.
        _systemctl("disable", *names)
        if others := [name for name in names if name != systemd.RESTORE]:
            _systemctl("stop", *others)
    for path in there:
        try:
            os.unlink(path)
        except OSError as error:
            raise from_os(error, "remove", path) from error
        line(f"{path}: removed")
    if here:
        _systemctl("daemon-reload")
        for name in names:
            _forget(name)
    return 0


_WHERE = [
    Flag("prefix", "string", "Where units of packages are: PREFIX/lib/systemd/system (default /etc/systemd/system)"),
    Flag("root", "string", "Root of another system, such as an image's: its files only, nothing is started"),
    Flag("force", "bool", "Also files that somebody else has written or changed", short="f"),
]
INSTALL = Command(
    "[OPTIONS]",
    "Write systemd's units: the API's socket and its service, and the one that starts containers after a boot. They run"
    " this very program on the roots and the configuration of this call.",
    [
        *_WHERE,
        Flag("group", "string", "Group that may open the socket; the configuration's, or root alone", short="G"),
        Flag("socket", "string", f"Where the API is served (default {_SOCKET})"),
        Flag("now", "bool", "Enable the units, open the socket, and start what is to run"),
        Flag("print", "bool", "Show the units, and write nothing"),
    ],
    _install,
    maximum=0,
)
UNINSTALL = Command(
    "[OPTIONS]",
    "Remove the units that `system install` has written, and stop the server. Containers run on.",
    _WHERE,
    _uninstall,
    maximum=0,
)
