"""The page, its files, and the page for whoever is not let in."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from typing import TYPE_CHECKING

from minidock.server.failures import HttpError
from minidock.ui import gate

if TYPE_CHECKING:
    from minidock.server.http import Request

_ASSETS = os.path.join(os.path.dirname(__file__), "assets")
_HTML = "text/html; charset=utf-8"
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self'; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_NONCE = b"{{nonce}}"

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2129;--soft:#5b6472;--back:#f6f7f9;--line:#dfe3e8}
@media (prefers-color-scheme:dark){:root{--ink:#e7eaf0;--soft:#9aa4b4;--back:#12151b;--line:#2b313c}}
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--back);color:var(--ink);
font:16px/1.55 system-ui,sans-serif}
main{max-width:32rem;padding:2rem}h1{font-size:1.25rem;margin:0 0 .75rem}p{margin:0 0 .75rem;color:var(--soft)}
code{padding:.1em .4em;border:1px solid var(--line);border-radius:5px;color:var(--ink)}a{color:inherit}
"""
_REFUSED = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>minidock</title><style>{style}</style></head>
<body><main><h1>{title}</h1>{more}</main></body></html>
"""
_AGAIN = "<p>Run <code>minidock ui</code> in a terminal and open the link that it prints.</p>"
_HERE = '<p>If you have just come through the link of another page, <a href="./">open this page itself</a>.</p>'


def page(request: Request) -> None:
    """``GET /``: the page."""
    nonce = secrets.token_urlsafe(16)
    with open(os.path.join(_ASSETS, "index.html"), "rb") as file:
        data = file.read().replace(_NONCE, nonce.encode())
    request.data(data, _HTML, headers=[("Content-Security-Policy", _POLICY.format(nonce=nonce))])


def asset(request: Request) -> None:
    """``GET /assets/{name}``: one of the page's files. Raises HttpError (404)."""
    name = request.names["name"]
    kind = _KINDS.get(os.path.splitext(name)[1])
    if kind is None or name not in assets():
        raise HttpError(404, "Nothing is here.")
    with open(os.path.join(_ASSETS, name), "rb") as file:
        request.data(file.read(), kind, headers=[("Content-Security-Policy", "default-src 'none'")])


def assets() -> set[str]:
    """Return the names of all files, below the one directory that they are in."""
    return {
        os.path.relpath(os.path.join(where, name), _ASSETS) for where, _, names in os.walk(_ASSETS) for name in names
    }


def refused(request: Request, error: HttpError) -> None:
    """Tell a person why there is no page."""
    more = _AGAIN + (_HERE if str(error) == gate.NO_SESSION else "")
    hashed = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{hashed}'; base-uri 'none'; frame-ancestors 'none'"
    text = _REFUSED.format(style=_STYLE, title=_escaped(str(error)), more=more)
    request.data(text.encode(), _HTML, error.status, [("Content-Security-Policy", policy)])


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)
