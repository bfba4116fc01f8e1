"""Cancellation, waiting times, ranges, heads: the small pure parts of the client."""

from __future__ import annotations

import threading
import time
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidock.config import Config, Proxies
from minidock.errors import Cancelled, InvalidArgument, Timeout
from minidock.images.references import parse
from minidock.registry import quick
from minidock.registry.auth import _life, _TokenAnswer
from minidock.registry.cancel import Cancel
from minidock.registry.failures import _from_json, printable, retry_after
from minidock.registry.kinds import Head
from minidock.registry.search import Filter, parse_filters, split
from minidock.registry.session import Attempts
from minidock.registry.uploads import _reached

DIGEST = "sha256:" + "a" * 64
TIDY = f"HTTP/1.1 200 OK\r\nContent-Type: a/b; c=d\r\nContent-Length: 7\r\nDocker-Content-Digest: {DIGEST}"


def test_cancel() -> None:
    cancel = Cancel()
    cancel.check()
    cancel.wait(0)
    assert cancel.remaining() is None
    threading.Timer(0.05, cancel.cancel).start()
    with pytest.raises(Cancelled):
        cancel.wait(100)
    assert cancel.cancelled
    late = Cancel(timeout=0)
    with pytest.raises(Timeout, match="within 0 s"):
        late.check()
    with pytest.raises(Timeout):
        Cancel(timeout=0.01).wait(100)


def test_attempts() -> None:
    attempts = Attempts(3, None)
    assert [attempts.more(0), attempts.more(0), attempts.more(0)] == [True, True, False]
    assert not Attempts(5, None).more(61)
    with pytest.raises(Timeout):
        Attempts(5, Cancel(timeout=0.01)).more()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        (" 17 ", 17),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("1.5", None),
        ("٣", None),
        ("x" * 1000, None),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 99 Foo 1970 00:00:00 GMT", None),
    ],
)
def test_retry_after(value: str, expected: float | None) -> None:
    assert retry_after(value, now=100) == expected


def test_life_of_tokens() -> None:
    now = time.time()
    date = formatdate(now, usegmt=True)
    issued = time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime(now - 100))
    assert _life(_TokenAnswer(expires_in=300, issued_at=issued), date) == pytest.approx(200, abs=2)
    assert _life(_TokenAnswer(expires_in=300, issued_at=issued), "never") == 300
    assert _life(_TokenAnswer(expires_in=5), date) == 60
    assert _life(_TokenAnswer(), date) == 60
    assert _life(_TokenAnswer(expires_in=300, issued_at="0001-01-01T00:00:00Z"), date) == 300
    assert _life(_TokenAnswer(expires_in=300, issued_at="2024-01-01T00:00:00"), date) == 300


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0-99", 100), ("bytes=0-99", 100), ("bytes 0-99", 100), ("0-0", 0), ("1-99", None), ("", None), ("0-x", None)],
)
def test_reached(value: str, expected: int | None) -> None:
    assert _reached(value) == expected


def test_error_bodies() -> None:
    codes, text = _from_json(b'{"errors":[{"code":"NAME_UNKNOWN","message":"no such"},{"code":"DENIED"},5]}') or (
        {},
        "",
    )
    assert (codes, text) == ({"NAME_UNKNOWN", "DENIED"}, "name unknown: no such, denied")
    assert _from_json(b'{"details":"wrong password"}') == (frozenset(), "wrong password")
    assert _from_json(b'{"error":"invalid_grant","error_description":"a"}') == (frozenset(), "invalid_grant: a")
    assert _from_json(b'{"errors":[],"message":["x"]}') == (frozenset(), "")
    for body in (b"", b"<", b"[]", b"{", b'{"errors":' + b"[" * 60_000, b"null", b'{"a":"\xff"}'):
        assert _from_json(body) is None


@settings(deadline=None)
@given(st.text(max_size=2000))
def test_printable(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 301


def test_search_terms() -> None:
    assert split("busybox") == ("docker.io", "busybox")
    assert split("library/busybox") == ("docker.io", "library/busybox")
    assert split("localhost:5000/a/b") == ("localhost:5000", "a/b")
    assert split("index.docker.io/a") == ("docker.io", "a")
    wanted = parse_filters({"is-official": ["true"], "stars": ["3", "7"], "is-automated": ["0"]}, 25)
    assert wanted == Filter(25, True, False, 7)
    for filters, limit in (
        ({"x": ["1"]}, 25),
        ({"stars": ["-1"]}, 25),
        ({"is-official": ["maybe"]}, 25),
        ({}, 0),
        ({}, 101),
    ):
        with pytest.raises(InvalidArgument, match="search"):
            parse_filters(filters, limit)


def test_quick_answer() -> None:
    assert quick._parse(TIDY.encode(), "x") == Head("a/b", DIGEST, 7)
    assert quick._parse(TIDY.encode(), DIGEST) == Head("a/b", DIGEST, 7)
    assert quick._parse(TIDY.encode(), "sha256:" + "b" * 64) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("HTTP/1.1 200", "HTTP/1.1 2000"),
        ("HTTP/1.1 200", "HTTP/1.1 401"),
        ("HTTP/1.1", "HTTP/2"),
        ("HTTP/1.1", "SSH-2.0"),
        ("Content-Length: 7", "Content-Length: 7\r\nContent-Length: 7"),
        ("Content-Length: 7", "Content-Length: -7"),
        ("Content-Length: 7", "Content-Length : 7"),
        ("Content-Length: 7", "Content-Length: 7\r\n folded: x"),
        ("Content-Length: 7", "Content-Length: 7\x00"),
        ("Content-Length: 7", "Content-Length: 7\nX: y"),
        ("Content-Length: 7", "X: \xe9"),
        ("Content-Type: a/b; c=d", "X: y"),
        (DIGEST, DIGEST[:-1]),
    ],
)
def test_quick_leaves_odd_answers_alone(old: str, new: str) -> None:
    assert quick._parse(TIDY.replace(old, new).encode("latin-1"), "x") is None


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_quick_takes_anything(answer: bytes) -> None:
    assert quick._parse(answer, "x") is None


def test_quick_knows_when_not_to_ask() -> None:
    proxied = Config(proxies=Proxies(https_proxy="http://proxy.test"))
    for name, config, environment in (
        ("busybox", Config(), {}),
        ("localhost/app", Config(), {}),
        ("[::1]:5000/app", Config(), {}),
        ("registry.invalid/app", proxied, {}),
        ("registry.invalid/app", Config(), {"https_proxy": "http://proxy.test"}),
        ("registry.invalid/app", Config(insecure_registries=("registry.invalid",)), {}),
    ):
        assert quick.head(config, parse(name), environment) is None
