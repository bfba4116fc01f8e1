"""One process's HTTP with registries: connections, redirects, repeated attempts. urllib3 only moves the bytes."""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

import urllib3

from minidock.errors import InvalidArgument, LimitExceeded, MinidockError, RegistryError, RegistryUnreachable
from minidock.registry import failures, wire
from minidock.registry.challenge import Challenge, parse
from minidock.registry.hosts import Endpoint, Hosts, origin

if TYPE_CHECKING:
    from minidock.registry.auth import Authorizer
    from minidock.registry.cancel import Cancel
    from minidock.registry.credentials import Login
    from minidock.registry.proxies import Chooser

_MAX_REDIRECTS = 10
_MAX_LOCATION = 8 << 10
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (500, 502, 503, 504)
_MAX_PAUSE = 60.0
_MAX_PAUSES = 180.0
_DISCARD = 64 << 10


class Body(NamedTuple):
    """A request's body; ``pieces`` starts it from its beginning, each time that it is sent."""

    length: int
    pieces: Callable[[], Iterator[memoryview | bytes]]


class Call(NamedTuple):
    """A request to an endpoint. ``again``: a repetition does no harm, so a broken connection or a 5xx is no end.

    With ``authorization``, even an empty one, the endpoint's own credentials are left out of it.
    """

    endpoint: Endpoint
    method: str
    url: str
    headers: Mapping[str, str] = {}
    scopes: tuple[str, ...] = ()
    body: Body | None = None
    again: bool = True
    login: Login | None = None
    authorization: str | None = None


class Answer:
    """An answer whose body is still to be read, and which must be closed."""

    __slots__ = ("_guard", "_response", "length", "status", "url")

    def __init__(self, url: str, response: urllib3.BaseHTTPResponse, guard: wire.Guard) -> None:
        self.url = url
        self._response = response
        self._guard = guard
        self.status = response.status
        length: int | None = getattr(response, "length_remaining", None)
        self.length = length
        """Bytes of the body, if the answer says so."""

    def header(self, name: str) -> str:
        """A header's value, or an empty string."""
        return self._response.headers.get(name) or ""

    def challenges(self) -> list[Challenge]:
        """What a 401 asks for."""
        return parse(self._response.headers.getlist("www-authenticate"))

    def read(self, limit: int) -> bytes:
        """The whole body. Raises LimitExceeded where it has more than ``limit`` bytes, RegistryUnreachable."""
        parts: list[bytes] = []
        if self.length is not None and self.length > limit:
            raise LimitExceeded(f"{self._guard.peer}: an answer of {self.length} bytes, and at most {limit} are read")
        with wire.guarded(self._guard), _translated(self._guard.peer):
            self._guard.resume()
            count = 0
            while piece := self._response.read1(min(1 << 16, limit + 1 - count)):
                parts.append(piece)
                count += len(piece)
                if count > limit:
                    self.close()
                    raise LimitExceeded(f"{self._guard.peer}: an answer of more than {limit} bytes")
        return b"".join(parts)

    def readinto(self, view: memoryview) -> int:
        """Some of the body, 0 at its end. Raises RegistryUnreachable for a body that breaks off or stalls."""
        with wire.guarded(self._guard), _translated(self._guard.peer):
            self._guard.resume()
            raw = getattr(self._response, "_fp", None)
            if isinstance(raw, http.client.HTTPResponse) and raw.length is not None and not raw.chunked:
                return self._direct(raw, view)
            piece = self._response.read1(len(view))
            view[: len(piece)] = piece
            return len(piece)

    def _direct(self, raw: http.client.HTTPResponse, view: memoryview) -> int:
        """From the socket into ``view``: urllib3's own ``readinto`` allocates, copies, and waits for all of it."""
        left = raw.length or 0
        if not left:
            return 0
        buffered: Any = raw.fp
        count = int(buffered.readinto1(view[:left]))
        if not count:
            raise http.client.IncompleteRead(b"", left)
        raw.length = left - count
        if raw.length == 0:
            raw.close()  # of the answer, not of the connection
            self._response.release_conn()
        return count

    @contextlib.contextmanager
    def closed_on_failure(self) -> Iterator[None]:
        """Close the answer if the block fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def discard(self) -> None:
        """Give the connection back, if the rest is short."""
        try:
            self.read(_DISCARD)
        except MinidockError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection back if the body was read, else close it."""
        if self._response.closed:
            self._response.release_conn()
        else:
            self._response.close()


