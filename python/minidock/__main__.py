"""``python -m minidock``, and the ``minidock`` program."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; does not return."""
    # msgspec takes two names from typing_extensions when it is there and from typing when it is not, where they are the
    # same since Python 3.11. It costs 6 ms (inspect, ast, dis, tokenize), so for this process it is not there; None is
    # how import is told so. The library leaves sys.modules alone: others in its process may want it.
    sys.modules.setdefault("typing_extensions", None)  # type: ignore[arg-type]

    from minidock.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
