"""``RUN --mount=type=ssh``: agents of the host and keys of files, as a command in a build sees them."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa, utils

from minidock.build import agents
from minidock.errors import InvalidArgument, MinidockError, Unsupported
from tests import programs
from tests.integration.building import build, context, out

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import minidock

Private = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
IDENTITIES = bytes([agents.IDENTITIES])
ADD, LOCK = bytes([17]), bytes([22])


@pytest.fixture(scope="module")
def client() -> bytes:
    """A static program that talks to an agent."""
    return programs.AGENT.made().read_bytes()


@contextlib.contextmanager
def agent_of(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """An agent that answers everything with ``answer``; what it is asked is in the list."""
    asked: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while (message := agents.receive(connection)) is not None:
                    asked.append(message)
                    agents.send(connection, answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def texts(data: bytes) -> list[bytes]:
    """The texts that a message consists of."""
    found = []
    while data:
        (length,) = struct.unpack(">I", data[:4])
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return found


def dockerfile(*messages: bytes, options: str = "", before: str = "") -> str:
    words = " ".join(message.hex() for message in messages)
    return (
        f"FROM busybox\nCOPY --chmod=755 client /bin/\n{before}RUN --mount=type=ssh{options} client {words} > /said\n"
    )


def test_an_agent_of_the_host(engine: minidock.Engine, busybox: str, tmp_path: Path, client: bytes) -> None:
    """Questions for identities and signatures go through, and nothing else; nothing of it stays in the image."""
    files = context(tmp_path / "c", {"client": client})
    asked_for = bytes([agents.SIGN]) + text(b"key") + text(b"data") + struct.pack(">I", 0)
    answer = bytes([agents.IDENTITIES_ANSWER]) + struct.pack(">I", 0)
    with agent_of(tmp_path / "agent", answer) as asked:
        given = {"ssh": [f"default={tmp_path}/agent"]}
        image = build(engine, files, dockerfile(IDENTITIES, ADD + b"x", LOCK, asked_for), **given)
        assert asked == [IDENTITIES, asked_for]
        failure = bytes([agents.FAILURE]).hex()
        assert out(engine, image, "cat /said").split() == [answer.hex(), failure, failure, answer.hex()]
        assert out(engine, image, "ls /run; env").count("ssh") == 0
        # By a user who is not root, where the mount says so, at a place of its own.
        options = ",id=other,uid=5,gid=6,mode=0640,target=/agent"
        command = dockerfile(IDENTITIES, options=options, before="RUN mkdir /o && chown 5 /o\nUSER 5\n")
        command = command.replace(
            "> /said", "> /o/said; stat -c '%u %g %a %F' /agent >> /o/said; echo $SSH_AUTH_SOCK >> /o/said"
        )
        image = build(engine, files, command, ssh=[f"other={tmp_path}/agent"])
        assert out(engine, image, "cat /o/said") == f"{answer.hex()}\n5 6 640 socket\n/agent\n"
        # The cache knows no agents.
        assert build(engine, files, command, ssh=[f"other={tmp_path}/agent"]).id == image.id
    # An agent that is gone, none at all, and none that is needed.
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(tmp_path / "dead"))
        image = build(engine, files, dockerfile(IDENTITIES), ssh=[f"default={tmp_path}/dead"])
        assert out(engine, image, "cat /said") == f"{failure}\n"
    image = build(engine, files, dockerfile(IDENTITIES), no_cache=True)
    assert out(engine, image, "cat /said") == "no agent\n"
    with pytest.raises(MinidockError, match="no agent was given"):
        build(engine, files, dockerfile(IDENTITIES, options=",required"))


def test_an_agent_that_never_answers(
    engine: minidock.Engine, busybox: str, tmp_path: Path, client: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds up who asks, and not the end of the command, nor the build's."""
    monkeypatch.setattr(agents, "_SECONDS", None)
    files = context(tmp_path / "c", {"client": client})
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / "agent"))
        listener.listen()
        command = f"client {IDENTITIES.hex()} > /said & sleep 0.3; echo over > /over"
        dockerfile_ = f"FROM busybox\nCOPY --chmod=755 client /bin/\nRUN --mount=type=ssh {command}\n"
        image = build(engine, files, dockerfile_, ssh=[f"default={tmp_path}/agent"])
    assert out(engine, image, "cat /said /over") == "over\n"


KINDS = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
}


def written(key: Private, path: Path, *, pem: bool = False, password: bytes = b"") -> Path:
    form = serialization.PrivateFormat.PKCS8 if pem or password else serialization.PrivateFormat.OpenSSH
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, hidden))
    return path


def public(key: Private) -> bytes:
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return base64.b64decode(line.split()[1])


def verified(key: Private, signature: bytes, data: bytes) -> str:
    """Check a signature; returns its algorithm."""
    kind, value = texts(signature)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        key.public_key().verify(value, data)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        encoded = utils.encode_dss_signature(*(int.from_bytes(part, "big", signed=True) for part in texts(value)))
        digest = hashes.SHA256() if key.curve.key_size == 256 else hashes.SHA512()
        key.public_key().verify(encoded, data, ec.ECDSA(digest))
    else:
        digests = {b"ssh-rsa": hashes.SHA1, b"rsa-sha2-256": hashes.SHA256, b"rsa-sha2-512": hashes.SHA512}
        key.public_key().verify(value, data, padding.PKCS1v15(), digests[kind]())
    return kind.decode()


