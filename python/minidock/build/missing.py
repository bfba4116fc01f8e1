"""What a source of COPY that is not there is answered with: the rule that hides it, or the names nearest to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.build.sources import Context
from minidock.errors import NotFound

if TYPE_CHECKING:
    from minidock.build.sources import Source

_LOOKED_AT = 5000
_SHOWN = 3


def not_found(source: Source, text: str) -> NotFound:
    """Return the error for a source that names nothing."""
    path = text.strip("/")
    where = "the build context" if source.is_context else source.shown
    said = f'failed to calculate checksum of "/{path}": not found in {where}'
    if isinstance(source, Context) and source.ignore is not None:
        node = source.tree.look(source.tree.resolve(path))
        if node is not None:
            rule = source.ignore.rule(node.path, is_directory=node.is_directory)
            if rule is not None:
                return NotFound(f"{said}: it is there, but {rule} leaves it out")
    near = _near(source, path)
    if near:
        return NotFound(f"{said}; did you mean {' or '.join(near)}?")
    return NotFound(said)


def _near(source: Source, path: str) -> list[str]:
    """The paths that are most like one: in its directory, or of the same name anywhere."""
    import difflib

    parent, _, name = path.rpartition("/")
    names = source.tree.names(source.tree.resolve(parent))
    others = [one for one in names if one != name and _is_seen(source, parent, one)]
    close = difflib.get_close_matches(name, others, _SHOWN, 0.6)
    if close:
        return [f"{parent}/{one}" if parent else one for one in close]
    lower = name.lower()
    found: list[str] = []
    waiting, looked = [""], 0
    while waiting and looked < _LOOKED_AT and len(found) < _SHOWN:
        directory = waiting.pop(0)
        for one in source.tree.names(directory):
            looked += 1
            below = f"{directory}/{one}" if directory else one
            node = source.tree.look(below)
            if node is None or source.is_hidden(below, is_directory=node.is_directory):
                continue
            if one.lower() == lower and below != path:
                found.append(below)
            if node.is_directory:
                waiting.append(below)
    return found[:_SHOWN]


def _is_seen(source: Source, parent: str, name: str) -> bool:
    path = f"{parent}/{name}" if parent else name
    node = source.tree.look(path)
    return node is not None and not source.is_hidden(path, is_directory=node.is_directory)
