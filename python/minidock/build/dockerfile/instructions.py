"""What a Dockerfile says, one value for each instruction; :func:`minidock.build.dockerfile.parsing.parse` makes them.

How a build uses them::

    dockerfile = parsing.parse(data)                             # DockerfileError: with the line
    arguments = scopes.arguments(dockerfile, given, build_platform, target_platform, target)
    bases = scopes.bases(dockerfile, arguments)                  # every FROM expanded, in order
    order = scopes.needed(dockerfile, bases, target)             # stages that the target needs, by index, ascending
    state = config.State(dockerfile, arguments, base_config)     # of an image; scratch: config.scratch()
    state = config.State(dockerfile, arguments, parent=state_of_the_stage_that_FROM_names)
    for instruction in state.instructions(dockerfile.stages[i]): # what ONBUILD of the base says comes first
        step = state.apply(instruction)                          # step.instruction: expanded; .created_by, .env, …
    state.config, state.history, state.author

Words are kept as they are written: with quotes, escapes and variables. ``state.apply`` expands what BuildKit expands,
with the environment that is in force at that line, and gives back the same kind of value with expanded words: quotes
are gone then. COPY and ADD expand sources, destination, ``--chown``, ``--chmod``, ``--checksum`` and ``--exclude``, and
heredocs whose name is not quoted; ``--from`` expands nowhere. RUN expands the values of its mounts' keys but ``from``.
CMD, ENTRYPOINT, SHELL, HEALTHCHECK, ONBUILD and the commands of RUN expand nothing: their shell does.

ARG scopes: ARGs before the first FROM (:attr:`Dockerfile.arguments`) are seen by FROM lines only, and by a stage that
names the argument again without a default. A stage sees its own from the line on, and those of the stage it is based
on; of ARG and ENV with one name the later one wins. Platform arguments (TARGETARCH, …) have to be declared in a stage;
proxies (HTTP_PROXY, …) need not be.

The content of heredocs can have bytes that are not UTF-8, for COPY and ADD: encode it with ``surrogateescape``.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from minidock.errors import InvalidArgument
from minidock.spec import oci_image

_MAX_ERROR = 1000


class DockerfileError(InvalidArgument):
    """A Dockerfile is wrong. ``line`` is the first line of the instruction, from 1, or 0 where there is none.

    ``reason`` is the text without the place.
    """

    def __init__(self, reason: str, line: int = 0, end_line: int = 0, *, text: str | None = None) -> None:
        self.reason = _one_line(reason)
        self.line = line
        self.end_line = max(line, end_line)
        self.excerpt = ""
        """The lines around it, as the build shows them."""
        self.file = ""
        """The Python program whose lines these are; empty for a Dockerfile."""
        if text is None:
            text = f"dockerfile parse error on line {line}: {reason}" if line else reason
        super().__init__(_one_line(text))


def _one_line(text: str) -> str:
    """``text`` without what a terminal would take for something else, and not too long."""
    if len(text) > _MAX_ERROR:
        text = text[:_MAX_ERROR] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class Heredoc(Struct, frozen=True, kw_only=True):
    """The lines between ``<<NAME`` and ``NAME``; ``content`` has its last newline.

    ``expand``: the name is not quoted, so variables in the content are expanded (COPY and ADD: by the build; RUN: by
    its shell). ``chomp``: ``<<-``; tabs at the beginnings of lines are to be removed, see :meth:`text`. ``word`` is
    how it is written (``<<-"EOF"``, with a descriptor before it in RUN: ``3<<EOF``).
    """

    name: str
    content: str
    word: str
    expand: bool = True
    chomp: bool = False
    descriptor: int = 0

    def text(self) -> str:
        """The content; without the tabs at the beginnings of lines where ``<<-`` says so."""
        if not self.chomp:
            return self.content
        return "".join(line.lstrip("\t") for line in self.content.splitlines(keepends=True))


class Flag(Struct, frozen=True):
    """``--name=value`` or ``--name`` (value None) as it is written."""

    name: str
    value: str | None = None


class Instruction(Struct, frozen=True, kw_only=True):
    """What all have. Lines count from 1, the last one (of a heredoc, too) is included.

    ``keyword`` is the word as written; ``original`` is the instruction on one line: continuations joined, comments
    between them gone, no heredocs, no white space at its ends. ``flags`` are as written.
    """

    line: int
    end_line: int
    keyword: str
    original: str
    flags: tuple[Flag, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def name(self) -> str:
        """``RUN``, ``COPY``, …"""
        return type(self).__name__.upper()


class Command(Struct, frozen=True):
    """A command in JSON form (``shell`` is False, ``words`` is its argument vector) or for the shell (one word)."""

    words: tuple[str, ...]
    shell: bool


class From(Instruction, frozen=True, kw_only=True):
    """``FROM [--platform=P] IMAGE [AS NAME]``; ``stage`` is NAME in lower case or empty.

    ``comments`` are those right before it.
    """

    image: str
    stage: str = ""
    stage_written: str = ""
    as_word: str = ""
    platform: str = ""
    comments: tuple[str, ...] = ()


class Mount(Struct, frozen=True, kw_only=True):
    """``RUN --mount=type=…``.

    ``source`` is a path in ``from_`` (a stage, an image or a named context; empty: the build context). ``size`` is in
    bytes, ``mode`` in bits; None stands for what is not said. ``readonly`` is decided: a bind is, unless rw. ``env``
    is the variable of a secret. What has ``$`` in it waits in ``words`` (the key and its word) for the expansion;
    after it every field is final and ``words`` is empty.
    """

    type: Literal["bind", "cache", "tmpfs", "secret", "ssh"] = "bind"
    from_: str = ""
    source: str = ""
    target: str = ""
    readonly: bool = False
    sharing: Literal["", "shared", "private", "locked"] = ""
    id: str = ""
    size: int | None = None
    required: bool = False
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    env: str | None = None
    words: tuple[tuple[str, str], ...] = ()


class Run(Instruction, frozen=True, kw_only=True):
    """``RUN``. The text of the shell form holds the heredocs' words (``<<EOF``); ``heredocs`` has their content.

    :class:`minidock.build.dockerfile.config.State` makes a step with the argument vector of it.
    """

    command: Command
    mounts: tuple[Mount, ...] = ()
    network: Literal["default", "none", "host"] = "default"
    security: Literal["sandbox", "insecure"] = "sandbox"
    devices: tuple[str, ...] = ()


class Cmd(Instruction, frozen=True, kw_only=True):
    """``CMD``."""

    command: Command


class Entrypoint(Instruction, frozen=True, kw_only=True):
    """``ENTRYPOINT``."""

    command: Command


class Shell(Instruction, frozen=True, kw_only=True):
    """``SHELL [...]``: what runs the commands for the shell."""

    words: tuple[str, ...]


class Env(Instruction, frozen=True, kw_only=True):
    """``ENV A=1 B=2``; ``legacy``: ``ENV A 1``."""

    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False


class Label(Instruction, frozen=True, kw_only=True):
    """``LABEL a=1 b=2``; ``legacy``: ``LABEL a 1``."""

    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False


class Arg(Instruction, frozen=True, kw_only=True):
    """``ARG A B=1``: names, each with its default or None; ``docs`` has what comments before it say about each."""

    pairs: tuple[tuple[str, str | None], ...]
    docs: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()


class Expose(Instruction, frozen=True, kw_only=True):
    """``EXPOSE 80 443/tcp 5000-5010``; after the expansion one port for each word, with its protocol."""

    ports: tuple[str, ...]


class Transfer(Instruction, frozen=True, kw_only=True):
    """What ADD and COPY have. Sources that are heredocs are in ``heredocs``, in their order after ``sources``.

    ``context``: the name of a context that no Dockerfile can name; empty for the build's own.
    """

    sources: tuple[str, ...]
    destination: str
    context: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()


class Add(Transfer, frozen=True, kw_only=True):
    """``ADD``; ``unpack`` None: archives of the context are unpacked, those that are fetched are not."""

    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None


class Copy(Transfer, frozen=True, kw_only=True):
    """``COPY``; ``from_`` is a stage's name or number, a named context or an image; empty: the build context."""

    from_: str = ""
    parents: bool = False


