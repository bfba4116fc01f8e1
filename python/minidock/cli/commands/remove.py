"""``rm`` and ``container prune``."""

from __future__ import annotations

from minidock.cli.each import on_each
from minidock.cli.flags import Command, Flag
from minidock.cli.output import line
from minidock.cli.units import decimal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _remove(session: Session, values: Values, arguments: list[str]) -> int:
    """Remove each container and print its name; a failure does not keep the others."""
    if values["link"]:
        return _unlink(session, arguments)
    force, volumes = values["force"], values["volumes"]
    return on_each(session, arguments, lambda it: it.remove(force=force, volumes=volumes), missing_ok=force)


def _unlink(session: Session, arguments: list[str]) -> int:
    """Remove links, each said as ``container/alias``, and print them; a failure does not keep the others."""
    from minidock.cli.output import complain
    from minidock.errors import MinidockError

    failed = 0
    for name in arguments:
        try:
            session.engine.containers.unlink(name)
        except MinidockError as error:
            complain(f"minidock: {error}")
            failed = 1
        else:
            line(name)
    return failed


def confirmed(question: str) -> bool:
    """Ask on standard output, as Docker does, and read the answer; no answer is no."""
    import sys

    from minidock.cli.output import write

    write(f"WARNING! {question}\nAre you sure you want to continue? [y/N] ")
    return sys.stdin is not None and sys.stdin.readline().strip().lower() in ("y", "yes")


def grouped(filters: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Filters by name, as the engine takes them."""
    found: dict[str, list[str]] = {}
    for name, value in filters:
        found.setdefault(name, []).append(value)
    return found


def _prune(session: Session, values: Values, arguments: list[str]) -> int:
    """Remove the containers that do not run and print their ids."""
    if not values["force"] and not confirmed("This will remove all stopped containers."):
        return 0
    done = session.engine.containers.prune(grouped(values["filter"]) or None)
    if done.containers_deleted:
        line("Deleted Containers:")
        line("\n".join(done.containers_deleted))
        line("")
    line(f"Total reclaimed space: {decimal_size(done.space_reclaimed, 4)}")
    return 0


REMOVE = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Remove containers.",
    [
        Flag("force", "bool", "Kill a running container first", short="f"),
        Flag("link", "bool", "Remove a link, CONTAINER/ALIAS, and no container", short="l"),
        Flag("volumes", "bool", "Remove its anonymous volumes too", short="v"),
    ],
    _remove,
    minimum=1,
    complete="containers",
)
PRUNE = Command(
    "[OPTIONS]",
    "Remove all stopped containers and print their ids.",
    [
        Flag("filter", "filter", "Only those that match: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]"),
        Flag("force", "bool", "Do not ask", short="f"),
    ],
    _prune,
    maximum=0,
)
