"""One repository: manifests, blobs, tags. A pull asks the mirrors first, all else goes to the registry itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

import msgspec

from minidock.errors import (
    Corrupt,
    ImageNotFound,
    LimitExceeded,
    MinidockError,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryUnauthorized,
    RegistryUnreachable,
    Unsupported,
)
from minidock.images.references import Reference, is_digest
from minidock.registry import blobs, failures
from minidock.registry.hosts import Endpoint
from minidock.registry.kinds import ACCEPT, MAX_MANIFEST, Head, Manifest
from minidock.registry.pages import decoded, next_page
from minidock.registry.session import Answer, Attempts, Body, Call, Session

if TYPE_CHECKING:
    from minidock.registry.cancel import Cancel
    from minidock.registry.credentials import Login

__all__ = ["Head", "Manifest", "Repository"]

T = TypeVar("T")

_SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_MAX_TAGS_PAGE = 4 << 20
_MAX_TAGS = 100_000
_PAGE = 1000


class _TagsAnswer(msgspec.Struct):
    tags: list[str] | None = None


class Repository:
    """A repository of a registry. ``host`` is the registry as in references, ``path`` the repository's path."""

    def __init__(
        self, session: Session, endpoints: Sequence[Endpoint], reference: Reference, *, push: bool, login: Login | None
    ) -> None:
        self.host = reference.domain
        self.path = reference.path
        self.name = reference.familiar_name
        self._session = session
        self._endpoints = endpoints
        self._push = push
        self._login = login
        self._useless: set[str] = set()
        self._opened: dict[str, str] = {}
        """Upload sessions that registries opened where a mount was asked for, by digest."""

    def head(self, reference: str, *, cancel: Cancel | None = None) -> Head | None:
        """What a tag or digest names; None where the registry does not tell the digest, and only GET does.

        Raises ImageNotFound, RegistryUnauthorized, RegistryUnreachable, RateLimited, RegistryError.
        """
        return self._anywhere(lambda endpoint: self._head(endpoint, reference, cancel))

    def manifest(self, reference: str, *, cancel: Cancel | None = None) -> Manifest:
        """The manifest or index of a tag or digest.

        Raises as :meth:`head`; Corrupt for other bytes than a digest says, LimitExceeded for more than 4 MiB,
        Unsupported for an image of schema 1.
        """
        return self._anywhere(lambda endpoint: self._manifest(endpoint, reference, cancel))

    def blob(
        self,
        digest: str,
        *,
        offset: int = 0,
        size: int | None = None,
        cancel: Cancel | None = None,
    ) -> blobs.BlobReader:
        """Open a blob for reading from ``offset`` on; ``size`` is the whole blob's.

        Raises NotFound, Corrupt where the registry has another size, and as :meth:`head`.
        """
        return self._anywhere(lambda endpoint: self._blob(endpoint, digest, offset, size, cancel))

    def has_blob(self, digest: str, *, cancel: Cancel | None = None) -> int | None:
        """The size of a blob in the registry, None if it is not there or the registry does not tell."""
        answer = self.send("HEAD", f"blobs/{digest}", cancel=cancel)
        answer.close()
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self.failed(f"look for blob {digest}", answer)
        length = answer.header("content-length")
        return int(length) if length.isascii() and length.isdigit() else None

    def mount(self, digest: str, source: str, *, cancel: Cancel | None = None) -> bool:
        """Take a blob from another repository of the registry, by that one's path; False: it was not to be had.

        A following :meth:`upload` uses the session that the registry opens then.
        """
        query = urlencode({"mount": digest, "from": source})
        answer = self.send("POST", f"blobs/uploads/?{query}", source=source, cancel=cancel)
        if answer.status == 201:
            answer.discard()
            return True
        if answer.status == 202 and answer.header("location"):
            self._opened[digest] = self.target(answer)
            answer.discard()
            return False
        if answer.status in (404, 405):
            answer.discard()
            return False
        raise self.failed(f"mount blob {digest} from {source}", answer)

    def upload(
        self,
        digest: str,
        size: int,
        fd: int,
        progress: Callable[[int], None] | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """Upload ``size`` bytes of ``fd``, from its byte 0 on, as a blob; ``fd`` stays the caller's, its position too.

        ``progress`` gets the number of bytes that are there; it may fall when an upload begins anew. Raises as
        :meth:`head`; Corrupt where the bytes have not this digest or are too few.
        """
        from minidock.registry.uploads import Blob, Upload

        Upload(self, Blob(digest, size, fd, progress), cancel).run(self._opened.pop(digest, ""))

    def put_manifest(self, reference: str, media_type: str, data: bytes, *, cancel: Cancel | None = None) -> str:
        """Store a manifest under a tag or its digest; returns the digest that the registry gives it."""
        answer = self.send(
            "PUT",
            f"manifests/{reference}",
            headers={"Content-Type": media_type},
            body=Body(len(data), lambda: iter((data,))),
            cancel=cancel,
        )
        if answer.status not in (200, 201, 202):
            raise self.failed(f"push manifest {self.name}:{reference}", answer)
        answer.discard()
        digest = _digest_of(data, reference)
        named = answer.header("docker-content-digest")
        if named and named != digest and is_digest(named) and named.startswith("sha256:"):
            raise Corrupt(f"push manifest {self.name}:{reference}: the registry calls it {named}, and it is {digest}")
        return digest

    def delete_manifest(self, digest: str, *, cancel: Cancel | None = None) -> None:
        """Delete a manifest by its digest. Raises ImageNotFound, Unsupported where the registry deletes nothing."""
        answer = self.send("DELETE", f"manifests/{digest}", actions="delete", cancel=cancel)
        if answer.status not in (200, 202, 204):
            raise self.failed(f"delete {self.name}@{digest}", answer)
        answer.discard()

    def tags(self, *, cancel: Cancel | None = None) -> Iterator[str]:
        """All tags, in the registry's order; pages are fetched as they are needed, all from where the first is."""
        endpoint, tags, url = self._anywhere(lambda where: (where, *self._tags(where, None, cancel)))
        count = 0
        seen: set[str] = set()
        while True:
            for tag in tags:
                count += 1
                if count > _MAX_TAGS:
                    raise LimitExceeded(f"list the tags of {self.name}: more than {_MAX_TAGS}")
                yield tag
            if url is None or url in seen:
                return
            seen.add(url)
            tags, url = self._tags(endpoint, url, cancel)

    # -- one endpoint

    def _tags(self, endpoint: Endpoint, url: str | None, cancel: Cancel | None) -> tuple[list[str], str | None]:
        """A page of tags, and the URL of the next."""
        answer = self.send("GET", f"tags/list?n={_PAGE}", endpoint=endpoint, url=url, cancel=cancel)
        if answer.status != 200:
            raise self.failed(f"list the tags of {self.name}", answer)
        found = decoded(answer, _TagsAnswer, f"list the tags of {self.name}", _MAX_TAGS_PAGE)
        return list(found.tags or ()), next_page(self._session, endpoint, answer)

    def _head(self, endpoint: Endpoint, reference: str, cancel: Cancel | None) -> Head | None:
        answer = self.send(
            "HEAD", f"manifests/{reference}", endpoint=endpoint, headers={"Accept": ACCEPT}, cancel=cancel
        )
        answer.close()
        if answer.status == 405:
            return None
        if answer.status != 200:
            raise self._pull_failed(reference, answer)
        digest, length = answer.header("docker-content-digest"), answer.header("content-length")
        if not is_digest(digest) or not (length.isascii() and length.isdigit()):
            return None
        if is_digest(reference) and digest != reference:
            raise Corrupt(f"{self._shown(reference)}: the registry answers with {digest}")
        return Head(_media_type(answer), digest, int(length))

    def _manifest(self, endpoint: Endpoint, reference: str, cancel: Cancel | None) -> Manifest:
        attempts = self.attempts(cancel)
        while True:
            answer = self.send(
                "GET", f"manifests/{reference}", endpoint=endpoint, headers={"Accept": ACCEPT}, cancel=cancel
            )
            if answer.status != 200:
                raise self._pull_failed(reference, answer)
            try:
                data = answer.read(MAX_MANIFEST)
                break
            except LimitExceeded as error:
                raise LimitExceeded(f"manifest of {self._shown(reference)}: {error}") from error
            except RegistryUnreachable:
                if not attempts.more():  # it broke off in the middle
                    raise
            finally:
                answer.close()
        media_type = _media_type(answer)
        if media_type in _SCHEMA1:
            raise Unsupported(
                f"{self._shown(reference)}: is an image of the old manifest schema 1; push it again with a newer tool"
            )
        named = answer.header("docker-content-digest")
        wanted = reference if is_digest(reference) else named if is_digest(named) else ""
        digest = _digest_of(data, wanted)
        if wanted and digest != wanted:
            raise Corrupt(f"manifest of {self._shown(reference)}: its digest is {digest}, expected {wanted}")
        return Manifest(media_type, digest, data)

    def _blob(
        self, endpoint: Endpoint, digest: str, offset: int, size: int | None, cancel: Cancel | None
    ) -> blobs.BlobReader:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self.send("GET", f"blobs/{digest}", endpoint=endpoint, headers=headers, cancel=cancel)
        if answer.status == 200 or (offset and answer.status in (206, 416)):
            return blobs.reader(f"blob {digest} of {self.name}", answer, offset, size)
        refused = failures.refusal(answer)
        what = f"blob {digest} of {self.name}"
        if refused.status == 404:
            raise NotFound(f"{what}: not found: {refused.text}")
        raise self._denied(refused) or failures.failed(what, refused)

    # -- for all of them

    def _anywhere(self, ask: Callable[[Endpoint], T]) -> T:
        """Ask the mirrors, then the registry itself, whose failure counts."""
        for endpoint in self._endpoints[:-1]:
            if endpoint.url in self._useless:
                continue
            try:
                return ask(endpoint)
            except (RegistryUnreachable, RateLimited):
                self._useless.add(endpoint.url)
            except (RegistryError, NotFound, Corrupt, Unsupported, LimitExceeded):
                continue
        return ask(self._endpoints[-1])

    def send(
        self,
        method: str,
        rest: str,
        *,
        endpoint: Endpoint | None = None,
        url: str | None = None,
        headers: dict[str, str] | None = None,
        body: Body | None = None,
        actions: str = "",
        source: str = "",
        again: bool = True,
        cancel: Cancel | None = None,
    ) -> Answer:
        """Send a request about this repository: to ``rest`` below it, or to ``url``."""
        where = endpoint or self._endpoints[-1]
        actions = actions or ("pull,push" if self._push else "pull")
        scopes: tuple[str, ...] = (f"repository:{self.path}:{actions}",)
        if source:
            scopes += (f"repository:{source}:pull",)
        call = Call(
            where,
            method,
            url or f"{where.url}/v2/{self.path}/{rest}",
            headers or {},
            scopes,
            body,
            again and not where.mirror,
            None if where.mirror else self._login,
        )
        return self._session.send(call, cancel)

    def target(self, answer: Answer) -> str:
        """The URL in an answer's Location, or nothing. Raises RegistryError for one that must not be used."""
        location = answer.header("location")
        return self._session.target(self._endpoints[-1], answer.url, location) if location else ""

    def attempts(self, cancel: Cancel | None) -> Attempts:
        """Attempts to count."""
        return self._session.attempts(cancel)

    def _shown(self, reference: str) -> str:
        return f"{self.name}{'@' if is_digest(reference) else ':'}{reference}"

    def _pull_failed(self, reference: str, answer: Answer) -> MinidockError:
        refused = failures.refusal(answer)
        if refused.status == 404:
            if "NAME_UNKNOWN" in refused.codes:
                return ImageNotFound(f"repository {self.name} not found: {refused.text}")
            why = refused.text if refused.codes else "manifest unknown"
            return ImageNotFound(f"manifest for {self._shown(reference)} not found: {why}")
        return self._denied(refused) or failures.failed(f"manifest of {self._shown(reference)}", refused)

    def _denied(self, refused: failures.Refusal) -> RegistryUnauthorized | None:
        """A refused pull in the words that people search for."""
        if refused.status not in (401, 403):
            return None
        login = "minidock login" if self.host == "docker.io" else f"minidock login {self.host}"
        return RegistryUnauthorized(
            f"pull access denied for {self.name}, repository does not exist or may require '{login}': {refused.text}"
        )

    def failed(self, what: str, answer: Answer) -> MinidockError:
        """The exception for an answer that ends a push or a question; closes the answer."""
        refused = failures.refusal(answer)
        if refused.status in (401, 403):
            advice = "minidock login" if self.host == "docker.io" else f"minidock login {self.host}"
            return RegistryUnauthorized(f"{what}: {refused.text}; log in with write access: '{advice}'")
        return failures.failed(what, refused)


def _media_type(answer: Answer) -> str:
    return answer.header("content-type").partition(";")[0].strip().lower()


def _digest_of(data: bytes, like: str) -> str:
    """The digest of ``data`` by the algorithm of the digest ``like``, or sha256."""
    algorithm = like.partition(":")[0] if is_digest(like) else "sha256"
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
