"""`info`, `doctor`, `version`; the modules that a real `run` and `ps` import."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minidock import helper
from tests.conftest import Cli, Roots
from tests.unit.cli.test_main import FORBIDDEN


def test_info(cli_busybox: Cli, roots: Roots) -> None:
    cli_busybox.ok("create", "--name", "one", "busybox")
    text = cli_busybox.ok("info")
    assert "Containers: 1\n Running: 0\n Paused: 0\n Stopped: 1\n" in text
    assert f"Data Root: {roots.data}\n" in text
    document = json.loads(cli_busybox.ok("system", "info", "--format", "json"))
    assert (document["Containers"], document["DockerRootDir"]) == (1, str(roots.data))
    assert cli_busybox.ok("info", "-f", "{{.NCPU}} {{.OSType}}") == f"{os.cpu_count()} linux\n"
    cli_busybox.ok("rm", "one")


def test_doctor(cli: Cli) -> None:
    done = cli("doctor")
    text = done.stdout.decode()
    assert re.search(r"^\d+ ok, \d+ warnings, \d+ failures$", text.splitlines()[-1])
    assert done.returncode == (0 if text.endswith(" 0 failures\n") else 1)
    assert "\x1b" not in text
    findings = json.loads(cli("doctor", "--json").stdout)
    assert {finding["status"] for finding in findings} <= {"ok", "warn", "fail"}
    assert all(finding["advice"] for finding in findings if finding["status"] == "fail")


def test_doctor_leaves_nothing(tmp_path: Path) -> None:
    """An empty directory that others may read can still become a data root after it."""
    root = tmp_path / "data"
    root.mkdir()
    root.chmod(0o755)
    done = subprocess.run([helper.shipped(), "probe", "--json", "--data-root", root], capture_output=True, check=True)
    assert "overlay" in {finding["name"] for finding in json.loads(done.stdout)}
    assert list(root.iterdir()) == []


def test_doctor_is_coloured_on_a_terminal(cli: Cli) -> None:
    master, slave = pty.openpty()
    process = cli.popen("doctor", stdout=slave, stdin=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    seen = b""
    try:
        while piece := os.read(master, 4096):
            seen += piece
    except OSError:  # EIO: the terminal's last user has gone
        pass
    os.close(master)
    assert process.wait(60) in (0, 1)
    assert b"\x1b[" in seen
    assert b" failures" in seen


def test_version(cli: Cli) -> None:
    assert cli.ok("version").startswith("minidock:\n Version: ")
    document = json.loads(cli.ok("version", "--format", "json"))
    assert document["Client"]["Version"] == document["Server"]["Version"]
    assert cli.ok("version", "-f", "{{.Server.ApiVersion}}") == document["Server"]["ApiVersion"] + "\n"


@pytest.mark.parametrize("argv", [["run", "--rm", "busybox", "true"], ["ps", "-a"], ["images"], ["rm", "-f", "none"]])
def test_what_commands_import(cli_busybox: Cli, argv: list[str]) -> None:
    """The start-up budget: no expensive module on the way, once the built-in image has been made."""
    cli_busybox.ok("images")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "minidock", *argv],
        env=cli_busybox.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "minidock.engine" in imported
    assert imported & set(FORBIDDEN) == set()
