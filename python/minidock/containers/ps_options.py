"""The options of ps: which columns, which processes, in which order. procps's ways of spelling them, its defaults too.

As in procps a word is read as Unix options (``-ef``), GNU options (``--sort=-pid``) or BSD options (``aux``); when that
makes no sense, everything is read once more with words such as ``-aux`` as BSD options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.containers.ps_columns import COLUMNS, LETTERS, Column, sort_key
from minidock.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from minidock.containers.processes import Process

    Selection = Callable[[Process], bool]

_BSD_FORMATS = {
    "j": "ppid pid pgid sid tname tpgid stat uid bsdtime args",
    "l": "f uid pid ppid priority ni vsz rss wchan stat tname bsdtime args",
    "s": "uid pid pending sigmask sigignore caught stat tname bsdtime args",
    "u": "user pid pcpu pmem vsz rss tname stat start_time bsdtime args",
    "v": "pid tname stat bsdtime maj_flt m_trs m_drs rss pmem args",
}

_LONG_WITH_VALUE = {
    **{"format": "o", "sort": "k", "pid": "p", "quick-pid": "p", "ppid": "ppid", "user": "u", "User": "U"},
    **{"group": "g", "Group": "G", "sid": "s", "tty": "t"},
}
_LONG = {
    **{"forest": "forest", "deselect": "N", "cumulative": "S"},
    **dict.fromkeys(("no-headers", "no-heading", "no-headings", "noheader", "noheaders", "noheadings"), "h"),
}


def parse(text: str) -> Options:
    """Return what the options of ps in ``text``, with spaces between them, ask for.

    Raises InvalidArgument and Unsupported, in procps's words where it has any.
    """
    words = text.split()
    try:
        return _Parser(words, bsd=False).options()
    except (InvalidArgument, Unsupported) as error:
        try:
            return _Parser(words, bsd=True).options()
        except (InvalidArgument, Unsupported):
            raise error from None


class Options:
    """What ps is to show."""

    def __init__(self) -> None:
        self.columns: list[Column] = []
        self.selections: list[Selection] = []
        self.negated = False
        self.everything = False
        self.running = False
        self.sort: list[tuple[Callable[[Process], tuple[float, str]], bool]] = []
        self.without_titles = False
        self.tree = ""
        """``f``: lines between parents and children; ``H``: indented."""
        self.threads = False
        self.cumulative = False
        self.names = False
        """The name of the program only, not its arguments."""
        self.environment = False
        self.numeric = False

    def selects(self, process: Process) -> bool:
        """Whether a process of the container is to be shown."""
        chosen = self.everything or not self.selections or any(one(process) for one in self.selections)
        return chosen != self.negated and (not self.running or process.state in "RD")

    def arrange(self, processes: list[Process]) -> Iterator[tuple[Process, str]]:
        """Return processes, or their threads, in order, each with what stands before its command."""
        for key, backwards in reversed(self.sort):
            processes.sort(key=key, reverse=backwards)
        for process, prefix in _tree(processes, self.tree) if self.tree else ((one, "") for one in processes):
            if self.threads:
                yield from ((thread, prefix) for thread in process.threads())
            else:
                yield process, prefix

    def cells(self, process: Process, prefix: str) -> list[str]:
        """Return the cells of a process."""
        last = len(self.columns) - 1
        return [self._cell(column, process, prefix, last=place == last) for place, column in enumerate(self.columns)]

    def _cell(self, column: Column, process: Process, prefix: str, *, last: bool) -> str:
        if column.value in _COMMANDS:
            text = process.comm if self.names else column.cell(process, last=last)
            return prefix + (f"{text} {process.environment}".rstrip() if self.environment else text)
        return column.cell(process, last=last)


_COMMANDS = tuple(COLUMNS[word].value for word in ("args", "cmd", "comm", "ucmd"))


def _tree(processes: list[Process], style: str) -> Iterator[tuple[Process, str]]:
    """Return processes with the children after their parents."""
    numbers = {process.pid for process in processes}
    children: dict[int, list[Process]] = {}
    for process in processes:
        parent = process.parent if process.parent in numbers and process.parent != process.pid else 0
        children.setdefault(parent, []).append(process)
    # An explicit stack: a container may nest processes deeper than Python may call.
    stack = [(process, "", "") for process in reversed(children.get(0, []))]
    while stack:
        process, prefix, below = stack.pop()
        yield process, prefix
        under = children.get(process.pid, [])
        for place in range(len(under) - 1, -1, -1):
            if style == "H":
                stack.append((under[place], below + "  ", below + "  "))
            else:
                stack.append((under[place], below + r" \_ ", below + (" |  " if place < len(under) - 1 else "    ")))


class _Parser:
    """Reads the words of one command line."""

    def __init__(self, words: Sequence[str], *, bsd: bool) -> None:
        self.words = words
        self.at = 0
        self.force_bsd = bsd
        self.bsd = bsd
        """Whether the default columns are BSD's."""
        self.made = Options()
        self.unix: set[str] = set()
        """Unix formats (f l j) and what changes them (F M P c y), threads (L T)."""
        self.bsd_format = ""
        self.own: list[Column] = []
        self.around: list[Column] = []
        """Columns of ``-O``."""

    def options(self) -> Options:
        while self.at < len(self.words):
            word = self.words[self.at]
            self.at += 1
            if word.startswith("--"):
                self._long(word[2:])
            elif word.startswith("-") and not self.force_bsd:
                self._letters(word[1:], self._unix)
            elif word.isdigit():
                self.bsd = True
                self._select("p", word)
            else:
                self.bsd = True
                self._letters(word.removeprefix("-"), self._bsd)
        self.made.columns = self._columns()
        return self.made

    # Words

    def _long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        if name in _LONG_WITH_VALUE:
            if not equals:
                value = self._next(f"--{name}")
            self._with_value(_LONG_WITH_VALUE[name], value)
        elif name in _LONG and not equals:
            self._flag(_LONG[name])
        elif name == "context" and not equals:
            self.own += [COLUMNS[word] for word in ("pid", "context", "command")]
        else:
            raise Unsupported(f"top: ps option --{name}: not one of those that minidock has")

    def _letters(self, letters: str, read: Callable[[str, str], bool]) -> None:
        if not letters:
            raise InvalidArgument("top: ps option -: it is no option")
        for place, letter in enumerate(letters):
            if read(letter, letters[place + 1 :]):
                return

    def _next(self, option: str) -> str:
        if self.at >= len(self.words):
            raise InvalidArgument(f"top: ps option {option}: it needs a value")
        self.at += 1
        return self.words[self.at - 1]

    def _unix(self, letter: str, rest: str) -> bool:
        """Take one letter of a Unix word; return whether the rest of the word was its value."""
        if letter in "CGgOopqstuU":
            self._with_value({"q": "p"}.get(letter, letter), rest or self._next(f"-{letter}"))
            return True
        if letter in "eAad":
            # A container's processes are few, and all of them are asked for; ps sees it the same way for Docker.
            self.made.everything = self.made.everything or letter in "eA"
        elif letter in "fljycPLT":
            self.unix.add(letter)
        elif letter == "F":
            self.unix |= {"f", "F"}
        elif letter in "MZ":
            self._flag("M")
        elif letter in "HN":
            self._flag(letter)
        elif letter != "w":  # nothing is ever cut
            raise Unsupported(f"top: ps option -{letter}: not one of those that minidock has")
        return False

    def _bsd(self, letter: str, rest: str) -> bool:
        """Take one letter of a BSD word; return whether the rest of the word was its value."""
        if letter in "kOopqtU":
            self._with_value({"q": "p", "U": "u"}.get(letter, letter), rest or self._next(letter))
            return True
        if letter in "axg":
            self.made.everything = True
        elif letter in _BSD_FORMATS:
            if self.bsd_format not in ("", letter):
                raise InvalidArgument("top: ps: conflicting format options")
            self.bsd_format = letter
        elif letter in "ceHhnrSf":
            self._flag({"f": "forest", "c": "names", "H": "threads"}.get(letter, letter))
        elif letter in "MZ":
            self._flag("M")
        elif letter != "w":
            raise Unsupported(f"top: ps option {letter}: not one of those that minidock has")
        return False

    def _flag(self, name: str) -> None:
        made = self.made
        if name == "forest":
            made.tree = "f"
        elif name == "H":
            made.tree = "H"
        elif name == "N":
            made.negated = True
        elif name == "S":
            made.cumulative = True
        elif name == "h":
            made.without_titles = True
        elif name == "names":
            made.names = True
        elif name == "threads":
            made.threads = True
        elif name == "e":
            made.environment = True
        elif name == "n":
            made.numeric = True
        elif name == "r":
            made.running = True
        elif name == "M":
            self.unix.add("M")

    def _with_value(self, letter: str, value: str) -> None:
        if letter == "o":
            self.own += _format(value)
        elif letter == "O":
            self.around += _format(value)
        elif letter == "k":
            self._sort(value)
        else:
            self._select(letter, value)

    def _sort(self, value: str) -> None:
        for key in value.split(","):
            word = key.lstrip("+-")
            if word not in COLUMNS:
                raise InvalidArgument(f'top: ps: unknown sort specifier "{word}"')
            self.made.sort.append((sort_key(word), key.startswith("-")))

    # Which processes

    def _select(self, letter: str, value: str) -> None:
        entries = [entry for entry in value.replace(",", " ").split(" ") if entry]
        if not entries:
            raise InvalidArgument(f"top: ps option -{letter}: list of process ids, users or names is empty")
        self.made.selections.append(_selection(letter, entries))

    # Which columns

    def _columns(self) -> list[Column]:
        formats = self.unix & {"f", "l", "j", "y", "c", "P"}
        if sum((bool(formats), bool(self.bsd_format), bool(self.own), bool(self.around))) > 1:
            raise InvalidArgument("top: ps: conflicting format options")
        self.made.threads = self.made.threads or bool(self.unix & {"L", "T"})
        if self.own:
            columns = self.own
        elif self.around:
            columns = [COLUMNS["pid"], *self.around, *(COLUMNS[word] for word in ("s", "tname", "time", "command"))]
        else:
            if self.bsd_format:
                words = _BSD_FORMATS[self.bsd_format].split()
                if "M" in self.unix:
                    words.insert(0, "label")
            else:
                words = _unix_format(self.unix, bsd=self.bsd)
            columns = [COLUMNS[word] for word in words]
        return columns


