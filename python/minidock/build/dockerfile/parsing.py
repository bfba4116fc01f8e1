"""Dockerfiles to instructions: see :mod:`minidock.build.dockerfile.instructions`. Pure."""

from __future__ import annotations

import re
from typing import Any, cast

from minidock.build.dockerfile import lexing, mounts
from minidock.build.dockerfile.flags import FlagError, Flags, Kind
from minidock.build.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Command,
    Copy,
    Dockerfile,
    DockerfileError,
    Entrypoint,
    Env,
    Expose,
    Flag,
    From,
    Healthcheck,
    Heredoc,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stage,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from minidock.build.dockerfile.lexing import Node
from minidock.build.dockerfile.linting import Linter
from minidock.build.dockerfile.text import SPACES, is_utf8, printable, quote, suggestion
from minidock.build.dockerfile.words import WordError
from minidock.containers.parse.times import duration
from minidock.spec.oci_image import Healthcheck as HealthcheckSpec

_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*")
_ONBUILD = re.compile(r"[\t\n\f\r ]*ONBUILD[\t\n\f\r ]*", re.IGNORECASE)
_MINIMUM = 1_000_000


class _Wrong(Exception):  # noqa: N818 - becomes a DockerfileError where the line is known
    """The text says what is wrong with an instruction."""


def parse(data: bytes) -> Dockerfile:
    """Read a whole Dockerfile. Raises DockerfileError for the first thing that is wrong, as BuildKit does."""
    check = lexing.directive(data, "check")
    Linter(check)  # as in BuildKit, what is wrong with it comes before what is wrong with the rest
    lexed = lexing.lex(data)
    arguments: list[Arg] = []
    stages: list[tuple[From, str, list[Instruction]]] = []
    for node in lexed.nodes:
        found = instruction(node)
        if isinstance(found, From):
            stages.append((found, _doc(node.comments, found.stage), []))
        elif stages:
            stages[-1][2].append(found)
        elif isinstance(found, Arg):
            arguments.append(found)
        else:
            reason = "no build stage in current context"
            raise DockerfileError(reason, node.line, node.end_line, text=reason)
    if not stages:
        raise DockerfileError("dockerfile contains no stages to build")
    return Dockerfile(
        arguments=tuple(arguments),
        stages=tuple(
            Stage(index=index, from_=from_, instructions=tuple(found), doc=doc)
            for index, (from_, doc, found) in enumerate(stages)
        ),
        lines=tuple(map(printable, lexed.lines)),
        escape=lexed.escape,
        syntax=lexed.directives.get("syntax", ""),
        check=check,
        empty_continuations=tuple(lexed.empty_continuations),
    )


def parse_trigger(expression: str, line: int = 0, end_line: int = 0) -> Instruction:
    """Read one of an image's ``OnBuild``; its place is that of the FROM. Raises DockerfileError."""
    node = lexing.trigger(expression)
    node.line, node.end_line = line, end_line
    try:
        found = instruction(node)
    except DockerfileError as error:
        raise DockerfileError(error.reason, line, end_line, text=error.reason) from None
    if isinstance(found, From):
        raise DockerfileError("FROM isn't allowed as an ONBUILD trigger", line, end_line)
    return found


def instruction(node: Node) -> Instruction:
    """Understand one instruction. Raises DockerfileError."""
    reader = _READERS.get(node.keyword.lower())
    try:
        if reader is None:
            known = [name.upper() for name in _READERS]
            raise _Wrong(
                f"unknown instruction: {printable(node.keyword)}{suggestion(node.keyword, known, any_case=True)}"
            )
        return reader(node)  # type: ignore[no-any-return]
    except (_Wrong, FlagError, mounts.MountError) as error:
        raise DockerfileError(str(error), node.line, node.end_line) from None


def _common(node: Node) -> dict[str, Any]:
    return {
        "line": node.line,
        "end_line": node.end_line,
        "keyword": printable(node.keyword),
        "original": printable(node.original.strip(SPACES)),
        "flags": tuple(Flag(*_flag(word)) for word in node.flags),
        "heredocs": tuple(node.heredocs),
    }


def _flag(word: str) -> tuple[str, str | None]:
    name, equals, value = printable(word)[2:].partition("=")
    return name, value if equals else None


def _flags(node: Node, **known: Kind) -> Flags:
    return Flags(
        [printable(word) for word in node.flags], {name.replace("_", "-"): kind for name, kind in known.items()}
    )


def _texts(node: Node) -> list[str]:
    return [printable(word) for word in node.arguments]


def _only(node: Node, name: str) -> str:
    if len(node.arguments) != 1:
        raise _Wrong(f"{name} requires exactly one argument")
    _flags(node)
    return printable(node.arguments[0])


def _at_least_one(node: Node, name: str) -> None:
    if not node.arguments:
        raise _Wrong(f"{name} requires at least one argument")


