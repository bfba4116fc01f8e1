"""An image that is to be built: steps in Python, each what an instruction of a Dockerfile is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from minidock.build.dockerfile import instructions as kinds
from minidock.build.dockerfile import lexing, parsing
from minidock.build.dockerfile.instructions import DockerfileError, Heredoc
from minidock.build.python import mounts as mounting
from minidock.build.python.places import caller
from minidock.build.python.words import word
from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Unpack

    from minidock.build.building import BuildOptions
    from minidock.build.events import Event
    from minidock.build.python.mounts import Mount
    from minidock.build.python.places import Place
    from minidock.engine import Engine
    from minidock.images.image import Image as BuiltImage

_CONTEXT = "."


class Step:
    """One instruction, where it is written, and what it reads besides its image."""

    __slots__ = ("context", "image", "instruction", "mounts", "place")

    def __init__(
        self,
        instruction: kinds.Instruction,
        place: Place,
        *,
        image: Image | None = None,
        context: str = "",
        mounts: Sequence[Mount] = (),
    ) -> None:
        self.instruction = instruction
        self.place = place
        self.image = image
        self.context = context
        self.mounts = mounts


class Image:
    """What :meth:`from_` and the steps after it make; each method returns a new one, and nothing happens before
    :meth:`build`.

    The methods are the instructions of a Dockerfile and mean the same, in one cache with them: ``$NAME`` and
    ``${NAME:-…}`` are variables wherever a Dockerfile expands them, and ``\\$`` is a dollar; quotes, blanks and other
    backslashes are themselves. Each raises InvalidArgument for what makes no sense.
    """

    __slots__ = ("_length", "_parent", "_step")

    def __init__(self, parent: Image | None, step: Step) -> None:
        self._parent = parent
        self._step = step
        self._length: int = 1 if parent is None else parent._length + 1

    def __repr__(self) -> str:
        return f"<minidock.build.Image: {self._length} steps, the last is {self._step.instruction.original!r}>"

    @property
    def steps(self) -> list[Step]:
        """The steps, FROM first."""
        found, image = [], self
        while True:
            found.append(image._step)
            if image._parent is None:
                return found[::-1]
            image = image._parent

    def build(
        self,
        engine: Engine | None = None,
        *,
        progress: Callable[[Event], None] | None = None,
        **options: Unpack[BuildOptions],
    ) -> BuiltImage:
        """Build the image, on the default engine without another; as :meth:`ImageCollection.build` otherwise.

        Raises BuildFailed for a step that fails: its ``file`` and ``line`` are those of the step in this program.
        """
        if engine is None:
            from minidock.engine import default_engine

            engine = default_engine()
        return engine.images.build(self, progress=progress, **options)

    @staticmethod
    def from_(image: str | Image, *, platform: str | None = None, name: str | None = None) -> Image:
        """FROM: begin with an image by its name (``scratch``: with nothing), or with one that is built for this.

        ``name`` is shown with the steps, and is what ``no_cache_filter`` means. What ONBUILD of the image copies is
        found in the working directory.
        """
        base = image if isinstance(image, Image) else None
        shown = "image" if base is not None else _text(image, "image")
        words = [shown if base is not None else word(shown), *(("AS", name) if name else ())]
        step = _step(
            "FROM", words, flags=_flags(platform=platform), original=" ".join(("FROM", shown, *words[1:])), image=base
        )
        return Image(None, step)

    def _add(
        self,
        keyword: str,
        words: Sequence[str] = (),
        *,
        flags: Sequence[str] = (),
        json: bool = False,
        original: str = "",
        heredocs: Sequence[Heredoc] = (),
        pairs: Sequence[tuple[str, str]] = (),
        image: Image | None = None,
        context: str = "",
        mounts: Sequence[Mount] = (),
    ) -> Image:
        step = _step(
            keyword,
            words,
            flags=flags,
            json=json,
            original=original,
            heredocs=heredocs,
            pairs=pairs,
            image=image,
            context=context,
            mounts=mounts,
        )
        return Image(self, step)

    def run(
        self, command: str | Sequence[str], *, mounts: Sequence[Mount | str] = (), network: str | None = None
    ) -> Image:
        """RUN: a text for the shell, or an argument vector.

        A text of several lines is a heredoc, so one that begins with ``#!`` is a script; what all lines are indented by
        is taken away. ``mounts`` are :class:`Mount` or texts as for ``--mount``; ``network`` is ``none`` or ``host``.
        """
        given = [mounting.read(mount) for mount in ([mounts] if isinstance(mounts, (str, mounting.Mount)) else mounts)]
        given = [replace(one, context=_context(one.context)) if one.shows_context else one for one in given]
        flags = _flags(network=network)
        if isinstance(command, str) and "\n" in command.strip("\n"):
            import textwrap

            script = textwrap.dedent(command).strip("\n") + "\n"
            heredoc = Heredoc(name="EOF", content=script, word="<<EOF")
            shown = f"RUN <<EOF ({script.partition(chr(10))[0]}...)"
            return self._add("RUN", ["<<EOF"], flags=flags, original=shown, heredocs=[heredoc], mounts=given)
        return self._add(*_command("RUN", command), flags=flags, json=not isinstance(command, str), mounts=given)

    def cmd(self, command: str | Sequence[str]) -> Image:
        """CMD: a text for the shell, or an argument vector."""
        return self._add(*_command("CMD", command), json=not isinstance(command, str))

    def entrypoint(self, command: str | Sequence[str]) -> Image:
        """ENTRYPOINT: a text for the shell, or an argument vector."""
        return self._add(*_command("ENTRYPOINT", command), json=not isinstance(command, str))

    def shell(self, command: Sequence[str]) -> Image:
        """SHELL: what runs commands that are texts, such as ``["/bin/bash", "-c"]``."""
        return self._add(*_command("SHELL", command), json=not isinstance(command, str))

    def copy(
        self,
        sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        destination: str,
        *,
        context: str | os.PathLike[str] | None = None,
        from_: Image | str | None = None,
        chown: str | None = None,
        chmod: int | str | None = None,
        exclude: Sequence[str] = (),
        link: bool = False,
        parents: bool = False,
    ) -> Image:
        """COPY: files of ``context``, a directory (the working directory unless it is said) whose ignore file counts,
        or a URL; or of an image: one that is built for this, or by its name."""
        if from_ is not None and context is not None:
            raise InvalidArgument("copy: files come from an image (from_) or from a context, not from both")
        named = from_ if isinstance(from_, str) else None
        flags = _flags(chown=chown, chmod=chmod, exclude=exclude, link=link, parents=parents)
        return self._add(
            "COPY",
            [*_paths(sources), word(destination)],
            flags=flags if named is None else [f"--from={_name(named)}", *flags],
            json=True,
            image=from_ if isinstance(from_, Image) else None,
            context=_context(context) if from_ is None else "",
        )

    def write(
        self, path: str, content: str | bytes, *, chown: str | None = None, chmod: int | str | None = None
    ) -> Image:
        """COPY with a heredoc: a file with this content, exactly; ``chmod`` is 0644 unless given."""
        if path.endswith("/") or not path:
            raise InvalidArgument(f"write {path!r}: the name of a file is needed, not of a directory")
        text = content if isinstance(content, str) else bytes(content).decode("utf-8", "surrogateescape")
        heredoc = Heredoc(name="EOF", content=text, word='<<"EOF"', expand=False)
        flags = _flags(chown=chown, chmod=chmod)
        return self._add("COPY", ['<<"EOF"', word(path)], flags=flags, heredocs=[heredoc])

    def add(
        self,
        sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        destination: str,
        *,
        context: str | os.PathLike[str] | None = None,
        chown: str | None = None,
        chmod: int | str | None = None,
        exclude: Sequence[str] = (),
        link: bool = False,
        checksum: str | None = None,
        keep_git_dir: bool | None = None,
        unpack: bool | None = None,
    ) -> Image:
        """ADD: as :meth:`copy`, but URLs and repositories are fetched, and archives unpacked."""
        flags = _flags(
            chown=chown,
            chmod=chmod,
            exclude=exclude,
            link=link,
            checksum=checksum,
            keep_git_dir=keep_git_dir,
            unpack=unpack,
        )
        words = [*_paths(sources), word(destination)]
        return self._add("ADD", words, flags=flags, json=True, context=_context(context))

    def env(self, variables: Mapping[str, str] | None = None, **more: str) -> Image:
        """ENV: variables of the commands that follow, and of containers."""
        return self._add("ENV", pairs=_pairs({**(variables or {}), **more}))

    def label(self, labels: Mapping[str, str] | None = None, **more: str) -> Image:
        """LABEL."""
        return self._add("LABEL", pairs=_pairs({**(labels or {}), **more}))

    def arg(self, name: str, default: str | None = None) -> Image:
        """ARG: a variable of the steps that follow, which the build's ``args`` set."""
        return self._add("ARG", [name if default is None else f"{name}={word(str(default))}"])

    def workdir(self, path: str) -> Image:
        """WORKDIR: the directory of what follows, made if it is missing."""
        return self._add("WORKDIR", [word(path)])

    def user(self, user: int | str) -> Image:
        """USER: ``NAME[:GROUP]`` or numbers."""
        return self._add("USER", [word(str(user))])

    def expose(self, *ports: int | str) -> Image:
        """EXPOSE: ``80``, ``53/udp``, ``5000-5010``."""
        return self._add("EXPOSE", [word(str(port)) for port in ports])

    def volume(self, *paths: str) -> Image:
        """VOLUME."""
        return self._add("VOLUME", [word(path) for path in paths], json=True)

    def stopsignal(self, signal: int | str) -> Image:
        """STOPSIGNAL."""
        return self._add("STOPSIGNAL", [word(str(signal))])

    def healthcheck(
        self,
        command: str | Sequence[str] | None,
        *,
        interval: float | str | None = None,
        timeout: float | str | None = None,
        start_period: float | str | None = None,
        start_interval: float | str | None = None,
        retries: int | None = None,
    ) -> Image:
        """HEALTHCHECK: a text for the shell, an argument vector, None for none; times in seconds, or as ``1m30s``."""
        if command is None:
            return self._add("HEALTHCHECK", ["NONE"])
        times = {
            "interval": interval,
            "timeout": timeout,
            "start_period": start_period,
            "start_interval": start_interval,
        }
        texts = {
            name: value if value is None or isinstance(value, str) else f"{value}s" for name, value in times.items()
        }
        _, words = _command("HEALTHCHECK", command)
        return self._add(
            "HEALTHCHECK", ["CMD", *words], flags=_flags(**texts, retries=retries), json=not isinstance(command, str)
        )

    def onbuild(self, instruction: str) -> Image:
        """ONBUILD: an instruction as in a Dockerfile, for the builds that begin with this image."""
        step = _understood(lambda: lexing.lex(f"ONBUILD {instruction}".encode("utf-8", "surrogateescape")).nodes)
        if len(step) != 1:
            raise InvalidArgument(f"onbuild {instruction!r}: a single instruction is needed")
        place = caller()
        return Image(self, Step(_understood(lambda: parsing.instruction(step[0])), place))

    def maintainer(self, author: str) -> Image:
        """MAINTAINER: the image's author; a label is what is used today."""
        return self._add("MAINTAINER", [author])