def _unix_format(chosen: set[str], *, bsd: bool) -> list[str]:
    """The columns of ``-f``, ``-l``, ``-j`` and what changes them; of none of them with an empty set."""
    full, long, jobs = "f" in chosen, "l" in chosen, "j" in chosen
    other = chosen & {"M", "y", "c", "P", "L", "T", "F"}
    if "y" in other and not long:
        raise InvalidArgument("top: ps: modifier -y without format -l makes no sense")
    words: list[str] = ["label"] if "M" in other else []
    if long:
        words += ["s"] if "y" in other else ["f", "s"]
    words += ["uid_hack"] if full else ["uid"] if long else []
    words.append("pid")
    words += ["spid"] if "T" in other else []
    words += ["ppid"] if full or long else []
    words += ["pgid", "sid"] if jobs else []
    words += ["lwp"] if "L" in other else []
    words += ["psr"] if "P" in other else []
    words += ["c"] if (full or long) and "c" not in other else []
    words += ["nlwp"] if "L" in other and full else []
    words += ["cls", "pri"] if "c" in other else ["opri", "ni"] if long else []
    if long:
        words += ["rss" if "y" in other else "addr", "sz", "wchan"]
    elif "F" in other:
        words += ["sz"]
    if "F" in other:
        words += [] if long and "y" in other else ["rss"]
        words += [] if "P" in other else ["psr"]
    words += ["stime"] if full else []
    words.append("tname")
    if bsd:
        words += [] if long else ["stat"]
        return [*words, "bsdtime", "cmd" if full or long else "args"]
    return [*words, "time", "cmd" if full else "ucmd"]


