"""Machines by hand.

``python -m tests.vm MACHINE [TESTS…]`` boots one, and prints each result and their number.
``python -m tests.vm stay MACHINE [NAME]`` boots one and leaves it on until it is interrupted.
``python -m tests.vm in NAME TESTS…`` runs tests, of the tree as it is now, in one that stays.
``python -m tests.vm sh NAME COMMAND`` runs a shell command there, and prints what it writes.
"""

from __future__ import annotations

import collections
import signal
import sys
import time
from collections.abc import Iterator

from tests.vm import staying
from tests.vm.boot import MachineFailedError, Result, run
from tests.vm.machines import MACHINES


def _short(reason: str) -> str:
    """A reason's one line: what was raised, in a failure's text."""
    lines = [line for line in reason.splitlines() if line.startswith("E  ")] or reason.splitlines()
    return lines[0].removeprefix("E").strip()[:200] if lines else ""


def main() -> int:
    """Return the exit code."""
    name, *tests = sys.argv[1:]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the machine ends with this process
    if name == "stay":
        staying.stay(MACHINES[tests[0]], tests[-1])
        return 0
    if name == "sh":
        print(staying.shell(tests[0], " ".join(tests[1:])))
        return 0
    results: Iterator[Result]
    if name == "in":
        name, *tests = tests
        results = staying.run(name, " ".join(tests))
    else:
        results = run(MACHINES[name], " ".join(tests) or MACHINES[name].tests, 24 * 3600)
    counts: collections.Counter[str] = collections.Counter()
    begin = time.monotonic()
    try:
        for result in results:
            counts[result.outcome] += 1
            why = _short(result.reason)
            print(f"{time.monotonic() - begin:7.1f} {result.outcome:8} {result.test} {why}", flush=True)
            if why != result.reason:
                print(result.reason, flush=True)
    except MachineFailedError as error:
        print(error)
        return 1
    print(f"{name}: {dict(counts)}")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