def _step(
    keyword: str,
    words: Sequence[str],
    *,
    flags: Sequence[str] = (),
    json: bool = False,
    original: str = "",
    heredocs: Sequence[Heredoc] = (),
    pairs: Sequence[tuple[str, str]] = (),
    image: Image | None = None,
    context: str = "",
    mounts: Sequence[Mount] = (),
) -> Step:
    """Return a step, whose instruction is read as one of a Dockerfile is. Raises InvalidArgument."""
    shown = [*words, *(f"{name}={value}" for name, value in pairs)]
    node = lexing.Node(
        0,
        0,
        keyword,
        original or " ".join((keyword, *flags, *shown)),
        list(flags),
        list(words),
        is_json=json,
        pairs=[(name, value, True) for name, value in pairs],
        heredocs=list(heredocs),
    )
    instruction = _understood(lambda: parsing.instruction(node))
    return Step(replace(instruction), caller(), image=image, context=context, mounts=mounts)


def _understood(read: Callable[[], Any]) -> Any:
    """What ``read`` returns; what it finds wrong has the place of the call instead of a line of a Dockerfile."""
    try:
        return read()
    except DockerfileError as error:
        place = caller()
        raise DockerfileError(error.reason, place.line, place.end_line, text=f"{place}: {error.reason}") from None


