"""The life of containers on one engine's store, as a stack of classes: each builds on the one below.

``base`` (what is open) → ``settling`` (what is so, removal) → ``planning`` (making) → ``starting``. Verbs for
containers that run are in ``control``.
"""

from __future__ import annotations

from minidock.containers.starting import Starting
from minidock.store.cleaner import cleaner


class Lifecycle(Starting):
    """Everything that can be done to containers by one process."""

    def close(self) -> None:
        """Close the helper's file, and wait for what is being removed."""
        cleaner.flush()
        if self._helper is not None:
            self._helper.close()
            self._helper = None
