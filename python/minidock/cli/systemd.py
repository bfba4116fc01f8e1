"""systemd's units: what they say, and where they are."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.session import Session

DEFAULT_ROOT = "/var/lib/minidock"
ADMINISTRATORS = "/etc/systemd/system"

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
ExecStop=-{command} system stop
TimeoutStartSec=infinity
TimeoutStopSec=120

[Install]
WantedBy=multi-user.target
"""

_SOCKET = """\
# Whoever may open this socket has root's rights on this host. It stays while the service is restarted: nobody is
# refused meanwhile.
[Unit]
Description=Docker Engine API of minidock (socket)

[Socket]
ListenStream={path}
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
ExecStart={command} serve
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


def restore_unit(session: Session) -> str:
    """The unit that starts containers after a boot."""
    return _RESTORE.format(command=_command(session), roots=_roots(session))


def units(session: Session, path: str, group: str) -> dict[str, str]:
    """All units by name; the API is served at ``path``, for ``group``."""
    return {
        "minidock-api.socket": _SOCKET.format(path=path.replace("%", "%%"), group=group),
        "minidock-api.service": _SERVICE.format(command=_command(session), roots=_roots(session)),
        "minidock.service": restore_unit(session),
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


def _roots(session: Session) -> str:
    return _quoted(_given(session).get("data-root", DEFAULT_ROOT))


def _quoted(word: str) -> str:
    """A word as systemd reads it back."""
    word = word.replace("%", "%%").replace("$", "$$")
    if word.isalnum() or not set(word) & set(" \t\n\"'\\;"):
        return word
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        word = word.replace(plain, escaped)
    return f'"{word}"'
