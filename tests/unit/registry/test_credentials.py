"""Docker's config.json and the helpers' protocol."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.errors import Corrupt, InvalidArgument, LimitExceeded, MinidockError, NotFound, SystemFailure, Timeout
from minidock.registry.credential_helpers import Helper
from minidock.registry.credentials import HUB_KEY, Credentials, Login, hostname, server_key

SECRET = "s3cret-Zx"
HELPER = """#!/usr/bin/env -S python3 -IS
import json, pathlib, sys
store = pathlib.Path(__file__).with_suffix(".json")
kept = json.loads(store.read_text()) if store.exists() else {}
text = sys.stdin.read()
if sys.argv[1] == "store":
    entry = json.loads(text)
    kept[entry["ServerURL"]] = entry
elif sys.argv[1] == "list":
    print(json.dumps({server: entry["Username"] for server, entry in kept.items()}))
elif text not in kept:
    print("credentials not found in native keychain")
    sys.exit(1)
elif sys.argv[1] == "erase":
    del kept[text]
else:
    print(json.dumps(kept[text]))
store.write_text(json.dumps(kept))
"""


def auth(username: str, password: str) -> str:
    return base64.b64encode(f"{username}:{password}".encode()).decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "docker"
    made.mkdir()
    return made


@pytest.fixture
def write(folder: Path) -> Callable[[object], Credentials]:
    """Write config.json and return its reader."""

    def write(document: object) -> Credentials:
        text = document if isinstance(document, str) else json.dumps(document)
        (folder / "config.json").write_text(text)
        return Credentials(str(folder))

    return write


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a helper on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def make(name: str = "mine", text: str = HELPER) -> Path:
        program = programs / f"docker-credential-{name}"
        program.write_text(text)
        program.chmod(0o755)
        return program

    return make


def read(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "config.json").read_text())
    return found


@pytest.mark.parametrize(
    ("server", "key"),
    [
        ("docker.io", HUB_KEY),
        ("index.docker.io", HUB_KEY),
        (HUB_KEY, HUB_KEY),
        ("", HUB_KEY),
        ("https://Registry.example:5000/v2/", "Registry.example:5000"),
        ("http://h", "h"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_server_key(server: str, key: str) -> None:
    assert server_key(server) == key
    assert hostname("ftp://x/y") == "ftp:"


def test_auths(write: Callable[[object], Credentials]) -> None:
    credentials = write(
        {
            "auths": {
                "a.test": {"auth": auth("alice", "pa:ss wörd")},
                "b.test:5000": {"username": "bob", "password": SECRET},
                "https://c.test/v1/": {"auth": auth("carol", "x"), "email": "c@c.test"},
                "d.test": {"auth": auth("dave", ""), "identitytoken": "token-1"},
                "e.test": {"registrytoken": "token-2"},
                "f.test": {},
                HUB_KEY: {"auth": auth("hub", "y")},
            }
        }
    )
    assert credentials.lookup("a.test") == Login("alice", "pa:ss wörd")
    assert credentials.lookup("b.test:5000") == Login("bob", SECRET)
    assert credentials.lookup("b.test") is None
    assert credentials.lookup("c.test") == Login("carol", "x")
    assert credentials.lookup("d.test") == Login("dave", "", identity_token="token-1")
    assert credentials.lookup("e.test") == Login("", "", registry_token="token-2")
    assert credentials.lookup("f.test") is None
    assert credentials.lookup("docker.io") == Login("hub", "y")


def test_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Credentials(str(folder / "none")).lookup("a.test") is None
    assert not Credentials(str(folder)).erase("a.test")
    (folder / "config.json").touch()
    assert Credentials(str(folder)).lookup("a.test") is None
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    assert Credentials().path == str(folder / "config.json")
    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setenv("HOME", "/home/x")
    assert Credentials().path == "/home/x/.docker/config.json"


def test_save_and_erase(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "docker"
    credentials = Credentials(str(folder))
    assert credentials.save("http://a.test:5000/v2/", Login("alice", SECRET)) == str(folder / "config.json")
    assert credentials.save("a.test:5000", Login("alice", SECRET)) is None  # nothing new
    assert read(folder) == {"auths": {"a.test:5000": {"auth": auth("alice", SECRET)}}}
    assert stat.S_IMODE((folder / "config.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert credentials.save("docker.io", Login("hub", SECRET, identity_token="token-1")) is None
    assert credentials.lookup("docker.io") == Login("hub", "", identity_token="token-1")
    assert SECRET not in json.dumps(read(folder)["auths"][HUB_KEY])  # type: ignore[index]
    assert credentials.erase("a.test:5000")
    assert not credentials.erase("a.test:5000")
    assert credentials.lookup("a.test:5000") is None
    assert credentials.lookup("docker.io") is not None
    assert os.listdir(folder) == ["config.json"]


def test_the_text_is_docker_s(folder: Path) -> None:
    Credentials(str(folder)).save("127.0.0.1:46451", Login("alice", "s3cret"))
    text = '{\n\t"auths": {\n\t\t"127.0.0.1:46451": {\n\t\t\t"auth": "YWxpY2U6czNjcmV0"\n\t\t}\n\t}\n}'
    assert (folder / "config.json").read_text().rstrip("\n") == text


def test_foreign_keys_and_their_order_stay(folder: Path, write: Callable[[object], Credentials]) -> None:
    text = (
        '{"zeta": 1.50, "HttpHeaders": {"X-Meta": "v"},\n "auths": {"x.test": {"auth": "YTpi", "email": "e"}},'
        ' "alpha": {"b": 1,   "a": [1e400, "\\u00e4"]}, "zeta2": null}'
    )
    credentials = write(text)
    credentials.save("a.test", Login("alice", SECRET))
    after = (folder / "config.json").read_text()
    assert list(read(folder)) == ["zeta", "HttpHeaders", "auths", "alpha", "zeta2"]
    assert '"b": 1,   "a": [1e400, "\\u00e4"]' in after
    assert "1.50" in after
    assert read(folder)["auths"] == {
        "x.test": {"auth": "YTpi", "email": "e"},
        "a.test": {"auth": auth("alice", SECRET)},
    }
    credentials.erase("a.test")
    assert read(folder) == json.loads(text)


def test_logout_removes_every_spelling(folder: Path, write: Callable[[object], Credentials]) -> None:
    mine = {"auth": auth("a", "b")}
    credentials = write(
        {
            "auths": {
                "a.test": mine,
                "https://a.test/v1/": mine,
                "a.test:5000": mine,
                HUB_KEY: mine,
                "https://index.docker.io/v1/refresh-token": mine,
                "docker.io": mine,
            }
        }
    )
    assert credentials.erase("a.test")
    assert credentials.lookup("a.test") is None
    assert credentials.erase("docker.io")
    assert list(read(folder)["auths"]) == ["a.test:5000"]  # type: ignore[call-overload]


def test_a_link_stays_and_its_file_is_replaced(folder: Path, tmp_path: Path) -> None:
    real = tmp_path / "real" / "docker.json"
    real.parent.mkdir()
    real.write_text('{"keep": 1}')
    real.chmod(0o644)
    (folder / "config.json").symlink_to("../real/docker.json")
    Credentials(str(folder)).save("a.test", Login("alice", SECRET))
    assert (folder / "config.json").is_symlink()
    assert json.loads(real.read_text())["keep"] == 1
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert os.listdir(real.parent) == ["docker.json"]
    real.unlink()
    Credentials(str(folder)).save("b.test", Login("bob", SECRET))
    assert list(json.loads(real.read_text())["auths"]) == ["b.test"]


@pytest.mark.parametrize(
    "text",
    [
        "{bad",
        "[]",
        "null",
        '"x"',
        '{"auths": []}',
        '{"auths": {"a.test": {"auth": "!"}}}',
        '{"auths": {"a.test": {"auth": "' + base64.b64encode(SECRET.encode()).decode() + '"}}}',
        '{"auths": {"a.test": {"auth": 1}}}',
        '{"auths": {"a.test": [1]}}',
        '{"auths": {"a.test": {"registrytoken": "a\\r\\nX: y"}}}',
        '{"credsStore": {}}',
        '{"credHelpers": {"a.test": 1}}',
        '{"auths": {"a.test": ' + "[" * 100_000 + "}",
        '{"credsStore": "../x"}',
    ],
)
def test_damage_is_told_and_changes_nothing(
    text: str, folder: Path, write: Callable[[object], Credentials], monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = write(text)
    if "../x" in text:
        assert credentials.lookup("a.test") is None
        assert "credential helper '../x'" in credentials.problems["a.test"]
    else:
        with pytest.raises(Corrupt) as refused:
            credentials.lookup("a.test")
        assert str(folder / "config.json") in str(refused.value)
        assert SECRET not in str(refused.value)
        assert "\n" not in str(refused.value)
    if '"auths": {' not in text:
        for change in (lambda: credentials.save("b.test", Login("b", "c")), lambda: credentials.erase("a.test")):
            with pytest.raises(MinidockError):
                change()
        assert (folder / "config.json").read_text() == text
    assert os.listdir(folder) == ["config.json"]


def test_not_a_file(folder: Path) -> None:
    os.mkfifo(folder / "config.json")
    with pytest.raises(Corrupt, match="not a regular file"):
        Credentials(str(folder)).lookup("a.test")
    (folder / "config.json").unlink()
    with (folder / "config.json").open("wb") as file:
        file.truncate(9 << 20)
    with pytest.raises(Corrupt, match="larger than"):
        Credentials(str(folder)).lookup("a.test")


def test_usernames_that_cannot_be_kept(folder: Path) -> None:
    for name in ("a:b", "a\nb"):
        with pytest.raises(InvalidArgument, match="username"):
            Credentials(str(folder)).save("a.test", Login(name, SECRET))
    assert not os.listdir(folder)


def test_no_secret_in_repr() -> None:
    login = Login("alice", SECRET, "identity-Q", "registry-Q")
    assert "alice" in repr(login)
    for secret in (SECRET, "identity-Q", "registry-Q"):
        assert secret not in f"{login} {login!r} {[login]}"


def test_environment_goes_first(write: Callable[[object], Credentials], monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = write({"auths": {name: {"auth": auth("file", "x")} for name in ("a.test", "b.test")}})
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {"a.test": {"auth": auth("env", "y")}}}))
    assert credentials.lookup("a.test") == Login("env", "y")
    assert credentials.lookup("b.test") == Login("file", "x")
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", "{")
    with pytest.raises(Corrupt, match=r"\$DOCKER_AUTH_CONFIG"):
        credentials.lookup("a.test")


def test_store_and_helpers(folder: Path, write: Callable[[object], Credentials], helper: Callable[..., Path]) -> None:
    helper("mine")
    helper("other")
    credentials = write(
        {
            "credsStore": "mine",
            "credHelpers": {"o.test": "other", "file.test": ""},
            "auths": {"a.test": {"auth": auth("old", "x")}},
        }
    )
    assert credentials.lookup("a.test") is None  # the store decides, and does not have it
    assert credentials.save("a.test", Login("alice", SECRET)) is None
    assert credentials.save("o.test", Login("olga", SECRET, identity_token="token-1")) is None
    assert credentials.save("file.test", Login("fred", SECRET)) == credentials.path
    assert credentials.lookup("a.test") == Login("alice", SECRET)
    assert credentials.lookup("o.test") == Login("", "", identity_token="token-1")
    assert read(folder)["auths"] == {"a.test": {}, "o.test": {}, "file.test": {"auth": auth("fred", SECRET)}}
    assert Helper("mine").list() == {"a.test": "alice"}
    assert Helper("other").list() == {"o.test": "<token>"}
    assert credentials.erase("a.test")
    assert not credentials.erase("a.test")
    assert Helper("mine").list() == {}
    assert credentials.lookup("a.test") is None
    assert "a.test" not in read(folder)["auths"]  # type: ignore[operator]
    assert credentials.problems == {}


def test_missing_helper(folder: Path, write: Callable[[object], Credentials]) -> None:
    credentials = write({"credsStore": "not-here"})
    assert credentials.lookup("a.test") is None
    assert "docker-credential-not-here is not on PATH" in credentials.problems["a.test"]
    with pytest.raises(NotFound, match="not on PATH"):
        credentials.save("a.test", Login("alice", SECRET))
    with pytest.raises(NotFound, match="not on PATH"):
        credentials.erase("a.test")
    assert read(folder) == {"credsStore": "not-here"}


def test_the_usual_store_is_taken_for_a_new_file(folder: Path, helper: Callable[..., Path]) -> None:
    helper("secretservice")
    helper("pass")
    Credentials(str(folder)).save("a.test", Login("alice", SECRET))
    assert read(folder)["credsStore"] in ("secretservice", "pass")
    assert read(folder)["auths"] == {"a.test": {}}


@pytest.mark.parametrize("name", ["", "-x", "../x", "a/b", ".x", "x" * 101, "a b", "a\n"])
def test_names_of_helpers(name: str) -> None:
    with pytest.raises(InvalidArgument):
        Helper(name)


def test_helpers_that_fail(helper: Callable[..., Path]) -> None:
    helper("fails", f"#!/bin/sh\ncat > /dev/null\necho 'cannot keep {SECRET}: keyring locked'\nexit 3\n")
    with pytest.raises(SystemFailure, match="keyring locked") as failed:
        Helper("fails").store("a.test", "alice", SECRET)
    assert SECRET not in str(failed.value)
    helper("quiet", "#!/bin/sh\necho 'no D-Bus' >&2\nexit 3\n")
    with pytest.raises(SystemFailure, match="no D-Bus"):
        Helper("quiet").get("a.test")
    helper("lies", f"#!/bin/sh\necho 'not JSON {SECRET}'\n")
    with pytest.raises(Corrupt) as damaged:
        Helper("lies").get("a.test")
    assert SECRET not in str(damaged.value)
    helper("floods", "#!/bin/sh\nexec yes\n")
    with pytest.raises(LimitExceeded):
        Helper("floods").get("a.test")
    program = helper("hangs", '#!/bin/sh\necho $$ > "$0.pid"\nexec sleep 100\n')
    with pytest.raises(Timeout):
        Helper("hangs", timeout=3).get("a.test")
    pid = int(Path(f"{program}.pid").read_text())
    assert not Path(f"/proc/{pid}").exists()
    # what a helper leaves behind is not waited for
    answer = '{"Username": "a", "Secret": "b"}'
    program = helper("leaves", f"#!/bin/sh\nsleep 100 > /dev/null &\necho $! > \"$0.pid\"\necho '{answer}'\n")
    assert Helper("leaves", timeout=50).get("a.test") == ("a", "b")
    os.kill(int(Path(f"{program}.pid").read_text()), signal.SIGKILL)


def test_helper_in_the_working_directory_is_not_run(
    tmp_path: Path, helper: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = helper("here", "#!/bin/sh\ntouch ran\n")
    monkeypatch.chdir(program.parent)
    for path in ("", ".", "./"):
        monkeypatch.setenv("PATH", path)
        with pytest.raises(NotFound):
            Helper("here").get("a.test")
    assert not (program.parent / "ran").exists()
