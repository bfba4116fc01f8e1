"""What a registry's refusal says, as an exception: from the status and a body that may be anything."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from minidock.errors import ImageNotFound, MinidockError, RateLimited, RegistryError, RegistryUnauthorized, Unsupported

if TYPE_CHECKING:
    from minidock.registry.session import Answer

MAX_BODY = 64 << 10
_MAX_TEXT = 300
_MAX_ITEMS = 3
_REASONS = {
    400: "bad request",
    401: "authentication required",
    403: "forbidden",
    404: "not found",
    405: "method not allowed",
    413: "body too large",
    416: "range not satisfiable",
    429: "too many requests",
    500: "internal server error",
    502: "bad gateway",
    503: "service unavailable",
    504: "gateway timeout",
}


class Refusal:
    """A refusal: HTTP ``status``, the ``codes`` of the body in upper case, and one printable line about it."""

    __slots__ = ("codes", "status", "text")

    def __init__(self, status: int, codes: frozenset[str], text: str) -> None:
        self.status = status
        self.codes = codes
        self.text = text


def refusal(answer: Answer) -> Refusal:
    """Read an answer that is no success; closes it."""
    try:
        body = answer.read(MAX_BODY)
    except MinidockError:
        body = b""
    finally:
        answer.close()
    plain = f"{answer.status} {_REASONS.get(answer.status, 'unexpected answer')}"
    found = _from_json(body)
    if found is not None:
        codes, text = found
        return Refusal(answer.status, codes, text or plain)
    kind = answer.header("content-type").partition(";")[0].strip().lower()
    line = "" if body.lstrip().startswith((b"<", b"{", b"[")) or kind != "text/plain" else _line(body)
    return Refusal(answer.status, frozenset(), f"{plain}: {line}" if line else plain)


def failed(what: str, refused: Refusal) -> MinidockError:
    """The exception for a refusal that means nothing special; ``what`` failed, on what."""
    text = f"{what}: {refused.text}"
    if refused.status in (401, 403):
        return RegistryUnauthorized(text)
    if refused.status == 404:
        return ImageNotFound(text)
    if refused.status == 405 or "UNSUPPORTED" in refused.codes:
        return Unsupported(text)
    return RegistryError(text)


def limited(answer: Answer, host: str) -> tuple[RateLimited, float | None]:
    """The exception for a 429, and the seconds that the registry asks to wait, if it does."""
    pause = retry_after(answer.header("retry-after"))
    limits = ", ".join(
        f"{name.removeprefix('ratelimit-')} {printable(value)}"
        for name in ("ratelimit-limit", "ratelimit-remaining")
        if (value := answer.header(name))
    )
    text = f"{host} limits the rate: {refusal(answer).text}"
    if limits:
        text += f" ({limits})"
    when = f"try again in {pause:.0f} s" if pause else "try again later"
    return RateLimited(f'{text}; {when}, or log in for a higher limit: "minidock login {host}"'), pause


def retry_after(value: str, now: float | None = None) -> float | None:
    """The seconds that ``Retry-After`` says, as a number or an HTTP date; None for anything else."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    if not value or len(value) > 64:
        return None
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))


def printable(text: str, limit: int = _MAX_TEXT) -> str:
    """One line without control characters, shortened."""
    short = text[: limit + 1]
    clean = "".join(c if c.isprintable() else " " if c.isspace() else f"\\x{ord(c):02x}" for c in short).strip()
    return clean if len(clean) <= limit and len(text) <= limit else clean[:limit] + "…"


def _line(body: bytes) -> str:
    return printable(body[: _MAX_TEXT * 4].decode("utf-8", "replace").strip().partition("\n")[0], 200)


def _from_json(body: bytes) -> tuple[frozenset[str], str] | None:
    """Codes and text of a JSON body: a registry's, a token server's, an OAuth server's; None for other bodies."""
    if not body.lstrip().startswith(b"{"):
        return None
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    items = found.get("errors")
    if isinstance(items, list) and items:
        codes: set[str] = set()
        texts: list[str] = []
        for item in items[:_MAX_ITEMS]:
            if not isinstance(item, dict):
                continue
            code, message = item.get("code"), item.get("message")
            words = []
            if isinstance(code, str) and code:
                codes.add(code.upper()[:64])
                words.append(code.lower().replace("_", " "))
            if isinstance(message, str) and message:
                words.append(message)
            texts.append(": ".join(words))
        return frozenset(codes), printable(", ".join(filter(None, texts)))
    words = [found[key] for key in ("error", "error_description", "message", "details") if _is_text(found.get(key))]
    return frozenset(), printable(": ".join(words))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
