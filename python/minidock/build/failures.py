# ruff: noqa: N818 - classes are named after the thing that failed
"""How a build fails: where in the Dockerfile, on what, with the last lines of what a command wrote."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from minidock.build.dockerfile.instructions import DockerfileError
from minidock.errors import Cancelled, MinidockError
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from minidock.build.dockerfile.instructions import Instruction
    from minidock.build.executor import Build
    from minidock.build.running import Terminal

_TAIL = 20
"""Lines of output that an error shows."""


class BuildFailed(MinidockError):
    """A step of a build failed. ``cause`` is what it failed with, where that was not a command's exit code."""

    exit_code = 1

    def __init__(
        self,
        text: str,
        *,
        file: str,
        line: int,
        end_line: int,
        instruction: str,
        source: tuple[str, ...] = (),
    ) -> None:
        super().__init__(text)
        self.reason = text
        self.file = file
        """The name of the Dockerfile, or of the Python program."""
        self.line = line
        self.end_line = end_line
        self.instruction = instruction
        """As it is written, on one line."""
        self.step = ""
        self.output = ""
        """The last lines that the command wrote."""
        self.code: int | None = None
        """The command's exit code."""
        self.source = source
        """The file's lines."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else ""
        last = self.output.strip().rpartition("\n")[2]
        return f"{where}{self.instruction[:200]}: {self.reason}" + (f" ({last[:200]})" if last and self.code else "")

    @property
    def excerpt(self) -> str:
        """The Dockerfile's lines around the instruction, the instruction itself marked, as Docker shows them."""
        return excerpt(self.file, self.source, self.line, self.end_line)


def excerpt(file: str, lines: Sequence[str], line: int, end_line: int) -> str:
    """The lines of a file around some of them, which are marked; nothing for line 0."""
    if not line or not lines:
        return ""
    first, last = max(1, line - 2), min(len(lines), end_line + 2)
    rows = [
        f"{number:4} | {'>>>' if line <= number <= end_line else '   '} {lines[number - 1]}"
        for number in range(first, last + 1)
    ]
    rule = "-" * 20
    return "\n".join((f"{file}:{line}", rule, *rows, rule))


class CommandFailed(MinidockError):
    """A RUN's command did not end with 0."""

    def __init__(self, text: str, code: int, output: bytes, step: str) -> None:
        super().__init__(text)
        self.code = code
        self.output = output
        self.step = step


class Failed(NamedTuple):
    """A command that has failed while its files are still there: ``again`` runs a shell with them on a terminal."""

    step: str
    output: bytes
    again: Callable[[Terminal], None]

    @property
    def lines(self) -> str:
        """The last lines that it wrote."""
        return _tail(self.output)


def _tail(output: bytes) -> str:
    return "\n".join(output.decode("utf-8", "replace").splitlines()[-_TAIL:])


@contextlib.contextmanager
def located(build: Build, instruction: Instruction) -> Iterator[None]:
    """Turn what an instruction fails with into BuildFailed, which says where."""
    try:
        yield
    except (BuildFailed, Cancelled, DockerfileError):
        raise
    except CommandFailed as error:
        failure = _failure(build, instruction, error)
        failure.step, failure.output, failure.code = error.step, _tail(error.output), error.code
        raise failure from error
    except MinidockError as error:
        build.stop.check()  # what it needs was taken from it
        raise _failure(build, instruction, error) from error
    except BrokenPipeError:
        raise
    except OSError as error:  # of a call that hardly ever fails, as of a process that may open no more files
        build.stop.check()
        raise _failure(build, instruction, from_os(error, "carry", "it out")) from error


def _failure(build: Build, instruction: Instruction, error: MinidockError) -> BuildFailed:
    file, line, end_line, lines = build.place(instruction.line, instruction.end_line)
    return BuildFailed(
        str(error), file=file, line=line, end_line=end_line, instruction=instruction.original, source=lines
    )