def test_keys_of_files(engine: minidock.Engine, busybox: str, tmp_path: Path, client: bytes) -> None:
    """Keys of every kind sign for a command, which never sees them."""
    files = context(tmp_path / "c", {"client": client})
    keys = {name: make() for name, make in KINDS.items()}
    paths = [written(key, tmp_path / name, pem=name == "p256") for name, key in keys.items()]
    wanted = [("ed25519", 0), ("rsa", 0), ("rsa", 2), ("rsa", 4), ("p256", 0), ("p521", 0)]
    questions = [
        bytes([agents.SIGN]) + text(public(keys[name])) + text(b"data") + struct.pack(">I", flags)
        for name, flags in wanted
    ]
    unknown = bytes([agents.SIGN]) + text(b"other") + text(b"data") + struct.pack(">I", 0)
    broken = bytes([agents.SIGN]) + b"\xff\xff\xff\xff"
    given = f"default={','.join(map(str, paths))}"
    image = build(engine, files, dockerfile(IDENTITIES, *questions, unknown, broken, ADD), ssh=[given])
    listed, *signed = map(bytes.fromhex, out(engine, image, "cat /said").split())
    assert listed[:5] == bytes([agents.IDENTITIES_ANSWER]) + struct.pack(">I", len(keys))
    assert texts(listed[5:])[::2] == [public(key) for key in keys.values()]
    assert signed[len(wanted) :] == [bytes([agents.FAILURE])] * 3
    kinds = []
    for (name, _), answer in zip(wanted, signed, strict=False):
        assert answer[0] == agents.SIGN_RESPONSE
        [signature] = texts(answer[1:])
        kinds.append(verified(keys[name], signature, b"data"))
    expected = ["ssh-ed25519", "ssh-rsa", "rsa-sha2-256", "rsa-sha2-512", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521"]
    assert kinds == expected
    run_root = f"{engine.run_root}/build"
    assert not any(
        stat.S_ISSOCK(os.lstat(f"{top}/{name}").st_mode) for top, _, names in os.walk(run_root) for name in names
    )


def test_what_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is refused before anything is built, and none is shown."""
    key = ed25519.Ed25519PrivateKey.generate()
    good = written(key, tmp_path / "good")
    hidden = written(key, tmp_path / "hidden", password=b"secret")
    (tmp_path / "text").write_text("BEGIN of nothing")
    (tmp_path / "large").write_bytes(bytes(200 << 10))
    old = dsa.generate_private_key(1024)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    (tmp_path / "dsa").write_bytes(old.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / "agent"))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        for spec, why in (
            ("default", "SSH_AUTH_SOCK is not set"),
            (f"x={hidden}", "passphrase"),
            (f"x={tmp_path}/text", "no private key"),
            (f"x={tmp_path}/large", "larger than 100 KiB"),
            (f"x={tmp_path}/dsa", "must be of type"),
            (f"x={tmp_path}", "Is a directory"),
            (f"x={tmp_path}/none", "No such file"),
            (f"x={tmp_path}/agent,{good}", "combined agent and keys"),
            (f"x={tmp_path}/agent,{tmp_path}/agent", "only single socket allowed"),
        ):
            with pytest.raises(InvalidArgument, match=why):
                agents.parse(spec, os.environ)
        assert agents.parse("y", {"SSH_AUTH_SOCK": str(tmp_path / "agent")})[1].socket == f"{tmp_path}/agent"
    assert agents.parse(f"x={good}", {})[1].keys is not None


def test_keys_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to get it."""
    good = written(ed25519.Ed25519PrivateKey.generate(), tmp_path / "good")
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    monkeypatch.delitem(sys.modules, "minidock.build.agent_keys", raising=False)
    monkeypatch.delattr("minidock.build.agent_keys", raising=False)
    with pytest.raises(Unsupported, match=r"pip install 'minidock\[ssh\]'"):
        agents.parse(f"x={good}", {})


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_openssh_agrees(tmp_path: Path, kind: str) -> None:
    """The host's own client makes a key, finds it in the agent, signs by it, and takes the signature for good."""

    def run(*argv: str) -> str:
        environment = {**os.environ, "SSH_AUTH_SOCK": str(tmp_path / "socket")}
        return subprocess.run(argv, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout

    run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", "key")
    _, agent = agents.parse(f"x={tmp_path}/key", {})
    (tmp_path / "key").unlink()
    (tmp_path / "data").write_text("data")
    with agents.Served(agent, str(tmp_path / "socket"), mode=0o600, owner=(0, 0)):
        fingerprint = run("ssh-keygen", "-l", "-f", "key.pub").split()[1]
        assert fingerprint in run("ssh-add", "-l")
        run("ssh-keygen", "-Y", "sign", "-f", "key.pub", "-n", "file", "data")
        assert (
            subprocess.run(["ssh-add", "-D"], check=False, env={"SSH_AUTH_SOCK": str(tmp_path / "socket")}).returncode
            != 0
        )
    (tmp_path / "allowed").write_text(f"me {(tmp_path / 'key.pub').read_text()}")
    command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "me", "-n", "file", "-s", "data.sig"]
    subprocess.run(command, cwd=tmp_path, input=b"data", check=True, capture_output=True)
