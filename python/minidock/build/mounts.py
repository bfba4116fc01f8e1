"""``RUN --mount``: what a command sees besides its stage's files, and what of it counts for the step's key."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from minidock.build import caches, keys, missing, sources
from minidock.build.dockerfile import paths
from minidock.build.running import Mounted
from minidock.errors import InvalidArgument, MinidockError, NotFound
from minidock.security import lsm
from minidock.store.failures import translated
from minidock.store.trees import remove_tree
from minidock.store.workspace import is_alive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.build.agents import Agent
    from minidock.build.dockerfile.config import Script, Step
    from minidock.build.dockerfile.instructions import Mount, Run
    from minidock.build.executor import Build
    from minidock.build.sources import Match, Source

_SECRETS = "/run/secrets"
_AGENT = "/run/buildkit/ssh_agent"
_READ_ONLY = ["rbind", "rprivate", "ro"]
_WRITABLE = ["rbind", "rprivate"]


class Sources(NamedTuple):
    """Where the mounts of a RUN have their files from, by the number of the mount."""

    binds: dict[int, Source]
    origins: dict[int, str]
    """What stands for the files that a cache begins with."""


class Wanted:
    """The mounts of one RUN, before anything of them exists."""

    def __init__(self, mounts: tuple[Mount, ...], directory: str, script: Script | None) -> None:
        self.mounts = mounts
        self._directory = directory
        self._script = script
        self.facts: list[keys.Fact] = [] if script is None else [script.path, script.content]
        self.binds: dict[int, tuple[Source, Match]] = {}
        self.origins: dict[int, str] = {}

    def target(self, mount: Mount) -> str:
        """Where a mount is, absolute. Raises InvalidArgument for one on /, or below /proc or /sys."""
        path = paths.working_directory(self._directory, mount.target)
        if path == "/" or path.split("/")[1] in ("proc", "sys"):
            raise InvalidArgument(f"invalid mount target {mount.target!r}: mounts on /, /proc and /sys are refused")
        return path

    def _identity(self, index: int, mount: Mount) -> str:
        """What a cache is called by: as with Docker, one that begins with other files is another one."""
        name, origin = mount.id or self.target(mount), self.origins.get(index)
        return name if origin is None else f"{name}:{origin}"

    def note(self, build: Build) -> None:
        """Tell the build of the caches among them, whether the command runs or not. Raises as :meth:`target`."""
        for index, mount in enumerate(self.mounts):
            if mount.type == "cache":
                caches.note(build, mount, self._identity(index, mount))

    def is_settled(self) -> bool:
        """Whether the context's files that were shown are still those that the key tells of."""
        for index, (source, match) in self.binds.items():
            if not source.is_context:
                continue
            try:
                now = source.match(self.mounts[index].source or "/")
            except (MinidockError, OSError):
                return False
            if [_stamps(one) for one in now] != [_stamps(match)]:
                return False
        return True

    @contextlib.contextmanager
    def ready(self, build: Build, directory: str) -> Iterator[Mounted]:
        """Make what the mounts need, for the time of the block; ``directory`` is the step's own."""
        made = Mounted(labelled=lsm.selinux(build.engine.config.selinux_enabled))
        with contextlib.ExitStack() as stack:
            memory = _Memory(build, stack, made.own)
            places = self._caches(build, stack)
            variables: dict[str, str] = {}
            for index, mount in enumerate(self.mounts):
                place = f"{directory}-mount{index}"
                if mount.type == "tmpfs":
                    self._tmpfs(mount, made)
                elif mount.type == "bind":
                    self._bind(index, mount, place, made)
                elif mount.type == "cache":
                    path = places[self._identity(index, mount)]
                    made.mounts.append((self.target(mount), "bind", path, _READ_ONLY if mount.readonly else _WRITABLE))
                elif mount.type == "secret":
                    self._secret(build, mount, memory, made, variables)
                else:
                    self._ssh(build, mount, memory, made, variables)
            if self._script is not None:
                path = memory.file(self._script.content.encode("utf-8", "surrogateescape"), 0o755, (0, 0))
                made.mounts.append((self._script.path, "bind", path, _READ_ONLY))
            if variables:
                data = "".join(f"{name}={value}\0" for name, value in variables.items())
                made.environment = memory.file(data.encode(), 0o600, (0, 0))
            yield made

    def _caches(self, build: Build, stack: contextlib.ExitStack) -> dict[str, str]:
        """The directories of the caches among them, by id, each locked once, and in one order: no two commands wait
        for each other."""
        found: dict[str, str] = {}
        wanted = [(self._identity(index, one), one) for index, one in enumerate(self.mounts) if one.type == "cache"]
        for identity, mount in sorted(wanted, key=lambda one: (one[0], one[1].sharing != "locked")):
            if identity not in found:
                found[identity] = caches.prepare(build, mount, identity, stack)
        return found

    def _tmpfs(self, mount: Mount, made: Mounted) -> None:
        options = ["nosuid", "nodev", "mode=1777", *([f"size={mount.size}"] if mount.size else [])]
        made.mounts.append((self.target(mount), "tmpfs", "tmpfs", options))

    def _bind(self, index: int, mount: Mount, place: str, made: Mounted) -> None:
        target = self.target(mount)
        source, match = self.binds[index]
        node = match.files[0].node
        if not node.is_directory:
            # A file that is written to is a copy of its own.
            # So is one that gets a label of SELinux.
            path = node.place if mount.readonly and not made.labelled else _copied(source, match, place)
            if made.labelled:
                made.own.add(path)
            made.mounts.append((target, "bind", path, _READ_ONLY if mount.readonly else _WRITABLE))
            return
        with translated("make", place):
            os.mkdir(place, 0o700)
            lower = [*_mask(source, match, f"{place}/mask"), *source.tree.layers]
            made.mounts.append((target, "bind", place, _READ_ONLY if mount.readonly else _WRITABLE))
            shown = {"destination": target, "lower": lower, "path": node.path}
            if mount.readonly:
                made.sources.append({**shown, "kind": "layers"})
                return
            status = os.stat(lower[0])
            for name in ("upper", "work"):
                os.mkdir(f"{place}/{name}", 0o700)
            os.chown(f"{place}/upper", status.st_uid, status.st_gid)
            os.chmod(f"{place}/upper", stat.S_IMODE(status.st_mode))
        made.sources.append(
            {**shown, "kind": "overlay", "upper": f"{place}/upper", "work": f"{place}/work", "volatile": True}
        )

    def _secret(self, build: Build, mount: Mount, memory: _Memory, made: Mounted, variables: dict[str, str]) -> None:
        name = mount.id or os.path.basename(mount.target)
        secret = build.options.secret(name)
        if secret is None:
            if mount.required:
                raise NotFound(f"secret {name}: not found; give it with --secret id={name},src=FILE")
            return
        value = secret.read()
        if mount.env:
            variables[mount.env] = _variable(name, value)
            if not mount.target:
                return
        target = self.target(mount) if mount.target else f"{_SECRETS}/{name}"
        path = memory.file(value, 0o400 if mount.mode is None else mount.mode, (mount.uid or 0, mount.gid or 0))
        made.mounts.append((target, "bind", path, [*_READ_ONLY, "nosuid", "nodev", "noexec"]))

    def _ssh(self, build: Build, mount: Mount, memory: _Memory, made: Mounted, variables: dict[str, str]) -> None:
        name = mount.id or "default"
        agent = build.options.agent(name)
        if agent is None:
            if mount.required:
                raise NotFound(f"ssh {name}: no agent was given; give one with --ssh {name}")
            return
        number = sum(entry.startswith(_AGENT) for entry, *_ in made.mounts)
        target = self.target(mount) if mount.target else f"{_AGENT}.{number}"
        path = memory.socket(agent, 0o600 if mount.mode is None else mount.mode, (mount.uid or 0, mount.gid or 0))
        made.mounts.append((target, "bind", path, [*_READ_ONLY, "nosuid", "nodev", "noexec"]))
        variables.setdefault("SSH_AUTH_SOCK", target)


