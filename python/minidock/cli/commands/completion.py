"""``completion``: the shell's completion script, made by click."""

from __future__ import annotations

from minidock.cli.flags import Command
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session

SHELLS = ("bash", "zsh", "fish")


def _completion(session: Session, values: Values, arguments: list[str]) -> int:
    if arguments[0] not in SHELLS:
        raise UsageError(f"completion: unknown shell '{arguments[0]}': must be one of {', '.join(SHELLS)}", 1)
    from minidock.cli.tree import complete

    return complete(f"{arguments[0]}_source")


COMPLETION = Command(
    "bash|zsh|fish",
    "Print the completion script of a shell. For bash: source <(minidock completion bash)",
    [],
    _completion,
    minimum=1,
    maximum=1,
)
