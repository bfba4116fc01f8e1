"""``system restore``: after a boot."""

from __future__ import annotations

import os
import sys

from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session

_UNIT = """\
# Starts, after a boot, the containers whose restart policy says so. To install it:
#   minidock system restore --unit > /etc/systemd/system/minidock.service
#   systemctl daemon-reload && systemctl enable minidock.service
# Stopping the unit stops the containers that it started, each with its own stop signal and stop timeout.
[Unit]
Description=Containers of minidock that are to run
Wants=network-online.target
After=network-online.target local-fs.target
RequiresMountsFor={roots}

[Service]
Type=oneshot
RemainAfterExit=yes
# With the minus: a unit that failed would be stopped, and with it the containers that could be started.
ExecStart=-{command}
TimeoutStartSec=infinity
TimeoutStopSec=120

[Install]
WantedBy=multi-user.target
"""


def _restore(session: Session, values: Values, arguments: list[str]) -> int:
    """Start containers and print their names, or print the unit."""
    if values["unit"]:
        write(unit(session))
        return 0
    done = session.engine.containers.restore()
    for container in done.started:
        line(container.name)
    for failure in done.failed:
        complain(f"minidock: start {failure.container.name}: {failure.error}")
    return 1 if done.failed else 0


def unit(session: Session) -> str:
    """The systemd unit that runs this very program on the roots and the configuration of this session."""
    program = os.path.join(os.path.dirname(sys.executable), "minidock")
    words = [program] if os.access(program, os.X_OK) else [sys.executable, "-m", "minidock"]
    given = {
        "config": session.config or os.environ.get("MINIDOCK_CONFIG"),
        "data-root": session.data_root or os.environ.get("MINIDOCK_DATA_ROOT"),
        "run-root": session.run_root or os.environ.get("MINIDOCK_RUN_ROOT"),
    }
    for name, path in given.items():
        if path:
            words += [f"--{name}", os.path.abspath(path)]
    roots = [os.path.abspath(given["data-root"] or "/var/lib/minidock")]
    return _UNIT.format(
        command=" ".join(map(_quoted, [*words, "system", "restore"])), roots=" ".join(map(_quoted, roots))
    )


def _quoted(word: str) -> str:
    """A word as systemd reads it back."""
    word = word.replace("%", "%%").replace("$", "$$")
    if word.isalnum() or not set(word) & set(" \t\n\"'\\;"):
        return word
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        word = word.replace(plain, escaped)
    return f'"{word}"'


RESTORE = Command(
    "[OPTIONS]",
    "Start the containers that their restart policy wants to run: always, unless-stopped unless somebody stopped them, "
    "on-failure if they failed. For after a boot; what runs stays as it is.",
    [Flag("unit", "bool", "Print a systemd unit that does this at every boot")],
    _restore,
    maximum=0,
)
