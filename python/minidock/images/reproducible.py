"""Layers that we make ourselves: the same files give the same bytes, and no time is later than SOURCE_DATE_EPOCH."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from minidock import _native
from minidock._errors import translate
from minidock.errors import InvalidArgument, MinidockError
from minidock.images.layers import Unpacked, unpack
from minidock.images.parallel import started, widen

_T = TypeVar("_T")


def source_date_epoch(given: str = "") -> int | None:
    """``SOURCE_DATE_EPOCH`` in seconds since 1970, if it is not ``given``; None without it. Raises InvalidArgument."""
    text = given or os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 11):
        raise InvalidArgument(f"SOURCE_DATE_EPOCH {text[:100]!r}: not a number of seconds since 1970")
    return int(text)


def layer_of(write: Callable[[int], None], directory: str) -> Unpacked:
    """Make a layer's ``directory`` from the tar that ``write`` writes to the descriptor it gets, in a thread.

    What ``write`` raises comes before what the unpacker says of a tar that ends too early.
    """
    return piped(write, lambda fd: unpack(fd, directory))


def piped(write: Callable[[int], None], read: Callable[[int], _T]) -> _T:
    """Return what ``read`` makes of what ``write`` writes in a thread; each gets one end of a pipe."""
    r, w = os.pipe2(os.O_CLOEXEC)
    widen(w)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            write(w)
        except BaseException as error:
            failed.append(error)
        finally:
            os.close(w)

    thread = threading.Thread(target=run, name="minidock-layer", daemon=True)
    started(thread, r, w)
    made: list[_T] = []
    trouble: MinidockError | None = None
    try:
        made.append(read(r))
    except MinidockError as error:
        trouble = error
    finally:
        os.close(r)  # a writer that is not done ends at its next write
        thread.join()
    first = failed[0] if failed else None
    if first is not None and (trouble is None or not _is_broken_pipe(first)):
        if isinstance(first, _native.NativeError):
            raise translate(first) from first
        raise first
    if trouble is not None:
        raise trouble
    return made[0]


def layer_of_tree(tree: str, directory: str, *, clamp: int | None = None) -> Unpacked:
    """Make a layer's ``directory`` from a tree that nobody changes meanwhile."""
    return layer_of(lambda fd: _write_tree(tree, fd, clamp), directory)


def _write_tree(tree: str, fd: int, clamp: int | None) -> None:
    _native.tar_tree(tree, fd, clamp=clamp)


def _is_broken_pipe(error: BaseException) -> bool:
    if isinstance(error, _native.NativeError):
        return len(error.args) > 4 and error.args[4] == errno.EPIPE
    return isinstance(error, BrokenPipeError)
