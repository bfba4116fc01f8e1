"""What the instructions of a stage make of an image's configuration and history, one after the other. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from minidock.build.dockerfile import instructions as kinds
from minidock.build.dockerfile import lexing, modes, mounts, parsing, paths, ports, remotes, words
from minidock.build.dockerfile.instructions import Command, Dockerfile, Heredoc, Instruction, Stage
from minidock.build.dockerfile.linting import Linter
from minidock.build.dockerfile.scopes import Arguments, located
from minidock.build.dockerfile.text import format_duration, printable, quote, quote_list
from minidock.build.ignore import Ignore
from minidock.containers.parse import signals
from minidock.errors import InvalidArgument
from minidock.spec.oci_image import ExecutionConfig, Healthcheck, History

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMENT = "buildkit.dockerfile.v0"
PIPES = "/dev/pipes/"
"""Where a RUN whose heredoc is a script with ``#!`` finds it."""
_SHELL = ("/bin/sh", "-c")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_Transfer = TypeVar("_Transfer", bound=kinds.Transfer)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")


def scratch() -> ExecutionConfig:
    """The configuration that ``FROM scratch`` begins with."""
    return ExecutionConfig(working_dir="/")


class Script(Struct, frozen=True):
    """A file that a RUN has at ``path``, mode 0755, while it runs."""

    path: str
    content: str


class Step(Struct, frozen=True, kw_only=True):
    """One instruction as it is to be done.

    ``instruction`` is expanded. ``created_by`` is for the history, empty where it has no entry (ONBUILD);
    ``empty_layer``: nothing is written. ``user`` and ``directory`` are those before this instruction; ``argv``,
    ``environment``, ``proxies`` (build arguments that reach it besides) and ``script`` are a RUN's.
    """

    instruction: Instruction
    created_by: str
    empty_layer: bool
    user: str
    directory: str
    environment: dict[str, str] = {}
    proxies: dict[str, str] = {}
    argv: tuple[str, ...] = ()
    script: Script | None = None


