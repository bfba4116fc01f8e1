"""One verb on several containers at once."""

from __future__ import annotations

from minidock.cli.output import complain, line
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from minidock.cli.session import Session
    from minidock.containers.container import Container

_AT_ONCE = 1000
_STACK = 512 << 10


def on_each(session: Session, names: list[str], act: Callable[[Container], object], *, missing_ok: bool = False) -> int:
    """Do ``act`` with each container, all at once; print the names in order. Returns the command's exit code.

    What fails is said in one line and does not keep the others. With ``missing_ok`` one that does not exist is said,
    but no failure.
    """

    def one(name: str) -> MinidockError | None:
        try:
            act(session.engine.containers.get(name))
        except MinidockError as error:
            return error
        return None

    failed = 0
    for name, error in zip(names, _results(one, names), strict=True):
        if error is None:
            line(name)
            continue
        complain(f"minidock: {error}")
        if not (missing_ok and _is_missing(error)):
            failed = 1
    return failed


def _results(one: Callable[[str], MinidockError | None], names: list[str]) -> Iterable[MinidockError | None]:
    if len(names) == 1:
        return map(one, names)
    import threading
    from concurrent.futures import ThreadPoolExecutor

    threading.stack_size(_STACK)
    with ThreadPoolExecutor(min(len(names), _AT_ONCE)) as pool:
        return list(pool.map(one, names))


def _is_missing(error: MinidockError) -> bool:
    from minidock.errors import ContainerNotFound

    return isinstance(error, ContainerNotFound)
