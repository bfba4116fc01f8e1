"""``ps`` beside the real Docker: filters, their words for what makes no sense, forms and columns."""

from __future__ import annotations

import pytest

from tests.compat.beside import Answer, Side, both, words
from tests.conftest import Cli, wait_for

FILTERS = [
    "status=exited", "status=running", "status=created", "status=paused", "status=dead", "status=foo", "status=",
    "status=Exited", "exited=3", "exited=0", "exited=137", "exited=-1", "exited=+3", "exited=x", "exited=",
    "health=none", "health=starting", "health=well", "is-task=true", "is-task=false", "is-task=0", "is-task=x",
    "isolation=default", "isolation=x", "network=none", "network=bridge", "network=nosuch", "network=non", "network=",
    "volume=/data", "volume=", "publish=80", "publish=80-90/udp", "publish=x", "publish=70000", "publish=9-8",
    "publish=1.2.3.4:80", "expose=80", "expose=80/tcp", "expose=", "expose=x/udp", "before=@b", "before=@nosuch",
    "since=@b", "since=@nosuch", "since=", "ancestor=IMAGE", "ancestor=IMAGE:latest", "ancestor=IMAGE:nosuch",
    "ancestor=nosuch", "ancestor=", "ancestor=:", "name=@", "name=^@a$", "name=^/@a$", "name=@[ab]$", "name=[",
    "name=", "name=nosuch", "id=", "id=x", "label=a", "label=a=1", "label=a=2", "label=b", "label=b=", "label=",
    "label==", "label!=a", "foo=bar", "foo", "=", "=x", "NAME=^@a$", " name = ^@a$ ", "task=x", "until=1h",
]  # fmt: skip
PARTS = 5
PAIRS = [
    ("name=@a", "name=@b"), ("label=a", "label=b"), ("status=exited", "status=created"), ("exited=3", "exited=0"),
    ("health=none", "health=healthy"),
    ("network=none", "network=host"), ("is-task=true", "is-task=false"), ("ancestor=nosuch", "ancestor=IMAGE"),
    ("name=@", "status=created"), ("since=@a", "before=@d"), ("exited=3", "label=a"), ("id=x", "name=@a"),
]  # fmt: skip


@pytest.fixture
def sides(cli_busybox: Cli) -> object:
    with both(cli_busybox) as found:
        for side in found:
            side.start("a", "-l", "a=1", "-l", "b=", "IMAGE", "sh", "-c", "exit 3", "x y")
            side.raw("create", "--name", "@b", "--network", "none", "-l", "a=1", "IMAGE", "true")
            side.start("c", "-l", "a=2", "IMAGE", "sleep", "1000")
            side.start("d", "IMAGE", "sleep", "1000")
            side.raw("pause", "@d")
            state = ("inspect", "-f", "{{.State.Status}}", "@a")
            wait_for(lambda side=side, state=state: side(*state)[1] == "exited\n", 20)
        yield found


def ours_only(side: Side, *argv: str) -> Answer:
    """The names that a list has, of this test's containers."""
    code, out, error = side("ps", "--format", "{{.Names}}", *argv)
    return code, "".join(f"{name}\n" for name in out.split() if name.startswith("@")), error


@pytest.mark.parametrize("part", range(PARTS))
def test_filters(sides: tuple[Side, Side], part: int) -> None:
    for filters in [*((one,) for one in FILTERS), *PAIRS][part::PARTS]:
        flags = [word for one in filters for word in ("-f", one)]
        expected, got = (ours_only(side, "-a", *flags) for side in sides)
        assert (got[0] != 0, got[1]) == (expected[0] != 0, expected[1]), flags
        assert got[2] in expected[2] or expected[2] in got[2], flags
        assert bool(got[2]) == bool(expected[2]), flags


def test_filters_and_what_does_not_run(sides: tuple[Side, Side]) -> None:
    for one in (
        "status=exited",
        "status=created",
        "exited=3",
        "since=@a",
        "before=@d",
        "label=a",
        "name=@",
        "health=none",
    ):
        expected, got = (ours_only(side, "-f", one) for side in sides)
        assert got == expected, one


def test_ids(sides: tuple[Side, Side]) -> None:
    for side in sides:
        whole = side.raw("ps", "-q", "--no-trunc", "-f", "name=^@c$")[1].strip()
        assert len(whole) == 64
        for start in (whole, whole[:20], whole[:12]):
            assert ours_only(side, "-f", f"id={start}")[1] == "@c\n"
        assert ours_only(side, "-f", f"id={whole[1:20]}")[1] == ""


def test_forms(sides: tuple[Side, Side]) -> None:
    mine = ("-f", "name=@", "--no-trunc")
    fields = "{{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Ports}} {{.Networks}} {{.Mounts}} {{.Platform}}"
    for argv in (
        ("-a", *mine, "--format", fields),
        ("-a", "-f", "name=@", "--format", fields),
        ("-a", *mine, "--format", "table {{.Names}}\t{{.Command}}\t{{.Labels}}"),
        ("-a", *mine, "--format", '{{.Label "a"}}|{{.Label "nosuch"}}|{{json .Command}}'),
        ("-aq", *mine),
        ("-aq", "-f", "name=@"),
        ("-l", "-f", "name=@", "--format", "{{.Names}}"),
        ("-n", "2", "-f", "name=@", "--format", "{{.Names}}"),
        ("-n", "0", "-f", "name=@", "--format", "{{.Names}}"),
        ("-n", "-5", "-f", "name=@", "--format", "{{.Names}}"),
        ("-n", "x"),
        ("-a", *mine, "--format", "{{.Nope}}"),
        ("x",),
    ):
        expected, got = (side("ps", *argv) for side in sides)
        if expected[0] == 0:
            assert got == expected, argv
        else:
            assert got[0] != 0, argv
            assert got[1] == "", argv


def test_status(sides: tuple[Side, Side]) -> None:
    """The words of STATUS, without their figures."""
    found = []
    for side in sides:
        _, out, _ = side("ps", "-a", "-f", "name=@", "--format", "{{.Names}} {{.Status}}")
        lines = [line for line in words(out) if line]
        found.append([[word for word in line if word not in ("second", "seconds", "ago", "Less", "than", "a", "About",
                       "minute", "minutes") and not word.isdigit()] for line in lines])  # fmt: skip
    assert found[1] == found[0]
    assert found[0] == [["@d", "Up", "(Paused)"], ["@c", "Up"], ["@b", "Created"], ["@a", "Exited", "(3)"]]


def test_an_image_that_loses_its_name(cli_busybox: Cli) -> None:
    with both(cli_busybox) as sides:
        found = []
        for side in sides:
            name = "observe-image:1"
            side.raw("tag", "IMAGE", name)
            side.raw("create", "--name", "@a", "--network", "none", name, "true")
            image = side.raw("inspect", "-f", "{{.Image}}", "@a")[1].strip()
            shown = [side.raw("ps", "-a", "-f", "name=@a", "--format", "{{.Image}}")[1].strip()]
            side.raw("tag", "IMAGE", "observe-other:1")
            side.raw("rmi", name)
            shown.append(side.raw("ps", "-a", "-f", "name=@a", "--format", "{{.Image}}")[1].strip())
            shown.append(side.raw("ps", "-a", "-f", "name=@a", "--no-trunc", "--format", "{{.Image}}")[1].strip())
            side.raw("rmi", "observe-other:1")
            found.append([text.replace(image, "ID").replace(image[7:19], "SHORT") for text in shown])
        assert found[1] == found[0] == ["observe-image:1", "SHORT", "ID"]