class Session:
    """Sends calls. ``attempts`` of each that may be repeated; shared by threads."""

    authorizer: Authorizer

    def __init__(self, hosts: Hosts, proxies: Chooser, limits: wire.Limits, attempts: int, agent: str) -> None:
        self.hosts = hosts
        self.limits = limits
        self._proxies = proxies
        self._attempts = max(1, attempts)
        self._reached: set[str] = set()
        self._agent = agent
        self._managers: dict[tuple[int, str | None], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        with self._lock:
            for manager in self._managers.values():
                manager.clear()
            self._managers.clear()

    def attempts(self, cancel: Cancel | None) -> Attempts:
        """As many attempts as the configuration grants."""
        return Attempts(self._attempts, cancel)

    def send(self, call: Call, cancel: Cancel | None = None) -> Answer:
        """The answer, whatever its status, after authentication, redirects of GET and HEAD, and repeated attempts.

        Raises RegistryUnreachable, RegistryUnauthorized where no token is to be had, RateLimited, RegistryError for a
        redirect that must not be followed, Cancelled, Timeout.
        """
        attempts = self.attempts(cancel)
        while True:
            try:
                answer = self._authorized(call, cancel)
            except wire.Hopeless:
                raise
            except RegistryUnreachable as error:
                # A registry that has answered is about to come back; of another one nobody knows that it exists.
                unknown = isinstance(error, wire.NobodyThere) and call.endpoint.host not in self._reached
                if not call.again or (unknown and attempts.done > 1) or not attempts.more():
                    raise
                continue
            self._reached.add(call.endpoint.host)
            if answer.status == 429:
                # It did not do what was asked, so asking again is safe for all calls.
                limited, pause = failures.limited(answer, call.endpoint.host)
                if not attempts.more(pause):
                    raise limited
                continue
            if answer.status not in _PASSING or not call.again:
                return answer
            with answer.closed_on_failure():
                if not attempts.more(failures.retry_after(answer.header("retry-after"))):
                    return answer
            answer.close()

    def _authorized(self, call: Call, cancel: Cancel | None) -> Answer:
        if call.authorization is not None:
            return self._followed(call, call.authorization or None, cancel)
        if origin(call.url) != origin(call.endpoint.url):
            return self._followed(call, None, cancel)  # where the registry lets uploads go to
        header = self.authorizer.header(call, cancel)
        answer = self._followed(call, header, cancel)
        if answer.status in (403, 404) and header is None:
            # Some registries do not ask for a login, but hide what is there from those without one.
            with answer.closed_on_failure():
                known = self.authorizer.discovered(call, cancel)
            if known is not None:
                answer.discard()
                return self._followed(call, known, cancel)
        if answer.status != 401 or origin(answer.url) != origin(call.url):
            return answer
        with answer.closed_on_failure():
            renewed = self.authorizer.renewed(call, answer.challenges(), header, cancel)
        if renewed is None:
            return answer
        answer.discard()
        return self._followed(call, renewed, cancel)

    def _followed(self, call: Call, authorization: str | None, cancel: Cancel | None) -> Answer:
        url = call.url
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._once(call, url, authorization, cancel)
            location = answer.header("location")
            if answer.status not in _REDIRECTS or call.method not in ("GET", "HEAD") or not location:
                return answer
            answer.discard()
            target = self.target(call.endpoint, url, location)
            if origin(target) != origin(url):
                authorization = None  # and it stays so when a later redirect leads back
            url = target
        raise RegistryError(f"{call.endpoint.host}: more than {_MAX_REDIRECTS} redirects")

    def target(self, endpoint: Endpoint, url: str, location: str) -> str:
        """The absolute URL of a Location. Raises RegistryError for one that must not be used."""
        if len(location) > _MAX_LOCATION or not location.isascii() or not location.isprintable():
            raise RegistryError(f"{endpoint.host}: redirects to something that is no URL")
        try:
            target = urljoin(url, location)
            where, before = origin(target), origin(url)
        except (InvalidArgument, ValueError) as error:
            raise RegistryError(f"{endpoint.host}: redirects to {failures.printable(location, 100)!r}") from error
        if where.scheme == "http" and before.scheme == "https" and not endpoint.insecure:
            raise RegistryError(f"{endpoint.host}: redirects from https to http://{where.netloc}, which is refused")
        return target

    def _once(self, call: Call, url: str, authorization: str | None, cancel: Cancel | None) -> Answer:
        peer = origin(url).netloc
        headers = {"User-Agent": self._agent, "Accept-Encoding": "identity", **call.headers}
        if authorization is not None:
            headers["Authorization"] = authorization
        body: Iterator[memoryview | bytes] | None = None
        if call.body is not None and call.body.length:
            headers["Content-Length"] = str(call.body.length)
            body = call.body.pieces()
        guard = wire.Guard(peer, self.limits, cancel)
        guard.check()
        manager = self._manager(url)
        with wire.guarded(guard), _translated(peer):
            response = manager.urlopen(
                call.method,
                url,
                headers=headers,
                body=body,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        return Answer(url, response, guard)

    def _manager(self, url: str) -> urllib3.PoolManager:
        where = origin(url)
        proxy = self._proxies.choose(url)
        tls = self.hosts.tls(where.netloc) if where.scheme == "https" else None
        with self._lock:
            key = (id(tls), proxy)
            made = self._managers.get(key)
            if made is None:
                made = self._managers[key] = wire.manager(tls, proxy)
            return made


class Attempts:
    """Counts attempts and sleeps between them: longer each time, or as long as the registry wishes."""

    def __init__(self, total: int, cancel: Cancel | None) -> None:
        self._total = total
        self._cancel = cancel
        self.done = 1
        self._slept = 0.0

    def more(self, wish: float | None = None) -> bool:
        """Sleep before another attempt; False: that was the last, or the wish is longer than anybody waits."""
        if self.done >= self._total:
            return False
        pause = min(8.0, 0.25 * 2 ** (self.done - 1)) * (0.5 + os.urandom(1)[0] / 512)
        pause = pause if wish is None else max(wish, 0.1)
        if pause > _MAX_PAUSE or self._slept + pause > _MAX_PAUSES:
            return False
        self.done += 1
        self._slept += pause
        sleep(pause, self._cancel)
        return True


def sleep(seconds: float, cancel: Cancel | None) -> None:
    """Sleep, unless cancelled."""
    if cancel is not None:
        cancel.wait(seconds)
        return
    import time

    time.sleep(seconds)


class _translated:  # noqa: N801 - reads like a function
    """What urllib3 and http.client raise, as RegistryUnreachable."""

    __slots__ = ("_peer",)

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, MinidockError) or not isinstance(error, Exception):
            return
        import ssl

        root: BaseException = error
        while isinstance(root, urllib3.exceptions.HTTPError):
            inner = getattr(root, "original_error", None) or next(
                (arg for arg in root.args if isinstance(arg, Exception)), None
            )
            if inner is None:
                break
            root = inner
        if isinstance(root, ssl.SSLCertVerificationError):
            raise wire.Hopeless(
                f"connect to {self._peer}: its certificate is not trusted: {root.verify_message.lower()}; put its CA "
                f"into /etc/docker/certs.d/{self._peer}/ca.crt, or name it in insecure-registries"
            ) from error
        if isinstance(root, ssl.SSLError):
            raise RegistryUnreachable(
                f"connect to {self._peer}: TLS fails: {(root.reason or str(root)).lower().replace('_', ' ')}"
            ) from error
        if isinstance(root, http.client.IncompleteRead):
            raise RegistryUnreachable(f"{self._peer}: the answer breaks off") from error
        if isinstance(root, OSError | http.client.HTTPException | urllib3.exceptions.HTTPError | ValueError):
            cause = failures.printable(getattr(root, "strerror", None) or str(root) or type(root).__name__, 200)
            raise RegistryUnreachable(f"{self._peer}: {cause[:1].lower()}{cause[1:]}") from error
