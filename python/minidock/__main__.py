"""``python -m minidock``, and the ``minidock`` program."""

from __future__ import annotations


def main() -> None:
    """Run the command line; does not return."""
    from minidock.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
