"""``system install``, ``system uninstall``: units that systemd takes, written once, and nobody else's touched."""

from __future__ import annotations

import json
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
    assert service.count(" serve --group docker\n") == 1
    assert "KillMode=process\n" in service
    assert "Type=notify\n" in service
    assert " system restore\n" in found["minidock.service"]
    assert "TimeoutStopSec=infinity\n" in found["minidock.service"]
    for path in (root / "etc/systemd/system").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    again = cli.ok("system", "install", "--root", str(root), "--group", "docker", "--socket", "/run/d%o.sock")
    assert again.count(": unchanged\n") == 3
    # Another version's, or other options': ours, so it is replaced.
    other = cli.ok("system", "install", "--root", str(root))
    assert (other.count(": written\n"), other.count(": unchanged\n")) == (2, 1)
    shown = cli.ok("system", "install", "--print", "--root", str(root))
    assert all(text in shown for text in units(root).values())
    assert cli.ok("system", "uninstall", "--root", str(root)).count(": removed\n") == 3
    assert list((root / "etc/systemd/system").iterdir()) == []
    done = cli("system", "uninstall", "--root", str(root))
    assert (done.returncode, done.stdout) == (0, b"")
    cli.ok("system", "install", "--root", str(root), "--prefix", "/usr")
    assert sorted(units(root, "usr/lib/systemd/system")) == NAMES


def listens(text: str) -> list[str]:
    return [line.removeprefix("ListenStream=") for line in text.splitlines() if line.startswith("ListenStream=")]