class State:
    """A stage while it is read: ``config``, ``history`` and ``author`` of the image so far."""

    def __init__(
        self,
        dockerfile: Dockerfile,
        arguments: Arguments,
        base: ExecutionConfig | None = None,
        *,
        parent: State | None = None,
        author: str = "",
        linter: Linter | None = None,
        ignore: Ignore | None = None,
    ) -> None:
        """Begin with an image's configuration (and author), or with what an earlier stage has become.

        ``ignore`` are the context's rules; a linter is told of sources that they hide.
        """
        self._ignore = ignore
        self._escape = dockerfile.escape
        self._arguments = arguments
        self._linter = linter
        self.config: ExecutionConfig = copy.deepcopy(base or (parent.config if parent is not None else scratch()))
        self.author: str = parent.author if parent is not None else author
        self.history: list[History] = list(parent.history) if parent is not None else []
        self._args: dict[str, str] = dict(parent._args) if parent is not None else {}
        self._directory_is_set: bool = parent is not None and parent._directory_is_set
        self._last: dict[str, Instruction] = {}
        self._triggers = list(self.config.on_build or ())
        self.config.on_build = None
        environment = self.config.env = list(self.config.env or ())
        if not any(entry.partition("=")[0] == "PATH" for entry in environment):
            environment.append(f"PATH={PATH}")
        self._variables: dict[str, str] = dict(parent._variables) if parent is not None else {}
        for entry in environment if parent is None else ():
            name, _, value = entry.partition("=")
            self._variables[name] = value
        self._places: dict[str, int] = {}
        for place, entry in enumerate(environment):
            self._places.setdefault(entry.partition("=")[0], place)
        arguments.spend(sum(map(len, environment)))

    def triggers(self, stage: Stage) -> list[Instruction]:
        """What ONBUILD of the base says. Raises DockerfileError."""
        from_ = stage.from_
        return [parsing.parse_trigger(text, from_.line, from_.end_line) for text in self._triggers]

    def instructions(self, stage: Stage) -> Iterator[Instruction]:
        """What ONBUILD of the base says, then the stage's own. Raises DockerfileError."""
        yield from self.triggers(stage)
        yield from stage.instructions

    @property
    def variables(self) -> Mapping[str, str]:
        """What words are expanded with now, and RUN's environment but for proxies."""
        return self._variables

    def apply(self, instruction: Instruction) -> Step:
        """Expand an instruction and do to the configuration what it says. Raises DockerfileError."""
        handler: Any = getattr(self, f"_{type(instruction).__name__.lower()}")
        user, directory = self.config.user, self.config.working_dir or "/"
        try:
            found: Step | tuple[Instruction, str] = handler(instruction)
        except words.WordError as error:
            raise located(str(error), instruction) from None
        except (mounts.MountError, ports.PortError, modes.ModeError) as error:
            raise located(str(error), instruction) from None
        step = (
            found
            if isinstance(found, Step)
            else Step(
                instruction=found[0],
                created_by=found[1],
                empty_layer=not _writes(found[0]),
                user=user,
                directory=directory,
            )
        )
        if step.created_by:
            entry = History(created_by=step.created_by, comment=COMMENT, empty_layer=step.empty_layer)
            self.history.append(entry)
        return step

    # --- words

    def _expand(self, word: str, place: Instruction) -> str:
        return self._expanded(word, place, self._escape).text

    def _expanded(self, word: str, place: Instruction, escape: str, plain_quotes: bool = False) -> words.Expansion:
        try:
            found = words.expand(word, self._variables, escape, plain_quotes=plain_quotes)
        except words.WordError as error:
            self._undefined(error.unmatched, place)
            raise
        self._undefined(found.unmatched, place)
        self._arguments.spend(len(found.text))
        return found

    def _undefined(self, names: Mapping[str, None], place: Instruction) -> None:
        if self._linter is None:
            return
        for name in names:
            if name not in self._args:
                self._linter.undefined("UndefinedVar", place, name, self._variables)

    def _all(self, texts: tuple[str, ...], place: Instruction) -> tuple[str, ...]:
        return tuple(self._expand(text, place) for text in texts)

    def _warn(self, rule: str, place: Instruction, *values: str) -> None:
        if self._linter is not None:
            self._linter.report(rule, place, *values)

    # --- variables

    def _env(self, given: kinds.Env) -> tuple[Instruction, str]:
        pairs = tuple((self._expand(name, given), self._expand(value, given)) for name, value in given.pairs)
        environment = self.config.env or []
        for name, value in pairs:
            if self._linter is not None:
                if given.legacy:
                    self._linter.report("LegacyKeyValueFormat", given, given.keyword)
                self._linter.secret(given, name)
            self._variables[name] = value
            if name in self._places:
                environment[self._places[name]] = f"{name}={value}"
            else:
                self._places[name] = len(environment)
                environment.append(f"{name}={value}")
        return replace(given, pairs=pairs), _pairs("ENV", pairs)

    def _arg(self, given: kinds.Arg) -> tuple[Instruction, str]:
        pairs: list[tuple[str, str | None]] = []
        for name, default in given.pairs:
            if self._linter is not None:
                self._linter.secret(given, name)
            value = self._arguments.given.get(name)
            if value is None:
                value = self._arguments.values.get(name) if default is None else self._expand(default, given)
            if value is not None:
                self._variables[name] = value
            self._args[name] = value or ""
            pairs.append((name, value))
        shown = (name if value is None else f"{name}={value}" for name, value in pairs)
        return replace(given, pairs=tuple(pairs)), f"ARG {' '.join(shown)}"

    def _label(self, given: kinds.Label) -> tuple[Instruction, str]:
        pairs = tuple((self._expand(name, given), self._expand(value, given)) for name, value in given.pairs)
        if given.legacy:
            self._warn("LegacyKeyValueFormat", given, given.keyword)
        self.config.labels = (self.config.labels or {}) | dict(pairs)
        return replace(given, pairs=pairs), _pairs("LABEL", pairs)

    # --- commands

    def _shell_argv(self, text: str) -> list[str]:
        return [*(self.config.shell or _SHELL), text]

    def _argv(self, command: Command, place: Instruction) -> list[str]:
        if not command.shell:
            return list(command.words)
        if not self.config.shell:
            self._warn("JSONArgsRecommended", place, place.keyword)
        return self._shell_argv(command.words[0])

    def _once(self, given: Instruction) -> None:
        previous = self._last.get(given.name)
        if previous is not None:
            self._warn("MultipleInstructionsDisallowed", previous, given.keyword)
        self._last[given.name] = given

    def _cmd(self, given: kinds.Cmd) -> tuple[Instruction, str]:
        self._once(given)
        argv = self._argv(given.command, given)
        self.config.cmd = argv or None
        self.config.args_escaped = True
        return given, f"CMD {quote_list(argv)}"

    def _entrypoint(self, given: kinds.Entrypoint) -> tuple[Instruction, str]:
        self._once(given)
        argv = self._argv(given.command, given)
        self.config.entrypoint = argv or None
        if "CMD" not in self._last:
            self.config.cmd = None
        return given, f"ENTRYPOINT {quote_list(argv)}"

    def _shell(self, given: kinds.Shell) -> tuple[Instruction, str]:
        self.config.shell = list(given.words)
        return given, f"SHELL [{' '.join(given.words)}]"

    def _run(self, given: kinds.Run) -> Step:
        found = tuple(self._mount(mount, given) for mount in given.mounts)
        text, script = given.command.words[0] if given.command.words else "", None
        if given.heredocs:
            text, script = _heredoc_command(text, given.heredocs)
        argv = self._shell_argv(text) if given.command.shell else list(given.command.words)
        shown = [f"{name}={self._variables.get(name, value)}" for name, value in self._args.items()]
        counted = [f"|{len(shown)}", *shown] if shown else []
        return Step(
            instruction=replace(given, mounts=found),
            created_by=f"RUN {' '.join((*counted, *argv))} # buildkit",
            empty_layer=False,
            environment=dict(self._variables),
            proxies=self._proxies(),
            user=self.config.user,
            directory=self.config.working_dir or "/",
            argv=tuple(argv),
            script=script,
        )

    def _mount(self, mount: kinds.Mount, given: Instruction) -> kinds.Mount:
        """A mount that is decided; the target of all but secrets and SSH is absolute and clean."""
        found = mounts.expand(mount, lambda word: self._expand(word, given))
        if found.type in ("secret", "ssh"):
            return found
        target = paths.clean(paths.working_directory(self.config.working_dir, found.target))
        if target == "/":
            raise located('invalid mount target "/"', given)
        return replace(found, target=target)

    def _proxies(self) -> dict[str, str]:
        """Proxies that are given reach every RUN, in both spellings, and no history."""
        found: dict[str, str] = {}
        for name, value in self._arguments.given.items():
            if name.upper() in _PROXIES and value:
                found |= {name.upper(): value, name.lower(): value}
        return found

    def _healthcheck(self, given: kinds.Healthcheck) -> tuple[Instruction, str]:
        self._once(given)
        self.config.healthcheck = copy.copy(given.config)
        return given, f"HEALTHCHECK {_healthcheck_text(given.config)}"

    # --- files

    def _copy(self, given: kinds.Copy) -> tuple[Instruction, str]:
        done = self._transferred(given)
        if not done.from_ and not done.context:
            self._hidden(done)
        for source in done.sources:
            kind = remotes.kind(source)
            if kind is not None:
                raise located(f"source can't be a {'URL' if kind == 'http' else 'git ref'} for COPY", given)
        return done, _transfer_text("COPY", done, parents=done.parents)

    def _add(self, given: kinds.Add) -> tuple[Instruction, str]:
        done = self._transferred(given)
        if not done.context:
            self._hidden(done)
        checksum = self._expand(done.checksum, given)
        if checksum:
            _check_checksum(checksum, done)
        return replace(done, checksum=checksum), _transfer_text("ADD", done)

    def _transferred(self, given: _Transfer) -> _Transfer:
        done = replace(
            given,
            chown=self._expand(given.chown, given),
            chmod=self._expand(given.chmod, given),
            exclude=self._all(given.exclude, given),
            sources=self._all(given.sources, given),
            destination=self._expand(given.destination, given),
            heredocs=tuple(self._heredoc(heredoc, given) for heredoc in given.heredocs),
        )
        if done.chmod:
            modes.check(done.chmod)
        return done

    def _hidden(self, done: kinds.Transfer) -> None:
        """Warn of sources in the context that its rules hide."""
        if self._ignore is None or self._linter is None:
            return
        for source in done.sources:
            path = paths.clean(f"/{source}").strip("/")
            if remotes.kind(source) is None and self._ignore.excludes(path, is_directory=False):
                self._linter.report("CopyIgnoredFile", done, done.name.capitalize(), quote(source))

    def _heredoc(self, heredoc: Heredoc, given: Instruction) -> Heredoc:
        if "/" in heredoc.name.lstrip("/"):
            raise located(f"open /{heredoc.name.lstrip('/')}: no such file or directory", given)
        content = heredoc.text()
        if heredoc.expand:
            content = self._expanded(content, given, "\\", plain_quotes=True).text
        return replace(heredoc, content=content, chomp=False)

    # --- the rest

    def _workdir(self, given: kinds.Workdir) -> tuple[Instruction, str]:
        path = self._expand(given.path, given)
        if not self._directory_is_set and not path.startswith("/"):
            self._warn("WorkdirRelativePath", given, quote(path))
        self._directory_is_set = True
        self.config.working_dir = paths.working_directory(self.config.working_dir, path)
        return replace(given, path=self.config.working_dir), f"WORKDIR {self.config.working_dir}"

    def _user(self, given: kinds.User) -> tuple[Instruction, str]:
        self.config.user = self._expand(given.user, given)
        return replace(given, user=self.config.user), f"USER {self.config.user}"

    def _volume(self, given: kinds.Volume) -> tuple[Instruction, str]:
        found = self._all(given.paths, given)
        if not all(found):
            raise located("VOLUME specified can not be an empty string", given)
        self.config.volumes = (self.config.volumes or {}) | {path: {} for path in found}
        return replace(given, paths=found), f"VOLUME [{' '.join(found)}]"

    def _expose(self, given: kinds.Expose) -> tuple[Instruction, str]:
        found: list[str] = []
        for written in given.ports:
            for word in self._expanded(written, given, self._escape).words:
                exposed = ports.parse(word)
                if exposed.protocol != exposed.protocol.lower():
                    self._warn("ExposeProtoCasing", given, word)
                if exposed.published:
                    self._warn("ExposeInvalidFormat", given, word)
                found += exposed.ports
        self._arguments.spend(sum(map(len, found)))
        self.config.exposed_ports = (self.config.exposed_ports or {}) | {port: {} for port in found}
        return replace(given, ports=tuple(found)), f"EXPOSE [{' '.join(found)}]"

    def _stopsignal(self, given: kinds.Stopsignal) -> tuple[Instruction, str]:
        signal = self._expand(given.signal, given)
        try:
            signals.signal(signal)
        except InvalidArgument as error:
            raise located(str(error), given) from None
        self.config.stop_signal = signal
        return replace(given, signal=signal), f"STOPSIGNAL {signal}"

    def _onbuild(self, given: kinds.Onbuild) -> tuple[Instruction, str]:
        self.config.on_build = [*(self.config.on_build or ()), given.expression]
        return given, ""

    def _maintainer(self, given: kinds.Maintainer) -> tuple[Instruction, str]:
        self.author = given.author
        return given, f"MAINTAINER {given.author}"


