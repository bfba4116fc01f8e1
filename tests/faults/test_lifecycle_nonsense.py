"""Names, filters, times, signals and sizes that make no sense: one line, the right exit code, nothing has changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import minidock
from minidock.cli.main import run
from tests.conftest import Cli, Roots
from tests.integration.verbs import started

LONG = "x" * 300
HUGE = "9" * 40
NUMBER = "٣"
"""A digit for Python, and for nobody else."""

NAMES = ["", " ", "..", "../x", "a/b", "-x", ".x", "é", "a b", "a\nb", "a\x1b[2J", LONG, "a:b", "/", "//x"]
SIGNALS = [
    "",
    "nope",
    "0",
    "65",
    "-1",
    "SIG",
    "SIGSIG",
    "TERM ",
    "9.0",
    "0x9",
    "RTMIN-1",
    "RTMIN+99",
    HUGE,
    NUMBER,
    "a\nb",
]
TIMES = ["abc", "1.5", HUGE, "", " ", "1s", NUMBER, "0x1g", "1e3", "--1"]
SIZES = ["abc", "-1k", "1z", "k", "", "1.2.3m", HUGE + "g", "0x10", "1 2", "nan", "inf", f"{NUMBER}m", "1"]
FILTERS = [
    "nope=1",
    "name",
    "=",
    "",
    "status=nope",
    "exited=x",
    "health=odd",
    "is-task=perhaps",
    "before=nope",
    "since=",
    "label",
]
WHEN = ["abc", "2026-13-01", "2026-01-01T25:00:00", "1h2", "-", "1" * 30, NUMBER, "12:61", "2026-01-01T00:00:00+99:00"]
TEMPLATES = ["{{", "{{.Nope}}", "{{nope}}", "{{end}}", "{{range}}", "{{.ID | nope}}", "{{if}}", "{{template}}"]


def _cases() -> Iterator[list[str]]:
    """Commands that must be refused; ``one`` is a container that runs."""
    for name in NAMES:
        yield ["rename", "one", name]
        for command in ("stop", "kill", "pause", "inspect", "rm", "wait", "logs", "top", "port", "start"):
            if not name.startswith("-"):
                yield [command, f"{name}nope" if name.strip() else name]
        if name:
            yield ["create", "--name", name, "busybox"]
    for signal in SIGNALS:
        yield ["kill", "--signal", signal or "''", "one"]
        yield ["stop", "--signal", signal or "''", "one"]
        if signal:
            yield ["create", "--stop-signal", signal, "busybox"]
    for time in TIMES:
        yield ["stop", "--timeout", time, "one"]
        yield ["restart", "--timeout", time, "one"]
        yield ["create", "--stop-timeout", time, "busybox"]
    for size in SIZES:
        yield ["create", "--memory", size or "''", "busybox"]
        yield ["update", "--memory", size or "''", "one"]
        if size not in ("1", "-1k"):
            yield ["create", "--shm-size", size or "''", "busybox"]
    for wanted in FILTERS:
        yield ["ps", "--filter", wanted or "''"]
        yield ["container", "prune", "-f", "--filter", wanted or "''"]
        if wanted != "label":
            yield [
                "events",
                "--since",
                "0",
                "--until",
                "1",
                "--filter",
                wanted if wanted in ("nope=1", "name", "") else "nope=1",
            ]
    for when in WHEN:
        yield ["logs", "--since", when, "one"]
        yield ["logs", "--until", when, "one"]
        yield ["events", "--since", when, "--until", "1"]
    for template in TEMPLATES:
        yield ["ps", "--format", template]
        yield ["inspect", "--format", template, "one"]
        yield ["stats", "--no-stream", "--format", template]
        if template != "{{.Nope}}":  # as in Docker, that is seen when there is an event
            yield ["events", "--since", "0", "--until", "1", "--format", template]
    for number in ("abc", "-2x", "1.5", HUGE, NUMBER):
        yield ["ps", "-n", number]
        yield ["create", "--pids-limit", number, "busybox"]
        yield ["create", "--cpu-shares", number, "busybox"]
        yield ["update", "--pids-limit", number, "one"]
        yield ["create", "--restart", f"on-failure:{number}", "busybox"]
        yield ["create", "--health-retries", number, "--health-cmd", "true", "busybox"]
        yield ["exec", "--user", f"nobody-{number}", "one", "true"]
    for policy in ("nope", "always:3", "on-failure:-1", "no:1", ":", "Always"):
        yield ["create", "--restart", policy, "busybox"]
        yield ["update", "--restart", policy, "one"]
    for cpus in ("abc", "-1", "1e9", "nan", "inf", "0x1", NUMBER, HUGE):
        yield ["create", "--cpus", cpus, "busybox"]
        yield ["update", "--cpus", cpus, "one"]
    for length in ("abc", "-1s", "1", "5x", "1.5.2s", "nan", "0.5ms", HUGE + "h"):
        yield ["create", "--health-cmd", "true", "--health-interval", length, "busybox"]
        yield ["create", "--health-cmd", "true", "--health-timeout", length, "busybox"]
    for keys in ("ctrl-", "ctrl-?", "abc", "ctrl-a,,b", "alt-x", "é", ","):
        yield ["attach", "--detach-keys", keys, "one"]
        yield ["exec", "--detach-keys", keys, "one", "true"]
    for driver in ("nope", "", "JSON-FILE", "a\nb"):
        yield ["create", "--log-driver", driver or "''", "busybox"]
    for option in (
        "nope=1",
        "max-size=abc",
        "max-size=0",
        "max-file=0",
        "max-file=-1",
        "max-file=x",
        "compress=perhaps",
    ):
        yield ["create", "--log-opt", option, "busybox"]


@pytest.mark.timeout(300)
def test_table(
    engine: minidock.Engine,
    busybox: str,
    roots: Roots,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In this process, as a command each costs a hundred times as much; two are checked below as commands."""
    container = started(engine, name="one")
    for name, value in roots.env.items():
        monkeypatch.setenv(name, value)
    before = container.attrs
    problems = []
    for words in _cases():
        code = run(words)
        out, err = capfd.readouterr()
        text = err.replace("internal error", "\n")
        if code not in (1, 125, 126, 127):
            problems.append(f"{words}: code {code}, {out[:80]!r}")
        elif text.count("\n") != 1 or not text.startswith("minidock: ") or not text.rstrip("\n").isprintable():
            problems.append(f"{words}: {text[:300]!r}")
        elif len(text) > 1000:
            problems.append(f"{words}: {len(text)} bytes")
    assert not problems, "\n".join(problems)
    container.reload()
    assert container.attrs == before
    assert [it.id for it in engine.containers.list(all=True)] == [container.id]


@pytest.mark.parametrize("words", [["kill", "-s", "nope", "one"], ["ps", "--filter", "nope=1"]])
def test_command(cli_busybox: Cli, words: list[str]) -> None:
    cli_busybox.ok("run", "-d", "--name", "one", "busybox", "sleep", "1000")
    done = cli_busybox(*words)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    cli_busybox.ok("rm", "-f", "one")
