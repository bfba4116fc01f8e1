"""``doctor``."""

from __future__ import annotations

import os

from minidock.cli.flags import Command, Flag
from minidock.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.doctor import Check

_MARKS = {"ok": "ok", "warn": "warning", "fail": "FAILS"}
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def _doctor(session: Session, values: Values, arguments: list[str]) -> int:
    """Print every finding; end with 1 if containers cannot run here with their default isolation."""
    from minidock import doctor

    checks = doctor.doctor(session.engine)
    if values["json"]:
        write(doctor.to_json(checks).decode() + "\n")
    elif os.isatty(1) and not os.environ.get("NO_COLOR"):
        _coloured(checks)
    else:
        write("".join(f"{text}\n" for text in _lines(checks)))
    return 0 if doctor.healthy(checks) else 1


def _lines(checks: Sequence[Check]) -> list[str]:
    """The findings as text: group, mark, name, what was found; then what it means and what to do."""
    width = max((len(check.name) for check in checks), default=0)
    lines: list[str] = []
    group = ""
    for check in checks:
        if check.group != group:
            group = check.group
            lines.append(f"{group}:")
        lines.append(f"  {_MARKS[check.status]:8}{check.name:{width}}  {check.found}".rstrip())
        if check.meaning:
            lines.append(f"          means: {check.meaning}")
        if check.advice:
            lines.append(f"          do: {check.advice}")
    lines.append(_summary(checks))
    return lines


def _summary(checks: Sequence[Check]) -> str:
    counts = {status: sum(check.status == status for check in checks) for status in _MARKS}
    return f"{counts['ok']} ok, {counts['warn']} warnings, {counts['fail']} failures"


def _coloured(checks: Sequence[Check]) -> None:
    """The same for a terminal, where rich wraps and colours it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    group = ""
    table = Table.grid(padding=(0, 2))
    for check in checks:
        if check.group != group:
            group = check.group
            table.add_row(Text(group, style="bold"))
        mark = Text("  " + _MARKS[check.status], style=_COLOURS[check.status])
        words = Text(check.found)
        if check.meaning:
            words.append(f"\n{check.meaning}", style="italic")
        if check.advice:
            words.append(f"\n→ {check.advice}", style="cyan")
        table.add_row(mark, Text(check.name), words)
    console.print(table)
    console.print(_summary(checks))


DOCTOR = Command(
    "[OPTIONS]",
    "Try the system calls that containers need, and say for each what works, what does not, and what to do about it. "
    "Ends with 1 if containers cannot run here with their default isolation.",
    [Flag("json", "bool", "Print the findings as JSON")],
    _doctor,
    maximum=0,
)
