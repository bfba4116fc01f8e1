"""``login`` and ``logout`` against real registries, with a configuration directory of the test's own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import minidock
from minidock.errors import RegistryUnauthorized
from minidock.images.references import parse
from minidock.registry.credentials import HUB_KEY
from tests.certificates import Authority
from tests.conftest import Cli
from tests.registry import OTHER_PASSWORD, OTHER_USERNAME, PASSWORD, USERNAME, Registry, push_image
from tests.tokens import TokenServer

INSECURE = "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n"


@pytest.fixture
def login(docker_config: Path, cli: Cli) -> Cli:
    """The command, on an empty ``DOCKER_CONFIG``."""
    cli.env["DOCKER_CONFIG"] = str(docker_config)
    return cli


def kept(folder: Path) -> dict[str, dict[str, str]]:
    auths: dict[str, dict[str, str]] = json.loads((folder / "config.json").read_text())["auths"]
    return auths


def auth(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def on_terminal(cli: Cli, *args: str, answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Run on a terminal and answer each prompt; returns the exit code and what was seen."""
    master, slave = pty.openpty()
    try:
        command = ["setsid", "-c", "-w", *cli.argv, *args]
        with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=cli.env) as process:
            os.close(slave)
            seen = ""
            pending = list(answers)
            with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
                while piece := os.read(master, 4096):
                    seen += piece.decode()
                    if pending and seen.endswith(pending[0][0]):
                        os.write(master, f"{pending.pop(0)[1]}\n".encode())
            assert not pending, seen
        return process.returncode, seen.replace("\r\n", "\n")
    finally:
        os.close(master)


def test_password_on_standard_input(login: Cli, auth_registry: Registry, docker_config: Path) -> None:
    host = auth_registry.host
    done = login("login", "-u", OTHER_USERNAME, "--password-stdin", host, input=f"{OTHER_PASSWORD}\r\n".encode())
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"Login Succeeded\n"
    file = docker_config / "config.json"
    assert f"stored unencrypted in '{file}'" in done.stderr.decode()
    assert kept(docker_config) == {host: auth(OTHER_USERNAME, OTHER_PASSWORD)}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert login.ok("logout", f"https://{host}/") == f"Removing login credentials for {host}\n"
    assert kept(docker_config) == {}
    assert login.ok("logout", host) == f"Removing login credentials for {host}\n"


def test_password_in_a_flag(login: Cli, auth_registry: Registry, docker_config: Path) -> None:
    host = auth_registry.host
    done = login("login", "-u", USERNAME, "-p", PASSWORD, f"http://{host}/v2/")
    assert (done.returncode, done.stdout) == (0, b"Login Succeeded\n")
    assert done.stderr.decode().startswith(INSECURE)
    assert kept(docker_config) == {host: auth(USERNAME, PASSWORD)}
    again = login("login", "-u", USERNAME, "-p", PASSWORD, host)
    assert again.stderr.decode() == INSECURE  # it was kept already


def test_refused(login: Cli, auth_registry: Registry, docker_config: Path) -> None:
    done = login("login", "-u", USERNAME, "--password-stdin", auth_registry.host, input=b"wrong-Q7")
    assert done.returncode == 1
    assert done.stdout == b""
    message = done.stderr.decode()
    assert message.count("\n") == 1
    assert auth_registry.host in message
    assert "wrong-Q7" not in message
    assert not (docker_config / "config.json").exists()


def test_kept_credentials(login: Cli, auth_registry: Registry, docker_config: Path) -> None:
    host = auth_registry.host
    login.ok("login", "-u", USERNAME, "--password-stdin", host, input=PASSWORD.encode())
    out = login.ok("login", host)
    assert out.startswith(f"Authenticating with existing credentials... [Username: {USERNAME}]\n")
    assert out.endswith("\nLogin Succeeded\n")
    (docker_config / "config.json").write_text(json.dumps({"auths": {host: auth(USERNAME, "old")}}))
    done = login("login", host)
    assert done.returncode == 1
    assert done.stderr == (
        b"Stored credentials invalid or expired\nminidock: cannot perform an interactive login from a non TTY device\n"
    )
    assert kept(docker_config) == {host: auth(USERNAME, "old")}


def test_on_a_terminal(login: Cli, auth_registry: Registry, docker_config: Path) -> None:
    host = auth_registry.host
    code, seen = on_terminal(login, "login", host, answers=[("Username: ", USERNAME), ("Password: ", PASSWORD)])
    assert code == 0, seen
    assert seen.endswith("Login Succeeded\n")
    assert PASSWORD not in seen
    assert kept(docker_config) == {host: auth(USERNAME, PASSWORD)}
    (docker_config / "config.json").write_text(json.dumps({"auths": {host: auth(USERNAME, "old")}}))
    answers = [(f"Username ({USERNAME}): ", ""), ("Password: ", PASSWORD)]
    code, seen = on_terminal(login, "login", host, answers=answers)
    assert code == 0, seen
    assert kept(docker_config) == {host: auth(USERNAME, PASSWORD)}
    code, seen = on_terminal(login, "login", "-u", USERNAME, host, answers=[("Password: ", "")])
    assert (code, seen.splitlines()[-1]) == (1, "minidock: password is required")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-u", "a", "-p", "b", "--password-stdin"], "conflicting options: cannot specify both --password and"),
        (["--password-stdin"], "the --password-stdin option requires --username to be set"),
        (["-u", "a", "-p", ""], "password is empty"),
        (["-u", "a", "--password-stdin"], "password is empty"),
        (["-u", "", "-p", "b"], "username is empty"),
        (["-u", "a"], "cannot perform an interactive login from a non TTY device"),
        (["-u", "a", "-p", "b", "bad host"], "registry 'bad host': a registry is a host with an optional port"),
        (["-u", "a", "-p", "b", "user@host.test"], "a registry is a host with an optional port"),
        (["a.test", "b.test"], "'minidock login' requires at most 1 argument"),
    ],
)
def test_usage(login: Cli, docker_config: Path, args: list[str], message: str) -> None:
    done = login("login", *args, *([] if "host" in args[-1] or ".test" in args[-1] else ["127.0.0.1:1"]))
    assert done.returncode == 1
    assert message in done.stderr.decode()
    assert not os.listdir(docker_config)


