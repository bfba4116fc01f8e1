"""What happened on a data root: ``append`` for who did it, :mod:`minidock.events.reading` for who wants to know it.

Imported by everything that changes something, so it imports nothing but the extension, which is there anyway.
"""

from __future__ import annotations

from minidock._native import NativeError, event_append

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.store.paths import Paths


def append(paths: Paths, kind: str, action: str, id: str, attributes: dict[str, str]) -> None:
    """Record that ``action`` (``create``, ``pull``, …) happened to the object ``id`` of a ``kind``, just now.

    ``kind`` is Docker's: container, image, network, volume, daemon. ``attributes`` are what Docker sends with such an
    event. It takes a few microseconds and never fails: an event that cannot be written, on a full disk say, is lost.
    """
    try:
        event_append(paths.events, kind, action, id, attributes)
    except NativeError:
        return
    except UnicodeEncodeError:  # bytes of a command line that are no UTF-8
        append(paths, kind, _clean(action), _clean(id), {_clean(k): _clean(v) for k, v in attributes.items()})


def _clean(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
