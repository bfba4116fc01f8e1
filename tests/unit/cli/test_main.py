"""What the program does around its commands: imports, help, errors, exit codes, closed streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minidock.cli import surface
from minidock.cli.main import run

FORBIDDEN = [
    "argparse",
    "asyncio",
    "click",
    "concurrent.futures",
    "dataclasses",
    "email",
    "h11",
    "http.client",
    "logging",
    "rich",
    "selectors",
    "shutil",
    "ssl",
    "subprocess",
    "tempfile",
    "traceback",
    "urllib.request",
    "urllib3",
]
"""What no command may import on its way to the engine: each costs milliseconds of every `minidock run`."""


def minidock(*argv: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    options = {"capture_output": True, "text": True, "timeout": 60, **kwargs}
    argv = (sys.executable, "-m", "minidock", *argv)
    return subprocess.run(argv, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("name", ["container run", "container ls", "image ls", "container rm"])
def test_commands_import_little(name: str) -> None:
    """The command's module, the engine and its collections are imported, none of the expensive modules is."""
    code = f"""
import sys
from minidock.cli.main import main
from minidock.cli import surface
from minidock.cli.flags import parse
surface.load({name!r})
from minidock.engine import Engine
Engine().containers
print(*sorted(set({FORBIDDEN!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


def test_help_imports_no_engine() -> None:
    code = """
import sys
from minidock.cli.main import run
run(["--help"]); run(["run", "--help"]); run(["bogus"]); run(["swarm", "init"])
print(*(name for name in ("msgspec", "sqlite3", "minidock.engine", "minidock._native") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize("name", ["", *surface.GROUPS, *surface.IMPLEMENTED, *surface.ALIASES])
def test_every_help_shows_its_usage(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split(), "--help"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.startswith(f"Usage: minidock {name}".rstrip())
    if surface.canonical(name) in surface.IMPLEMENTED:
        for flag in surface.load(surface.canonical(name)).flags:
            shown = flag.reason is None and not flag.hidden
            assert (f"--{flag.name} " in out or f"--{flag.name}\n" in out) == shown, flag.name


def test_bad_debug_variable(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MINIDOCK_DEBUG", "perhaps")
    assert run(["version"]) == 125
    assert capfd.readouterr().err == "minidock: MINIDOCK_DEBUG=perhaps: must be true or false\n"


def test_no_arguments_is_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert capfd.readouterr().out.startswith("Usage: minidock [OPTIONS] COMMAND")


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (["bogus"], 1, "minidock: unknown command: minidock bogus (see 'minidock --help')"),
        (["container", "bogus"], 1, "minidock: unknown command: minidock container bogus"),
        (["--bogus"], 125, "minidock: unknown flag: --bogus"),
        (["ps", "--bogus"], 125, "minidock: unknown flag: --bogus (see 'minidock ps --help')"),
        (["ps", "x"], 1, "minidock: 'minidock ps' accepts no arguments"),
        (["rm"], 1, "minidock: 'minidock rm' requires at least 1 argument"),
        (["images", "a", "b"], 1, "minidock: 'minidock images' requires at most 1 argument"),
        (["tag", "a"], 1, "minidock: 'minidock tag' requires 2 arguments"),
        (["run"], 1, "minidock: an image is needed, or --rootfs"),
        (["-H", "tcp://x", "ps"], 125, "minidock: -H, --host is not part of minidock: there is no daemon"),
        (["--log-level", "loud", "ps"], 1, "minidock: unable to parse logging level: loud"),
        (["inspect", "--type", "service", "x"], 125, "minidock: --type service is not part of minidock"),
        (["inspect", "--type", "foo", "x"], 1, 'minidock: unknown type: "foo"'),
        (["inspect", "-f", "{{", "x"], 1, "minidock: template parsing error: template: :1: unclosed action"),
        (["run", "-it", "x"], 1, "minidock: the input device is not a TTY"),
        (["import", "https://x/y.tar"], 1, "minidock: import https://x/y.tar: minidock does not download"),
        (["completion", "tcsh"], 1, "minidock: completion: unknown shell 'tcsh'"),
        (["run", "-e", "=x", "i"], 125, "minidock: invalid environment variable: =x"),
        (["run", "--storage-opt", "x", "i"], 125, "must be KEY=VALUE"),
        (["help", "bogus"], 1, "minidock: unknown command: minidock bogus"),
    ],
)
def test_mistakes(argv: list[str], code: int, text: str) -> None:
    done = minidock(*argv, stdin=subprocess.DEVNULL)
    assert done.returncode == code
    assert done.stdout == ""
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


def test_version() -> None:
    import minidock as package

    assert minidock("--version").stdout == f"minidock version {package.__version__}\n"
    assert minidock("version", "-f", "{{.Server.Version}}").stdout == f"{package.__version__}\n"
    assert '"Client":{"Version"' in minidock("version", "--format", "json").stdout


def test_without_root_is_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert run(["ps"]) == 1
    assert capfd.readouterr() == ("", "minidock: minidock needs root's rights: run it with sudo\n")
    assert run(["run", "x"]) == 125


def test_a_bug_is_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(name: str) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(surface, "load", fail)
    assert run(["ps"]) == 125
    err = capfd.readouterr().err
    assert "internal error: ZeroDivisionError: by\\x0azero" in err
    assert err.count("\n") == 1
    assert run(["--debug", "ps"]) == 125
    assert "Traceback" in capfd.readouterr().err


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(surface, "load", interrupt)
    assert run(["ps"]) == 130
    assert capfd.readouterr() == ("", "")


def test_a_reader_that_went_away_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = minidock("--help", stdout=writer, capture_output=False, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = minidock("version", stdout=full, capture_output=False, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (125, "minidock: no space left on device\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str) -> None:
    """A database of ours must never get the number of a closed standard stream."""
    command = f"{sys.executable} -m minidock version {closed}; echo $? >&3"
    reader, writer = os.pipe()
    script = f"exec 3>&{writer}; {command}"
    subprocess.run(["/bin/bash", "-c", script], pass_fds=[writer], timeout=60, check=True, capture_output=True)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == "0\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    script = minidock("completion", shell).stdout
    assert f"_MINIDOCK_COMPLETE={shell}_complete" in script


def _complete(*words: str) -> list[str]:
    env = {**os.environ, "_MINIDOCK_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("minidock", *words))}
    env["COMP_CWORD"] = str(len(words))
    return [line.partition(",")[2] for line in minidock(env=env).stdout.splitlines()]


def test_completes_commands_and_flags() -> None:
    assert {"container", "image", "run", "ps", "images"} <= set(_complete(""))
    assert _complete("container", "r") == ["rename", "restart", "rm", "run"]
    assert "--read-only" in _complete("run", "--re")
    assert "--use-api-socket" not in _complete("run", "--us")
    assert "--publish" in _complete("run", "--p")