def _writes(instruction: Instruction) -> bool:
    if isinstance(instruction, kinds.Workdir):
        return instruction.path != "/"
    return isinstance(instruction, kinds.Transfer)


def _pairs(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    return " ".join((name, *(f"{key}={value}" for key, value in pairs)))


def _transfer_text(name: str, done: kinds.Transfer, parents: bool = False) -> str:
    parts = [name]
    if parents:
        parts.append("--parents")
    if done.chown:
        parts.append(f"--chown={done.chown}")
    if done.chmod:
        parts.append(f"--chmod={done.chmod}")
    parts += done.sources
    parts += (f"<<{heredoc.name}" for heredoc in done.heredocs)
    return " ".join((*parts, done.destination, "# buildkit"))


def _heredoc_command(text: str, heredocs: tuple[Heredoc, ...]) -> tuple[str, Script | None]:
    """What the shell gets for a RUN with heredocs; a script for one that is nothing but a heredoc with ``#!``."""
    first = heredocs[0]
    if lexing.heredoc_word(text) is not None:
        content = first.text()
        if not first.content.startswith("#!"):
            return content, None
        return PIPES + first.name, Script(PIPES + first.name, content)
    return "".join((text, *(f"\n{heredoc.content}{heredoc.name}" for heredoc in heredocs))), None


def _healthcheck_text(config: Healthcheck) -> str:
    """Go's ``%q`` of the struct, as it is in Docker's history."""
    times = (config.interval, config.timeout, config.start_period, config.start_interval)
    shown = " ".join(quote(format_duration(time)) for time in times)
    retries = chr(config.retries) if config.retries < 0x110000 else "\ufffd"
    return f"&{{{quote_list(config.test or [])} {shown} {quote(printable(retries), chr(39))}}}"


def _check_checksum(checksum: str, given: kinds.Add) -> None:
    """Raises DockerfileError for a checksum that cannot be one of what is added."""
    if len(given.sources) != 1:
        raise located("checksum can't be specified for multiple sources", given)
    kind = remotes.kind(given.sources[0])
    if kind is None:
        raise located("checksum requires HTTP(S) or Git sources", given)
    if kind == "http" and not _DIGEST.fullmatch(checksum):
        raise located(_bad_digest(checksum), given)


def _bad_digest(text: str) -> str:
    algorithm, colon, _ = text.partition(":")
    if not colon or not re.fullmatch(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+", text):
        return "invalid checksum digest format"
    known = algorithm in ("sha256", "sha384", "sha512")
    return "invalid checksum digest length" if known else "unsupported digest algorithm"
