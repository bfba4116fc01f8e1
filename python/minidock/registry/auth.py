"""Tokens and passwords: what goes into ``Authorization``, for which origin, and when a new token is needed."""

from __future__ import annotations

import base64
import threading
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec

from minidock.errors import InvalidArgument, LimitExceeded, RegistryError, RegistryUnauthorized
from minidock.registry import failures
from minidock.registry.challenge import Challenge
from minidock.registry.hosts import origin
from minidock.registry.session import Body, Call, Session
from minidock.spec import decoding

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.registry.cancel import Cancel
    from minidock.registry.credentials import Login

_CLIENT_ID = "minidock"
_MAX_ANSWER = 1 << 20
_MAX_TOKEN = 64 << 10
_LEAST_LIFE = 60.0
_MARGIN = 10.0
"""Seconds before its end at which a token is renewed."""


class _TokenAnswer(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None
    issued_at: str | None = None
    refresh_token: str | None = None


class _Key(NamedTuple):
    realm: str
    service: str
    scopes: tuple[str, ...]
    login: Login | None
    """With its password: who only knows the name gets no token of another's."""


class _Token(NamedTuple):
    text: str
    until: float

    @property
    def fresh(self) -> bool:
        return time.monotonic() < self.until - _MARGIN


class Authorizer:
    """Knows what each endpoint asked for, and the tokens that it takes; shared by threads."""

    def __init__(self, session: Session, lookup: Callable[[str], Login | None]) -> None:
        self._session = session
        self._lookup = lookup
        self._lock = threading.Lock()
        self._locks: dict[_Key, threading.Lock] = {}
        self._challenges: dict[str, Challenge] = {}
        self._open: set[str] = set()
        self._tokens: dict[_Key, _Token] = {}
        self._logins: dict[str, Login | None] = {}
        self._identities: dict[tuple[str, str, Login], str] = {}

    def header(self, call: Call, cancel: Cancel | None) -> str | None:
        """What to send before the endpoint asks: what it asked for before."""
        challenge = self._challenges.get(call.endpoint.url)
        if challenge is None:
            return None
        return self._header(call, challenge, None, cancel)

    def renewed(
        self, call: Call, challenges: list[Challenge], rejected: str | None, cancel: Cancel | None
    ) -> str | None:
        """What to send after a 401 to ``rejected``; None where nothing better is known."""
        known = {challenge.scheme: challenge for challenge in reversed(challenges)}
        challenge = known.get("bearer") or known.get("basic")
        if challenge is None:
            asked = failures.printable(", ".join(challenge.scheme for challenge in challenges) or "nothing", 100)
            raise RegistryUnauthorized(
                f"{call.endpoint.host}: wants authentication and asks for {asked}; minidock knows Basic and Bearer"
            )
        self._challenges[call.endpoint.url] = challenge
        header = self._header(call, challenge, rejected, cancel)
        return None if header == rejected else header

    def discovered(self, call: Call, cancel: Cancel | None) -> str | None:
        """What to send to an endpoint that has not asked, if there is a login for it and it asks at its front door."""
        endpoint = call.endpoint
        if endpoint.url in self._challenges or endpoint.url in self._open or self._login(call) is None:
            return None
        answer = self._session.send(Call(endpoint, "GET", f"{endpoint.url}/v2/", authorization=""), cancel)
        answer.discard()
        if answer.status != 401:
            self._open.add(endpoint.url)
            return None
        return self.renewed(call, answer.challenges(), None, cancel)

    def identity(self, call: Call) -> str:
        """The identity token that the endpoint's token server gave out, or nothing."""
        challenge = self._challenges.get(call.endpoint.url)
        login = self._login(call)
        if challenge is None or login is None:
            return ""
        parameters = challenge.parameters
        return self._identities.get((parameters.get("realm", ""), parameters.get("service", ""), login), "")

    def remember(self, host: str, login: Login) -> None:
        """Use these credentials for ``host`` from now on, whatever is kept elsewhere."""
        self._logins[host] = login

    def _header(self, call: Call, challenge: Challenge, rejected: str | None, cancel: Cancel | None) -> str | None:
        login = self._login(call)
        if challenge.scheme == "basic":
            return _basic(login) if login is not None and login.username else None
        if login is not None and login.registry_token:
            direct = _bearer(call, login.registry_token)
            if direct != rejected:
                return direct
        realm, service = challenge.parameters.get("realm", ""), challenge.parameters.get("service", "")
        key = _Key(realm, service, call.scopes, login)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        while not lock.acquire(timeout=0.5):
            if cancel is not None:
                cancel.check()
        try:
            token = self._tokens.get(key)
            if token is None or not token.fresh or _bearer(call, token.text) == rejected:
                token = self._tokens[key] = self._fetch(call, key, login, cancel)
        finally:
            lock.release()
        return _bearer(call, token.text)

    def _login(self, call: Call) -> Login | None:
        endpoint = call.endpoint
        if endpoint.url.startswith("http:") and not endpoint.insecure:
            return None  # no password over the open network
        if call.login is not None:
            return call.login
        if endpoint.host not in self._logins:
            self._logins[endpoint.host] = self._lookup(endpoint.host)
        return self._logins[endpoint.host]

    def _fetch(self, call: Call, key: _Key, login: Login | None, cancel: Cancel | None) -> _Token:
        host = call.endpoint.host
        try:
            where = origin(key.realm)
        except InvalidArgument as error:
            raise RegistryError(f"{host}: names no token server: {error}") from error
        if "@" in urlsplit(key.realm).netloc:
            raise RegistryError(f"{host}: the URL of its token server has a user in it, which is refused")
        if where.scheme == "http":
            if not call.endpoint.insecure:
                raise RegistryError(f"{host}: its token server http://{where.netloc} does not use https; refused")
            if not self._session.hosts.is_insecure(where.netloc):
                login = None
        what = f"get a token for {host} from {where.netloc}"
        identity = ""
        if login is not None:
            identity = self._identities.get((key.realm, key.service, login)) or login.identity_token
        answer, life = self._ask(_Asking(what, call, key, login, identity), cancel)
        token = answer.token or answer.access_token or ""
        if not token:
            raise RegistryError(f"{what}: its answer has no token")
        if len(token) > _MAX_TOKEN or not _is_word(token):
            raise RegistryError(f"{what}: the token has characters that no token has, or too many")
        if answer.refresh_token and login is not None:
            self._identities[(key.realm, key.service, login)] = answer.refresh_token
        return _Token(token, time.monotonic() + life)

    def _ask(self, asking: _Asking, cancel: Cancel | None) -> tuple[_TokenAnswer, float]:
        """By POST with an identity token, else by GET; also by GET where a server does not know the POST."""
        login = asking.login
        if asking.identity:
            found = self._token(asking, asking.post(), cancel)
            if not isinstance(found, failures.Refusal):
                return found
            if found.status not in (404, 405) and not (login is not None and login.password):
                raise asking.refused(found)
        found = self._token(asking, asking.get(), cancel)
        if isinstance(found, failures.Refusal):
            raise asking.refused(found)
        return found

    def _token(
        self, asking: _Asking, call: Call, cancel: Cancel | None
    ) -> tuple[_TokenAnswer, float] | failures.Refusal:
        answer = self._session.send(call, cancel)
        if answer.status != 200:
            return failures.refusal(answer)
        try:
            body = answer.read(_MAX_ANSWER)
            found = decoding.decode(body, _TokenAnswer)
        except LimitExceeded as error:
            raise RegistryError(f"{asking.what}: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            cause = failures.printable(str(error), 100)
            raise RegistryError(f"{asking.what}: its answer is not a token: {cause}") from error
        finally:
            answer.close()
        return found, _life(found, answer.header("date"))


class _Asking(NamedTuple):
    """A token that is wanted: ``what`` for messages, the login and the identity token to show."""

    what: str
    call: Call
    key: _Key
    login: Login | None
    identity: str

    def post(self) -> Call:
        form = {
            "grant_type": "refresh_token",
            "service": self.key.service,
            "client_id": _CLIENT_ID,
            "refresh_token": self.identity,
        }
        if self.key.scopes:
            form["scope"] = " ".join(self.key.scopes)
        data = urlencode(form).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = Body(len(data), lambda: iter((data,)))
        return Call(self.call.endpoint, "POST", self.key.realm, headers, body=body, authorization="")

    def get(self) -> Call:
        query = [("service", self.key.service)] if self.key.service else []
        query += [("scope", scope) for scope in self.key.scopes]
        login, authorization = self.login, ""
        if login is not None and login.username:
            query.append(("account", login.username))
            if login.password:
                authorization = _basic(login)
            if self.call.login is not None and not self.key.scopes:
                query.append(("offline_token", "true"))  # `login` would rather keep that than a password
        query.append(("client_id", _CLIENT_ID))
        joint = "&" if urlsplit(self.key.realm).query else "?"
        url = f"{self.key.realm}{joint}{urlencode(query)}"
        return Call(self.call.endpoint, "GET", url, authorization=authorization)

    def refused(self, refused: failures.Refusal) -> RegistryError:
        if refused.status in (400, 401, 403):
            host = self.call.endpoint.host
            return RegistryUnauthorized(f'{self.what}: {refused.text}; log in again: "minidock login {host}"')
        return RegistryError(f"{self.what}: {refused.text}")


def _life(answer: _TokenAnswer, date: str) -> float:
    """Seconds that a token is still good for. Both times are the server's, whose clock may differ from ours."""
    life = max(_LEAST_LIFE, answer.expires_in or 0.0)
    if answer.issued_at:
        from datetime import datetime
        from email.utils import parsedate_to_datetime

        try:
            age = (parsedate_to_datetime(date) - datetime.fromisoformat(answer.issued_at)).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):
            return life
        if 0 < age < life:
            return life - age
    return life


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


def _bearer(call: Call, token: str) -> str:
    if not _is_word(token):
        raise RegistryUnauthorized(f"{call.endpoint.host}: the token for it has characters that no token has")
    return f"Bearer {token}"


def _is_word(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token