def _doc(comments: list[str], name: str) -> str:
    """What the comments before an instruction say about ``name``, after its name."""
    if not name:
        return ""
    found = (comment[len(name) + 1 :] for comment in comments if comment.startswith(name + " "))
    return printable(next(found, ""))


def _command(node: Node, words: list[str]) -> Command:
    if node.is_json:
        return Command(tuple(words), shell=False)
    return Command((" ".join(words),), shell=True)  # noqa: S604 - a field, nothing is run


def _from(node: Node) -> From:
    words = _texts(node)
    name = as_word = ""
    if len(words) == 3 and words[1].lower() == "as":
        as_word, name = words[1], words[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            raise _Wrong(
                f"invalid name for build stage: {quote(words[2])}, name can't start with a number or contain symbols"
            )
    elif len(words) != 1:
        raise _Wrong("FROM requires either one or three arguments")
    flags = _flags(node, platform="text")
    return From(
        **_common(node),
        image=words[0],
        stage=name,
        stage_written=words[2] if name else "",
        as_word=as_word,
        platform=flags.text("platform"),
        comments=tuple(map(printable, node.comments)),
    )


def _run(node: Node) -> Run:
    flags = _flags(node, mount="texts", network="text", security="text", device="texts")
    words = _texts(node)
    if not is_utf8(node.original) or not all(is_utf8(heredoc.content) for heredoc in node.heredocs):
        raise _Wrong("RUN contains invalid UTF-8")
    found = tuple(mounts.parse(text) for text in flags.texts("mount"))
    network = flags.text("network") or "default"
    if network not in ("default", "none", "host"):
        raise _Wrong(f"invalid network mode {quote(network)}{suggestion(network, ('default', 'none', 'host'))}")
    security = flags.text("security") or "sandbox"
    if security not in ("sandbox", "insecure"):
        raise _Wrong(f"security {quote(security)} is not valid{suggestion(security, ('sandbox', 'insecure'))}")
    return Run(
        **_common(node),
        command=_command(node, words),
        mounts=found,
        network=cast(Any, network),
        security=cast(Any, security),
        devices=flags.texts("device"),
    )


def _cmd(node: Node) -> Cmd:
    _flags(node)
    return Cmd(**_common(node), command=_command(node, _texts(node)))


def _entrypoint(node: Node) -> Entrypoint:
    _flags(node)
    return Entrypoint(**_common(node), command=_command(node, _texts(node)))


def _shell(node: Node) -> Shell:
    _flags(node)
    _at_least_one(node, "SHELL")
    if not node.is_json:
        raise _Wrong("SHELL requires the arguments to be in JSON form")
    return Shell(**_common(node), words=tuple(_texts(node)))


def _pairs(node: Node, name: str) -> dict[str, Any]:
    _flags(node)
    if not node.pairs:
        raise _Wrong(f"{name} requires at least one argument")
    if not all(key for key, _, _ in node.pairs):
        raise _Wrong(f"{name} names can not be blank")
    pairs = tuple((printable(key), printable(value)) for key, value, _ in node.pairs)
    return {**_common(node), "pairs": pairs, "legacy": not node.pairs[0][2]}


def _env(node: Node) -> Env:
    return Env(**_pairs(node, "ENV"))


def _label(node: Node) -> Label:
    return Label(**_pairs(node, "LABEL"))


def _arg(node: Node) -> Arg:
    _at_least_one(node, "ARG")
    pairs: list[tuple[str, str | None]] = []
    for word in _texts(node):
        name, equals, value = word.partition("=")
        if equals and not name:
            raise _Wrong("ARG names can not be blank")
        pairs.append((name, value if equals else None))
    docs = tuple(_doc(node.comments, name) for name, _ in pairs)
    return Arg(**_common(node), pairs=tuple(pairs), docs=docs, comments=tuple(map(printable, node.comments)))


def _expose(node: Node) -> Expose:
    _at_least_one(node, "EXPOSE")
    _flags(node)
    return Expose(**_common(node), ports=tuple(sorted(_texts(node))))


def _transfer(node: Node, name: str) -> dict[str, Any]:
    *words, destination = _texts(node)
    if _heredoc(destination) is not None:
        raise _Wrong(f"{name} cannot accept a heredoc as a destination")
    content = {heredoc.name: heredoc.content for heredoc in node.heredocs}
    sources: list[str] = []
    heredocs: list[Heredoc] = []
    for word in words:
        heredoc = None if node.is_json else _heredoc(word)
        if heredoc is None:
            sources.append(word)
        else:
            heredocs.append(Heredoc(**_fields(heredoc) | {"content": content.get(heredoc.name, "")}))
    return {"sources": tuple(sources), "destination": destination, **_common(node), "heredocs": tuple(heredocs)}


def _fields(heredoc: Heredoc) -> dict[str, Any]:
    return {name: getattr(heredoc, name) for name in heredoc.__struct_fields__}


def _heredoc(word: str) -> Heredoc | None:
    try:
        return lexing.heredoc_word(word)
    except WordError:
        return None


def _needs_two(node: Node, name: str) -> None:
    if len(node.arguments) < 2:
        raise _Wrong(
            f"{name} requires at least two arguments, but only one was provided. Destination could not be determined"
        )


def _add(node: Node) -> Add:
    _needs_two(node, "ADD")
    flags = _flags(
        node,
        exclude="texts",
        chown="text",
        chmod="text",
        link="bool",
        keep_git_dir="bool",
        checksum="text",
        unpack="bool",
    )
    return Add(
        **_transfer(node, "ADD"),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=bool(flags.given("link")),
        exclude=flags.texts("exclude"),
        checksum=flags.text("checksum"),
        keep_git_dir=flags.given("keep-git-dir"),
        unpack=flags.given("unpack"),
    )


def _copy(node: Node) -> Copy:
    _needs_two(node, "COPY")
    known: dict[str, Kind] = {"from": "text"}
    flags = _flags(node, **known, exclude="texts", parents="bool", chown="text", chmod="text", link="bool")
    return Copy(
        **_transfer(node, "COPY"),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=bool(flags.given("link")),
        exclude=flags.texts("exclude"),
        from_=flags.text("from"),
        parents=bool(flags.given("parents")),
    )


def _volume(node: Node) -> Volume:
    _at_least_one(node, "VOLUME")
    _flags(node)
    paths = tuple(word.strip(SPACES) for word in _texts(node))
    if not all(paths):
        raise _Wrong("VOLUME specified can not be an empty string")
    return Volume(**_common(node), paths=paths)


def _user(node: Node) -> User:
    return User(**_common(node), user=_only(node, "USER"))


def _workdir(node: Node) -> Workdir:
    return Workdir(**_common(node), path=_only(node, "WORKDIR"))


def _stopsignal(node: Node) -> Stopsignal:
    return Stopsignal(**_common(node), signal=_only(node, "STOPSIGNAL"))


def _maintainer(node: Node) -> Maintainer:
    return Maintainer(**_common(node), author=_only(node, "MAINTAINER"))


def _onbuild(node: Node) -> Onbuild:
    _at_least_one(node, "ONBUILD")
    _flags(node)
    trigger = node.arguments[0].upper()
    if trigger == "ONBUILD":
        raise _Wrong("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise _Wrong(f"{trigger} isn't allowed as an ONBUILD trigger")
    expression = _ONBUILD.sub("", node.original, count=1)
    for heredoc in node.heredocs:
        expression += f"\n{heredoc.content}{heredoc.name}"
    return Onbuild(**_common(node), expression=printable(expression))


def _healthcheck(node: Node) -> Healthcheck:
    _at_least_one(node, "HEALTHCHECK")
    kind, *words = _texts(node)
    kind = kind.upper()
    if kind == "NONE":
        if words:
            raise _Wrong("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(**_common(node), config=HealthcheckSpec(test=["NONE"]))
    flags = _flags(node, interval="text", timeout="text", start_period="text", start_interval="text", retries="text")
    if kind != "CMD":
        raise _Wrong(f"Unknown type {quote(kind)} in HEALTHCHECK (try CMD)")
    if not words:
        raise _Wrong("Missing command after HEALTHCHECK CMD")
    test = ["CMD", *words] if node.is_json else ["CMD-SHELL", " ".join(words)]
    return Healthcheck(
        **_common(node),
        config=HealthcheckSpec(
            test=test,
            interval=_interval(flags, "interval"),
            timeout=_interval(flags, "timeout"),
            start_period=_interval(flags, "start-period"),
            start_interval=_interval(flags, "start-interval"),
            retries=_retries(flags.text("retries")),
        ),
    )


def _interval(flags: Flags, name: str) -> int:
    text = flags.text(name)
    if not text:
        return 0
    found = duration(text)
    if found is None:
        unit = "missing unit in duration" if re.fullmatch(r"[+-]?[0-9]+", text) else "invalid duration"
        raise _Wrong(f"time: {unit} {quote(text)}")
    if found and found < _MINIMUM:
        raise _Wrong(f'Interval "{name}" cannot be less than 1ms')
    return found


def _retries(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        raise _Wrong(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    retries = int(text[:20])
    if not -(1 << 31) <= retries < 1 << 31:
        raise _Wrong(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    if retries < 0:
        raise _Wrong(f"--retries cannot be negative ({retries})")
    return retries


_READERS: dict[str, Any] = {
    "add": _add,
    "arg": _arg,
    "cmd": _cmd,
    "copy": _copy,
    "entrypoint": _entrypoint,
    "env": _env,
    "expose": _expose,
    "from": _from,
    "healthcheck": _healthcheck,
    "label": _label,
    "maintainer": _maintainer,
    "onbuild": _onbuild,
    "run": _run,
    "shell": _shell,
    "stopsignal": _stopsignal,
    "user": _user,
    "volume": _volume,
    "workdir": _workdir,
}
