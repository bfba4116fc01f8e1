"""A Dockerfile's text as instructions, split but not understood: directives, comments, continuations, heredocs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from minidock.build.dockerfile import words
from minidock.build.dockerfile.instructions import DockerfileError, Heredoc
from minidock.build.dockerfile.text import SPACES, decode, is_space, printable, quote

MAX_FILE = 4 << 20
MAX_LINE = (1 << 16) - 1
MAX_INSTRUCTIONS = 20_000
_BLANKS = re.compile(r"[\t\v\f\r ]+")
_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+)")
_MAX_DIRECTIVES = 1 << 16
_DIRECTIVES = frozenset(("syntax", "escape", "check"))
_HEREDOC = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)", re.DOTALL)
_WITH_HEREDOCS = frozenset(("add", "copy", "run"))


class Node(msgspec.Struct):
    """An instruction: ``arguments`` as its kind is split; ``is_json``: they were a JSON array of texts.

    ``pairs`` takes the arguments' place for ENV and LABEL: name, value, and whether ``=`` was between them.
    ``inner`` is what ONBUILD is for. ``comments`` are those right before it.
    """

    line: int
    end_line: int
    keyword: str
    original: str
    flags: list[str]
    arguments: list[str] = []
    is_json: bool = False
    pairs: list[tuple[str, str, bool]] = []
    inner: Node | None = None
    heredocs: list[Heredoc] = []
    comments: list[str] = []


class Lexed(NamedTuple):
    """A whole file; ``empty_continuations`` are the lines after which instructions go on that had empty lines."""

    nodes: list[Node]
    lines: list[str]
    directives: dict[str, str]
    escape: str
    empty_continuations: list[int]


class _Line(NamedTuple):
    number: int
    text: str
    """Without its line end."""
    end: str


def lex(data: bytes) -> Lexed:
    """Split a file. Raises DockerfileError."""
    if not data:
        raise DockerfileError("the Dockerfile cannot be empty")
    if len(data) > MAX_FILE:
        raise DockerfileError(f"the Dockerfile is larger than {MAX_FILE >> 20} MiB")
    lines = list(_lines(decode(data.removeprefix(b"\xef\xbb\xbf"))))
    return _Lexer(lines, data).run()


def directive(data: bytes, name: str) -> str:
    """What a directive says, whatever comes after it is: also after ``#!``, and in a file that is wrong."""
    lines = data[:_MAX_DIRECTIVES].removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for line in lines[1:] if lines[0].startswith(b"#!") else lines:
        text = decode(line.rstrip(b"\r"))
        found = _read_directive(text) if text.startswith("#") else None
        if found is None:
            break
        if found[0] == name:
            return printable(found[1])
    return ""


def _read_directive(comment: str) -> tuple[str, str] | None:
    """The name and the value of a directive that is known; None for any other comment."""
    match = _DIRECTIVE.fullmatch(comment[1:].lstrip(SPACES))
    if match is None or match[1].lower() not in _DIRECTIVES:
        return None
    return match[1].lower(), match[2].rstrip("\t\n\f\r ") or match[2]


def trigger(expression: str) -> Node:
    """The instruction of an ONBUILD in an image. Raises DockerfileError."""
    nodes = lex(expression.encode("utf-8", "surrogateescape")).nodes
    if len(nodes) != 1:
        raise DockerfileError("onbuild trigger should be a single expression")
    return nodes[0]


def _lines(text: str) -> Iterator[_Line]:
    for number, raw in enumerate(text.split("\n"), 1):
        stripped = raw.rstrip("\r")
        yield _Line(number, stripped, raw[len(stripped) :] + "\n")


