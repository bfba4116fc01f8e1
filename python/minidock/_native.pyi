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

# Seccomp

SECCOMP_COMPILER: int
"""Version of the filter compiler; part of the key of stored filters."""

def seccomp_compile(profile: bytes, machine: str) -> bytes:
    """Return the stored form of the filter for a runtime-spec ``linux.seccomp`` document (JSON).

    ``machine`` is the kernel's name (``x86_64``, ``aarch64``). Kinds: invalid (the document), unsupported (the
    machine), limit (over the kernel's 4096 instructions). The GIL is released.
    """
