"""Where things are: the layout of docs/architecture.md below a data root and a run root."""

from __future__ import annotations

import os
import stat

from minidock.errors import Denied, InvalidArgument

_DIRECTORIES = (
    *("content", "content/sha256", "layers", "downloads", "containers", "volumes"),
    *("events", "seccomp", "bin", "tmp"),
)


class Paths:
    """Names of files and directories; computing one touches nothing. Both roots are absolute."""

    __slots__ = (
        "bin",
        "containers",
        "content",
        "data",
        "database",
        "downloads",
        "events",
        "layers",
        "run",
        "run_containers",
        "run_networks",
        "seccomp",
        "spread",
        "tmp",
        "volumes",
    )

    def __init__(self, data_root: str, run_root: str) -> None:
        for what, root in (("data root", data_root), ("run root", run_root)):
            if not root.startswith("/") or "\0" in root:
                raise InvalidArgument(f"{what} {root!r}: not an absolute path")
            try:
                root.encode()  # paths travel in JSON documents
            except UnicodeEncodeError as error:
                raise InvalidArgument(f"{what} {root!r}: not valid UTF-8") from error
        self.data = data_root
        self.run = run_root
        self.database = data_root + "/minidock.db"
        self.content = data_root + "/content/sha256"
        self.downloads = data_root + "/downloads"
        self.layers = data_root + "/layers"
        self.containers = data_root + "/containers"
        self.volumes = data_root + "/volumes"
        self.events = data_root + "/events"
        self.seccomp = data_root + "/seccomp"
        self.bin = data_root + "/bin"
        self.spread = data_root + "/spread"
        self.tmp = data_root + "/tmp"  # noqa: S108 - ours, below the data root
        self.run_containers = run_root + "/containers"
        self.run_networks = run_root + "/networks"

    def container(self, container_id: str) -> str:
        """The bundle of a container."""
        return f"{self.containers}/{container_id}"

    def volume(self, name: str) -> str:
        """The directory of a volume; its files are in ``_data`` below. The name must have been checked."""
        return f"{self.volumes}/{name}"

    def run_container(self, container_id: str) -> str:
        """The directory of a container's pid file and sockets."""
        return f"{self.run_containers}/{container_id}"

    def layer(self, layer: int) -> str:
        """The directory of one layer; its files are in ``fs`` below."""
        return f"{self.layers}/{layer}"

    def blob(self, digest: str) -> str:
        """The file of a blob, by ``sha256:HEX``. The digest must have been checked."""
        return f"{self.content}/{digest.removeprefix('sha256:')}"

    def download(self, digest: str) -> str:
        """The directory of a blob that is being fetched, by ``sha256:HEX``. The digest must have been checked."""
        return f"{self.downloads}/{digest.removeprefix('sha256:')}"

    def prepare(self) -> None:
        """Make both roots, and the run root's ``containers``, if they are missing: 0700 and ours.

        Raises Denied when one belongs to another user, or is open to others and was not made by minidock.
        """
        _private(self.data, "data root", "minidock.db")
        _private(self.run, "run root", "containers")
        make_directory(self.run_containers)

    def prepare_layout(self) -> None:
        """Make the directories below the data root that are missing."""
        for name in _DIRECTORIES:
            make_directory(f"{self.data}/{name}")


def make_directory(path: str) -> None:
    """Make one directory, 0700; it may exist."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise


def _private(path: str, what: str, mark: str) -> None:
    """Make or check a root. ``mark`` is an entry that only a root of minidock has."""
    try:
        # Followed: a root may be a symbolic link to another disk, made by whoever owns the parent.
        status = os.stat(path)
    except FileNotFoundError:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            make_directory(path)
            return
        except OSError as error:
            raise Denied(
                f"make {what} {path}: {_cause(error)}; choose another with --{what.replace(' ', '-')}"
            ) from error
    except OSError as error:
        raise Denied(f"open {what} {path}: {_cause(error)}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise InvalidArgument(f"{what} {path}: not a directory")
    if status.st_uid != os.geteuid():
        raise Denied(f"{what} {path}: belongs to uid {status.st_uid}, not to {os.geteuid()}; choose another directory")
    if status.st_mode & 0o077:
        # Closing somebody's directory, or /, because its name was given as a root would be worse than an error.
        entries = os.listdir(path)
        if entries and mark not in entries:
            raise Denied(f"{what} {path}: has other files and is open to other users; choose an empty or new directory")
        os.chmod(path, 0o700)


def _cause(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
