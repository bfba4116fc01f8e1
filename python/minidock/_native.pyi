"""The boundary between Python and Rust. Nothing outside ``minidock`` imports it.

Every call that blocks or takes more than 50 µs releases the GIL, and wakes to run Python's signal handlers. A borrowed
fd (an ``int`` argument) stays the caller's. Failures raise :class:`NativeError`; ``minidock._errors`` maps its ``kind``
to an exception of the tree in ``minidock.errors``.
"""

from typing import final

__version__: str

@final
class NativeError(Exception):
    """A failure in Rust: what was done, on what, of which kind.

    ``args`` is ``(text, kind, op, subject, errno)``; ``kind`` is one of not-found, conflict, invalid, unsupported,
    denied, busy, corrupt, timeout, limit, system; ``errno`` is None when no system call failed.
    """
