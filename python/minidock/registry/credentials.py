"""Docker's ``config.json``: who logs in where. Read on each question, written atomically, foreign keys left alone.

The credentials of a registry are with the helper that ``credHelpers`` names, else with the one that ``credsStore``
names, else in the file's ``auths``. ``$DOCKER_AUTH_CONFIG`` goes before all. Docker Hub goes by its old index's name.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from minidock.errors import Corrupt, InvalidArgument, MinidockError
from minidock.images.references import DEFAULT_DOMAIN, parse
from minidock.registry.credential_helpers import PREFIX, TOKEN_USERNAME, Helper
from minidock.spec import decoding
from minidock.store.failures import from_os

HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = ("index.docker.io", DEFAULT_DOMAIN)
_MAX_FILE = 8 << 20
_BAD_JSON: Any = (msgspec.MsgspecError, UnicodeError, RecursionError)


class Login(NamedTuple):
    """Credentials for a registry: a name with a password, or a token in their place."""

    username: str
    password: str
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        """Without the secrets."""
        return f"Login(username={self.username!r}, …)"


class _Entry(msgspec.Struct, omit_defaults=True):
    """One of ``auths``."""

    auth: str | None = None
    username: str | None = None
    password: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None

    def __repr__(self) -> str:
        return "_Entry(…)"


def hostname(server: str) -> str:
    """``server`` without ``http://``, ``https://`` and a path: ``http://Host:5000/v2/`` → ``Host:5000``."""
    for scheme in ("https://", "http://"):
        if server.startswith(scheme):
            server = server[len(scheme) :]
            break
    return server.partition("/")[0]


def server_key(server: str) -> str:
    """The name under which the credentials of a registry are kept: its host and port, or Docker Hub's key."""
    name = hostname(server)
    return HUB_KEY if not name or name in _HUB_NAMES else name


def registry_host(server: str) -> str:
    """The host of a registry as in references, of what a user typed: a host, a URL or nothing, which is Docker Hub.

    Raises InvalidArgument for what is no host with an optional port.
    """
    key = server_key(server.strip())
    if key == HUB_KEY:
        return DEFAULT_DOMAIN
    try:
        # with a port, a single word is a host too
        named = key if key.rpartition("]")[2].count(":") else f"{key}:443"
        if parse(f"{named}/x").domain == named:
            return key
    except InvalidArgument:
        pass
    raise InvalidArgument(f"registry {server[:200]!r}: a registry is a host with an optional port")