class _Lexer:
    def __init__(self, lines: list[_Line], data: bytes) -> None:
        if not lines[-1].text and not lines[-1].end[:-1]:
            lines.pop()  # what is after the last line end is no line
        elif not data.endswith(b"\n"):
            lines[-1] = lines[-1]._replace(end=lines[-1].end[:-1])
        self.lines = lines
        self.index = 0
        self.escape = "\\"
        self.directives: dict[str, str] = {}
        self.in_directives = True
        self.comments: list[str] = []
        self.nodes: list[Node] = []
        self.empty_continuations: list[int] = []

    def run(self) -> Lexed:
        while self.index < len(self.lines):
            self._instruction()
        if not self.nodes:
            raise DockerfileError(
                "file with no instructions", max(len(self.lines), 1), text="file with no instructions"
            )
        lines = [line.text for line in self.lines]
        return Lexed(self.nodes, lines, self.directives, self.escape, self.empty_continuations)

    def _take(self) -> _Line:
        line = self.lines[self.index]
        self.index += 1
        if len(line.text) + len(line.end) > MAX_LINE and len(line.text.encode("utf-8", "replace")) > MAX_LINE:
            raise _lexical(f"dockerfile line greater than max allowed size of {MAX_LINE}", line.number)
        return line

    def _instruction(self) -> None:
        first = self._take()
        text = first.text.lstrip(SPACES)
        if text.startswith("#"):
            self._comment(first, text)
            return
        self.in_directives = False
        text, goes_on = self._continues(text)
        if not text and not goes_on:
            return
        parts, end, had_empty = [text], first.number, False
        while goes_on and self.index < len(self.lines):
            line = self._take()
            end = line.number
            if line.text.lstrip(SPACES).startswith("#"):
                continue
            if not line.text.strip(SPACES):
                had_empty = True
                continue
            text, goes_on = self._continues(line.text)
            parts.append(text)
        if had_empty:
            self.empty_continuations.append(end)
        joined = "".join(parts)
        node = split(joined, first.number, end, self.escape)
        node.comments, self.comments = self.comments, []
        if _takes_heredocs(node) and "<<" in joined:
            self._heredocs(node, joined)
        self.nodes.append(node)
        if len(self.nodes) > MAX_INSTRUCTIONS:
            raise _lexical(f"the Dockerfile has more than {MAX_INSTRUCTIONS} instructions", node.line)

    def _comment(self, line: _Line, text: str) -> None:
        comment = line.text[1:].strip(SPACES)
        if self.in_directives:
            found = _read_directive(text)
            if found is not None:
                self._directive(*found, line.number)
                return
            self.in_directives = False
        if comment:
            self.comments.append(comment)
        else:
            self.comments = []

    def _directive(self, key: str, value: str, number: int) -> None:
        if key in self.directives:
            raise _lexical(f"only one {key} parser directive can be used", number)
        self.directives[key] = value
        if key == "escape":
            if value not in ("`", "\\"):
                raise _lexical(f"invalid escape token '{value}' does not match ` or \\", number)
            self.escape = value

    def _continues(self, text: str) -> tuple[str, bool]:
        """``text`` without an escape character at its end, and whether there was one that is not escaped itself."""
        body = text.rstrip(" \t")
        if body.endswith(self.escape) and not body.endswith(self.escape * 2):
            return body[:-1], True
        return text, False

    def _heredocs(self, node: Node, text: str) -> None:
        for heredoc in _heredocs_of(text, node):
            content: list[str] = []
            while self.index < len(self.lines):
                line = self._take()
                node.end_line = line.number
                if (line.text.lstrip("\t") if heredoc.chomp else line.text) == heredoc.name:
                    break
                content.append(line.text + line.end)
            else:
                raise _lexical("unterminated heredoc", node.line, node.end_line)
            node.heredocs = [*node.heredocs, msgspec.structs.replace(heredoc, content="".join(content))]


def _lexical(reason: str, line: int, end_line: int = 0) -> DockerfileError:
    return DockerfileError(reason, line, end_line, text=reason)


def _takes_heredocs(node: Node) -> bool:
    inner = node.inner if node.keyword.lower() == "onbuild" and node.inner is not None else node
    return inner.keyword.lower() in _WITH_HEREDOCS and not inner.is_json


def _heredocs_of(text: str, node: Node) -> list[Heredoc]:
    try:
        found = words.expand(text, {}, raw_quotes=True, raw_escapes=True, keep_unset=True).words
    except words.WordError:
        return []  # quotes that do not end are the shell's affair
    try:
        return [heredoc for word in found if (heredoc := heredoc_word(word)) is not None]
    except words.WordError as error:
        raise _lexical(str(error), node.line, node.end_line) from None


def heredoc_word(word: str) -> Heredoc | None:
    """What ``<<NAME`` says, without content; None for another word. Raises WordError for quotes without an end."""
    match = _HEREDOC.fullmatch(word)
    if match is None or not match[3]:
        return None
    plain = words.expand(match[3], {}, keep_unset=True).words
    if len(plain) != 1:
        return None
    raw = words.expand(match[3], {}, raw_quotes=True, keep_unset=True).words[0]
    quotes = [sum(text.count(mark) for mark in "'\"") for text in (plain[0], raw)]
    return Heredoc(
        name=plain[0],
        content="",
        word=word,
        expand=quotes[0] == quotes[1],
        chomp=match[2] == "-",
        descriptor=int(match[1][:9] or "0"),
    )


def split(text: str, line: int, end_line: int, escape: str) -> Node:
    """Split one instruction, on one line, as its kind wants it. Raises DockerfileError."""
    keyword, _, rest = _cut_blanks(text.strip(SPACES))
    flags, rest = _flags(rest)
    rest = rest.strip(SPACES)
    node = Node(line, end_line, keyword, text, flags)
    try:
        _arguments(node, rest, escape)
    except _NotTexts:
        raise _lexical(
            "when using JSON array syntax, arrays must be comprised of strings only", line, end_line
        ) from None
    return node


