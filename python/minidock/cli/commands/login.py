"""``login`` and ``logout``."""

from __future__ import annotations

import os

from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line, write
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.registry.client import Client
    from minidock.registry.credentials import Credentials, Login

_MAX_PASSWORD = 60 << 10
_IN_CLEAR = """
WARNING! Your credentials are stored unencrypted in '{}'.
Configure a credential helper to remove this warning. See
https://docs.docker.com/go/credential-store/

"""


def _login(session: Session, values: Values, arguments: list[str]) -> int:
    """Try credentials, given or kept or asked for, and keep them."""
    username, password = _given(values)
    from minidock import config
    from minidock.registry.client import Client
    from minidock.registry.credentials import Credentials, Login, registry_host

    host = registry_host(arguments[0] if arguments else "")
    credentials = Credentials()
    with Client(config.load(session.config, os.environ), credentials) as client:
        done = None
        if not username and not password:
            done = _again(session, client, credentials, host)
        if done is None:
            done = client.check_login(host, _asked(credentials, host, username, password))
        login = done if done.username else Login(username, "", done.identity_token, done.registry_token)
    path = credentials.save(host, login)
    if path is not None:
        write(_IN_CLEAR.format(path), 2)
    line("Login Succeeded")
    return 0


def _given(values: Values) -> tuple[str, str]:
    """Username and password of the flags and of standard input."""
    username, password = values["username"] or "", values["password"] or ""
    if "password" in values:
        complain("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
        if values["password-stdin"]:
            raise UsageError("conflicting options: cannot specify both --password and --password-stdin", 1)
        if not password:
            raise UsageError("password is empty", 1)
    if "username" in values and not username:
        raise UsageError("username is empty", 1)
    if values["password-stdin"]:
        if not username:
            raise UsageError("the --password-stdin option requires --username to be set", 1)
        password = _standard_input().removesuffix("\n").removesuffix("\r")
        if not password:
            raise UsageError("password is empty", 1)
    return username, password


def _standard_input() -> str:
    text = b""
    while len(text) <= _MAX_PASSWORD and (piece := os.read(0, _MAX_PASSWORD)):
        text += piece
    if len(text) > _MAX_PASSWORD:
        raise UsageError(f"the password on standard input is longer than {_MAX_PASSWORD >> 10} KiB", 1)
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise UsageError("the password on standard input is not UTF-8", 1) from None


def _again(session: Session, client: Client, credentials: Credentials, host: str) -> Login | None:
    """Log in with what is kept; None if there is nothing or it is refused."""
    from minidock.errors import RegistryUnauthorized

    kept = credentials.lookup(host)
    if host in credentials.problems:
        session.warn(credentials.problems[host])
    if kept is None:
        return None
    name = f" [Username: {kept.username}]" if kept.username else ""
    line(
        f"Authenticating with existing credentials...{name}\n\n Info -> To login with a different account, run "
        "'minidock logout' followed by 'minidock login'\n\n"
    )
    try:
        return client.check_login(host, kept)
    except RegistryUnauthorized:
        complain("Stored credentials invalid or expired")
        return None


def _asked(credentials: Credentials, host: str, username: str, password: str) -> Login:
    """Ask on the terminal for what was not given."""
    from minidock.registry.credentials import Login

    if username and password:
        return Login(username, password)
    if not os.isatty(0):
        raise UsageError("cannot perform an interactive login from a non TTY device", 1)
    if not username:
        kept = credentials.lookup(host)
        default = kept.username if kept is not None else ""
        write(f"Username ({default}): " if default else "Username: ")
        username = os.read(0, 4096).decode(errors="replace").strip() or default
        if not username:
            raise UsageError("username is required", 1)
    if not password:
        import getpass

        try:
            password = getpass.getpass("Password: ")
        except EOFError:
            line("")
        if not password:
            raise UsageError("password is required", 1)
    return Login(username, password)


def _logout(session: Session, values: Values, arguments: list[str]) -> int:
    """Forget the credentials of a registry."""
    from minidock.registry.credentials import Credentials, registry_host, server_key

    host = registry_host(arguments[0] if arguments else "")
    line(f"Removing login credentials for {server_key(host)}")
    Credentials().erase(host)
    return 0


LOGIN = Command(
    "[OPTIONS] [SERVER]",
    "Try credentials for a registry, Docker Hub if none is named, and keep them in Docker's config.json or with the "
    "credential helper that it names. Without --username, what is kept already is tried, then asked for.",
    [
        Flag("password", "string", "Password or access token", short="p"),
        Flag("password-stdin", "bool", "Take the password or access token from standard input"),
        Flag("username", "string", "Username", short="u"),
    ],
    _login,
    maximum=1,
)

LOGOUT = Command(
    "[SERVER]",
    "Forget the credentials for a registry, Docker Hub if none is named.",
    [],
    _logout,
    maximum=1,
)
