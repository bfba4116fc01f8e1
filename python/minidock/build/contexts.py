"""The build context and its Dockerfile: a directory, a tar, standard input, a URL or a git repository."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING, BinaryIO

from minidock.build.merged import Merged
from minidock.build.sources import Context
from minidock.errors import InvalidArgument, LimitExceeded, NotFound
from minidock.store.failures import from_os, translated
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.build.ignore import Ignore
    from minidock.build.python.image import Image
    from minidock.build.python.program import Program
    from minidock.build.stopping import Stop
    from minidock.engine import Engine
    from minidock.store.build_cache import BuildCache

DOCKERFILE = "Dockerfile"
_MAX_DOCKERFILE = 16 << 20
_REMOTE = re.compile(r"(https?|git|ssh)://|git@|github\.com/", re.IGNORECASE)


class BuildContext:
    """A context that has been opened, with the Dockerfile's text, or a program in place of both."""

    program: Program | None = None
    expected: Sequence[str] = ()
    """What the Dockerfile copies of it, as far as that is known before: for contexts that are fetched file by file."""

    def __init__(self, path: str, dockerfile: bytes, shown: str, ignore: Ignore | None, *, keep: bool) -> None:
        self.path = path
        self.dockerfile = dockerfile
        self.dockerfile_shown = shown
        self.ignore = ignore
        self._keep = keep
        self.work: Workspace | None = None
        self.keeps_owners = False
        """It is a tar: files keep their owners and attributes, as in Docker."""

    def open(self, work: Workspace, cache: BuildCache) -> Context:
        """Return the files. ``work`` is the build's own."""
        del work
        made = Context(self.path, "the build context", self.ignore, cache if self._keep else None)
        made.keeps_owners = self.keeps_owners
        return made

    def close(self) -> None:
        """Remove what was unpacked or fetched."""
        if self.work is not None:
            self.work.close()
            self.work = None


def is_remote(text: str) -> bool:
    """Whether a context is a URL."""
    return _REMOTE.match(text) is not None


def load(
    engine: Engine,
    context: str | os.PathLike[str] | bytes | BinaryIO | int | Image,
    dockerfile: str | os.PathLike[str] | bytes | None = None,
    stop: Stop | None = None,
) -> BuildContext:
    """Open a context. ``dockerfile`` is a path, from the context if relative, or the text itself.

    ``stop`` ends what is fetched. Raises NotFound, InvalidArgument, Corrupt for a damaged archive, and what fetching
    raises.
    """
    _ = engine.store.database  # the data root is there
    if isinstance(context, (str, os.PathLike)) and context != "-":
        text = os.fspath(context)
        if is_remote(text):
            return _fetched(engine, text, dockerfile, stop)
        return _directory(text, dockerfile)
    if not isinstance(context, (str, bytes, bytearray, memoryview, int)) and not hasattr(context, "read"):
        from minidock.build.python import program

        if dockerfile is not None:
            raise InvalidArgument("an image of Python has no Dockerfile")
        return program.opened(context)
    return _stream(engine, 0 if context == "-" else context, dockerfile)  # type: ignore[arg-type]


def _directory(path: str, dockerfile: str | os.PathLike[str] | bytes | None, *, keep: bool = True) -> BuildContext:
    """The context in a directory; ``keep``: it is one of this host, that the next build may find as it is."""
    try:
        real = os.path.realpath(path, strict=True)
        if not stat.S_ISDIR(os.stat(real).st_mode):
            raise InvalidArgument(f'unable to prepare context: path "{path}" is not a directory')
    except FileNotFoundError as error:
        raise NotFound(f'unable to prepare context: path "{path}" not found') from error
    except ValueError as error:
        raise InvalidArgument(f"unable to prepare context: path {path!r}: no directory can have this name") from error
    except OSError as error:
        raise from_os(error, "read", path) from error
    # As with Docker, ignore files count for directories of this host only: what comes as a whole is all wanted.
    if isinstance(dockerfile, (bytes, bytearray)):
        return BuildContext(real, bytes(dockerfile), DOCKERFILE, _ignore(real, None) if keep else None, keep=keep)
    name = os.fspath(dockerfile) if dockerfile is not None else ""
    place = os.path.join(real, name or DOCKERFILE)
    if not name and not os.path.lexists(place) and os.path.lexists(os.path.join(real, "dockerfile")):
        place = os.path.join(real, "dockerfile")
    data = _read(place, name or DOCKERFILE) if keep else read_inside(real, name or os.path.basename(place))
    return BuildContext(real, data, os.path.basename(place), _ignore(real, place) if keep else None, keep=keep)


