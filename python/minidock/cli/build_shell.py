"""``build --shell-on-error``: a shell in the place of a command that has failed."""

from __future__ import annotations

import contextlib
import os

from minidock.cli.build_progress import failure
from minidock.cli.output import complain, write
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minidock.build.failures import Failed

_IN, _ERR = 0, 2


def require_terminal() -> None:
    """Raise UsageError where nobody could type into a shell."""
    for fd, name in ((_IN, "standard input"), (_ERR, "standard error")):
        if not os.isatty(fd):
            raise UsageError(f"--shell-on-error needs a terminal: {name} is none", 1)


def shell(progress: Any) -> Callable[[Failed], None]:
    """What shows a command that has failed, and runs a shell in its place until that ends."""

    def run(failed: Failed) -> None:
        from minidock.errors import Cancelled, MinidockError

        suspended = getattr(progress, "suspended", contextlib.nullcontext)
        with suspended():
            write(failure(failed.step, failed.lines, ""), _ERR)
            complain("minidock: a shell in the place of the command that failed; the build ends with it (exit)")
            try:
                failed.again((_IN, _ERR))
            except Cancelled:
                raise
            except MinidockError as error:
                complain(f"minidock: no shell: {error}")

    return run
