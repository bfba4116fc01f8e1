"""A token server for a registry: JSON Web Tokens of Docker's kind, by GET and by OAuth2 POST; it keeps all requests."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.certificates import openssl

LEEWAY = 60  # docker-registry takes a token for so many seconds after its end


@dataclass(frozen=True)
class Issue:
    """A token that was given out."""

    token: str
    account: str  # "" is anonymous
    scopes: tuple[str, ...]
    how: str  # "get", "password", "refresh_token"


@dataclass(frozen=True)
class TokenRequest:
    """A request as it came; ``query`` holds the parameters of the URL or of the POST's form."""

    method: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    status: int


@dataclass
class TokenServer:
    """Gives tokens to ``users`` (name: password); ``anonymous`` are the actions that nobody has to log in for.

    ``lifetime`` is what the answers say in ``expires_in`` (None: nothing, which means 60 s). ``valid`` is for how many
    seconds the registry takes the token, which may be less than told (0: never). ``post=False`` answers POST with 405,
    as servers without OAuth2 do. ``refuse`` is a list of statuses to answer next, each once. All can be changed while
    it runs. ``token_key`` is the name in GET's answers ("token" or "access_token").
    """

    folder: Path
    service: str = "minidock-tests"
    issuer: str = "minidock-token-server"
    users: dict[str, str] = field(default_factory=dict)
    anonymous: frozenset[str] = frozenset()
    lifetime: int | None = 300
    valid: float = 300
    post: bool = True
    token_key: str = "token"
    refuse: list[int] = field(default_factory=list)
    issued: list[Issue] = field(default_factory=list)
    requests: list[TokenRequest] = field(default_factory=list)
    refresh_tokens: dict[str, str] = field(default_factory=dict)  # token: account

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cert, self._key = self.folder / "token.crt", self.folder / "token.key"
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=minidock token"),
            *("-out", self.cert, "-keyout", self._key),
        )
        self._x5c = [base64.b64encode(openssl("x509", "-in", self.cert, "-outform", "DER")).decode()]
        self._lock = threading.Lock()
        server = self

        class Handler(_Handler):
            tokens = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def realm(self) -> str:
        """The URL of the token endpoint."""
        return f"http://127.0.0.1:{self._http.server_port}/token"

    def close(self) -> None:
        """End the server."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def sign(self, scopes: Iterable[str], account: str = "", valid: float | None = None) -> str:
        """A token for ``repository:NAME:ACTIONS`` scopes, no questions asked; good for ``valid`` seconds."""
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            access.append({"type": kind, "name": name, "actions": [a for a in actions.split(",") if a]})
        now = time.time()
        end = now + (self.valid if valid is None else valid) - LEEWAY
        claims = {
            "iss": self.issuer,
            "sub": account,
            "aud": self.service,
            "exp": int(end),
            "nbf": int(now) - 3600,
            "iat": int(now) - 3600,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        header = {"typ": "JWT", "alg": "RS256", "x5c": self._x5c}
        signed = ".".join(_b64(json.dumps(part).encode()) for part in (header, claims))
        signature = openssl("dgst", "-sha256", "-sign", self._key, input=signed.encode())
        return f"{signed}.{_b64(signature)}"

    def answer(
        self, method: str, query: dict[str, list[str]], headers: dict[str, str]
    ) -> tuple[int, dict[str, object]]:
        """Status and JSON for a request to the endpoint."""
        with self._lock:
            status, body = self._answer(method, query, headers)
            self.requests.append(TokenRequest(method, query, headers, status))
        return status, body

    def _answer(
        self, method: str, query: dict[str, list[str]], headers: dict[str, str]
    ) -> tuple[int, dict[str, object]]:
        if self.refuse:
            return self.refuse.pop(0), {"details": "refused by the test"}
        if method == "POST" and not self.post:
            return 405, {"details": "method not allowed"}
        how = query.get("grant_type", [""])[0] if method == "POST" else "get"
        account = self._account(how, query, headers)
        if account is None:
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]}
        scopes = [s for value in query.get("scope", []) for s in value.split()]
        granted = scopes if account else [self._public(scope) for scope in scopes]
        token = self.sign(granted, account)
        self.issued.append(Issue(token, account, tuple(scopes), how))
        body: dict[str, object] = {"access_token" if method == "POST" else self.token_key: token}
        if self.lifetime is not None:
            body["expires_in"] = self.lifetime
        if method == "POST":
            body["scope"] = " ".join(granted)
        offline = query.get("access_type") == ["offline"] or query.get("offline_token") == ["true"]
        if account and (offline or how == "refresh_token"):
            refresh = query.get("refresh_token", [""])[0] or f"refresh-{secrets.token_hex(8)}"
            self.refresh_tokens[refresh] = account
            body["refresh_token"] = refresh
        return 200, body

    def _account(self, how: str, query: dict[str, list[str]], headers: dict[str, str]) -> str | None:
        """Who asks: "" for nobody, None when what they say is wrong."""
        if how == "refresh_token":
            return self.refresh_tokens.get(query.get("refresh_token", [""])[0])
        if how == "password":
            name, password = query.get("username", [""])[0], query.get("password", [""])[0]
            return name if self.users.get(name) == password else None
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if not scheme:
            return ""
        name, _, password = base64.b64decode(value).decode().partition(":")
        return name if scheme.lower() == "basic" and self.users.get(name) == password else None

    def _public(self, scope: str) -> str:
        head, _, actions = scope.rpartition(":")
        return f"{head}:{','.join(a for a in actions.split(',') if a in self.anonymous)}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class _Handler(BaseHTTPRequestHandler):
    tokens: TokenServer

    def do_GET(self) -> None:
        self._serve(parse_qs(urlsplit(self.path).query, keep_blank_values=True))

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        self._serve(parse_qs(self.rfile.read(length).decode(), keep_blank_values=True))

    def _serve(self, query: dict[str, list[str]]) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, body = self.tokens.answer(self.command, query, headers)
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass
