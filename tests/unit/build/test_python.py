"""Builds written in Python become what a Dockerfile says, with the places of the program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minidock.build import Image, Mount, literal
from minidock.build.docker_py import ours
from minidock.build.dockerfile import words
from minidock.build.dockerfile.instructions import Copy, DockerfileError, Run
from minidock.build.python.program import Program
from minidock.build.python.words import word
from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = Image.from_("busybox")


@given(st.text(st.characters(exclude_categories=("Cs",))))
@example("\\$x \\\\$y '${x:-\"}' << z \\")
def test_a_literal_text_is_what_it_is(text: str) -> None:
    assert words.expand(word(literal(text)), {"x": "no"}).text == text


def test_variables_are_expanded_and_nothing_else() -> None:
    known = {"X": "v"}
    for text, expected in {
        'it\'s "$X"': 'it\'s "v"',
        "a\\b\\": "a\\b\\",
        "\\$X ${X} ${Y:-d e}": "$X v d e",
        "${X#v}${X/v/w}": "w",
    }.items():
        assert words.expand(word(text), known).text == expected


def test_stages_come_before_those_that_need_them() -> None:
    tools = Image.from_("tools:1")
    made = Image.from_(tools, name="made").run("make")
    image = BASE.copy("/a", "/", from_=made).run("x", mounts=[Mount.bind("/t", from_=tools), "type=tmpfs,target=/y"])
    program = Program(image.copy("/b", "/", from_=made).copy("/c", "/", from_="other"))
    stages = program.dockerfile.stages
    assert [(stage.name, stage.from_.image) for stage in stages] == [
        ("stage-0", "tools:1"),
        ("made", "stage-0"),
        ("", "busybox"),
    ]
    copies = [one.from_ for one in stages[2].instructions if isinstance(one, Copy)]
    assert copies == ["made", "made", "other"]
    (run,) = (one for one in stages[2].instructions if isinstance(one, Run))
    assert [mount.from_ for mount in run.mounts] == ["stage-0", ""]
    assert program.contexts == {}


def test_a_stage_has_the_name_of_no_other_and_of_no_image() -> None:
    one, two = (Image.from_("debian", name="debian").run(text) for text in "ab")
    program = Program(BASE.copy("/", "/1", from_=one).copy("/", "/2", from_=two).copy("/", "/3", from_="stage-2"))
    assert [stage.name for stage in program.dockerfile.stages] == ["debian-2", "debian-3", ""]
    assert [stage.from_.image for stage in program.dockerfile.stages] == ["debian", "debian", "busybox"]


def test_many_stages_and_steps_are_no_depth() -> None:
    image = BASE
    for number in range(2000):
        image = Image.from_(image).env(N=str(number)) if number % 2 else image.env(N=str(number))
    assert len(Program(image).dockerfile.stages) == 1001


def test_places_are_those_of_the_calls() -> None:
    # fmt: off
    image = (
        BASE
        .run("one")
        .run(
            "two",
        )
    )
    # fmt: on
    program = Program(image)
    one, two = (program.place(instruction.line) for instruction in program.dockerfile.stages[0].instructions)
    assert one.file == two.file == __file__
    assert one.lines[one.line - 1 : one.end_line] == ('        .run("one")',)
    assert two.lines[two.line - 1 : two.end_line] == ("        .run(", '            "two",', "        )")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda: BASE.healthcheck("x", interval="5"), "missing unit in duration"),
        (BASE.expose, "EXPOSE requires at least one argument"),
        (lambda: BASE.onbuild("FROM x"), "FROM isn't allowed as an ONBUILD trigger"),
        (lambda: BASE.onbuild("RUN a\nRUN b"), "single instruction"),
        (lambda: BASE.run("x", network="web"), "invalid network mode"),
        (lambda: BASE.run(" "), "the command is empty"),
        (lambda: BASE.run("x", mounts=["typ=x"]), "unexpected key 'typ'"),
        (lambda: BASE.run("x", mounts=[Mount.bind("/x", from_="a", context=".")]), "not of both"),
        (lambda: BASE.shell("sh"), "JSON form"),
        (lambda: BASE.copy([], "/"), "at least two arguments"),
        (lambda: BASE.copy("a", "/", from_="0"), "an image is needed"),
        (lambda: BASE.copy("a", "/", from_="x", context="."), "not from both"),
        (lambda: BASE.write("/etc/", "x"), "the name of a file is needed"),
        (lambda: BASE.cmd([1]), "a text is needed"),  # type: ignore[list-item]
        (lambda: Image.from_("x", name="1x"), "invalid name for build stage"),
    ],
)
def test_what_makes_no_sense_is_said_at_once(wrong: Callable[[], Any], reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason) as error:
        wrong()
    if isinstance(error.value, DockerfileError):
        assert str(error.value).startswith(f"{__file__}:{error.value.line}: ")


def test_docker_py_s_words() -> None:
    context, options = ours(None, {"path": "here", "nocache": True, "network_mode": "host", "rm": True, "shmsize": 1})
    assert (context, options) == ("here", {"no_cache": True, "network": "host", "shm_size": 1})
    assert ours("here", {"container_limits": {"memory": 1, "cpusetcpus": "0"}})[1] == {"memory": 1, "cpuset_cpus": "0"}


@pytest.mark.parametrize(
    ("context", "options"),
    [
        (None, {}),
        ("here", {"path": "there"}),
        (None, {"custom_context": True}),
        ("here", {"rm": False}),
        ("here", {"forcerm": False}),
        ("here", {"shmsize": 1, "shm_size": 1}),
        ("here", {"network": "none", "network_mode": "none"}),
        ("here", {"container_limits": {"memoryswap": 1}}),
        ("here", {"container_limits": {"memory": 1}, "memory": 1}),
    ],
)
def test_docker_py_s_words_that_make_no_sense(context: Any, options: Any) -> None:
    with pytest.raises(InvalidArgument):
        ours(context, options)
