"""``system install``, ``system uninstall``: units that systemd takes, written once, and nobody else's touched."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from minidock.cli import systemd
from minidock.cli.main import run
from minidock.containers import scopes
from tests.conftest import Cli, Roots

NAMES = ["minidock-api.service", "minidock-api.socket", "minidock.service"]


def units(root: Path, folder: str = "etc/systemd/system") -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((root / folder).iterdir())}


def test_units_of_another_system(cli: Cli, roots: Roots, tmp_path: Path) -> None:
    root = tmp_path / "root"
    written = cli.ok("system", "install", "--root", str(root), "--group", "docker", "--socket", "/run/d%o.sock")
    assert written.count(": written\n") == 3
    found = units(root)
    assert sorted(found) == NAMES
    assert "ListenStream=/run/d%%o.sock\n" in found["minidock-api.socket"]
    assert "SocketGroup=docker\n" in found["minidock-api.socket"]
    assert "SocketMode=0660\n" in found["minidock-api.socket"]
    service = found["minidock-api.service"]
    assert f" --data-root {roots.data}" in service
    assert service.count(" serve\n") == 1
    assert "KillMode=process\n" in service
    assert "Type=notify\n" in service
    assert " system restore\n" in found["minidock.service"]
    for path in (root / "etc/systemd/system").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    again = cli.ok("system", "install", "--root", str(root), "--group", "docker", "--socket", "/run/d%o.sock")
    assert again.count(": unchanged\n") == 3
    # Another version's, or other options': ours, so it is replaced.
    other = cli.ok("system", "install", "--root", str(root))
    assert (other.count(": written\n"), other.count(": unchanged\n")) == (1, 2)
    shown = cli.ok("system", "install", "--print", "--root", str(root))
    assert all(text in shown for text in units(root).values())
    assert cli.ok("system", "uninstall", "--root", str(root)).count(": removed\n") == 3
    assert list((root / "etc/systemd/system").iterdir()) == []
    done = cli("system", "uninstall", "--root", str(root))
    assert (done.returncode, done.stdout) == (0, b"")
    cli.ok("system", "install", "--root", str(root), "--prefix", "/usr")
    assert sorted(units(root, "usr/lib/systemd/system")) == NAMES


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_systemd_takes_them(cli: Cli, tmp_path: Path) -> None:
    cli.ok("system", "install", "--root", str(tmp_path))
    folder = tmp_path / "etc/systemd/system"
    done = subprocess.run(
        ["systemd-analyze", "verify", *folder.iterdir()],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [one for one in done.stderr.splitlines() if "minidock" in one]
    assert not complaints
    assert done.returncode == 0


def test_files_of_others(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "etc/systemd/system"
    folder.mkdir(parents=True)
    (folder / "minidock-api.service").write_text("[Service]\nExecStart=/bin/true\n")
    (folder / "minidock.service").symlink_to("/dev/null")  # masked
    done = cli("system", "install", "--root", str(tmp_path))
    assert done.returncode == 1
    assert b"minidock-api.service" in done.stderr
    assert b"--force" in done.stderr
    assert not (folder / "minidock-api.socket").exists(), "all or nothing"
    assert cli("system", "uninstall", "--root", str(tmp_path)).returncode == 1
    assert (folder / "minidock-api.service").read_text() == "[Service]\nExecStart=/bin/true\n"
    cli.ok("system", "install", "--force", "--root", str(tmp_path))
    assert not (folder / "minidock.service").is_symlink()
    with (folder / "minidock-api.socket").open("a") as file:
        file.write("# changed by hand\n")
    assert cli("system", "install", "--root", str(tmp_path)).returncode == 1
    assert cli("system", "uninstall", "--root", str(tmp_path)).returncode == 1
    assert len(list(folder.iterdir())) == 3
    cli.ok("system", "uninstall", "-f", "--root", str(tmp_path))
    assert list(folder.iterdir()) == []


def test_nonsense(cli: Cli, tmp_path: Path) -> None:
    for arguments, words in (
        (["--prefix", "usr"], "an absolute path is needed"),
        (["--root", "x"], "an absolute path is needed"),
        (["--print", "--socket", "x"], "an absolute path of at most"),
        (["--print", "--socket", "/" + "x" * 200], "an absolute path of at most"),
        (["--print", "--socket", "/run/a\nExecStart=x"], "an absolute path of at most"),
        (["--print", "--group", "a b"], "no group can have this name"),
        (["--group", "no-such-group"], "groupadd no-such-group"),
        (["--root", "/proc/nowhere"], "write /proc/nowhere"),
    ):
        done = cli("system", "install", *arguments)
        assert done.returncode == 1, arguments
        assert words in done.stderr.decode()
    if not scopes.systemd_runs():
        for verb in ("install", "uninstall"):
            done = cli("system", verb)
            assert done.returncode == 1
            assert b"systemd does not run on this host" in done.stderr
    assert not Path("/etc/systemd/system/minidock-api.service").exists()


def test_what_systemd_is_told(
    roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a systemd that runs: its commands, once, in order; its refusals are ours."""
    said = tmp_path / "said"
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{said}\n[ ! -e {tmp_path}/refuse ] || {{ echo no >&2; exit 5; }}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(scopes, "systemd_runs", lambda: True)
    monkeypatch.setattr(systemd, "ADMINISTRATORS", str(tmp_path / "units"))
    for name, value in roots.env.items():
        if name.startswith("MINIDOCK_"):
            monkeypatch.setenv(name, value)

    def told(*arguments: str, code: int = 0) -> list[str]:
        said.write_text("")
        assert run(["system", *arguments]) == code
        return said.read_text().splitlines()

    assert told("install") == ["daemon-reload"]
    assert "systemctl enable --now minidock-api.socket" in capfd.readouterr().err
    assert told("install", "--now") == ["enable --now minidock-api.socket", "enable minidock.service"]
    (tmp_path / "refuse").touch()
    assert told("install", "--group", "1", code=1) == ["daemon-reload"]
    assert "systemctl daemon-reload: no" in capfd.readouterr().err
    (tmp_path / "refuse").unlink()
    assert told("uninstall") == [
        "disable minidock-api.socket minidock-api.service minidock.service",
        "stop minidock-api.socket minidock-api.service",
        "daemon-reload",
    ]
    assert list((tmp_path / "units").iterdir()) == []
    assert told("uninstall") == []