def _arguments(node: Node, rest: str, escape: str) -> None:
    match node.keyword.lower():
        case "run" | "cmd" | "entrypoint" | "shell":
            _maybe_json(node, rest)
        case "add" | "copy" | "volume":
            _maybe_json(node, rest, split_words=True)
        case "from" | "expose":
            node.arguments = _BLANKS.split(rest) if rest else []
        case "user" | "workdir" | "stopsignal" | "maintainer":
            node.arguments = [rest] if rest else []
        case "arg":
            node.arguments = quoted_words(rest, escape)
        case "env" | "label":
            node.pairs = _pairs(node, rest, escape)
        case "healthcheck":
            kind, _, command = _cut_spaces(rest)
            _maybe_json(node, command)
            node.arguments = [kind, *node.arguments] if kind else []
        case "onbuild" if rest:
            node.inner = split(rest, node.line, node.end_line, escape)
            node.arguments = [node.inner.keyword]


def _cut_blanks(text: str) -> tuple[str, str, str]:
    match = _BLANKS.search(text)
    return (text, "", "") if match is None else (text[: match.start()], match[0], text[match.end() :])


def _cut_spaces(text: str) -> tuple[str, str, str]:
    for index, character in enumerate(text):
        if is_space(character):
            return text[:index], character, text[index:].lstrip(SPACES)
    return text, "", ""


def _flags(text: str) -> tuple[list[str], str]:
    """The words at the beginning that begin with ``--``, without quotes and escapes, and what follows them."""
    flags: list[str] = []
    position = 0
    while True:
        while position < len(text) and is_space(text[position]):
            position += 1
        if not text.startswith("--", position):
            return flags, text[position:]
        word, was_quoted, position = _flag(text, position)
        if word == "--":
            return flags, text[position:]
        if word or was_quoted:
            flags.append(word)


def _flag(text: str, position: int) -> tuple[str, bool, int]:
    out: list[str] = []
    inside, was_quoted = "", False
    while position < len(text):
        character = text[position]
        if character == inside:
            inside = ""
        elif not inside and character in "'\"":
            inside, was_quoted = character, True
        elif not inside and is_space(character):
            break
        elif character == "\\":
            position += 1
            out.append(text[position : position + 1])
        else:
            out.append(character)
        position += 1
    return "".join(out), was_quoted, min(position, len(text))


class _NotTexts(Exception):  # noqa: N818 - it is no error before split() makes it one
    pass


def _maybe_json(node: Node, rest: str, split_words: bool = False) -> None:
    if not rest:
        return
    found = _json(rest)
    if found is not None:
        node.arguments, node.is_json = found, True
    elif split_words:
        node.arguments = _BLANKS.split(rest)
    else:
        node.arguments = [rest]


def _json(text: str) -> list[str] | None:
    """The texts of a JSON array; None for what is no array. Raises _NotTexts for an array of something else."""
    if not text.startswith("["):
        return None
    try:
        found: Any = json.loads(text, parse_int=len, parse_float=len, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(word, str) for word in found):
        raise _NotTexts
    return [re.sub("[\ud800-\udbff\udc00-\udfff]", "\ufffd", word) for word in found]


def _refuse(text: str) -> Any:
    raise ValueError(text)


def quoted_words(text: str, escape: str) -> list[str]:
    """Split at blanks that are neither quoted nor escaped; quotes and escapes stay."""
    found: list[str] = []
    word: list[str] = []
    inside, position = "", 0
    started = False
    while position < len(text):
        character = text[position]
        position += 1
        if not inside and is_space(character):
            if started:
                found.append("".join(word))
            word, started = [], False
            continue
        if character == escape and inside != "'":
            if position == len(text):
                break  # an escape character at the end is nothing
            word += (character, text[position])
            position += 1
            started = True
            continue
        if not inside and character in "'\"":
            inside = character
        elif character == inside:
            inside = ""
        word.append(character)
        started = True
    if started:
        found.append("".join(word))
    return found


def _pairs(node: Node, rest: str, escape: str) -> list[tuple[str, str, bool]]:
    found = quoted_words(rest, escape)
    if not found:
        return []
    if "=" not in found[0]:
        name, blank, value = _cut_blanks(rest)
        if not blank:
            raise _lexical(f"{node.keyword.upper()} must have two arguments", node.line, node.end_line)
        return [(name, value, False)]
    pairs = []
    for word in found:
        name, equals, value = word.partition("=")
        if not equals:
            reason = f"Syntax error - can't find = in {quote(word)}. Must be of the form: name=value"
            raise _lexical(reason, node.line, node.end_line)
        pairs.append((name, value, True))
    return pairs
