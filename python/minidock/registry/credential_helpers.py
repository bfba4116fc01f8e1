"""Programs that keep credentials: ``docker-credential-NAME get|store|erase|list``, found on the caller's PATH.

A helper gets one value on its standard input and answers on its standard output; when it fails, what it prints there is
the reason. Nothing that a helper prints as a secret, and no secret that it is given, gets into an error's text.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import subprocess
import time
from typing import IO, NamedTuple

import msgspec

from minidock.errors import Corrupt, InvalidArgument, LimitExceeded, MinidockError, NotFound, SystemFailure, Timeout
from minidock.spec import decoding

PREFIX = "docker-credential-"
TOKEN_USERNAME = "<token>"  # noqa: S105 - the name that says that the secret is an identity token

_NOT_FOUND = "credentials not found"
_MAX_OUTPUT = 1 << 20
_MAX_INPUT = 60 << 10  # less than a pipe holds: writing it waits for nobody
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class Kept(NamedTuple):
    """What a helper has for a server."""

    username: str
    secret: str

    def __repr__(self) -> str:
        return f"Kept(username={self.username!r}, secret=…)"


class _Answer(msgspec.Struct, rename="pascal"):
    username: str = ""
    secret: str = ""


class _Question(msgspec.Struct, rename={"server": "ServerURL", "username": "Username", "secret": "Secret"}):
    server: str
    username: str
    secret: str


class Helper:
    """The helper ``name``. It may ask its user something: ``timeout`` is how long it has for one answer.

    Raises InvalidArgument for a name that could mean another program.
    """

    def __init__(self, name: str, timeout: float = 120.0) -> None:
        if not 0 < len(name) <= 100 or not _NAME.issuperset(name) or name[0] in "-.":
            raise InvalidArgument(
                f"credential helper {name[:100]!r}: a name has at most 100 letters, digits and . _ -, no path"
            )
        self.program = PREFIX + name
        self._timeout = timeout

    @property
    def exists(self) -> bool:
        """Whether the program is there."""
        return self._path() is not None

    def get(self, server: str) -> Kept | None:
        """What is kept for ``server``, or None. Raises NotFound without the program, SystemFailure when it fails."""
        out = self._run("get", server, server.encode())
        if out is None:
            return None
        try:
            answer = decoding.decode(out, _Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Corrupt(f"{self.program} get {server}: the answer is not JSON with Username and Secret") from None
        return Kept(answer.username, answer.secret)

    def store(self, server: str, username: str, secret: str) -> None:
        """Keep a secret. Raises as :meth:`get`."""
        self._run("store", server, msgspec.json.encode(_Question(server, username, secret)), secret)

    def erase(self, server: str) -> bool:
        """Forget what is kept for ``server``; False: the helper says that there is nothing. Raises as :meth:`get`."""
        return self._run("erase", server, server.encode()) is not None

    def list(self) -> dict[str, str]:
        """The servers that it keeps something for, with the usernames. Raises as :meth:`get`."""
        out = self._run("list", "", b"")
        try:
            return decoding.decode(out or b"{}", dict[str, str])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Corrupt(f"{self.program} list: the answer is not a JSON object of servers and usernames") from None

    def _path(self) -> str | None:
        found = shutil.which(self.program)
        # an empty or relative entry of PATH would run what lies in the working directory
        return found if found is not None and os.path.isabs(found) else None

    def _run(self, action: str, server: str, data: bytes, secret: str = "") -> bytes | None:
        """Standard output; None when the helper has nothing for the server."""
        what = f"{self.program} {action} {server}".rstrip()
        path = self._path()
        if path is None:
            raise NotFound(f"{what}: {self.program} is not on PATH: install it, or remove it from Docker's config.json")
        if len(data) > _MAX_INPUT:
            raise LimitExceeded(f"{what}: more than {_MAX_INPUT >> 10} KiB of credentials")
        try:
            process = subprocess.Popen(
                [path, action], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            raise SystemFailure(f"{what}: {(error.strerror or 'cannot be run').lower()}") from error
        try:
            out, noise = self._exchange(process, data, what)
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        if process.returncode == 0:
            return out
        reason = _words(out, secret) or _words(noise, secret) or f"it ended with status {process.returncode}"
        if action in ("get", "erase") and reason.lower().startswith(_NOT_FOUND):
            return None
        raise SystemFailure(f"{what}: {reason}")

    def _exchange(self, process: subprocess.Popen[bytes], data: bytes, what: str) -> tuple[bytes, bytes]:
        assert process.stdin is not None  # noqa: S101 - all three are pipes
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(data)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        end = time.monotonic() + self._timeout
        found = {process.stdout: bytearray(), process.stderr: bytearray()}
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            # its standard output decides: a process that it left behind may keep the other one open
            while process.stdout in (key.fileobj for key in selector.get_map().values()):
                ready = selector.select(max(0.0, end - time.monotonic()))
                if not ready:
                    raise self._late(what)
                for key, _ in ready:
                    stream: IO[bytes] = key.fileobj  # type: ignore[assignment]
                    piece = os.read(stream.fileno(), 65536)
                    if not piece:
                        selector.unregister(stream)
                    elif len(found[stream]) < _MAX_OUTPUT:
                        found[stream] += piece
                    elif stream is process.stdout:
                        raise LimitExceeded(f"{what}: it prints more than {_MAX_OUTPUT >> 20} MiB")
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self._late(what) from None
        return bytes(found[process.stdout]), bytes(found[process.stderr])

    def _late(self, what: str) -> MinidockError:
        return Timeout(f"{what}: no answer within {self._timeout:g} s")


def _words(text: bytes, secret: str) -> str:
    """A helper's own words for an error: the last line of them, short, without the secret."""
    lines = [line.strip() for line in text[-4096:].decode(errors="replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    if secret:
        last = last.replace(secret, "…")
    return "".join(c if c.isprintable() else "?" for c in last)[:200]
