"""Text of a template to tokens."""

from __future__ import annotations

from typing import NamedTuple

from minidock.cli.gotemplate.values import TemplateError

KEYWORDS = frozenset(["block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"])
_SPACE = " \t\r\n"
_SINGLE = frozenset("|(),")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class Token(NamedTuple):
    """One token: ``kind`` is text, open, close, keyword, name, field, variable, number, char, string, bool, dot or an
    operator itself; ``text`` is its source, ``position`` its offset in the template."""

    kind: str
    text: str
    position: int


def line_of(source: str, position: int) -> int:
    """The number of the line of ``position``, from 1."""
    return source.count("\n", 0, position) + 1


def syntax_error(source: str, position: int, text: str) -> TemplateError:
    """The error for malformed text at ``position``."""
    return TemplateError(f"template: :{line_of(source, position)}: {text}")


def tokens(source: str) -> list[Token]:
    """Return the tokens of ``source``; comments and trimmed space are gone. Raises :class:`TemplateError`."""
    found: list[Token] = []
    position = 0
    trim = False
    while position < len(source):
        start = source.find("{{", position)
        text = source[position:] if start < 0 else source[position:start]
        if trim:
            text = text.lstrip(_SPACE)
        if start < 0:
            if text:
                found.append(Token("text", text, position))
            break
        inside = start + 2
        if source[inside : inside + 1] == "-" and source[inside + 1 : inside + 2] in tuple(_SPACE):
            text = text.rstrip(_SPACE)
            inside += 1
        if text:
            found.append(Token("text", text, position))
        comment = inside + 1 if source[inside : inside + 1] in tuple(_SPACE) else inside
        if source.startswith("/*", comment) and (comment == inside or source[inside - 1] == "-"):
            position, trim = _comment(source, comment)
        else:
            found.append(Token("open", "{{", start))
            position, trim = _action(source, inside, found)
    return found


def _comment(source: str, position: int) -> tuple[int, bool]:
    end = source.find("*/", position)
    if end < 0:
        raise syntax_error(source, position, "unclosed comment")
    rest = end + 2
    if source.startswith("}}", rest):
        return rest + 2, False
    if source[rest : rest + 1] in tuple(_SPACE) and source.startswith("-}}", rest + 1):
        return rest + 4, True
    raise syntax_error(source, position, "comment ends before closing delimiter")


def _action(source: str, position: int, found: list[Token]) -> tuple[int, bool]:
    """Take the tokens of one action; return the position after ``}}`` and whether the space after it goes."""
    depth = 0
    while True:
        spaced = position
        while source[position : position + 1] in tuple(_SPACE):
            position += 1
        if source.startswith("}}", position) or (position > spaced and source.startswith("-}}", position)):
            if depth:
                raise syntax_error(source, position, "unclosed left paren")
            trimmed = source[position] == "-"
            end = position + (3 if trimmed else 2)
            found.append(Token("close", "}}", position))
            return end, trimmed
        if position >= len(source):
            raise syntax_error(source, position, "unclosed action")
        if position > spaced:
            found.append(Token("space", " ", spaced))
        token = _token(source, position)
        depth += {"(": 1, ")": -1}.get(token.kind, 0)
        if depth < 0:
            raise syntax_error(source, position, "unexpected right paren")
        found.append(token)
        position += len(token.text)


def _token(source: str, position: int) -> Token:
    char = source[position]
    after = source[position + 1 : position + 2]
    if char in _SINGLE or char == "=":
        return Token(char, char, position)
    if char == ":":
        if after != "=":
            raise syntax_error(source, position, "expected :=")
        return Token(":=", ":=", position)
    if char in "\"'":
        return _quoted(source, position, char)
    if char == "`":
        end = source.find("`", position + 1)
        if end < 0:
            raise syntax_error(source, position, "unterminated raw quoted string")
        return Token("string", source[position : end + 1], position)
    if char == "$":
        return Token("variable", "$" + _word(source, position + 1), position)
    if char == "." and not after:
        raise syntax_error(source, position, 'illegal number syntax: "."')
    if char == "." and not after.isdigit():
        word = _word(source, position + 1)
        return Token("field" if word else "dot", "." + word, position)
    if char.isdigit() or char == "." or (char in "+-" and (after.isdigit() or after == ".")):
        end = position + 1
        while end < len(source) and (
            source[end].isalnum() or source[end] in "._" or (source[end] in "+-" and source[end - 1] in "eEpP")
        ):
            end += 1
        return Token("number", source[position:end], position)
    if char.isalpha() or char == "_":
        word = _word(source, position)
        if word in KEYWORDS:
            return Token("keyword", word, position)
        return Token("bool" if word in ("true", "false") else "name", word, position)
    if char.isprintable() and char.isascii() and char != "}":
        raise syntax_error(source, position, f'unexpected "{char}" in command')
    raise syntax_error(source, position, f"unrecognized character in action: {_named(char)}")


def _named(char: str) -> str:
    return f"U+{ord(char):04X} '{char}'"


def _word(source: str, position: int) -> str:
    """The identifier at ``position``, maybe empty; an error if something that cannot end one follows it."""
    end = position
    while end < len(source) and (source[end].isalnum() or source[end] == "_"):
        end += 1
    if end < len(source) and source[end] not in " \t\r\n.,|:()" and not source.startswith("}}", end):
        raise syntax_error(source, position, f"bad character {_named(source[end])}")
    return source[position:end]


def _quoted(source: str, position: int, quote: str) -> Token:
    end = position + 1
    while end < len(source) and source[end] not in (quote, "\n"):
        end += 2 if source[end] == "\\" else 1
    if end >= len(source) or source[end] == "\n":
        what = "unterminated quoted string" if quote == '"' else "unterminated character constant"
        raise syntax_error(source, position, what)
    return Token("string" if quote == '"' else "char", source[position : end + 1], position)


def unquote(source: str, token: Token) -> str:
    """The text that a string or character token means; :class:`TemplateError` for a bad escape."""
    if token.text[0] == "`":
        return token.text[1:-1]
    body = token.text[1:-1]
    if "\\" not in body:
        return body
    out: list[str] = []
    at = 0
    while at < len(body):
        if body[at] != "\\":
            out.append(body[at])
            at += 1
            continue
        kind = body[at + 1]
        if kind in _ESCAPES:
            out.append(_ESCAPES[kind])
            at += 2
            continue
        width, base = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}.get(kind, (3, 8))
        start = at + (1 if base == 8 else 2)
        try:
            out.append(chr(int(body[start : start + width], base)))
        except (ValueError, OverflowError):
            raise syntax_error(source, token.position, "invalid syntax") from None
        at = start + width
    return "".join(out)