class Credentials:
    """The credentials in ``directory``, in ``$DOCKER_CONFIG`` or in ``~/.docker``.

    Threads may share it. ``problems`` says of a host why its helper could not be asked: :meth:`lookup` is None then, as
    for Docker, because much can be pulled without credentials.
    """

    def __init__(self, directory: str | None = None) -> None:
        self.directory = directory or os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        self.path = os.path.join(self.directory, "config.json")
        self.problems: dict[str, str] = {}

    def lookup(self, host: str) -> Login | None:
        """The credentials for a registry, or None. Raises Corrupt for a damaged file, Denied for an unreadable one."""
        key = server_key(host)
        variable = os.environ.get("DOCKER_AUTH_CONFIG")
        if variable:
            document = _Document.parse(variable.encode("utf-8", "surrogateescape"), "$DOCKER_AUTH_CONFIG")
            found = document.login(key)
            if found is not None:
                return found
        document = self._read()
        name = document.helper(key)
        if not name:
            return document.login(key)
        try:
            kept = Helper(name).get(key)
        except MinidockError as error:
            self.problems[host] = str(error)
            return None
        self.problems.pop(host, None)
        if kept is None:
            return None
        if kept.username == TOKEN_USERNAME:
            return Login("", "", identity_token=kept.secret)
        return Login(kept.username, kept.secret)

    def save(self, host: str, login: Login) -> str | None:
        """Keep credentials with the registry's helper, or in the file, where whoever may read it can see them.

        Returns the file's path if a password is in it now that was not before. Raises InvalidArgument for a username
        that cannot be kept, what :class:`Helper` raises, Corrupt for a damaged file, which stays as it is, and Denied.
        """
        if ":" in login.username or not login.username.isprintable():
            raise InvalidArgument(f"username {login.username[:80]!r}: it may not have a colon or control characters")
        key = server_key(host)
        with self._locked():
            document = self._read()
            name = document.helper(key) or document.detect_store()
            if name:
                if login.identity_token:
                    Helper(name).store(key, TOKEN_USERNAME, login.identity_token)
                else:
                    Helper(name).store(key, login.username, login.password)
                entry = _Entry()
            else:
                secret = "" if login.identity_token else login.password
                entry = _Entry(
                    auth=base64.b64encode(f"{login.username}:{secret}".encode()).decode(),
                    identitytoken=login.identity_token or None,
                    registrytoken=login.registry_token or None,
                )
            changed = document.put(key, entry)
            if changed:
                self._write(document)
        return self.path if changed and not name and login.password and not login.identity_token else None

    def erase(self, host: str) -> bool:
        """Forget a registry's credentials; False if there were none. Raises as :meth:`save`."""
        key = server_key(host)
        with self._locked():
            document = self._read()
            name = document.helper(key)
            found = False
            if name:
                found = Helper(name).erase(key)
                if key != HUB_KEY:
                    for scheme in ("http", "https"):
                        with contextlib.suppress(MinidockError):
                            Helper(name).erase(f"{scheme}://{key}")
            if document.remove(key):
                self._write(document)
                found = True
        return found

    def _read(self) -> _Document:
        try:
            # a FIFO would wait for a writer
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return _Document({}, self.path)
        except OSError as error:
            raise from_os(error, "read credentials", self.path) from error
        try:
            with open(fd, "rb", closefd=True) as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise Corrupt(f"credentials {self.path}: not a regular file")
                text = file.read(_MAX_FILE + 1)
        except OSError as error:
            raise from_os(error, "read credentials", self.path) from error
        if len(text) > _MAX_FILE:
            raise Corrupt(f"credentials {self.path}: larger than {_MAX_FILE >> 20} MiB")
        return _Document.parse(text, self.path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time among minidock's processes; makes the directory."""
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise from_os(error, "open the directory of credentials", self.directory) from error
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _write(self, document: _Document) -> None:
        """Replace the file (the one that a link leads to) as a whole; it keeps its owner, nobody else may read it."""
        target = os.path.realpath(self.path)
        made = os.path.join(os.path.dirname(target), f".config.json.{secrets.token_hex(8)}")
        try:
            fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                with open(fd, "wb") as file:
                    file.write(document.encode())
                    with contextlib.suppress(FileNotFoundError, PermissionError):
                        old = os.stat(target)
                        os.fchown(fd, old.st_uid, old.st_gid)
                    file.flush()
                    os.fsync(fd)
                os.rename(made, target)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(made)
                raise
        except OSError as error:
            raise from_os(error, "write credentials", target) from error


class _Document:
    """The file's JSON: every value that is not to be changed stays the text that it was."""

    def __init__(self, keys: dict[str, msgspec.Raw], subject: str) -> None:
        self._keys = keys
        self._subject = subject
        self._auths: dict[str, msgspec.Raw] = self._get("auths", dict[str, msgspec.Raw]) or {}

    @classmethod
    def parse(cls, text: bytes, subject: str) -> _Document:
        """Read JSON; the empty file is an empty object. Raises Corrupt."""
        if not text.strip():
            return cls({}, subject)
        try:
            text.decode()  # the decoder looks at no string that stays as it is
            keys = decoding.decode(text, dict[str, msgspec.Raw])
        except _BAD_JSON as error:
            raise _damaged(subject, "not a JSON object", error) from error
        return cls(keys, subject)

    def _get(self, key: str, kind: Any) -> Any:
        raw = self._keys.get(key)
        if raw is None or bytes(raw) == b"null":
            return None
        try:
            return decoding.decode(bytes(raw), kind)
        except _BAD_JSON as error:
            raise _damaged(self._subject, key, error) from error

    def helper(self, key: str) -> str:
        """The name of the helper that keeps the credentials of ``key``; empty: the file does."""
        helpers: dict[str, str] = self._get("credHelpers", dict[str, str]) or {}
        store: str | None = self._get("credsStore", str)
        return helpers.get(key, store or "")

    def detect_store(self) -> str:
        """For a file that says nothing of credentials yet: the usual helper if there is one, which it names then."""
        if self._auths or self._get("credHelpers", dict[str, str]) or self._get("credsStore", str) is not None:
            return ""
        name = "pass" if shutil.which("pass") else "secretservice"
        if not shutil.which(PREFIX + name):
            return ""
        self._keys["credsStore"] = msgspec.Raw(msgspec.json.encode(name))
        return name

    def login(self, key: str) -> Login | None:
        """What the file itself has for ``key``. Raises Corrupt for an entry that makes no sense."""
        found = next(iter(self._matching(key)), None)
        if found is None:
            return None
        try:
            entry = decoding.decode(bytes(self._auths[found]), _Entry)
        except _BAD_JSON as error:
            raise _damaged(self._subject, f"auths: {found[:200]!r}", error) from error
        username, password = entry.username or "", entry.password or ""
        if entry.auth:
            username, password = self._decode(entry.auth, found)
        token = entry.registrytoken or ""
        if not token.isascii() or not token.isprintable() or " " in token:
            raise Corrupt(f"credentials {self._subject}: auths: {found[:200]!r}: registrytoken is not a token")
        if not (username or entry.identitytoken or token):
            return None
        return Login(username, password, entry.identitytoken or "", token)

    def _decode(self, auth: str, found: str) -> tuple[str, str]:
        try:
            text = base64.b64decode(auth, validate=True).decode()
        except (binascii.Error, ValueError):
            text = ""
        username, colon, password = text.partition(":")
        if not colon or not username:
            where = f"credentials {self._subject}: auths: {found[:200]!r}"
            raise Corrupt(f"{where}: auth is not base64 of username:password; log in again") from None
        return username, password.strip("\0")

    def _matching(self, key: str) -> list[str]:
        """The entries for ``key``, the exact one first; old files have URLs in place of hosts."""
        found = [key] if key in self._auths else []
        if key == HUB_KEY:
            return found + [name for name in _HUB_NAMES if name in self._auths]
        return found + [name for name in self._auths if name != key and hostname(name) == key]

    def put(self, key: str, entry: _Entry) -> bool:
        """Set an entry; False if it was so already."""
        text = msgspec.json.encode(entry)
        old = self._auths.get(key)
        if old is not None:
            with contextlib.suppress(*_BAD_JSON):
                if decoding.decode(bytes(old), dict[str, str]) == decoding.decode(text, dict[str, str]):
                    return False
        self._auths[key] = msgspec.Raw(text)
        return True

    def remove(self, key: str) -> bool:
        """Remove the entries for ``key``; False if there are none."""
        names = self._matching(key)
        if key == HUB_KEY:
            names += [name for name in self._auths if hostname(name) in _HUB_NAMES and name not in names]
        for name in names:
            del self._auths[name]
        return bool(names)

    def encode(self) -> bytes:
        """The file's new text, indented as Docker does."""
        auths = _object({name: _pretty(raw) for name, raw in self._auths.items()}, 1)
        keys = {name: bytes(raw) for name, raw in self._keys.items()}
        return _object({**keys, "auths": auths} if "auths" in keys else {"auths": auths, **keys}, 0) + b"\n"


def _pretty(raw: msgspec.Raw) -> bytes:
    """An entry of ours over several lines; one that is so already stays as it is."""
    text = bytes(raw)
    if b"\n" in text:
        return text
    try:
        fields = decoding.decode(text, dict[str, msgspec.Raw])
    except _BAD_JSON:
        return text
    return _object({name: bytes(value) for name, value in fields.items()}, 2)


def _object(fields: dict[str, bytes], depth: int) -> bytes:
    if not fields:
        return b"{}"
    tabs = b"\t" * depth
    rows = [tabs + b"\t" + msgspec.json.encode(name) + b": " + text for name, text in fields.items()]
    return b"{\n" + b",\n".join(rows) + b"\n" + tabs + b"}"


def _damaged(subject: str, what: str, error: Exception) -> Corrupt:
    """Neither the parser's errors nor this have a value of the file in them."""
    why = str(error) if not isinstance(error, RecursionError) else "nested too deeply"
    why = why.removeprefix("JSON is ")
    return Corrupt(f"credentials {subject}: {what}: {why[:1].lower()}{why[1:]}; repair the file or remove it")
