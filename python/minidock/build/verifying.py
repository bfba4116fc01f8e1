"""``build --verify``: the same once more, without any cache, and the first file that differs."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import msgspec

from minidock.build.events import Status, Warned
from minidock.errors import MinidockError
from minidock.store.failures import translated

if TYPE_CHECKING:
    from minidock.build.events import Event
    from minidock.build.executor import Build, Stage
    from minidock.store.layers import LayerRow

_CHUNK = 1 << 20
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe",
    stat.S_IFBLK: "device",
    stat.S_IFCHR: "device",
}


class NotReproducible(MinidockError):  # noqa: N818 - named after what was found
    """Two builds of the same input differ.

    ``step`` is the first step whose layer does, ``path`` the first file of it, absolute; both are empty where it is the
    configuration that differs.
    """

    exit_code = 1

    def __init__(self, step: str, path: str, how: str) -> None:
        super().__init__(f"verify: the second build differs: {f'{step}: {path}: ' if step else ''}{how}")
        self.step = step
        self.path = path
        self.how = how


def verify(build: Build, stage: Stage) -> None:
    """Build again what ``build`` has come to, and compare. Raises NotReproducible, and what a build raises."""
    from minidock.build.executor import Build

    def report(event: Event) -> None:
        if not isinstance(event, Warned):  # they were told
            build.tell(event)

    options = msgspec.structs.replace(
        build.options,
        no_cache=True,
        pull=False,
        cache_from=(),
        cache_to=(),
        tags=[],
        verify=False,
        namespace=os.urandom(8).hex(),
    )
    Build(build.engine, build.context, options, report, first=build).having(lambda other: _compare(build, stage, other))


def _compare(build: Build, stage: Stage, other: Stage) -> None:
    step = build.step("comparing both builds")
    with build.reported(step):
        for one, two in zip(stage.layers, other.layers, strict=True):
            build.stop.check()
            if one.diff_id != two.diff_id:
                trees = (f"{build.store.paths.layer(layer.id)}/fs" for layer in (one, two))
                path, how = difference(*trees) or ("/", "the archive of its files")
                raise NotReproducible(_step_of(build, one), path, how)
        if (stage.state.config, stage.state.author) != (other.state.config, other.state.author):
            raise NotReproducible("", "", "the image's configuration")
        build.tell(Status(step, "both builds are equal"))


def _step_of(build: Build, layer: LayerRow) -> str:
    names = (name for _, name, made in build.steps_done.values() if made.id == layer.id)
    return next(names, f"layer {layer.diff_id}")


def difference(one: str, two: str) -> tuple[str, str] | None:
    """Return the first path, from ``/``, in which two trees differ, and how; None when they do not.

    A directory's own time comes last: what is in it explains it. Raises SystemFailure for what cannot be read.
    """
    pending, times = [""], None
    with translated("compare", one):
        while pending:
            path = pending.pop()
            first, second = f"{one}{path}", f"{two}{path}"
            ours, theirs = os.lstat(first), os.lstat(second)
            how = _facts(ours, theirs) or _content(first, second, ours)
            if how:
                return path or "/", how
            if ours.st_mtime_ns != theirs.st_mtime_ns:
                if not stat.S_ISDIR(ours.st_mode):
                    return path, _times(ours, theirs)
                if path:  # the top's is no part of a layer
                    times = times or (path, _times(ours, theirs))
            if stat.S_ISDIR(ours.st_mode):
                names, others = set(os.listdir(first)), set(os.listdir(second))
                if names != others:
                    name = min(names ^ others)
                    return f"{path}/{name}", f"only the {'first' if name in names else 'second'} build makes it"
                pending += [f"{path}/{name}" for name in sorted(names, reverse=True)]
    return times


def _facts(one: os.stat_result, two: os.stat_result) -> str:
    kinds = [_KINDS.get(stat.S_IFMT(it.st_mode), "socket") for it in (one, two)]
    if kinds[0] != kinds[1]:
        return f"a {kinds[0]}, and a {kinds[1]} in the second"
    for name, left, right in (
        ("mode", f"{stat.S_IMODE(one.st_mode):04o}", f"{stat.S_IMODE(two.st_mode):04o}"),
        ("owner", f"{one.st_uid}:{one.st_gid}", f"{two.st_uid}:{two.st_gid}"),
        ("device", one.st_rdev, two.st_rdev),
        ("size", 0 if stat.S_ISDIR(one.st_mode) else one.st_size, 0 if stat.S_ISDIR(two.st_mode) else two.st_size),
        ("number of links", *((0, 0) if stat.S_ISDIR(one.st_mode) else (one.st_nlink, two.st_nlink))),
    ):
        if left != right:
            return f"its {name} is {left}, and {right} in the second"
    return ""


def _times(one: os.stat_result, two: os.stat_result) -> str:
    from minidock.images.inspection import format_time

    return f"its time is {format_time(one.st_mtime_ns)}, and {format_time(two.st_mtime_ns)} in the second"


def _content(one: str, two: str, status: os.stat_result) -> str:
    attributes = [
        {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}
        for path in (one, two)
    ]
    for name in sorted(attributes[0].keys() | attributes[1].keys()):
        if attributes[0].get(name) != attributes[1].get(name):
            return f"its extended attribute {name}"
    if stat.S_ISLNK(status.st_mode):
        targets = os.readlink(one), os.readlink(two)
        return "" if targets[0] == targets[1] else f"it leads to {targets[0]}, and to {targets[1]} in the second"
    if not stat.S_ISREG(status.st_mode):
        return ""
    position = 0
    with open(one, "rb") as left, open(two, "rb") as right:
        while True:
            data, other = left.read(_CHUNK), right.read(_CHUNK)
            if data != other:
                byte = next((n for n, (a, b) in enumerate(zip(data, other, strict=False)) if a != b), 0)
                return f"its content, from byte {position + byte} on"
            if not data:
                return ""
            position += len(data)
