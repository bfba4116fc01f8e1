"""systemd's units: what they say, and where they are."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.cli.session import Session
    from minidock.config import Config

DEFAULT_ROOT = "/var/lib/minidock"
ADMINISTRATORS = "/etc/systemd/system"
SOCKET, SERVICE, RESTORE = NAMES = ("minidock-api.socket", "minidock-api.service", "minidock.service")

_RESTORE = """\
# Starts, after a boot, the containers whose restart policy says so.
# Stopping the unit, as a shutdown does, stops all containers, each with its own stop signal and stop timeout.
[Unit]
Description=Containers of minidock that are to run
Wants=network-online.target
After=network-online.target local-fs.target
RequiresMountsFor={roots}

[Service]
Type=oneshot
RemainAfterExit=yes
# With the minus: a unit that failed would be stopped, and with it the containers that could be started.
ExecStart=-{command} system restore
# Not ExecStop=, which is for a unit that has started: a shutdown may come while some are being started.
ExecStopPost=-{command} system stop
TimeoutStartSec=infinity
# It ends by itself: a little after the longest of the containers' stop timeouts.
TimeoutStopSec=infinity

[Install]
WantedBy=multi-user.target
"""

_SOCKET = """\
# Whoever may open this socket has root's rights on this host. It stays while the service is restarted: nobody is
# refused meanwhile.
[Unit]
Description=Docker Engine API of minidock (socket)

[Socket]
{listen}
SocketMode=0660
SocketUser=root
SocketGroup={group}
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""

_SERVICE = """\
[Unit]
Description=Docker Engine API of minidock
Requires=minidock-api.socket
After=minidock-api.socket network-online.target
Wants=network-online.target
RequiresMountsFor={roots}
StartLimitBurst=5
StartLimitIntervalSec=60

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} serve{group}
Restart=on-failure
RestartSec=1
# Containers are this process's children's children; they outlive it.
KillMode=process
TimeoutStopSec=20
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576

[Install]
Also=minidock-api.socket
"""


def configuration(session: Session, root: str = "") -> Config:
    """The configuration that the units' program is going to find; below ``root``, that of the system there.

    Raises InvalidArgument for one that it would refuse.
    """
    from minidock import config

    named = _given(session).get("config")
    if not root:
        return config.load(named)
    path = root.rstrip("/") + (named or config.DEFAULT_PATH)
    # A system that is being made may get its configuration after its units.
    return config.load(path) if os.path.lexists(path) else config.Config()


def restore_unit(session: Session, config: Config) -> str:
    """The unit that starts containers after a boot."""
    return _RESTORE.format(command=_command(session), roots=_roots(session, config))


def units(session: Session, config: Config, paths: Iterable[str], group: str, serve_group: str = "") -> dict[str, str]:
    """All units by name; the API is served at ``paths``, for ``group``.

    ``serve_group`` is the group of sockets that the server makes beside these, where it is not the configuration's.
    """
    listen = "\n".join(f"ListenStream={path.replace('%', '%%')}" for path in paths)
    serve = f" --group {serve_group}" if serve_group else ""
    command, roots = _command(session), _roots(session, config)
    return {
        SOCKET: _SOCKET.format(listen=listen, group=group),
        SERVICE: _SERVICE.format(command=command, roots=roots, group=serve),
        RESTORE: restore_unit(session, config),
    }


def _given(session: Session) -> dict[str, str]:
    found = {
        "config": session.config or os.environ.get("MINIDOCK_CONFIG"),
        "data-root": session.data_root or os.environ.get("MINIDOCK_DATA_ROOT"),
        "run-root": session.run_root or os.environ.get("MINIDOCK_RUN_ROOT"),
    }
    return {name: os.path.abspath(path) for name, path in found.items() if path}


def _command(session: Session) -> str:
    """This very program, on the roots and the configuration of this session, as systemd reads it."""
    program = os.path.join(os.path.dirname(sys.executable), "minidock")
    words = [program] if os.access(program, os.X_OK) else [sys.executable, "-m", "minidock"]
    for name, path in _given(session).items():
        words += [f"--{name}", path]
    return " ".join(map(_quoted, words))


def _roots(session: Session, config: Config) -> str:
    return _quoted(_given(session).get("data-root") or config.data_root or DEFAULT_ROOT)


def _quoted(word: str) -> str:
    """A word as systemd reads it back."""
    word = word.replace("%", "%%").replace("$", "$$")
    if word.isalnum() or not set(word) & set(" \t\n\"'\\;"):
        return word
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        word = word.replace(plain, escaped)
    return f'"{word}"'
