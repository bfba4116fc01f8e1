"""The parts of a COPY or ADD: files of a tree, archives that are unpacked, what is fetched."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from minidock.build import sources
from minidock.build.dockerfile import remotes
from minidock.build.dockerfile.instructions import Add, Copy
from minidock.build.merged import Merged
from minidock.errors import Corrupt, InvalidArgument

if TYPE_CHECKING:
    import contextlib

    from minidock.build import keys
    from minidock.build.copying import Placing
    from minidock.build.executor import Build
    from minidock.build.sources import Match, Source


class Local:
    """Files of the context, a stage or an image."""

    def __init__(
        self, instruction: Copy | Add, source: Source, matches: list[Match], *, text: str, directory: str
    ) -> None:
        self._text = text
        self._directory = directory
        self._instruction = instruction
        self._source = source
        self._matches = matches

    def fact(self, *, times: bool) -> keys.Fact:
        """What the key has of them."""
        found = sources.fingerprint(self._source, self._matches, times=times)
        if not self._parents:
            return found
        above = [match._replace(files=self._above(match)) for match in self._matches]
        paths = [match.path for match in self._matches]
        return [found, self._text, paths, sources.fingerprint(self._source, above, times=times)]

    @property
    def _parents(self) -> bool:
        return isinstance(self._instruction, Copy) and self._instruction.parents

    @property
    def _drop(self) -> int:
        """How many of the directories that a match is in ``--parents`` leaves out: those before ``/./``."""
        head, pivot, _ = self._text.lstrip("./").partition("/./")
        return len([part for part in os.path.normpath(f"/{head}").split("/") if part]) if pivot else 0

    def _above(self, match: Match) -> list[sources.Found]:
        """The directories that a match is in and that are made for it, with ``--parents``."""
        tree, drop, parts = self._source.tree, self._drop, match.path.split("/")
        found = []
        for count in range(drop + 1, len(parts)):
            node = tree.look(tree.resolve("/".join(parts[:count])))
            if node is not None:
                found.append(sources.Found("/".join(parts[drop:count]), node, self._source.xattrs(node)))
        return found

    def place(self, placing: Placing, destination: str, stack: contextlib.ExitStack) -> None:
        """Put them where they belong; what is opened for that stays open as long as ``stack``."""
        unpack = isinstance(self._instruction, Add) and self._instruction.unpack is not False
        for match in self._matches:
            if self._parents:
                placing.copy_with_parents(self._source, match, destination, self._above(match), drop=self._drop)
            elif unpack and not match.is_directory and self._is_archive(match):
                self._unpack(placing, match, destination, stack)
            else:
                placing.copy(self._source, match, destination)

    def _is_archive(self, match: Match) -> bool:
        node = match.files[0].node
        fd = self._source.open(node)
        try:
            head = os.pread(fd, 512, 0)
        finally:
            os.close(fd)
        from minidock.build import unpacking

        return unpacking.is_archive(head)

    def _unpack(self, placing: Placing, match: Match, destination: str, stack: contextlib.ExitStack) -> None:
        from minidock.build import unpacking

        fd = self._source.open(match.files[0].node)
        try:
            unpacked = unpacking.unpacked(fd, self._directory, match.name, stack)
            self._source.settle(match.files[0].node, fd)
        finally:
            os.close(fd)
        if unpacked is None:
            placing.copy(self._source, match, destination)  # it only begins like an archive
            return
        unpacked.place(placing, destination)


def remote(build: Build, instruction: Add, text: str) -> Fetched | Cloned | None:
    """Return what an ADD fetches; None for a source that is a path. Raises what fetching raises."""
    kind = remotes.kind(text)
    if kind == "git":
        return Cloned(build, instruction, text)
    if kind == "http":
        return Fetched(build, instruction, text)
    if instruction.checksum:
        raise InvalidArgument("checksum can't be specified for non-HTTP(S) & non-Git sources")
    return None


class Fetched:
    """A file of the web, fetched when its content has to be known: at once unless its checksum is."""

    def __init__(self, build: Build, instruction: Add, url: str) -> None:
        self._build = build
        self._instruction = instruction
        self._url = url
        self._path = ""
        self._digest = instruction.checksum if instruction.checksum.startswith("sha256:") else ""

    def _fetch(self) -> str:
        """Fetch it, once; returns its path. Raises Corrupt when it is not what the checksum says."""
        from minidock.build import fetching

        if not self._path:
            path = self._build.work.join(f"fetched-{os.urandom(6).hex()}")
            digest = fetching.download(self._build.engine, self._url, path, self._build.stop)
            wanted = self._instruction.checksum
            found = digest if wanted in ("", digest) else _digest(path, wanted.partition(":")[0])
            if wanted and found != wanted:
                raise Corrupt(f"digest mismatch {found}: {wanted}")
            self._path, self._digest = path, digest
        return self._path

    def fact(self, *, times: bool) -> keys.Fact:
        """What the key has of it."""
        if not self._digest:
            self._fetch()
        # With a checksum it may not have been fetched: then its time does not count, as with Docker.
        time = [os.stat(self._path).st_mtime_ns] if times and not self._instruction.checksum else []
        return ["fetched", self._digest, self._name(), *time]

    def _name(self) -> str:
        from minidock.build import fetching

        return fetching.name_of(self._url)

    def place(self, placing: Placing, destination: str, stack: contextlib.ExitStack) -> None:
        """Put it where it belongs."""
        from minidock.build import unpacking

        path, name = self._fetch(), self._name()
        directory = self._build.work.path
        if self._instruction.unpack:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                unpacked = unpacking.unpacked(fd, directory, name, stack)
            finally:
                os.close(fd)
            if unpacked is not None:
                unpacked.place(placing, destination)
                return
        os.chmod(path, 0o600)
        tree = sources.Source(Merged([directory]), self._url)
        for found in tree.match(os.path.basename(path)):
            placing.copy(tree, found._replace(name=name), destination)


class Cloned:
    """A git repository."""

    def __init__(self, build: Build, instruction: Add, url: str) -> None:
        from minidock.build import git

        self._where = git.parse(url)
        self._keep = bool(instruction.keep_git_dir) or self._where.keep_git
        self._path = build.work.join(f"git-{os.urandom(6).hex()}")
        checksum = instruction.checksum
        self._commit = git.clone(self._where, self._path, keep_git=self._keep, checksum=checksum, stop=build.stop)

    def fact(self, *, times: bool) -> keys.Fact:
        """What the key has of it."""
        del times
        return ["git", self._commit, self._where.directory, str(self._keep), str(self._where.submodules)]

    def place(self, placing: Placing, destination: str, stack: contextlib.ExitStack) -> None:
        """Put it where it belongs."""
        from minidock.build import git

        del stack
        tree = sources.Source(Merged([git.part(self._where, self._path)]), self._where.shown)
        for found in tree.match("/"):
            placing.copy(tree, found, destination)


def _digest(path: str, algorithm: str) -> str:
    with open(path, "rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
