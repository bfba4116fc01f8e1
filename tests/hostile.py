"""A registry on loopback that does what it is told: lies, trickles, truncates, resets, refuses, redirects.

>>> with HostileRegistry() as hostile:
...     pushed = hostile.add("some/app", "latest", build_image([tar]))
...     hostile.rule("/blobs/", reset_after=1000, times=1)      # the first blob's connection breaks at byte 1000
...     hostile.rule("/manifests/", status=429, headers={"Retry-After": "1"}, times=2)
...     hostile.requests("GET", "/blobs/")[1].headers["range"]  # "bytes=1000-"

It takes uploads into memory too, see :mod:`tests.hostile_uploads`. With ``upstream``, a real registry, all that
:meth:`~HostileRegistry.add` and its kin did not put there goes to and comes from that one. Each request obeys the first
rule that matches it and is not used up.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import re
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.certificates import Authority
from tests.hostile_uploads import Uploads
from tests.registry import Image, Pushed, digest_of

HTML = b"<!DOCTYPE html><html><body><h1>Sign in to the hotel's network</h1></body></html>"


@dataclass
class Rule:
    """What to do to requests whose path and query match the regular expression ``path``.

    The first ``skip`` matches go through unharmed, then the next ``times`` are treated (None: all).

    Answers in place of the true one: ``status`` (with a registry's JSON error, ``body`` if given, or HTML if ``html``);
    ``redirect``: 307 to this URL, with the request's path added when the URL has none.
    Changes to the true one: ``headers`` are set (None removes one); ``content_type``, ``digest``
    (Docker-Content-Digest) and ``length`` (Content-Length) replace the true values; ``edit`` changes the body before
    its length is told; ``ignore_range`` sends everything with 200.
    Ways of sending: ``rate`` bytes per second; ``truncate_after`` bytes the connection is closed in good order,
    ``reset_after`` bytes it is reset, ``stall_after`` bytes nothing more comes; ``gate`` is waited for at byte
    ``gate_after`` (before the status line when that is None); ``endless`` repeats the body for ever, length untold.
    On the way up: after ``reset_upload_after`` bytes of the request's body, which are kept, the connection breaks.
    """

    path: str
    method: str = ""
    times: int | None = None
    skip: int = 0
    status: int | None = None
    body: bytes | None = None
    html: bool = False
    redirect: str = ""
    headers: dict[str, str | None] = field(default_factory=dict)
    content_type: str = ""
    digest: str = ""
    length: int | None = None
    edit: Callable[[bytes], bytes] | None = None
    ignore_range: bool = False
    rate: int | None = None
    truncate_after: int | None = None
    reset_after: int | None = None
    stall_after: int | None = None
    gate: threading.Event | None = None
    gate_after: int | None = None
    endless: bool = False
    reset_upload_after: int | None = None
    used: int = 0  # how many requests it has treated


@dataclass
class Seen:
    """A request as it came and how far it got; header names in lower case.

    ``body`` is what was received so far, ``status`` the answer's (0: none yet), ``sent`` the bytes of its body so far.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    status: int = 0
    sent: int = 0


@dataclass
class _Content:
    status: int
    headers: dict[str, str]
    body: bytes


class HostileRegistry:
    """See the module. ``authority`` makes it speak TLS; ``upstream`` is the URL of a plain registry behind it.

    ``challenge`` is a WWW-Authenticate value to send with 401 to whoever :attr:`accept` (called with the request's
    headers) does not let in; None lets all in.
    """

    def __init__(
        self, *, authority: Authority | None = None, upstream: str = "", names: tuple[str, ...] = ("localhost",)
    ) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.challenge: str | None = None
        self.accept: Callable[[dict[str, str]], bool] = lambda headers: "authorization" in headers
        self._content: dict[str, _Content] = {}
        self.uploads = Uploads(self.blob, self.add_blob, self.add_manifest)
        self._rules: list[Rule] = []
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._context: ssl.SSLContext | None = None
        if authority:
            pair = authority.issue("127.0.0.1", *names)
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(pair.cert, pair.key)
        self.scheme = "https" if authority else "http"
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        """Address and port, as they stand in a reference."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return f"{self.scheme}://{self.host}"

    def close(self) -> None:
        """End the server and all its connections."""
        self.closing.set()
        self._server.shutdown()
        self._server.end_connections()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> HostileRegistry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # what it serves

    def serve(self, path: str, body: bytes, content_type: str = "application/octet-stream", **headers: str) -> None:
        """Serve bytes at an exact path, whatever they are; underscores in names of headers become dashes."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        self._content[path] = _Content(200, {"Content-Type": content_type, **more}, body)

    def add_blob(self, repository: str, data: bytes, digest: str = "") -> str:
        """Serve a blob, under a digest that may be wrong; returns the digest."""
        digest = digest or digest_of(data)
        self.serve(f"/v2/{repository}/blobs/{digest}", data, Docker_Content_Digest=digest)
        return digest

    def add_manifest(self, repository: str, reference: str, media_type: str, data: bytes, digest: str = "") -> str:
        """Serve a manifest or index under a tag ("": none) and under its digest; ``digest`` may be wrong."""
        digest = digest or digest_of(data)
        for name in {reference or digest, digest}:
            self.serve(f"/v2/{repository}/manifests/{name}", data, media_type, Docker_Content_Digest=digest)
        return digest

    def add(self, repository: str, tag: str, image: Image) -> Pushed:
        """Serve an image of :func:`tests.registry.build_image` under a tag ("": none) and its digest."""
        for blob in (*image.layers, image.config):
            self.add_blob(repository, blob)
        return Pushed(self.add_manifest(repository, tag, image.media_type, image.manifest), digest_of(image.config))

    def blob(self, repository: str, digest: str) -> bytes | None:
        """A blob that is served."""
        found = self._content.get(f"/v2/{repository}/blobs/{digest}")
        return found.body if found else None

    def remove(self, path: str) -> None:
        """Serve no longer what is at this path."""
        del self._content[path]

    # what it does to it

    def rule(self, path: str, **how: Any) -> Rule:
        """Add a rule, see :class:`Rule`."""
        rule = Rule(path, **how)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget rules and requests; what is served stays."""
        with self._lock:
            self._rules.clear()
            self._seen.clear()

    def requests(self, method: str = "", part: str = "") -> list[Seen]:
        """The requests so far, oldest first, whose path contains ``part``; those under way too."""
        with self._lock:
            return [seen for seen in self._seen if method in ("", seen.method) and part in seen.path]

    # for the handler

    def rule_for(self, method: str, path: str) -> Rule:
        """The rule that treats this request; it counts as used."""
        with self._lock:
            for rule in self._rules:
                if rule.method in ("", method) and re.search(rule.path, path):
                    if rule.skip > 0:
                        rule.skip -= 1
                    elif rule.times is None or rule.used < rule.times:
                        rule.used += 1
                        return rule
        return Rule("")

    def record(self, seen: Seen) -> None:
        """Keep a request from its first moment on."""
        with self._lock:
            self._seen.append(seen)

    def find(self, path: str) -> _Content | None:
        """What is served at a path with or without its query."""
        return self._content.get(path) or self._content.get(path.partition("?")[0])

    def wrap(self, connection: socket.socket) -> socket.socket:
        """TLS around a new connection, if this is a TLS server."""
        return self._context.wrap_socket(connection, server_side=True) if self._context else connection


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True

    def __init__(self, registry: HostileRegistry) -> None:
        self.registry = registry
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        try:
            with contextlib.suppress(OSError, ssl.SSLError):
                wrapped = self.registry.wrap(request)
                self._open.add(wrapped)
                try:
                    _Handler(wrapped, client_address, self)
                finally:
                    self._open.discard(wrapped)
                    wrapped.close()
        finally:
            self._open.discard(request)

    def end_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not self.registry.closing.is_set():
            super().handle_error(request, client_address)


class _Broken(Exception):  # noqa: N818
    """The connection was broken on purpose, or by the other side."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (_Broken, OSError):
            self.close_connection = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:
        pass

    @property
    def registry(self) -> HostileRegistry:
        return self.server.registry

    def _serve(self) -> None:
        rule = self.registry.rule_for(self.command, self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.seen = Seen(self.command, self.path, headers)
        self.registry.record(self.seen)
        if rule.gate and rule.gate_after is None:
            self._wait(rule.gate)
        if rule.reset_upload_after is not None:
            self._break_upload(rule.reset_upload_after, self.seen.body)
        for piece in self._body():
            self.seen.body += piece
        self._answer(rule, self._content(rule, headers, bytes(self.seen.body)))

    # what to answer

    def _content(self, rule: Rule, headers: dict[str, str], received: bytes) -> _Content:
        if rule.redirect:
            target = rule.redirect + ("" if urlsplit(rule.redirect).path else self.path)
            return _Content(307, {"Location": target}, b"")
        if rule.html:
            return _Content(rule.status or 200, {"Content-Type": "text/html; charset=utf-8"}, HTML)
        if rule.status is not None:
            return _failure(rule.status, rule.body)
        challenge = self.registry.challenge
        if challenge is not None and not self.registry.accept(headers):
            refused = _failure(401, None)
            refused.headers["WWW-Authenticate"] = challenge
            return refused
        found = self.registry.find(self.path) if self.command in ("GET", "HEAD") else None
        if found is None:
            if self.registry.upstream:
                return self._forward(headers, received, rule)
            answer = self.registry.uploads.handle(self.command, self.path, headers, received)
            if answer is not None:
                return _Content(answer.status, answer.headers, b"")
            if self.path == "/v2/":
                return _Content(200, {"Content-Type": "application/json"}, b"{}")
            return _failure(404, None)
        found = _Content(found.status, dict(found.headers), rule.edit(found.body) if rule.edit else found.body)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        if wanted and not rule.ignore_range:
            total, start = len(found.body), int(wanted[1])
            if start >= total:
                return _Content(416, {"Content-Range": f"bytes */{total}"}, b"")
            end = min(int(wanted[2] or total - 1), total - 1)
            found.status = 206
            found.headers["Content-Range"] = f"bytes {start}-{end}/{total}"
            found.body = found.body[start : end + 1]
        return found

    def _forward(self, headers: dict[str, str], received: bytes, rule: Rule) -> _Content:
        drop = {"connection", "transfer-encoding", "content-length", "expect"}
        if rule.ignore_range:
            drop.add("range")
        sent = {name: value for name, value in headers.items() if name not in drop}
        connection = http.client.HTTPConnection(self.registry.upstream, timeout=30)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body=received, headers=sent)
            with connection.getresponse() as answer:
                found = {name: value for name, value in answer.getheaders() if name.lower() != "connection"}
                body = answer.read()
        if self.command != "HEAD":
            found.pop("Content-Length", None)
            body = rule.edit(body) if rule.edit else body
        return _Content(answer.status, found, body)

    def _break_upload(self, after: int, received: bytearray) -> None:
        """Take ``after`` bytes of the body and pass them on, then break both connections."""
        for piece in self._body():
            received += piece
            if len(received) >= after:
                break
        del received[after:]
        if not self.registry.upstream:
            self.registry.uploads.take(self.path, bytes(received))
        else:
            connection = http.client.HTTPConnection(self.registry.upstream, timeout=30)
            with contextlib.closing(connection):
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders()
                chunked = "chunked" in self.headers.get("transfer-encoding", "")
                connection.send(b"%x\r\n%b\r\n" % (after, received) if chunked else bytes(received))
                # what it has made of these bytes is on its disk when it hangs up
                connection.sock.shutdown(socket.SHUT_WR)
                while connection.sock.recv(4096):
                    pass
        self._reset()

    # sending and receiving

    def _answer(self, rule: Rule, content: _Content) -> None:
        changes: dict[str, str | None] = {
            **({"Content-Type": rule.content_type} if rule.content_type else {}),
            **({"Docker-Content-Digest": rule.digest} if rule.digest else {}),
            **rule.headers,
        }
        names = {name.lower() for name in changes}
        headers = {name: value for name, value in content.headers.items() if name.lower() not in names}
        headers |= {name: value for name, value in changes.items() if value is not None}
        self.seen.status = content.status
        self.send_response(content.status)
        for name, value in headers.items():
            self.send_header(name, value)
        if rule.endless:
            self.send_header("Connection", "close")
        elif not {"content-length", "transfer-encoding"} & {name.lower() for name in headers}:
            told = len(content.body) if rule.length is None else rule.length
            if content.status not in (204, 304):
                self.send_header("Content-Length", str(told))
            if told != len(content.body):
                self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return
        if rule.endless:
            while content.body:
                self._send(rule, content.body)
        self._send(rule, content.body)
        if rule.truncate_after is not None:
            self.close_connection = True

    def _send(self, rule: Rule, body: bytes) -> None:
        """Send the body in the rule's way; positions count over the whole answer."""
        view = memoryview(body)
        stops = [n for n in (rule.truncate_after, rule.reset_after, rule.stall_after, rule.gate_after) if n is not None]
        size = 65536 if rule.rate is None else max(1, rule.rate // 20)
        while True:
            if rule.gate and self.seen.sent == rule.gate_after:
                self._wait(rule.gate)
            if self.seen.sent == rule.reset_after:
                self._reset()
            if self.seen.sent == rule.truncate_after:
                self.close_connection = True
                raise _Broken
            if self.seen.sent == rule.stall_after:
                self._wait(self.registry.closing)
            if not view:
                return
            ahead = [n - self.seen.sent for n in stops if n > self.seen.sent]
            piece = view[: min(size, *ahead)] if ahead else view[:size]
            self.seen.sent += len(piece)
            self.connection.sendall(piece)
            view = view[len(piece) :]
            if rule.rate is not None and self.registry.closing.wait(len(piece) / rule.rate):
                raise _Broken

    def _wait(self, gate: threading.Event) -> None:
        while not gate.wait(0.02):
            if self.registry.closing.is_set():
                raise _Broken
        if self.registry.closing.is_set():
            raise _Broken

    def _body(self) -> Iterator[bytes]:
        """The request's body in pieces, whichever way it is sent."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self._exactly(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("content-length", "0"))
        while left:
            piece = self._exactly(min(left, 16384))
            left -= len(piece)
            yield piece

    def _exactly(self, size: int) -> bytes:
        piece = self.rfile.read(size)
        if len(piece) < size:
            raise _Broken
        return piece

    @staticmethod
    def _until_taken(connection: socket.socket) -> None:
        """Wait until the other side's kernel has all that was sent: a reset throws away the rest."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            (left,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4))
            if not left:
                return
            time.sleep(0.002)

    def _reset(self) -> None:
        self._until_taken(self.connection)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        raise _Broken


def _failure(status: int, body: bytes | None) -> _Content:
    """A registry's error."""
    codes = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 429: "TOOMANYREQUESTS"}
    error = {"code": codes.get(status, "UNKNOWN"), "message": f"refused with {status} by the test"}
    data = json.dumps({"errors": [error]}).encode() if body is None else body
    return _Content(status, {"Content-Type": "application/json"}, data)
