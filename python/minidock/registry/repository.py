"""One repository: manifests, blobs, tags. A pull asks the mirrors first, all else goes to the registry itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from minidock.errors import (
    Corrupt,
    ImageNotFound,
    InvalidArgument,
    LimitExceeded,
    MinidockError,
    NotFound,
    RegistryError,
    RegistryUnauthorized,
    Unsupported,
)
from minidock.images.references import Reference, is_digest
from minidock.registry import blobs, failures
from minidock.registry.hosts import Endpoint, origin
from minidock.registry.session import Answer, Body, Call, Session

if TYPE_CHECKING:
    from minidock.registry.cancel import Cancel
    from minidock.registry.credentials import Login

T = TypeVar("T")

MAX_MANIFEST = 4 << 20
ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_MAX_TAGS_PAGE = 4 << 20
_MAX_TAGS = 100_000
_PAGE = 1000


class Manifest(NamedTuple):
    """A manifest's or index's bytes, which have this digest; ``media_type`` is what the registry's header says."""

    media_type: str
    digest: str
    data: bytes


class Head(NamedTuple):
    """What a registry says about a manifest without sending it."""

    media_type: str
    digest: str
    size: int


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
        urls: Sequence[str] = (),
        cancel: Cancel | None = None,
    ) -> blobs.BlobReader:
        """Open a blob for reading from ``offset`` on; ``size`` is the whole blob's, ``urls`` are further places of it.

        Raises NotFound, Corrupt where the registry has another size, and as :meth:`head`.
        """
        try:
            return self._anywhere(lambda endpoint: self._blob(endpoint, digest, offset, size, cancel))
        except NotFound:
            for url in urls:
                if (found := self._foreign(url, digest, offset, size, cancel)) is not None:
                    return found
            raise

    def has_blob(self, digest: str, *, cancel: Cancel | None = None) -> int | None:
        """The size of a blob in the registry, None if it is not there."""
        answer = self._send("HEAD", f"blobs/{digest}", cancel=cancel)
        answer.close()
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._failed(f"look for blob {digest}", answer)
        length = answer.header("content-length")
        return int(length) if length.isascii() and length.isdigit() else None

    def put_manifest(self, reference: str, media_type: str, data: bytes, *, cancel: Cancel | None = None) -> str:
        """Store a manifest under a tag or its digest; returns the digest that the registry gives it."""
        answer = self._send(
            "PUT",
            f"manifests/{reference}",
            headers={"Content-Type": media_type},
            body=Body(len(data), lambda: iter((data,))),
            cancel=cancel,
        )
        if answer.status not in (200, 201, 202):
            raise self._failed(f"push manifest {self.name}:{reference}", answer)
        answer.discard()
        digest = _digest_of(data, reference)
        named = answer.header("docker-content-digest")
        if named and named != digest and is_digest(named) and named.startswith("sha256:"):
            raise Corrupt(f"push manifest {self.name}:{reference}: the registry calls it {named}, and it is {digest}")
        return digest

    def delete_manifest(self, digest: str, *, cancel: Cancel | None = None) -> None:
        """Delete a manifest by its digest. Raises ImageNotFound, Unsupported where the registry deletes nothing."""
        answer = self._send("DELETE", f"manifests/{digest}", actions="delete", cancel=cancel)
        if answer.status not in (200, 202, 204):
            raise self._failed(f"delete {self.name}@{digest}", answer)
        answer.discard()

    def tags(self, *, cancel: Cancel | None = None) -> Iterator[str]:
        """All tags, in the registry's order; pages are fetched as they are needed."""
        url: str | None = None
        count = 0
        seen: set[str] = set()
        while True:
            answer = self._send("GET", f"tags/list?n={_PAGE}", url=url, cancel=cancel)
            if answer.status != 200:
                raise self._failed(f"list the tags of {self.name}", answer)
            found = _decoded(answer, _TagsAnswer, f"list the tags of {self.name}", _MAX_TAGS_PAGE)
            for tag in found.tags or ():
                count += 1
                if count > _MAX_TAGS:
                    raise LimitExceeded(f"list the tags of {self.name}: more than {_MAX_TAGS}")
                yield tag
            url = next_page(self._session, self._endpoints[-1], answer)
            if url is None or url in seen:
                return
            seen.add(url)

    # -- one endpoint

    def _head(self, endpoint: Endpoint, reference: str, cancel: Cancel | None) -> Head | None:
        answer = self._send(
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
        answer = self._send(
            "GET", f"manifests/{reference}", endpoint=endpoint, headers={"Accept": ACCEPT}, cancel=cancel
        )
        if answer.status != 200:
            raise self._pull_failed(reference, answer)
        try:
            data = answer.read(MAX_MANIFEST)
        except LimitExceeded as error:
            raise LimitExceeded(f"manifest of {self._shown(reference)}: {error}") from error
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
        answer = self._send("GET", f"blobs/{digest}", endpoint=endpoint, headers=headers, cancel=cancel)
        if answer.status == 200 or (offset and answer.status in (206, 416)):
            return blobs.reader(f"blob {digest} of {self.name}", answer, offset, size)
        refused = failures.refusal(answer)
        what = f"blob {digest} of {self.name}"
        if refused.status == 404:
            raise NotFound(f"{what}: not found: {refused.text}")
        raise self._denied(refused) or failures.failed(what, refused)

    def _foreign(
        self, url: str, digest: str, offset: int, size: int | None, cancel: Cancel | None
    ) -> blobs.BlobReader | None:
        """A blob from a URL of its descriptor, without any credentials; None where it cannot be had from there."""
        try:
            where = origin(url)
        except InvalidArgument:
            return None
        insecure = self._session.hosts.is_insecure(where.netloc)
        if where.scheme != "https" and not insecure:
            return None
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        call = Call(Endpoint(where.netloc, url, insecure), "GET", url, headers, authorization="")
        try:
            answer = self._session.send(call, cancel)
        except RegistryError:
            return None
        if answer.status not in (200, 206, 416):
            answer.close()
            return None
        return blobs.reader(f"blob {digest} at {where.netloc}", answer, offset, size)

    # -- helpers

    def _anywhere(self, ask: Callable[[Endpoint], T]) -> T:
        """Ask the mirrors, then the registry itself, whose failure counts."""
        for endpoint in self._endpoints[:-1]:
            try:
                return ask(endpoint)
            except (RegistryError, NotFound, Corrupt, Unsupported, LimitExceeded):
                continue
        return ask(self._endpoints[-1])

    def _send(
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
            again,
            None if where.mirror else self._login,
        )
        return self._session.send(call, cancel)

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

    def _failed(self, what: str, answer: Answer) -> MinidockError:
        refused = failures.refusal(answer)
        if refused.status in (401, 403):
            advice = "minidock login" if self.host == "docker.io" else f"minidock login {self.host}"
            return RegistryUnauthorized(f"{what}: {refused.text}; log in with write access: '{advice}'")
        return failures.failed(what, refused)


def next_page(session: Session, endpoint: Endpoint, answer: Answer) -> str | None:
    """The URL of the next page by the ``Link`` header, None at the last; another origin's is refused."""
    link = answer.header("link")
    target, bracket, relation = link.partition(">")
    if not bracket or not target.lstrip().startswith("<") or "next" not in relation.lower():
        return None
    url = session.target(endpoint, answer.url, target.lstrip()[1:])
    if origin(url) != origin(answer.url):
        raise RegistryError(f"{endpoint.host}: the next page of its list is at another host, which is refused")
    return url


def _decoded(answer: Answer, kind: type[T], what: str, limit: int) -> T:
    from minidock.spec import decoding

    try:
        return decoding.decode(answer.read(limit), kind)
    except LimitExceeded as error:
        raise RegistryError(f"{what}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(
            f"{what}: the answer is not what it should be: {failures.printable(str(error), 100)}"
        ) from error
    finally:
        answer.close()


def _media_type(answer: Answer) -> str:
    return answer.header("content-type").partition(";")[0].strip().lower()


def _digest_of(data: bytes, like: str) -> str:
    """The digest of ``data`` by the algorithm of the digest ``like``, or sha256."""
    algorithm = like.partition(":")[0] if is_digest(like) else "sha256"
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