def drop_ignored(context: BuildContext, dockerfile: str) -> None:
    """Remove the Dockerfile and ``.dockerignore`` from a tar's files where the latter names them, as Docker does.

    Clients of its classic builder leave out everything else themselves. Raises InvalidArgument, LimitExceeded.
    """
    rules = Merged([context.path]).read(".dockerignore", _MAX_DOCKERFILE + 1)
    if rules is None:
        return
    from minidock.build import ignore as ignoring

    found = ignoring.read(rules)
    for name in (dockerfile, ".dockerignore"):
        place = os.path.join(context.path, name)
        folder = os.path.realpath(os.path.dirname(place))
        # No link of the archive's leads to where something would be removed.
        if found.excludes(name, is_directory=False) and f"{folder}/".startswith(f"{context.path}/"):
            with translated("remove", place), contextlib.suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(os.path.join(folder, os.path.basename(name)))


def load_directory(path: str) -> BuildContext:
    """Open a directory of which only the files count."""
    return _directory(path, b"")


def _read(place: str, shown: str) -> bytes:
    try:
        with open(place, "rb") as file:
            data = file.read(_MAX_DOCKERFILE + 1)
    except FileNotFoundError as error:
        raise NotFound(f"failed to read dockerfile: open {shown}: no such file or directory") from error
    except OSError as error:
        raise from_os(error, "read", place) from error
    return _not_too_large(data, shown)


def read_inside(context: str, name: str) -> bytes:
    """A Dockerfile of a context that came from elsewhere: no link of it leads to a file of this host.

    Raises NotFound, LimitExceeded.
    """
    data = Merged([context]).read(name, _MAX_DOCKERFILE + 1)
    if data is None:
        raise NotFound(f"failed to read dockerfile: open {name}: no such file or directory")
    return _not_too_large(data, name)


def _not_too_large(data: bytes, shown: str) -> bytes:
    if len(data) > _MAX_DOCKERFILE:
        raise LimitExceeded(f"{shown}: larger than {_MAX_DOCKERFILE >> 20} MiB")
    return data


def _ignore(context: str, dockerfile: str | None) -> Ignore | None:
    """The rules beside the Dockerfile that have its name, or those of the context."""
    places = [] if dockerfile is None else [f"{dockerfile}.dockerignore"]
    for place in [*places, f"{context}/.dockerignore"]:
        if os.path.exists(place):
            from minidock.build import ignore as ignoring

            name = os.path.basename(place)
            return ignoring.read(_read(place, name), name)
    return None


def _stream(
    engine: Engine, source: bytes | BinaryIO | int, dockerfile: str | os.PathLike[str] | bytes | None
) -> BuildContext:
    """A tar, or with anything else a Dockerfile that has no context."""
    from minidock.build import unpacking

    work = Workspace(engine.store.paths, "context")
    try:
        path = work.join("files")
        with translated("make", path):
            os.mkdir(path)
            os.chmod(path, 0o755)  # noqa: S103 - whatever the umask is; what is above is closed
        data = _drained(source, work)
        fd = os.open(data, os.O_RDONLY | os.O_CLOEXEC)
        try:
            head = os.pread(fd, unpacking.HEAD, 0)
            if unpacking.is_archive(head):
                unpacking.unpack(fd, path, "the build context", owners=True)
                made = _directory(path, dockerfile, keep=False)
                made.keeps_owners = True
            else:
                text = os.pread(fd, _MAX_DOCKERFILE + 1, 0)
                if len(text) > _MAX_DOCKERFILE:
                    raise InvalidArgument("the build context is neither a tar nor a Dockerfile")
                if dockerfile is not None:
                    raise InvalidArgument("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles")
                made = _directory(path, text, keep=False)
        finally:
            os.close(fd)
    except BaseException:
        work.close()
        raise
    made.work = work
    return made


def _drained(source: bytes | BinaryIO | int, work: Workspace) -> str:
    """Write all that ``source`` gives to a file."""
    path = work.join("context.tar")
    with translated("write", path), open(path, "wb") as out:
        if isinstance(source, (bytes, bytearray, memoryview)):
            out.write(source)
        elif isinstance(source, int):
            while data := os.read(source, 1 << 20):
                out.write(data)
        else:
            while data := source.read(1 << 20):
                out.write(data)
    return path


def _fetched(
    engine: Engine, url: str, dockerfile: str | os.PathLike[str] | bytes | None, stop: Stop | None
) -> BuildContext:
    from minidock.build import fetching, git

    if git.is_repository(url):
        where = git.parse(url)
        work = Workspace(engine.store.paths, "context")
        try:
            path = work.join("files")
            git.clone(where, path, stop=stop)
            made = _directory(git.part(where, path), dockerfile, keep=False)
        except BaseException:
            work.close()
            raise
        made.work = work
        return made
    with Workspace(engine.store.paths, "context") as work:
        target = work.join("fetched")
        fetching.download(engine, url, target, stop)
        with open(target, "rb") as file:
            return _stream(engine, file, dockerfile)
