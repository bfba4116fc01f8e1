"""Words of a Dockerfile: quotes, escapes and variables, as BuildKit's shell lexer has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from minidock.build.dockerfile import patterns
from minidock.build.dockerfile.text import SPACES, quote
from minidock.errors import InvalidArgument

MAX_WORD = 1 << 20
"""A word does not become longer than this many characters: ``ENV A=$A$A`` doubles with every line."""
_MAX_DEPTH = 100
_BLANK = re.compile(f"[{SPACES}]")
_SPECIAL = "@*#?-$!0"
_END = ""
_NO_CHARACTER = "\ufffd"


class WordError(InvalidArgument):
    """A word cannot be expanded; the text says which and why, in BuildKit's words.

    ``unmatched`` are the variables that were looked for before that and are not set.
    """

    def __init__(self, text: str, unmatched: dict[str, None]) -> None:
        super().__init__(text)
        self.unmatched = unmatched


class Expansion(NamedTuple):
    """What became of a word: as one text, and split at blanks that are not quoted.

    ``matched`` and ``unmatched`` are the variables in it that are set and that are not, in their order.
    """

    text: str
    words: list[str]
    matched: dict[str, None]
    unmatched: dict[str, None]


def expand(
    word: str,
    variables: Mapping[str, str],
    escape: str = "\\",
    *,
    raw_quotes: bool = False,
    raw_escapes: bool = False,
    plain_quotes: bool = False,
    keep_unset: bool = False,
) -> Expansion:
    """Expand ``word``. Raises WordError.

    ``raw_quotes`` and ``raw_escapes`` leave quotes and escapes in place though they mean what they mean;
    ``plain_quotes``: quotes mean nothing; ``keep_unset``: variables that are not set stay as they are written.
    """
    if not any(special in word for special in ("$", "'", '"', escape, "<<")):
        return Expansion(word, _split(word), {}, {})
    lexer = _Lexer(
        word,
        variables,
        escape,
        raw_quotes=raw_quotes,
        raw_escapes=raw_escapes,
        plain_quotes=plain_quotes,
        keep_unset=keep_unset,
    )
    try:
        text, words = lexer.until(_END, raw_escapes)
    except _LexError as error:
        raise WordError(f"failed to process {quote(word)}: {error}", lexer.unmatched) from None
    return Expansion(text, words, lexer.matched, lexer.unmatched)


def _split(word: str) -> list[str]:
    words = _Words()
    words.add(word)
    return words.finish()


class _LexError(Exception):
    pass


class _Words:
    """Words that are split at blanks; what is quoted stays together."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._parts: list[str] = []

    def add(self, text: str) -> None:
        first, *more = _BLANK.split(text)
        self.quoted(first)
        for part in more:
            self._end()
            self.quoted(part)

    def quoted(self, text: str) -> None:
        if text:
            self._parts.append(text)

    def _end(self) -> None:
        if self._parts:
            self._done.append("".join(self._parts))
            self._parts = []

    def finish(self) -> list[str]:
        self._end()
        return self._done