def _format(text: str) -> list[Column]:
    """Return the columns of ``-o TEXT``: ``KEYWORD[:WIDTH][=HEAD]`` with commas between, or ``%p`` and its like."""
    found = []
    if "%" in text and not any(word in text for word in ("%cpu", "%mem")):
        for part in text.split("%")[1:]:
            if part.strip(" \t,")[1:] or part[:1] not in LETTERS:
                raise InvalidArgument(f'top: ps: unknown user-defined format specifier "%{part}"')
            found.append(COLUMNS[LETTERS[part[0]]])
        return found
    for item in text.rstrip(",").split(","):
        word, equals, header = item.partition("=")
        word, _, width = word.partition(":")
        if word not in COLUMNS:
            raise InvalidArgument(f'top: ps: unknown user-defined format specifier "{word}"')
        column = COLUMNS[word]
        if width:
            if not width.isdigit() or not int(width):
                raise InvalidArgument(f"top: ps: width {width!r} of {word} must be a number above 0")
            column = column._replace(width=int(width) if column.width else 0)
        found.append(column._replace(header=header) if equals else column)
    return found


def _selection(letter: str, entries: list[str]) -> Selection:
    """Return what chooses the processes that an option with a list names."""
    if letter == "C":
        names = {entry[:15] for entry in entries}
        return lambda it: it.comm in names
    if letter == "t":
        terminals = {entry.removeprefix("/dev/") for entry in entries}
        terminals |= {f"tty{entry}" for entry in terminals} | {f"pts/{entry}" for entry in terminals if entry.isdigit()}
        return lambda it: it.terminal in terminals or (it.terminal == "?" and "-" in terminals)
    if letter in "uU":
        users = {_user(entry) for entry in entries}
        which = 1 if letter == "u" else 0
        return lambda it: it.ids("Uid")[which] in users
    if letter == "G" or (letter == "g" and not all(entry.isdigit() for entry in entries)):
        groups = {_group(entry) for entry in entries}
        which = 0 if letter == "G" else 1
        return lambda it: it.ids("Gid")[which] in groups
    numbers = {_number(entry) for entry in entries}
    if letter == "p":
        return lambda it: it.pid in numbers
    if letter == "ppid":
        return lambda it: it.parent in numbers
    return lambda it: it.number(6) in numbers  # sessions


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidArgument(f"top: ps: process ID list syntax error: {text}")
    return int(text)


def _user(text: str) -> int:
    import pwd

    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        raise InvalidArgument(f"top: ps: user name does not exist: {text}") from None


def _group(text: str) -> int:
    import grp

    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        raise InvalidArgument(f"top: ps: group name does not exist: {text}") from None
