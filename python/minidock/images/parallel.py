"""Several steps of one operation at a time, which end together."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from minidock.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minidock.registry.cancel import Cancel

T = TypeVar("T")

_TICK = 0.1


def run_all(steps: Sequence[Callable[[], T]], workers: int, cancel: Cancel) -> list[T]:
    """Call all ``steps``, at most ``workers`` at a time, and return their results in order.

    The first failure cancels the others, is waited for with them, and raised; so does an interrupt of this thread.
    """
    if not steps:
        return []
    pool = ThreadPoolExecutor(max(1, min(workers, len(steps))), "minidock-worker")
    futures = [pool.submit(step) for step in steps]
    try:
        pending = set(futures)
        while pending:
            # Short waits: signals are handled between them.
            done, pending = wait(pending, timeout=_TICK, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
    except BaseException as first:
        cancel.cancel()
        pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(first, Cancelled):
            # What went wrong first explains why the others were cancelled.
            for future in futures:
                error = None if future.cancelled() else future.exception()
                if error is not None and not isinstance(error, Cancelled):
                    raise error from None
        raise
    pool.shutdown()
    return [future.result() for future in futures]
