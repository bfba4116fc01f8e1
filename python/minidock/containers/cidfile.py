"""``--cidfile``: a new file with the container's id."""

from __future__ import annotations

import os

from minidock.errors import Conflict
from minidock.store.failures import from_os


class CidFile:
    """Makes the file, empty, before anything else happens; removes it again unless it was filled."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> CidFile:
        if self._path is not None:
            try:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError as error:
                raise Conflict(
                    f"container ID file found, make sure the other container isn't running or delete {self._path}"
                ) from error
            except OSError as error:
                raise from_os(error, "create container ID file", self._path) from error
        return self

    def write(self, container_id: str) -> None:
        """Write the id; the file stays."""
        if self._fd >= 0:
            os.write(self._fd, container_id.encode())
            os.close(self._fd)
            self._fd = -1

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0 and self._path is not None:
            os.close(self._fd)
            self._fd = -1
            os.unlink(self._path)
