"""The patterns of ``${x#p}``, ``${x%p}`` and ``${x/p/r}``: ``*``, ``?`` and escapes.

Positions of a value that a pattern can have reached are bits of one number, so that no pattern takes more than its own
length times the value's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

STAR, ANY = object(), object()
"""Parts of a pattern besides characters. Neither takes a line end, as in Docker."""
Part = object
MAX_VALUE = 1 << 16


class PatternError(Exception):
    """The text says what is wrong with a pattern."""


def parse(text: str) -> list[Part]:
    """The parts of a pattern. Raises PatternError for an escape of what needs none."""
    parts: list[Part] = []
    characters = iter(range(len(text)))
    for index in characters:
        character = text[index]
        if character == "*":
            parts.append(STAR)
        elif character == "?":
            parts.append(ANY)
        elif character != "\\":
            parts.append(character)
        else:
            escaped = text[index + 1 : index + 2]
            if escaped not in ("*", "?", "\\", "}", "/") or not escaped:
                raise PatternError(f"invalid escape '\\{escaped}'")
            next(characters)
            parts.append(escaped)
    return parts


class _Value:
    """A value to match, as a mask for each character: bit n stands for the n-th character."""

    def __init__(self, text: str, parts: Sequence[Part]) -> None:
        if len(text) > MAX_VALUE:
            raise PatternError(f"the value is longer than {MAX_VALUE} characters")
        places = {part: bytearray(len(text) // 8 + 1) for part in (*parts, "\n") if part not in (STAR, ANY)}
        for index, character in enumerate(text):
            if character in places:
                places[character][index >> 3] |= 1 << (index & 7)
        self.masks = {part: int.from_bytes(bits, "little") for part, bits in places.items()}
        self.line = ((1 << len(text)) - 1) & ~self.masks["\n"]

    def run(self, parts: Sequence[Part], reached: int) -> int:
        """Where a match of ``parts`` can end that begins where ``reached`` says."""
        for part in parts:
            if part is STAR:
                line = self.line
                reached |= (line + (reached & line)) ^ line  # the carry runs to the end of the line
            else:
                allowed = self.line if part is ANY else self.masks[part]
                reached = (reached & allowed) << 1
            if not reached:
                break
        return reached


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def trim_prefix(value: str, pattern: str, longest: bool) -> str:
    """``${x#p}`` and ``${x##p}``. Raises PatternError."""
    return value[_prefix(value, parse(pattern), longest) :]


def trim_suffix(value: str, pattern: str, longest: bool) -> str:
    """``${x%p}`` and ``${x%%p}``. Raises PatternError."""
    return value[: len(value) - _prefix(value[::-1], parse(pattern)[::-1], longest)]


def _prefix(value: str, parts: Sequence[Part], longest: bool) -> int:
    ends = _Value(value, parts).run(parts, 1)
    if not ends:
        return 0
    return ends.bit_length() - 1 if longest else _lowest(ends)


def replace(value: str, pattern: str, replacement: str, every: bool) -> str:
    """``${x/p/r}`` and ``${x//p/r}``: leftmost, then longest. Raises PatternError.

    Where everything is replaced, Docker takes ``$0`` in the replacement for what matched and other ``$name`` away.
    """
    parts = parse(pattern)
    if parts and all(isinstance(part, str) for part in parts) and "$" not in replacement:
        return value.replace("".join(map(str, parts)), replacement, -1 if every else 1)
    masks = _Value(value, parts)
    backwards = _Value(value[::-1], parts).run(parts[::-1], (1 << (len(value) + 1)) - 1)
    starts = int(bin(backwards)[2:].rjust(len(value) + 1, "0")[::-1], 2)
    done, position, last, out = 0, 0, -1, []
    while position <= len(value):
        remaining = starts >> position << position
        if not remaining:
            break
        start = _lowest(remaining)
        end = masks.run(parts, 1 << start).bit_length() - 1
        if end > last or start == 0:  # nothing is not found again where something was found just before
            out += [value[done:start], _expanded(replacement, value[start:end]) if every else replacement]
            done = last = end
            if not every:
                break
        position = end if end > position else position + 1
    return "".join(out) + value[done:]


def _expanded(replacement: str, whole: str) -> str:
    if "$" not in replacement:
        return replacement

    def group(match: re.Match[str]) -> str:
        name = match[1].strip("{}")
        return "$" if name == "$" else whole if name == "0" else ""

    return re.sub(r"\$(\$|\w+|\{\w+\})", group, replacement)
