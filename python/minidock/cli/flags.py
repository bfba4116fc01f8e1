"""Flags as Docker's users type them: ``-it``, ``-eK=V``, ``--rm=false``, ``--``, flags after the image left alone.

click's own parser knows no value for a boolean flag and reports in its own words, so the grammar of Docker's CLI (the
pflag library's) is here. A :class:`Flag` declares one flag once: parser, help text and completion all read it.
"""

from __future__ import annotations

from minidock.cli.words import UsageError, parse_bool, parse_float, parse_int, parse_uint, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from minidock.cli.surface import Reason

__all__ = ["Command", "Flag", "Values", "parse"]


def _text(value: str) -> str:
    return value


def _bytes(value: str) -> str:
    """A size stays text (the engine reads it), but text that is none is the flag's error."""
    number = value.strip().lower().removesuffix("ib").removesuffix("b")
    if number.endswith(("k", "m", "g", "t", "p")):
        number = number[:-1]
    try:
        sound = float(number) >= 0
    except ValueError:
        sound = False
    if not sound:
        raise ValueError(f"invalid size: '{value}'")
    return value


def _bytes_or_all(value: str) -> str:
    return value if value == "-1" else _bytes(value)


def _stream(value: str) -> str:
    if value.lower() not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return value.lower()


def _filter(value: str) -> tuple[str, str]:
    name, equals, text = value.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return name.strip().lower(), text.strip()


def _duration(value: str) -> float:
    from minidock.cli.words import parse_duration

    return parse_duration(value)


def _seconds(value: str) -> float:
    from minidock.cli.words import parse_duration

    return parse_duration(value, bare=True)


def _keys(value: str) -> str:
    from minidock.containers.parse.detach_keys import detach_keys
    from minidock.errors import InvalidArgument

    try:
        return detach_keys(value)
    except InvalidArgument as error:
        raise ValueError(str(error)) from None


def _mount(value: str) -> Any:
    from minidock.containers.parse.mount_option import mount
    from minidock.errors import InvalidArgument

    try:
        return mount(value)
    except InvalidArgument as error:
        raise ValueError(str(error)) from None


_READERS: dict[str, Callable[[str], Any]] = {
    "bool": parse_bool,
    "string": _text,
    "list": _text,
    "map": _text,
    "int": parse_int,
    "uint16": lambda text: parse_uint(text, 16),
    "decimal": parse_float,
    "bytes": _bytes,
    "bytes-or-all": _bytes_or_all,
    "duration": _duration,
    "seconds": _seconds,
    "stream": _stream,
    "filter": _filter,
    "keys": _keys,
    "mount": _mount,
    "gpu-request": _text,
}
_REPEATED = ("list", "map", "stream", "filter", "mount")
_HELP_WORDS = {"stream": "list", "keys": "string", "bytes-or-all": "bytes", "seconds": "duration"}


