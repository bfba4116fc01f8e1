"""Workspaces removed in the background: what a caller is done with need not be gone before it goes on."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections import deque
from typing import TYPE_CHECKING

from minidock.errors import MinidockError

if TYPE_CHECKING:
    from minidock.store.workspace import Workspace


class Cleaner:
    """One thread of this process that closes workspaces. It ends with the process, after all of them are closed.

    A process that is killed leaves its workspaces to the next one's sweep, as ever.
    """

    def __init__(self) -> None:
        self._reset()
        self.background = True
        """False in a process that lives for one command: there a thread costs more than what it would do."""
        atexit.register(self.flush)

    def _reset(self) -> None:
        # After a fork the queue and its locks are the parent's, and the thread is not here.
        self._pid = os.getpid()
        self._condition = threading.Condition()
        self._queue: deque[Workspace] = deque()
        self._busy = False
        self._thread: threading.Thread | None = None

    def later(self, workspace: Workspace) -> None:
        """Close ``workspace`` soon. It belongs to the cleaner from now on."""
        if not self.background:
            _close(workspace)
            return
        if self._pid != os.getpid():
            self._reset()
        with self._condition:
            self._queue.append(workspace)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="minidock-cleaner", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # the interpreter is shutting down, or the host has no threads left
                    self._thread = None
            else:
                self._condition.notify()
        if self._thread is None:
            self.flush()

    def flush(self) -> None:
        """Return when everything handed over so far is closed."""
        if self._pid != os.getpid():
            return
        while True:
            with self._condition:
                if not self._queue:
                    while self._busy:
                        self._condition.wait(0.05)
                    return
                workspace = self._queue.popleft()
            _close(workspace)

    def _work(self) -> None:
        condition, queue = self._condition, self._queue
        while True:
            with condition:
                self._busy = False
                condition.notify_all()
                while not queue:
                    condition.wait()
                workspace = queue.popleft()
                self._busy = True
            _close(workspace)


def _close(workspace: Workspace) -> None:
    # What cannot be removed stays for the sweep of the next repair, which reports nothing either.
    with contextlib.suppress(MinidockError, OSError):
        workspace.close()


cleaner = Cleaner()
"""The process's own."""
