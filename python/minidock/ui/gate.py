"""Who may see the page: the token of the link, the cookie that it is swapped for, and where requests may come from.

Cookies do not know ports: a browser sends those of 127.0.0.1 to whatever else it visits there, a container's published
port, say. So ours belongs to a path that nobody can guess, and everything is served below that path, the *place*.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

from minidock.server.failures import HttpError

if TYPE_CHECKING:
    from minidock.server.http import Request

COOKIE = "minidock"
_NAMES = ("127.0.0.1", "localhost")

NOT_THIS_LINK = "This link does not open the page."
USED = "This link has been used. Each link opens the page once."
NO_SESSION = "This browser has no session with minidock."


class Gate:
    """The one gate of one server; what it knows lives as long as the server does."""

    def __init__(self, port: int) -> None:
        self.place = f"/{secrets.token_urlsafe(12)}"
        self._token = secrets.token_urlsafe(32)
        self._cookie = secrets.token_urlsafe(32)
        self._port = port
        self._lock = threading.Lock()
        self._used = False
        self._hosts = {f"{name}:{port}" for name in _NAMES} | (set(_NAMES) if port == 80 else set())

    @property
    def link(self) -> str:
        """The link that opens the page, once."""
        return f"http://{_NAMES[0]}:{self._port}{self.place}/enter?token={self._token}"

    def enter(self, token: str) -> str:
        """Swap the token for a cookie; return the header's value. Raises HttpError (403) for a wrong or used token."""
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            raise HttpError(403, NOT_THIS_LINK)
        with self._lock:
            if self._used:
                raise HttpError(403, USED)
            self._used = True
        return f"{COOKIE}={self._cookie}; Path={self.place}/; HttpOnly; SameSite=Strict"

    def require_origin(self, request: Request) -> None:
        """Refuse what another name than ours was looked up for, and what another page asks. Raises HttpError (403).

        The first is DNS rebinding. What changes something, and a websocket, must name its origin, as browsers do.
        """
        headers = request.headers
        host = headers.get("host", "")
        if host not in self._hosts:
            raise HttpError(403, "this server answers to its own address only")
        origin = headers.get("origin")
        if origin is None:
            if request.method != "GET" or "upgrade" in headers:
                raise HttpError(403, "the request does not say which page it comes from")
        elif origin != f"http://{host}":
            raise HttpError(403, "requests of other pages are refused")
        navigates = request.method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not navigates:
            raise HttpError(403, "requests of other pages are refused")

    def inside(self, path: str) -> str | None:
        """Return what follows the place in a path; None for a path that is elsewhere."""
        at = len(self.place)
        if not secrets.compare_digest(path[:at].encode(), self.place.encode()):
            return None
        rest = path[at:]
        return rest if rest.startswith("/") else None

    def has_session(self, request: Request) -> bool:
        """Whether a request has the cookie."""
        pairs = (pair.strip().partition("=") for pair in request.headers.get("cookie", "").split(";"))
        return any(name == COOKIE and secrets.compare_digest(value.encode(), self._cookie.encode())
                   for name, _, value in pairs)  # fmt: skip

    def require_session(self, request: Request) -> None:
        """Raise HttpError (401) without the cookie."""
        if not self.has_session(request):
            raise HttpError(401, NO_SESSION)