class Flag:
    """One flag of a command.

    ``kind`` says how its text is read; ``list``, ``map``, ``stream``, ``filter`` and ``mount`` may be repeated.
    ``option`` is the keyword of ``containers.create`` that the flag sets. ``reason`` marks a flag of Docker that
    minidock does not have (yet): giving it any value but ``harmless``, or one of a tuple of these, is an error in one
    line, never ignored.
    """

    __slots__ = (
        "aliases",
        "choices",
        "default",
        "harmless",
        "help",
        "hidden",
        "kind",
        "name",
        "option",
        "reason",
        "short",
    )

    def __init__(
        self,
        name: str,
        kind: str = "bool",
        help: str = "",
        *,
        short: str = "",
        default: Any = None,
        option: str = "",
        reason: Reason | None = None,
        harmless: Any = None,
        hidden: bool = False,
        aliases: Iterable[str] = (),
        choices: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.kind = kind
        self.help = help
        self.short = short
        self.default = default
        self.option = option
        self.reason = reason
        self.harmless = False if reason is not None and kind == "bool" and harmless is None else harmless
        self.hidden = hidden
        self.aliases = tuple(aliases)
        self.choices = tuple(choices)

    @property
    def title(self) -> str:
        """The flag as Docker's messages name it: ``-m, --memory``."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    @property
    def metavar(self) -> str:
        """The word for its value in help texts; empty for a boolean."""
        return "" if self.kind == "bool" else _HELP_WORDS.get(self.kind, self.kind)

    def _is_harmless(self, value: Any) -> bool:
        return value in self.harmless if isinstance(self.harmless, tuple) else bool(value == self.harmless)

    def read(self, text: str) -> Any:
        """Return the value that ``text`` means; :class:`UsageError` in Docker's words if it means none."""
        try:
            value = _READERS[self.kind](text)
        except ValueError as error:
            raise UsageError(f"invalid argument {quote(text)} for {quote(self.title)} flag: {error}") from None
        if self.reason is not None and not self._is_harmless(value):
            raise UsageError(self.reason.sentence(self.title))
        if self.choices and value not in self.choices:
            words = ", ".join(self.choices)
            raise UsageError(f"invalid argument {quote(text)} for {quote(self.title)} flag: must be one of {words}")
        return value


class Values:
    """What the flags of one invocation say, by flag name; a flag that was not given has its default."""

    __slots__ = ("_flags", "given")

    def __init__(self, flags: dict[str, Flag]) -> None:
        self._flags = flags
        self.given: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self.given:
            return self.given[name]
        flag = self._flags[name]
        if flag.default is not None:
            return flag.default
        if flag.kind == "bool":
            return False
        return [] if flag.kind in _REPEATED else None

    def __contains__(self, name: str) -> bool:
        """Whether the flag was on the command line."""
        return name in self.given

    def set(self, flag: Flag, text: str) -> None:
        """Take one occurrence of ``flag``."""
        value = flag.read(text)
        if flag.kind in _REPEATED:
            self.given.setdefault(flag.name, []).append(value)
        else:
            self.given[flag.name] = value

    def options(self) -> dict[str, Any]:
        """The keyword arguments of ``containers.create`` that the given flags set."""
        return {
            flag.option: self.given[name] for name, flag in self._flags.items() if flag.option and name in self.given
        }


class HelpWanted(Exception):  # noqa: N818 - not an error
    """``--help`` was given."""


class Command:
    """One command: its usage line, help, flags and what it runs.

    ``minimum``/``maximum`` bound the number of arguments (``maximum`` None: any number). With ``interspersed`` false
    the first argument ends the flags, as for ``run IMAGE COMMAND --flag-of-the-command``. ``complete`` names what the
    arguments are for shell completion: ``containers``, ``images``, ``any`` of these, ``networks``, ``manifests``,
    ``volumes``, ``files`` or nothing.
    """

    __slots__ = ("complete", "flags", "help", "interspersed", "long", "maximum", "minimum", "run", "short", "usage")

    def __init__(
        self,
        usage: str,
        help: str,
        flags: Sequence[Flag],
        run: Callable[[Any, Values, list[str]], int | None],
        *,
        minimum: int = 0,
        maximum: int | None = None,
        interspersed: bool = True,
        complete: str = "",
    ) -> None:
        self.usage = usage
        self.help = help
        self.flags = tuple(flags)
        self.run = run
        self.minimum = minimum
        self.maximum = maximum
        self.interspersed = interspersed
        self.complete = complete
        self.long: dict[str, Flag] = {}
        self.short: dict[str, Flag] = {}
        for flag in self.flags:
            self.long[flag.name] = flag
            for alias in flag.aliases:
                self.long[alias] = flag
            if flag.short:
                self.short[flag.short] = flag


def parse(command: Command, argv: Sequence[str]) -> tuple[Values, list[str]]:
    """Return the flags' values and the arguments in ``argv``.

    Raises :class:`HelpWanted` for ``--help``, and :class:`UsageError` in Docker's words for an unknown flag, a missing
    or bad value, or a flag that minidock does not have.
    """
    values = Values(command.long)
    arguments: list[str] = []
    position, end = 0, len(argv)
    while position < end:
        word = argv[position]
        position += 1
        if word == "--":
            arguments += argv[position:]
            break
        if word.startswith("--"):
            position = _long(command, values, argv, position, word)
        elif word.startswith("-") and len(word) > 1:
            position = _cluster(command, values, argv, position, word)
        elif command.interspersed:
            arguments.append(word)
        else:
            arguments += argv[position - 1 :]
            break
    return values, arguments


def _long(command: Command, values: Values, argv: Sequence[str], position: int, word: str) -> int:
    """Take ``--name``, ``--name=value`` or ``--name value``; return the position after it."""
    name, equals, text = word[2:].partition("=")
    if not name or name.startswith("-"):
        raise UsageError(f"bad flag syntax: {word}")
    flag = command.long.get(name)
    if flag is None:
        if name == "help":
            raise HelpWanted
        raise UsageError(f"unknown flag: --{name}")
    if equals:
        values.set(flag, text)
    elif flag.kind == "bool":
        values.set(flag, "true")
    elif position < len(argv):
        values.set(flag, argv[position])
        return position + 1
    else:
        raise UsageError(f"flag needs an argument: --{name}")
    return position


def _cluster(command: Command, values: Values, argv: Sequence[str], position: int, word: str) -> int:
    """Take ``-abc``, ``-n5``, ``-n=5`` or ``-n 5``; return the position after it."""
    letters = word[1:]
    while letters:
        letter, rest = letters[0], letters[1:]
        flag = command.short.get(letter)
        if flag is None:
            if letter == "h":
                raise HelpWanted
            raise UsageError(f"unknown shorthand flag: {letter!r} in -{letters}")
        if len(rest) > 1 and rest[0] == "=":
            values.set(flag, rest[1:])
            return position
        if flag.kind == "bool":
            values.set(flag, "true")
            letters = rest
        elif rest:
            values.set(flag, rest)
            return position
        elif position < len(argv):
            values.set(flag, argv[position])
            return position + 1
        else:
            raise UsageError(f"flag needs an argument: {letter!r} in -{letters}")
    return position
