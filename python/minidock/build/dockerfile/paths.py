"""Paths as Go's ``path`` and ``path/filepath`` packages have them on Linux."""

from __future__ import annotations


class BadPattern(ValueError):  # noqa: N818 - Go's name for it
    """``filepath.Match`` calls a pattern malformed."""

    def __init__(self) -> None:
        super().__init__("syntax error in pattern")


def clean(path: str) -> str:
    """``path.Clean``: the shortest name of the same place; ``.`` for nothing."""
    rooted = path.startswith("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts and parts[-1] != "..":
            parts.pop()
        elif not rooted:
            parts.append("..")
    return "/" * rooted + "/".join(parts) or "."


def join(*paths: str) -> str:
    """``path.Join``; an empty text if all are."""
    given = [path for path in paths if path]
    return clean("/".join(given)) if given else ""


def working_directory(current: str, path: str) -> str:
    """Where ``WORKDIR path`` leads from ``current``; an absolute path stays as it is written, as in Docker."""
    return path if path.startswith("/") else join("/", current or "/", path)


def destination(directory: str, path: str) -> str:
    """Where a COPY goes from a working directory: absolute; it keeps the slash at its end, and ``.`` is a directory."""
    full = clean(path) if path.startswith("/") else join("/", directory or "/", path)
    is_directory = path.endswith("/") or path in ("", ".") or path.endswith("/.")
    return full + "/" if is_directory and full != "/" else full


def match(pattern: str, name: str) -> bool:
    """``filepath.Match``. Raises BadPattern."""
    reached = {0}
    for part in parse_pattern(pattern):
        if part is None:
            reached = star(name, reached)
        else:
            reached = {at + 1 for at in reached if at < len(name) and part.matches(name[at])}
    return len(name) in reached


def star(name: str, reached: set[int]) -> set[int]:
    """Where a ``*`` can lead: positions up to the next slash from each of ``reached``."""
    found: set[int] = set()
    for start in sorted(reached):
        if start not in found:
            end = name.find("/", start)
            found.update(range(start, (len(name) if end < 0 else end) + 1))
    return found


class Characters:
    """Which characters one place of a pattern takes: ranges of them, or all others."""

    __slots__ = ("negated", "ranges")

    def __init__(self, ranges: list[tuple[str, str]], negated: bool) -> None:
        self.ranges = ranges
        self.negated = negated

    def matches(self, character: str) -> bool:
        """Whether it takes ``character``."""
        return any(low <= character <= high for low, high in self.ranges) != self.negated


def parse_pattern(pattern: str) -> list[Characters | None]:
    """The places of a pattern; None for a star. Raises BadPattern."""
    parts: list[Characters | None] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            if not parts or parts[-1] is not None:
                parts.append(None)
        elif character == "?":
            parts.append(Characters([("/", "/")], True))
        elif character == "[":
            found, position = character_class(pattern, position)
            parts.append(found)
        else:
            if character == "\\":
                if position == len(pattern):
                    raise BadPattern
                character = pattern[position]
                position += 1
            parts.append(Characters([(character, character)], False))
    return parts


def character_class(pattern: str, position: int) -> tuple[Characters, int]:
    """What is after a ``[``, and where it ends. Raises BadPattern."""
    negated = pattern.startswith("^", position)
    position += negated
    ranges: list[tuple[str, str]] = []
    while not (pattern.startswith("]", position) and ranges):
        low, position = _member(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _member(pattern, position + 1)
        ranges.append((low, high))
    return Characters(ranges, negated), position + 1


def _member(pattern: str, position: int) -> tuple[str, int]:
    character = pattern[position : position + 1]
    if character in ("", "-", "]"):
        raise BadPattern
    if character == "\\":
        position += 1
        character = pattern[position : position + 1]
        if not character:
            raise BadPattern
    if position + 1 >= len(pattern):
        raise BadPattern
    return character, position + 1
