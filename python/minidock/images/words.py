"""Words of Dockerfile instructions: splitting, quotes, escapes, variables. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from minidock.errors import InvalidArgument

_NAME_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_NAME = _NAME_FIRST | frozenset("0123456789")


def split(text: str) -> list[str]:
    """Split at blanks outside of quotes; quotes and escapes stay in the words."""
    words: list[str] = []
    word = ""
    quote = ""
    i = 0
    while i < len(text):
        char = text[i]
        if quote:
            if char == "\\" and quote == '"' and i + 1 < len(text):
                word += text[i : i + 2]
                i += 2
                continue
            if char == quote:
                quote = ""
            word += char
        elif char.isspace():
            if word:
                words.append(word)
                word = ""
        elif char == "\\" and i + 1 < len(text):
            word += text[i : i + 2]
            i += 2
            continue
        else:
            if char in "'\"":
                quote = char
            word += char
        i += 1
    if word:
        words.append(word)
    return words


def expand(word: str, variables: Mapping[str, str]) -> str:
    """Remove quotes and escapes, and replace ``$NAME``, ``${NAME}``, ``${NAME:-…}``, ``${NAME:+…}`` and ``${NAME:?…}``.

    Raises InvalidArgument for an open quote or brace, and for ``:?`` of an unset variable.
    """
    value, rest = _expand(word, 0, "", variables)
    if rest != len(word):
        raise InvalidArgument(f"cannot understand {word!r}")
    return value


def _expand(word: str, i: int, stop: str, variables: Mapping[str, str]) -> tuple[str, int]:
    """Expand from ``i`` up to an unquoted ``stop``; returns the value and where it ended."""
    out = ""
    while i < len(word):
        char = word[i]
        if stop and char == stop:
            return out, i
        if char == "'":
            end = word.find("'", i + 1)
            if end < 0:
                raise InvalidArgument(f"unexpected end of {word!r} while looking for the matching single quote")
            out += word[i + 1 : end]
            i = end + 1
        elif char == '"':
            value, i = _double(word, i + 1, variables)
            out += value
        elif char == "$":
            value, i = _variable(word, i + 1, variables)
            out += value
        elif char == "\\":
            # An escape at the very end stands for itself.
            out += word[i + 1] if i + 1 < len(word) else ""
            i += 2
        else:
            out += char
            i += 1
    if stop:
        raise InvalidArgument(f"unexpected end of {word!r} while looking for {stop!r}")
    return out, i


def _double(word: str, i: int, variables: Mapping[str, str]) -> tuple[str, int]:
    out = ""
    while i < len(word):
        char = word[i]
        if char == '"':
            return out, i + 1
        if char == "$":
            value, i = _variable(word, i + 1, variables)
            out += value
        elif char == "\\" and i + 1 < len(word):
            # As in a shell, only these three lose their backslash.
            out += word[i + 1] if word[i + 1] in '"$\\' else word[i : i + 2]
            i += 2
        else:
            out += char
            i += 1
    raise InvalidArgument(f"unexpected end of {word!r} while looking for the matching double quote")


def _variable(word: str, i: int, variables: Mapping[str, str]) -> tuple[str, int]:
    """Expand what follows a ``$``."""
    if i < len(word) and word[i] == "{":
        name, i = _name(word, i + 1)
        if not name:
            raise InvalidArgument(f"bad substitution in {word!r}")
        value = variables.get(name)
        if word.startswith("}", i):
            return value or "", i + 1
        if i >= len(word):
            raise InvalidArgument(f"unexpected end of {word!r} while looking for '}}'")
        operator = word[i : i + 2] if word.startswith(":", i) else word[i : i + 1]
        if operator not in (":-", ":+", ":?", "-", "+", "?"):
            raise InvalidArgument(f"unsupported modifier {operator!r} in substitution of {word!r}")
        alternative, i = _expand(word, i + len(operator), "}", variables)
        there = value is not None and (value != "" or operator[0] != ":")
        if operator[-1] == "+":
            return (alternative if there else ""), i + 1
        if there:
            return value or "", i + 1
        if operator[-1] == "?":
            raise InvalidArgument(f"{name}: {alternative or 'not set'}")
        return alternative, i + 1
    name, end = _name(word, i)
    if not name:
        return "$", i
    return variables.get(name, ""), end


def _name(word: str, i: int) -> tuple[str, int]:
    if i >= len(word) or word[i] not in _NAME_FIRST:
        # $1, $@ and the like are always empty in a Dockerfile
        return (word[i], i + 1) if i < len(word) and word[i] in "0123456789@*#?!" else ("", i)
    end = i
    while end < len(word) and word[end] in _NAME:
        end += 1
    return word[i:end], end
