"""The grammar of Docker's command line."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.cli.commands.run import CREATE, RUN
from minidock.cli.flags import Command, Flag, HelpWanted, parse
from minidock.cli.surface import NO_SWARM, NO_TRUST
from minidock.cli.words import UsageError, parse_duration, parse_int

COMMAND = Command(
    "[OPTIONS]",
    "",
    [
        Flag("all", short="a"),
        Flag("count", "int", short="n", default=-1),
        Flag("env", "list", short="e"),
        Flag("filter", "filter", short="f"),
        Flag("name", "string"),
        Flag("proxy", default=True),
        Flag("quiet", short="q"),
        Flag("weight", "uint16"),
        Flag("publish", "list", short="p", reason=NO_SWARM),
        Flag("publish-all", short="P", reason=NO_SWARM),
        Flag("trust", reason=NO_TRUST, harmless=True, default=True),
    ],
    lambda *_: 0,
)


def given_by(*argv: str) -> tuple[dict[str, Any], list[str]]:
    values, arguments = parse(COMMAND, argv)
    return values.given, arguments


@pytest.mark.parametrize(
    ("argv", "flags", "arguments"),
    [
        ([], {}, []),
        (["-a"], {"all": True}, []),
        (["-aq", "x"], {"all": True, "quiet": True}, ["x"]),
        (["-aqn5", "x"], {"all": True, "quiet": True, "count": 5}, ["x"]),
        (["-aqn", "5", "x"], {"all": True, "quiet": True, "count": 5}, ["x"]),
        (["-n=5"], {"count": 5}, []),
        (["-n", "-5"], {"count": -5}, []),
        (["--count=-5"], {"count": -5}, []),
        (["--count", "0x10"], {"count": 16}, []),
        (["--all=false"], {"all": False}, []),
        (["--all=T", "--quiet=0"], {"all": True, "quiet": False}, []),
        (["-a=false"], {"all": False}, []),
        (["--all", "false"], {"all": True}, ["false"]),
        (["-eK=V", "-e", "A=B", "--env=C", "--env", "D="], {"env": ["K=V", "A=B", "C", "D="]}, []),
        (["-e=K=V"], {"env": ["K=V"]}, []),
        (["x", "-a", "y"], {"all": True}, ["x", "y"]),
        (["x", "--", "-a", "--", "y"], {}, ["x", "-a", "--", "y"]),
        (["-", "x"], {}, ["-", "x"]),
        (["--name", "--all"], {"name": "--all"}, []),
        (["--name="], {"name": ""}, []),
        (["--name", ""], {"name": ""}, []),
        (["-f", "status=exited", "--filter", "label=a=b"], {"filter": [("status", "exited"), ("label", "a=b")]}, []),
        (["--publish-all=false"], {"publish-all": False}, []),
        (["--trust"], {"trust": True}, []),
        (["", "x"], {}, ["", "x"]),
    ],
)
def test_accepts(argv: list[str], flags: dict[str, Any], arguments: list[str]) -> None:
    assert given_by(*argv) == (flags, arguments)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--bogus"], "unknown flag: --bogus"),
        (["--bogus=1"], "unknown flag: --bogus"),
        (["-z"], "unknown shorthand flag: 'z' in -z"),
        (["-az"], "unknown shorthand flag: 'z' in -z"),
        (["--name"], "flag needs an argument: --name"),
        (["-n"], "flag needs an argument: 'n' in -n"),
        (["-an"], "flag needs an argument: 'n' in -n"),
        (["--all=maybe"], 'invalid argument "maybe" for "-a, --all" flag: strconv.ParseBool: parsing "maybe": '),
        (["-n", "x"], 'invalid argument "x" for "-n, --count" flag: strconv.ParseInt: parsing "x": invalid syntax'),
        (["-n", "1.5"], 'parsing "1.5": invalid syntax'),
        (["-n", "99999999999999999999"], "value out of range"),
        (["--weight", "70000"], 'strconv.ParseUint: parsing "70000": value out of range'),
        (["--weight", "-1"], 'strconv.ParseUint: parsing "-1": invalid syntax'),
        (["--filter", "x"], 'invalid argument "x" for "-f, --filter" flag: bad format of filter (expected name=value)'),
        (["--=x"], "bad flag syntax: --=x"),
        (["---x"], "bad flag syntax: ---x"),
        (["-p", "80:80"], "-p, --publish is not part of minidock: it runs containers of one host"),
        (["-P"], "-P, --publish-all is not part of minidock"),
        (["--trust=false"], "--trust is not part of minidock"),
    ],
)
def test_refuses(argv: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(COMMAND, argv)
    assert text in str(caught.value)
    assert caught.value.exit_code == 125


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["-ah"], ["x", "--help"]])
def test_help(argv: list[str]) -> None:
    with pytest.raises(HelpWanted):
        parse(COMMAND, argv)


def test_defaults() -> None:
    values, _ = parse(COMMAND, [])
    assert (values["all"], values["count"], values["env"], values["name"], values["proxy"]) == (
        False,
        -1,
        [],
        None,
        True,
    )
    assert "count" not in values


def test_flags_after_the_image_belong_to_the_command() -> None:
    values, arguments = parse(RUN, ["--rm", "-it", "busybox", "sh", "-c", "ls --all", "--rm=false", "--", "-x"])
    assert values.options() == {"remove": True, "stdin_open": True, "tty": True}
    assert arguments == ["busybox", "sh", "-c", "ls --all", "--rm=false", "--", "-x"]


def test_double_dash_before_the_image() -> None:
    assert parse(RUN, ["--rm", "--", "busybox", "--", "x"])[1] == ["busybox", "--", "x"]


def test_h_of_run_is_the_hostname() -> None:
    assert parse(RUN, ["-h", "box", "i"])[0].options() == {"hostname": "box"}


def test_hidden_spellings_of_docker() -> None:
    values, _ = parse(RUN, ["--net", "host", "--dns-opt=ndots:1", "i"])
    assert values.options() == {"network": ["host"], "dns_opt": ["ndots:1"]}


def test_every_option_is_a_keyword_of_create() -> None:
    from minidock.containers.options import CreateOptions

    known = CreateOptions.__annotations__.keys()
    for command in (RUN, CREATE):
        assert {flag.option for flag in command.flags if flag.option} <= known


def test_no_flag_is_declared_twice() -> None:
    names = [name for flag in RUN.flags for name in (flag.name, *flag.aliases)]
    shorts = [flag.short for flag in RUN.flags if flag.short]
    assert len(names) == len(set(names))
    assert len(shorts) == len(set(shorts))


def test_values_reach_the_engine_as_they_are_written() -> None:
    argv = ["-m", "64m", "--cpus", "1.5", "--ulimit", "nofile=1:2", "--shm-size=1g", "--memory-swap", "-1", "i"]
    argv = ["--stop-timeout", "3", "--timeout", "1m30s", "--oom-score-adj=-5", *argv]
    assert parse(RUN, argv)[0].options() == {
        "memory": "64m",
        "cpus": "1.5",
        "ulimits": ["nofile=1:2"],
        "shm_size": "1g",
        "memswap_limit": "-1",
        "stop_timeout": 3,
        "timeout": 90.0,
        "oom_score_adj": -5,
    }


@given(st.lists(st.text(max_size=8) | st.sampled_from(["-a", "-n", "--env", "--", "-e=", "--all=", "-f", "--x"])))
def test_any_words_parse_or_are_refused(argv: list[str]) -> None:
    with contextlib.suppress(UsageError, HelpWanted):
        assert len(parse(COMMAND, argv)[1]) <= len(argv)


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_read_back(number: int) -> None:
    assert parse_int(str(number)) == number
    assert parse_int(f"{'-' if number < 0 else ''}0x{abs(number):x}") == number


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5), ("0.5", 0.5), ("90s", 90), ("1h1m1s", 3661), ("500ms", 0.5), ("1.5m", 90)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, bare=True) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "x", "5x", "s", "-", "1h-5m", "1..5s", "nan", "inf", "5 s"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration(text, bare=True)


def test_duration_without_a_unit() -> None:
    with pytest.raises(ValueError, match='time: missing unit in duration "5"'):
        parse_duration("5")