def _stamps(match: Match) -> list[tuple[object, ...]]:
    """What tells of any change of files, and is had without reading them."""
    every = ((found.below, found.node.status) for found in match.files)
    return [(below, it.st_ino, it.st_mode, it.st_size, it.st_mtime_ns, it.st_ctime_ns) for below, it in every]


def _variable(name: str, value: bytes) -> str:
    """A secret as a variable's value. Raises InvalidArgument, which does not show it."""
    with contextlib.suppress(UnicodeDecodeError):
        text = value.decode()
        if "\0" not in text:
            return text
    raise InvalidArgument(f"secret {name}: no text, and so no variable; leave out env, and it is a file")


class _Memory:
    """Files in the run root, which lies in memory: secrets touch no disk. They go at the end of ``stack``."""

    def __init__(self, build: Build, stack: contextlib.ExitStack, made: set[str]) -> None:
        self._made_here = made
        self._build = build
        self._stack = stack
        self._directory = ""

    def file(self, data: bytes, mode: int, owner: tuple[int, int]) -> str:
        """Make a file; returns its path."""
        path = f"{self._made()}/{os.urandom(6).hex()}"
        with translated("write", path):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                os.fchown(fd, *owner)
                os.fchmod(fd, mode)
        self._made_here.add(path)
        return path

    def socket(self, agent: Agent, mode: int, owner: tuple[int, int]) -> str:
        """Serve an agent; returns the path of its socket."""
        from minidock.build import agents

        path = f"{self._made()}/{os.urandom(6).hex()}"
        self._stack.enter_context(agents.Served(agent, path, mode=mode, owner=owner))
        self._made_here.add(path)
        return path

    def _made(self) -> str:
        if not self._directory:
            store = self._build.store
            top = f"{store.paths.run}/build"
            with translated("make", top):
                os.makedirs(top, 0o700, exist_ok=True)
                for name in os.listdir(top):
                    if not is_alive(store.paths, name.rpartition(".")[0]):
                        remove_tree(f"{top}/{name}")  # of a build that was killed
                self._directory = f"{top}/{self._build.work.name}.{os.urandom(4).hex()}"
                os.mkdir(self._directory, 0o700)
            self._stack.callback(_forget, self._directory)
        return self._directory


