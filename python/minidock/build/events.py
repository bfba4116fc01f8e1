"""What a build tells while it goes on: one event for each thing that happens, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.build.dockerfile import linting


class Step(Struct, frozen=True):
    """One thing to do. ``number`` counts from 1 in the order in which steps are met; ``name`` is Docker's:
    ``[builder 2/5] RUN make``. ``line`` of the Dockerfile, 0 for what is no instruction."""

    number: int
    name: str
    line: int = 0


class Started(Struct, frozen=True):
    """A step begins."""

    step: Step


class Output(Struct, frozen=True):
    """A command has written something; ``seconds`` since the step began."""

    step: Step
    data: bytes
    seconds: float


class Status(Struct, frozen=True):
    """A step tells how it goes on: one line of text."""

    step: Step
    text: str


class Transfer(Struct, frozen=True):
    """A part of what a step fetches or sends has come so far, in bytes."""

    step: Step
    name: str
    current: int
    total: int


class Finished(Struct, frozen=True):
    """A step has ended. ``error`` says why it failed; empty for success."""

    step: Step
    seconds: float
    cached: bool = False
    error: str = ""


class Warned(Struct, frozen=True):
    """The Dockerfile has a common mistake."""

    warning: linting.Warned


class Built(Struct, frozen=True):
    """The build has come to its end: the image's id and its names."""

    image_id: str
    tags: tuple[str, ...] = ()


Event = Started | Output | Status | Transfer | Finished | Warned | Built

if TYPE_CHECKING:
    Report = Callable[[Event], None]