def _command(keyword: str, command: str | Sequence[str]) -> tuple[str, list[str]]:
    """The words of a command: one for the shell, or an argument vector."""
    if isinstance(command, str):
        if not command.strip():
            raise InvalidArgument(f"{keyword.lower()}: the command is empty")
        return keyword, [command.strip()]
    return keyword, [_text(argument, "argument") for argument in command]


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"{what} {value!r}: a text is needed")
    return value


def _pairs(given: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(word(name), word(str(value))) for name, value in given.items()]


def _paths(sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    given = [sources] if isinstance(sources, (str, os.PathLike)) else sources
    return [word(os.fspath(source)) for source in given]


def _name(image: str) -> str:
    if not image or image.lstrip("+-").isdecimal():
        raise InvalidArgument(f"from_ {image!r}: an image is needed, or the name of one")
    return image


def _context(given: str | os.PathLike[str] | None) -> str:
    from minidock.build.contexts import is_remote

    text = os.fspath(given if given is not None else _CONTEXT)
    return text if is_remote(text) else os.path.abspath(text)


def _flags(**given: Any) -> list[str]:
    """Flags as they are written; what is None or false (where that is the default) is left out."""
    found: list[str] = []
    for name, value in given.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            if value or name in ("keep_git_dir", "unpack"):
                found.append(f"{flag}={str(value).lower()}")
        elif value is None:
            continue
        elif name == "exclude":
            found += (f"{flag}={word(entry)}" for entry in ([value] if isinstance(value, str) else value))
        else:
            text = f"{value:o}" if name == "chmod" and isinstance(value, int) else str(value)
            found.append(f"{flag}={word(text)}")
    return found
