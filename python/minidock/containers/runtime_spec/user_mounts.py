"""The mounts that a container was given: in the document, and where the helper finds what no plain path will do for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from minidock.containers.parse import tmpfs
from minidock.containers.parse.mounts import clean
from minidock.spec.oci_runtime import IDMapping, Mount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minidock.containers.record import Point, Record
    from minidock.store.paths import Paths

IdMap = list[tuple[int, int, int]]


class Source(msgspec.Struct, omit_defaults=True):
    """Entry of ``sources`` in ``minidock.json``: where the bind at ``destination`` really comes from."""

    destination: str
    kind: str
    """``subpath``, ``layers`` or ``overlay``."""
    root: str = ""
    path: str = ""
    lower: list[str] = []
    upper: str = ""
    work: str = ""


def user_mounts(record: Record, paths: Paths, exchanged: Mapping[str, tuple[IdMap, IdMap]]) -> list[Mount]:
    """Return the mounts of a record, ``--tmpfs`` among them, those that others lie in first.

    ``exchanged`` has, by destination, the maps of user and group ids of those with ``idmap``.
    """
    made = [_mount(record, one, paths, exchanged.get(one.destination)) for one in record.mounts]
    for path, words in (record.host_config.tmpfs or {}).items():
        made.append(Mount(clean(path), "tmpfs", "tmpfs", tmpfs.options(words)))
    return sorted(made, key=lambda mount: mount.destination.count("/"))


def _mount(record: Record, one: Point, paths: Paths, maps: tuple[IdMap, IdMap] | None) -> Mount:
    if one.type == "tmpfs":
        return Mount(one.destination, "tmpfs", "tmpfs", list(one.options))
    options = ["rbind" if one.recursive else "bind", one.propagation or "rprivate"]
    if not one.rw:
        options.append("ro" if one.read_only == "top" or not one.recursive else "rro")
    source = "none"  # sources says it
    if one.type in ("bind", "volume"):
        source = one.source or data(paths, one.name)
    made = Mount(one.destination, "bind", source, options)
    if maps is None and record.uid_map and one.type != "bind":
        # What lies on disk has the container's ids, whichever range of the host's it runs with.
        maps = (record.uid_map, record.gid_map)
    if maps is not None:
        made.uid_mappings, made.gid_mappings = ([IDMapping(*part) for part in ids] for ids in maps)
        made.options = [*options, "idmap"]
    return made


def sources(record: Record, paths: Paths, layers: Mapping[str, Sequence[str]]) -> list[Source]:
    """Return what the helper is told of the binds that are no plain path; ``layers`` has those of each image."""
    made = []
    for number, one in enumerate(record.mounts):
        if one.type == "volume" and one.subpath:
            made.append(Source(one.destination, "subpath", root=data(paths, one.name), path=one.subpath))
        elif one.type == "image":
            made.append(Source(one.destination, "layers", lower=list(layers[one.source]), path=one.subpath))
        elif one.type == "overlay":
            place = f"{paths.container(record.id)}/{writable(number)}"
            made.append(
                Source(one.destination, "overlay", lower=[one.source], upper=f"{place}/upper", work=f"{place}/work")
            )
    return made


def writable(number: int) -> str:
    """Where the changes to an overlay are kept, in the container's directory; ``number`` is its place in the record."""
    return f"mounts/{number}"


def data(paths: Paths, name: str) -> str:
    """Where a volume's files are."""
    from minidock.store.volumes import DATA

    return f"{paths.volume(name)}/{DATA}"
