"""The table of docs/conformance.md: ``python -m tests.vm.table FOLDER`` reads what ``python -m tests.vm`` printed.

Each file ``MACHINE.log`` is one machine's. A suite is a file of tests; a cell has how many passed, failed (f), were
skipped (s). What was skipped or failed follows with its reasons.
"""

from __future__ import annotations

import collections
import re
import sys
from pathlib import Path

_LINE = re.compile(r" *[0-9.]+ (passed|failed|skipped) +(\S+?\.py)(::[^\[ ]+(?:\[.*?\](?= |$))?)? ?(.*)")


def read(path: Path) -> dict[str, dict[str, tuple[str, str]]]:
    """Return by suite, and by test, the last outcome and its reason's first line."""
    found: dict[str, dict[str, tuple[str, str]]] = collections.defaultdict(dict)
    for line in path.read_text(errors="replace").splitlines():
        if match := _LINE.match(line):
            outcome, suite, test, reason = match.groups()
            found[suite.removeprefix("tests/").removesuffix(".py")][test or ""] = (outcome, reason)
    return found


def cell(tests: dict[str, tuple[str, str]]) -> str:
    """Return what is said of one suite in one machine."""
    counts = collections.Counter(outcome for outcome, _ in tests.values())
    words = [f"{counts['passed']}"] if counts["passed"] else []
    words += [f"{counts[outcome]}{outcome[0]}" for outcome in ("failed", "skipped") if counts[outcome]]
    return " ".join(words) or "-"


def table(folder: Path) -> str:
    """Return the table and the reasons, in Markdown."""
    machines = {path.stem: read(path) for path in sorted(folder.glob("*.log"))}
    suites = sorted({suite for found in machines.values() for suite in found})
    lines = [f"| suite | {' | '.join(machines)} |", f"|---|{'---|' * len(machines)}"]
    for suite in suites:
        cells = [cell(found.get(suite, {})) for found in machines.values()]
        lines.append(f"| `{suite}` | {' | '.join(cells)} |")
    totals = [cell({f"{s}{t}": end for s, tests in found.items() for t, end in tests.items()})
              for found in machines.values()]  # fmt: skip
    lines.append(f"| **all** | {' | '.join(totals)} |")
    reasons: dict[tuple[str, str, str], set[str]] = collections.defaultdict(set)
    for machine, found in machines.items():
        for suite, tests in found.items():
            for test, (outcome, reason) in tests.items():
                if outcome == "failed":
                    reasons[outcome, f"{suite}{test}", reason].add(machine)
                elif outcome == "skipped":
                    reasons[outcome, suite, reason.removeprefix("Skipped: ")].add(machine)
    lines += ["", "| what | where | machines | why |", "|---|---|---|---|"]
    for (outcome, where, reason), names in sorted(reasons.items()):
        lines.append(f"| {outcome} | `{where}` | {', '.join(sorted(names))} | {reason} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