class _Lexer:
    def __init__(
        self,
        source: str,
        variables: Mapping[str, str],
        escape: str,
        *,
        raw_quotes: bool,
        raw_escapes: bool,
        plain_quotes: bool,
        keep_unset: bool,
    ) -> None:
        self.source = source
        self.position = 0
        self.depth = 0
        self.variables = variables
        self.escape = escape
        self.raw_quotes = raw_quotes
        self.raw_escapes = raw_escapes
        self.plain_quotes = plain_quotes
        self.keep_unset = keep_unset
        self.matched: dict[str, None] = {}
        self.unmatched: dict[str, None] = {}

    def peek(self) -> str:
        return self.source[self.position : self.position + 1]

    def next(self) -> str:
        character = self.peek()
        self.position += 1
        return character

    def until(self, stop: str, raw_escapes: bool) -> tuple[str, list[str]]:
        """Expand up to ``stop``, which is consumed, or to the end."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _LexError(f"more than {_MAX_DEPTH} substitutions within each other")
        before, self.raw_escapes = self.raw_escapes, raw_escapes
        try:
            return self._until(stop)
        finally:
            self.raw_escapes = before
            self.depth -= 1

    def _until(self, stop: str) -> tuple[str, list[str]]:
        result: list[str] = []
        words = _Words()
        size = 0
        while character := self.peek():
            if character == stop:
                self.position += 1
                return "".join(result), words.finish()
            if character == "$":
                text = self.dollar()
                words.add(text)
            elif character in "'\"" and not self.plain_quotes:
                text = self.single() if character == "'" else self.double()
                words.quoted(text)
            elif self.source.startswith("<<", self.position):
                text = self.heredoc()
                words.quoted(text)
            else:
                text = self.next()
                if character == self.escape:
                    text = character if self.raw_escapes else ""
                    text += self.next()
                    words.quoted(text)
                else:
                    words.add(text)
            result.append(text)
            size += len(text)
            if size > MAX_WORD:
                raise _LexError(f"the result is longer than {MAX_WORD} characters")
        if stop:
            raise _LexError(f"unexpected end of statement while looking for matching {stop}")
        return "".join(result), words.finish()

    def heredoc(self) -> str:
        """``<<`` and the blanks after it, which do not end a word."""
        start = self.position
        self.position += 2
        while self.peek() in ("\t", " "):
            self.position += 1
        return self.source[start : self.position]

    def single(self) -> str:
        end = self.source.find("'", self.position + 1)
        if end < 0:
            self.position = len(self.source)
            raise _LexError("unexpected end of statement while looking for matching single-quote")
        text = self.source[self.position : end + 1]
        self.position = end + 1
        return text if self.raw_quotes else text[1:-1]

    def double(self) -> str:
        mark = self.next() if self.raw_quotes else self.next()[:0]
        result = [mark]
        while character := self.peek():
            if character == '"':
                self.position += 1
                return "".join((*result, mark))
            if character == "$":
                result.append(self.dollar())
                continue
            self.position += 1
            if character == self.escape:
                if self.raw_escapes:
                    result.append(character)
                following = self.peek()
                if not following:
                    break
                if following in ('"', "$", self.escape):
                    character = self.next()
            result.append(character)
        raise _LexError("unexpected end of statement while looking for matching double-quote")

    def dollar(self) -> str:
        self.position += 1
        if self.peek() != "{":
            name = self.name()
            if not name:
                return "$"
            value = self.look_up(name)
            if value is None:
                return f"${name}" if self.keep_unset else ""
            return value
        self.position += 1
        following = self.peek()
        if not following:
            raise _LexError("syntax error: missing '}'")
        if following in "{}:":
            raise _LexError("syntax error: bad substitution")
        name = self.name()
        operator = self.next()
        if operator == "}":
            value = self.look_up(name)
            if value is None:
                return f"${{{name}}}" if self.keep_unset else ""
            return value
        if operator == "/":
            return self.replaced(name)
        empty_is_unset = operator == ":"
        if empty_is_unset:
            operator = self.next()
        written = ":" * empty_is_unset + operator
        trims = operator in ("#", "%")
        if (trims and empty_is_unset) or (not empty_is_unset and operator not in ("+", "-", "?", "#", "%")):
            raise _LexError(f"unsupported modifier ({written or _NO_CHARACTER}) in substitution")
        word = self.part("}", trims, "}'")
        value = self.look_up(name)
        if value is None and self.keep_unset:
            return f"${{{name}{written}{word}}}"
        return self.modified(name, written, word, value)

    def modified(self, name: str, written: str, word: str, value: str | None) -> str:
        """What ``${name<written>word}`` stands for."""
        operator = written[-1:]
        missing = value is None or (written[0] == ":" and value == "")
        if operator == "-":
            return word if missing else value or ""
        if operator == "+":
            return "" if missing else word
        if operator == "?":
            if missing:
                raise _LexError(f"{name}: {word or 'is not allowed to be ' + ('unset' if value is None else 'empty')}")
            return value or ""
        if operator not in ("#", "%"):
            raise _LexError(f"unsupported modifier ({written}) in substitution")
        longest = word.startswith(operator)
        pattern = word[1:] if longest else word
        trim = patterns.trim_prefix if operator == "#" else patterns.trim_suffix
        try:
            return trim(value or "", pattern, longest)
        except patterns.PatternError as bad:
            raise _LexError(f"invalid pattern ({pattern}) in substitution: {bad}") from None

    def replaced(self, name: str) -> str:
        every = self.peek() == "/"
        if every:
            self.position += 1
        pattern = self.part("/", True, "/' in ${}")
        replacement = self.part("}", True, "}'")
        value = self.look_up(name)
        if value is None and self.keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        try:
            return patterns.replace(value or "", pattern, replacement, every)
        except patterns.PatternError as bad:
            raise _LexError(f"invalid pattern ({pattern}) in substitution: {bad}") from None

    def part(self, stop: str, raw_escapes: bool, missing: str) -> str:
        try:
            return self.until(stop, raw_escapes)[0]
        except _LexError:
            if self.peek():
                raise
            raise _LexError(f"syntax error: missing '{missing}") from None

    def name(self) -> str:
        """A variable's name: letters, digits and ``_``; only digits if it begins with one; one special character."""
        start = self.position
        first = self.peek()
        if first.isdecimal():
            while self.peek().isdecimal():
                self.position += 1
        elif first and first in _SPECIAL:
            self.position += 1
        else:
            while (character := self.peek()) and (character.isalpha() or character.isdecimal() or character == "_"):
                self.position += 1
        return self.source[start : self.position]

    def look_up(self, name: str) -> str | None:
        value = self.variables.get(name)
        (self.unmatched if value is None else self.matched)[name] = None
        return value