def _forget(directory: str) -> None:
    """Remove a directory of secrets: one file after the other, which works where nothing else does any more."""
    with translated("remove", directory):
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)


def _mask(source: Source, match: Match, place: str) -> list[str]:
    """A layer that hides what the rules leave out of a context; none where nothing is left out."""
    if not source.is_context or getattr(source, "ignore", None) is None:
        return []
    seen = {found.node.path for found in match.files}
    hidden = [
        f"{found.node.path}/{name}" if found.node.path else name
        for found in match.files
        if found.node.is_directory
        for name in source.tree.names(found.node.path)
        if (f"{found.node.path}/{name}" if found.node.path else name) not in seen
    ]
    if not hidden:
        return []
    _like(f"{place}", source, "")
    for path in hidden:
        parts = path.split("/")
        for count in range(1, len(parts)):
            _like(place, source, "/".join(parts[:count]))
        os.mknod(f"{place}/{path}", stat.S_IFCHR, os.makedev(0, 0))
    return [place]


def _like(place: str, source: Source, path: str) -> None:
    target = f"{place}/{path}" if path else place
    if os.path.isdir(target):
        return
    node = source.tree.look(path)
    assert node is not None  # noqa: S101 - something in it was seen
    os.mkdir(target, 0o700)
    os.chown(target, node.status.st_uid, node.status.st_gid)
    os.chmod(target, stat.S_IMODE(node.status.st_mode))


def _copied(source: Source, match: Match, place: str) -> str:
    node = match.files[0].node
    fd = source.open(node)
    with translated("copy", node.place), os.fdopen(fd, "rb") as file, open(place, "xb") as out:
        while data := file.read(1 << 20):
            out.write(data)
        os.fchown(out.fileno(), node.status.st_uid, node.status.st_gid)
        os.fchmod(out.fileno(), stat.S_IMODE(node.status.st_mode))
    return place


def sources_of(build: Build, instruction: Run) -> Sources:
    """Return where the mounts of a RUN have their files from; waits for the stages that they need."""
    found = Sources({}, {})
    for index, mount in enumerate(instruction.mounts):
        stage = build.names.get(mount.from_.lower())
        if mount.type == "cache" and mount.from_:
            # Now: the stage may want the cache itself, which is locked later.
            found.origins[index] = _origin(build, mount) if stage is None else build.wait(stage).chain
        if mount.type == "bind":
            found.binds[index] = build.source(mount.from_, instruction) if stage is None else build.stage_source(stage)
    return found


def _origin(build: Build, mount: Mount) -> str:
    """What stands for the files of an image or of a named context."""
    if build.contexts.is_files(mount.from_):
        source = build.source(mount.from_)
        return sources.fingerprint(source, source.match(mount.source or "/"), times=False).hex()
    _, layers = build.contexts.image(mount.from_, "")
    return keys.chain([layer.diff_id for layer in layers])


def wanted(instruction: Run, step: Step, found: Sources | None) -> Wanted:
    """Return the mounts of a RUN, with what of them belongs to its key. Raises what finding their sources raises."""
    made = Wanted(instruction.mounts, step.directory, step.script)
    if found is None:
        return made
    made.origins = found.origins
    for index, mount in enumerate(made.mounts):
        fact: list[keys.Fact] = [mount.type, mount.target, int(mount.readonly), mount.size or 0, mount.id]
        fact += [mount.mode, mount.uid, mount.gid, mount.env, int(mount.required)]
        if mount.type == "bind":
            source = found.binds[index]
            matches = [] if sources.is_pattern(mount.source) else source.match(mount.source or "/")
            if not matches:
                raise missing.not_found(source, mount.source)
            made.binds[index] = (source, matches[0])
            fact.append(sources.fingerprint(source, matches, times=False, owners=True))
        else:
            fact += [mount.from_, mount.source, mount.sharing, mount.env or "", str(mount.required)]
            fact += [str(mount.mode), str(mount.uid), str(mount.gid)]
            if index in found.origins:
                fact.append(found.origins[index])
        # The values of secrets are no part of the key, as in Docker, nor is what a cache holds.
        made.facts.append(fact)
    return made