class Volume(Instruction, frozen=True, kw_only=True):
    """``VOLUME``."""

    paths: tuple[str, ...]


class User(Instruction, frozen=True, kw_only=True):
    """``USER name[:group]``."""

    user: str


class Workdir(Instruction, frozen=True, kw_only=True):
    """``WORKDIR``; after the expansion ``path`` is absolute, though perhaps not clean."""

    path: str


class Onbuild(Instruction, frozen=True, kw_only=True):
    """``ONBUILD INSTRUCTION``: ``expression`` goes into the image's configuration, heredocs included."""

    expression: str


class Stopsignal(Instruction, frozen=True, kw_only=True):
    """``STOPSIGNAL``."""

    signal: str


class Healthcheck(Instruction, frozen=True, kw_only=True):
    """``HEALTHCHECK``; its test is ``["NONE"]``, ``["CMD", …]`` or ``["CMD-SHELL", text]``."""

    config: oci_image.Healthcheck


class Maintainer(Instruction, frozen=True, kw_only=True):
    """``MAINTAINER``: deprecated; the image's author."""

    author: str


class Stage(Struct, frozen=True, kw_only=True):
    """One FROM and what follows it. ``name`` is empty where it has none; ``doc`` is the comment before it."""

    index: int
    from_: From
    instructions: tuple[Instruction, ...]
    doc: str = ""

    @property
    def name(self) -> str:
        """Its name in lower case, or an empty text."""
        return self.from_.stage


class Dockerfile(Struct, frozen=True, kw_only=True):
    """A whole file. ``arguments`` are the ARGs before the first FROM; ``lines`` is the source, without line ends.

    ``syntax`` and ``check`` are what ``# syntax=`` (known, not followed) and ``# check=`` say;
    ``empty_continuations`` are the last lines of instructions with empty lines in them.
    """

    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    lines: tuple[str, ...]
    escape: str = "\\"
    syntax: str = ""
    check: str = ""
    empty_continuations: tuple[int, ...] = ()