def test_unreachable(login: Cli, registry: Registry, docker_config: Path) -> None:
    registry.stop()
    done = login("login", "-u", "a", "--password-stdin", registry.host, input=b"b")
    assert done.returncode == 1
    assert registry.host in done.stderr.decode()
    assert not os.listdir(docker_config)


def test_token_server(login: Cli, token_registry: Registry, token_server: TokenServer, docker_config: Path) -> None:
    host = token_registry.host
    push_image(token_registry, "app", "x")
    done = login("login", "-u", USERNAME, "--password-stdin", host, input=PASSWORD.encode())
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""  # no password was stored
    (identity,) = token_server.refresh_tokens
    assert kept(docker_config) == {host: {**auth(USERNAME, ""), "identitytoken": identity}}
    assert login.ok("login", host).endswith("Login Succeeded\n")
    assert token_server.issued[-1].how == "refresh_token"
    assert kept(docker_config) == {host: {**auth(USERNAME, ""), "identitytoken": identity}}
    done = login("login", "-u", USERNAME, "--password-stdin", host, input=b"wrong")
    assert done.returncode == 1
    assert "incorrect username or password" in done.stderr.decode()


def test_tls(
    login: Cli,
    make_registry: Callable[..., Registry],
    authority: Authority,
    docker_config: Path,
) -> None:
    registry = make_registry(authority=authority, basic=True, client_certs=True)
    login.env.update(registry.env)
    done = login("login", "-u", USERNAME, "--password-stdin", registry.host, input=PASSWORD.encode())
    assert done.returncode == 0, done.stderr
    assert kept(docker_config) == {registry.host: auth(USERNAME, PASSWORD)}
    login.env["MINIDOCK_CERTS_D"] = str(docker_config)
    assert login("login", registry.host).returncode == 1  # it wants a certificate of its client


def test_credential_store(login: Cli, auth_registry: Registry, docker_config: Path, tmp_path: Path) -> None:
    host = auth_registry.host
    program = tmp_path / "docker-credential-fx"
    program.write_text(
        f"#!/bin/sh\ncase $1 in\nstore) cat > {tmp_path}/kept;;\n"
        f"get) cat {tmp_path}/kept 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }};;\n"
        f"erase) rm -f {tmp_path}/kept;;\nesac\n"
    )
    program.chmod(0o755)
    login.env["PATH"] = f"{tmp_path}:{login.env['PATH']}"
    (docker_config / "config.json").write_text('{"credsStore": "fx"}')
    done = login("login", "-u", USERNAME, "--password-stdin", host, input=PASSWORD.encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads((tmp_path / "kept").read_text()) == {"ServerURL": host, "Username": USERNAME, "Secret": PASSWORD}
    assert json.loads((docker_config / "config.json").read_text()) == {"credsStore": "fx", "auths": {host: {}}}
    assert login.ok("login", host).endswith("Login Succeeded\n")
    login.ok("logout", host)
    assert not (tmp_path / "kept").exists()
    assert json.loads((docker_config / "config.json").read_text()) == {"credsStore": "fx", "auths": {}}


def test_logout_of_docker_hub(login: Cli, docker_config: Path) -> None:
    (docker_config / "config.json").write_text(json.dumps({"auths": {HUB_KEY: auth("a", "b"), "x.test": {}}}))
    assert login.ok("logout") == f"Removing login credentials for {HUB_KEY}\n"
    assert kept(docker_config) == {"x.test": {}}


def test_damaged_file(login: Cli, auth_registry: Registry, docker_config: Path) -> None:
    file = docker_config / "config.json"
    file.write_text("{bad")
    for args in (["login", "-u", USERNAME, "-p", PASSWORD], ["logout"]):
        done = login(*args, auth_registry.host)
        assert done.returncode == 1
        assert f"credentials {file}: not a JSON object" in done.stderr.decode()
        assert file.read_text() == "{bad"


@pytest.mark.parametrize("kind", ["auth_registry", "token_registry"])
def test_engine(engine: minidock.Engine, kind: str, docker_config: Path, request: pytest.FixtureRequest) -> None:
    registry: Registry = request.getfixturevalue(kind)
    reference = parse(f"{registry.host}/app:x")
    push_image(registry, "app", "x")
    with pytest.raises(RegistryUnauthorized):
        engine.registry.repository(reference).manifest("x")
    with pytest.raises(RegistryUnauthorized):
        engine.login(USERNAME, "wrong", registry.host)
    answer = engine.login(USERNAME, PASSWORD, registry=registry.url)
    assert answer["Status"] == "Login Succeeded"
    assert bool(answer["IdentityToken"]) == (kind == "token_registry")
    assert engine.registry.repository(reference).manifest("x").data
    assert not os.listdir(docker_config)
    engine.login(USERNAME, PASSWORD, registry.host, save=True)
    assert list(kept(docker_config)) == [registry.host]
