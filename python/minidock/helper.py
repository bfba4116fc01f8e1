"""The helper program: where the wheel has it, and the copy in the data root that containers run with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from minidock.errors import NotFound

if TYPE_CHECKING:
    from minidock.store.paths import Paths

NAME = "minidock-runtime"
_CHUNK = 1 << 20


class HelperNotFound(NotFound):
    """The wheel is incomplete."""


_installed: dict[str, str] = {}


def shipped() -> str:
    """The path of the helper inside the installed package. Raises HelperNotFound with the places searched."""
    package = os.path.dirname(os.path.abspath(__file__))
    path = f"{package}/_bin/{NAME}"
    if os.access(path, os.X_OK):
        return path
    if os.path.exists(path):
        raise HelperNotFound(f"the helper {path} is not executable; install minidock again, or chmod 0755 it")
    raise HelperNotFound(f"the helper {NAME} is missing, searched {path}; install minidock again")


def installed(paths: Paths) -> str:
    """The path of the helper's copy, ``bin/DIGEST/minidock-runtime`` in the data root, which is made if need be.

    Running containers keep the copy that they started with when the wheel is upgraded or its venv goes. Raises
    HelperNotFound, and what a full or read-only disk raises.
    """
    path = _installed.get(paths.bin)
    if path is not None:
        return path
    source = shipped()
    status = os.stat(source)
    # A link from what stat says of the shipped file to the digest, so that nobody hashes it twice. ctime and inode
    # differ between two installations even where a wheel gives all its files the same mtime.
    key = f"{paths.bin}/.{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}-{status.st_ino:x}"
    try:
        path = f"{paths.bin}/{os.readlink(key)}/{NAME}"
        if os.stat(path).st_size != status.st_size:
            path = None  # torn by a power failure
    except OSError:
        path = None
    if path is None:
        path = _install(paths, source, key)
    _installed[paths.bin] = path
    return path


def digest(path: str) -> str:
    """The digest of an installed copy, ``sha256:HEX``, from its path."""
    return "sha256:" + os.path.basename(os.path.dirname(path))


def _install(paths: Paths, source: str, key: str) -> str:
    import hashlib

    from minidock.store.failures import from_os
    from minidock.store.workspace import Workspace, discard

    try:
        paths.prepare()
        paths.prepare_layout()
        with Workspace(paths, "helper") as work:
            fresh = work.join("bin")
            os.mkdir(fresh, 0o755)
            checksum = hashlib.sha256()
            target = os.open(f"{fresh}/{NAME}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
            try:
                fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    while chunk := os.read(fd, _CHUNK):
                        checksum.update(chunk)
                        view = memoryview(chunk)
                        while view:
                            view = view[os.write(target, view) :]
                finally:
                    os.close(fd)
                os.fchmod(target, 0o755)  # whatever the umask
                # Once per version of the helper: a torn copy would break every container of the data root.
                os.fsync(target)
            finally:
                os.close(target)
            os.chmod(fresh, 0o755)  # noqa: S103 - below a root of 0700
            name = checksum.hexdigest()
            path = f"{paths.bin}/{name}/{NAME}"
            try:
                if os.stat(path).st_size != os.stat(f"{fresh}/{NAME}").st_size:
                    discard(work, f"{paths.bin}/{name}")
            except FileNotFoundError:
                discard(work, f"{paths.bin}/{name}")
            try:
                os.rename(fresh, f"{paths.bin}/{name}")
            except OSError:
                if not os.path.exists(path):  # another process was first
                    raise
            link = work.join("key")
            os.symlink(name, link)
            os.rename(link, key)
            return path
    except OSError as error:
        raise from_os(error, "copy the helper to", paths.bin) from error