def shown(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["system", *arguments]) == 0
    return capfd.readouterr().out


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable says where anything is."""
    for name in ("DATA_ROOT", "RUN_ROOT", "CONFIG"):
        monkeypatch.delenv(f"MINIDOCK_{name}", raising=False)


def test_what_the_configuration_says(tmp_path: Path, plain: None, capfd: pytest.CaptureFixture[str]) -> None:
    """Options come first, then the configuration, then what is usual."""
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps({"data-root": "/srv/m d", "group": "1234", "hosts": ["fd://", "unix:///run/o%.sock", "fd://"]})
    )
    install = ("install", "--print")

    def with_config(*arguments: str) -> str:
        assert run(["--config", str(config), *arguments]) == 0
        return capfd.readouterr().out

    text = with_config("system", *install)
    assert text.count('RequiresMountsFor="/srv/m d"\n') == 2
    assert "SocketGroup=1234\n" in text
    assert text.count(" serve\n") == 1, "the server reads the configuration itself"
    assert listens(text) == ["/run/minidock.sock", "/run/o%%.sock"]
    assert 'RequiresMountsFor="/srv/m d"\n' in with_config("system", "restore", "--unit")
    text = with_config("--data-root", "/given", "system", *install, "--group", "77", "--socket", "/run/o%.sock")
    assert text.count("RequiresMountsFor=/given\n") == 2
    assert "SocketGroup=77\n" in text
    assert " serve --group 77\n" in text
    assert listens(text) == ["/run/o%%.sock"], "each once"
    config.write_text("{}")
    text = with_config("system", *install)
    assert text.count("RequiresMountsFor=/var/lib/minidock\n") == 2
    assert "SocketGroup=root\n" in text
    assert listens(text) == ["/run/minidock.sock"]
    for content, words in (
        ({"group": "a b"}, "the configuration's group 'a b': no group can have this name"),
        ({"hosts": ["tcp://0.0.0.0:2375"]}, "hosts: tcp://0.0.0.0:2375: the API is on Unix sockets only"),
        ({"hosts": ["unix:///run/a b"]}, "hosts: unix:///run/a b: an absolute path of at most"),
        ({"data-root": "x"}, f'{config}: data-root: "x" is not an absolute path'),
    ):
        config.write_text(json.dumps(content))
        assert run(["--config", str(config), "system", *install]) == 1
        assert words in capfd.readouterr().err
    # Whatever the configuration says by now: away with them.
    assert run(["--config", str(config), "system", "uninstall", "--root", str(tmp_path)]) == 0


def test_another_system_has_a_configuration_of_its_own(
    tmp_path: Path, plain: None, capfd: pytest.CaptureFixture[str]
) -> None:
    install = ("install", "--print", "--root", str(tmp_path))
    assert "RequiresMountsFor=/var/lib/minidock\n" in shown(capfd, *install), "it has none yet"
    for path, arguments in (("etc/minidock/config.json", []), ("srv/c.json", ["--config", "/srv/c.json"])):
        config = tmp_path / path
        config.parent.mkdir(parents=True)
        config.write_text(json.dumps({"data-root": f"/theirs/{path}", "group": "their-group"}))
        assert run([*arguments, "system", *install]) == 0
        text = capfd.readouterr().out
        assert text.count(f"RequiresMountsFor=/theirs/{path}\n") == 2
        assert "SocketGroup=their-group\n" in text, "it need not exist here"
        assert str(tmp_path) not in text.replace(f"# {tmp_path}/etc/systemd", "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_systemd_takes_them(cli: Cli, roots: Roots, tmp_path: Path) -> None:
    config = tmp_path / str(roots.config).lstrip("/")
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"hosts": ["fd://", "unix:///run/other.sock"], "data-root": "/srv/a b"}))
    cli.ok("system", "install", "--root", str(tmp_path), "--group", "root")
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
        (["--group", "987654321"], "groupadd --gid 987654321 NAME"),
        (["--group", "9" * 30], "does not exist on this host"),
        (["--root", "/proc/nowhere"], "write /proc/nowhere"),
    ):
        done = cli("system", "install", *arguments)
        assert done.returncode == 1, arguments
        assert words in done.stderr.decode()
    if not scopes.systemd_runs():
        for verb in (("install",), ("install", "--now"), ("uninstall",)):
            done = cli("system", *verb)
            assert (done.returncode, done.stdout) == (1, b"")
            assert b"systemd does not run on this host: --print shows the units" in done.stderr
    assert not Path("/etc/systemd/system/minidock-api.service").exists()


def test_what_systemd_is_told(
    roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a systemd that runs: its commands, once, in order; its refusals are ours."""
    said = tmp_path / "said"
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >>{said}\n[ ! -e {tmp_path}/refuse ] || {{ echo no >&2; exit 5; }}\n'
        f'[ "$1" != show ] || [ "$3" != minidock.service ] || cat {tmp_path}/state\n'
    )
    program.chmod(0o755)
    state = tmp_path / "state"
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
    hint = "to begin: systemctl enable --now minidock-api.socket minidock.service\n"
    assert hint in capfd.readouterr().err
    # Both are started: what is inactive has nothing to do at a shutdown.
    assert told("install", "--now") == ["enable --now minidock-api.socket minidock.service"]
    assert hint not in capfd.readouterr().err
    (tmp_path / "refuse").touch()
    assert told("install", "--group", "1", code=1) == ["daemon-reload"]
    assert "systemctl daemon-reload: no" in capfd.readouterr().err
    (tmp_path / "refuse").unlink()
    for found, then in (
        ("LoadState=not-found\nActiveState=active\n", ["stop minidock.service"]),
        ("LoadState=not-found\nActiveState=failed\n", ["reset-failed minidock.service"]),
        ("LoadState=not-found\nActiveState=inactive\n", []),
        ("LoadState=loaded\nActiveState=active\n", []),  # by a file elsewhere: its ExecStopPost= would stop containers
    ):
        state.write_text(found)
        told("install")
        assert told("uninstall") == [
            "disable minidock-api.socket minidock-api.service minidock.service",
            "stop minidock-api.socket minidock-api.service",
            "daemon-reload",
            *(f"show --property=LoadState,ActiveState {name}" for name in systemd.NAMES),
            *then,
        ]
        assert list((tmp_path / "units").iterdir()) == []
    assert told("uninstall") == []
    # Without its command nothing is written either.
    monkeypatch.setenv("PATH", "/nowhere")
    capfd.readouterr()
    for verb in ("install", "uninstall"):
        assert told(verb, code=1) == []
        assert "its command systemctl is not in PATH" in capfd.readouterr().err
    assert list((tmp_path / "units").iterdir()) == []
