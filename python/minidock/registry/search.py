"""Searching a registry: Docker's old search API, or where that is absent, the list of all repositories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

import msgspec

from minidock.errors import ImageNotFound, InvalidArgument, RegistryError, RegistryUnauthorized, Unsupported
from minidock.registry import failures
from minidock.registry.hosts import Endpoint
from minidock.registry.pages import decoded, next_page
from minidock.registry.session import Call, Session

if TYPE_CHECKING:
    from minidock.registry.cancel import Cancel

_HUB_INDEX = "https://index.docker.io"
_MAX_ANSWER = 4 << 20
_MAX_PAGES = 100
_PAGE = 1000
_MAX_TERM = 255
MAX_LIMIT = 100


class SearchResult(NamedTuple):
    """A repository that was found."""

    name: str
    description: str = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class _Result(msgspec.Struct):
    name: str
    description: str | None = None
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class _SearchAnswer(msgspec.Struct):
    results: list[_Result] | None = None


class _CatalogAnswer(msgspec.Struct):
    repositories: list[str] | None = None


class Filter(NamedTuple):
    """What the results must have, and how many are wanted."""

    limit: int
    official: bool | None = None
    automated: bool | None = None
    stars: int = 0

    def takes(self, result: SearchResult) -> bool:
        """Whether a result has it."""
        return (
            self.official in (None, result.is_official)
            and self.automated in (None, result.is_automated)
            and result.star_count >= self.stars
        )


def split(term: str) -> tuple[str, str]:
    """The registry and the words of ``[HOST/]WORDS``."""
    first, slash, rest = term.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return ("docker.io" if first == "index.docker.io" else first), rest
    return "docker.io", term


def parse_filters(filters: Mapping[str, Sequence[str]] | None, limit: int) -> Filter:
    """``is-official``, ``is-automated``, ``stars``. Raises InvalidArgument for another key or value, or a bad limit."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidArgument(f"search: limit {limit} is not between 1 and {MAX_LIMIT}")
    found = Filter(limit)
    for key, values in (filters or {}).items():
        for value in values:
            if key in ("is-official", "is-automated"):
                truth = {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
                if truth is None:
                    raise InvalidArgument(f"search: filter {key}={value}: neither true nor false")
                found = found._replace(**{key.removeprefix("is-"): truth})
            elif key == "stars":
                if not (value.isascii() and value.isdigit() and len(value) < 10):
                    raise InvalidArgument(f"search: filter stars={value}: not a number")
                found = found._replace(stars=max(found.stars, int(value)))
            else:
                raise InvalidArgument(f"search: unknown filter {key!r}; known are is-official, is-automated, stars")
    return found


def search(
    session: Session, endpoint: Endpoint, words: str, wanted: Filter, cancel: Cancel | None
) -> list[SearchResult]:
    """The repositories of the registry that fit, the registry's best first."""
    if not words.strip() or len(words) > _MAX_TERM:
        raise InvalidArgument("search: give one word or more, at most 255 characters")
    hub = endpoint.host == "docker.io"
    where = endpoint._replace(url=_HUB_INDEX) if hub else endpoint
    query = urlencode({"q": words, "n": wanted.limit})
    # The search takes no tokens; a private registry before it may want a password.
    call = Call(where, "GET", f"{where.url}/v1/search?{query}", authorization="" if hub else None)
    answer = session.send(call, cancel)
    what = f"search {endpoint.host} for {failures.printable(words, 60)!r}"
    if answer.status == 200 and "json" in answer.header("content-type"):
        found = decoded(answer, _SearchAnswer, what, _MAX_ANSWER)
        results = (
            SearchResult(r.name, r.description or "", r.star_count, r.is_official, r.is_automated)
            for r in found.results or ()
        )
        return [result for result in results if wanted.takes(result)][: wanted.limit]
    refused = failures.refusal(answer)
    if hub:
        raise failures.failed(what, refused)
    results = (SearchResult(name) for name in _catalog(session, endpoint, what, cancel) if words.lower() in name)
    found_here: list[SearchResult] = []
    for result in results:
        if wanted.takes(result):
            found_here.append(result)
            if len(found_here) == wanted.limit:
                break
    return found_here


def _catalog(session: Session, endpoint: Endpoint, what: str, cancel: Cancel | None) -> Iterator[str]:
    url: str | None = f"{endpoint.url}/v2/_catalog?n={_PAGE}"
    for _ in range(_MAX_PAGES):
        if url is None:
            return
        answer = session.send(Call(endpoint, "GET", url, scopes=("registry:catalog:*",)), cancel)
        if answer.status != 200:
            failure = failures.failed(what, failures.refusal(answer))
            if isinstance(failure, ImageNotFound | Unsupported):
                raise Unsupported(f"{what}: the registry offers neither a search nor a catalog")
            if isinstance(failure, RegistryUnauthorized):
                raise RegistryUnauthorized(f'{failure}; log in: "minidock login {endpoint.host}"')
            raise failure
        yield from decoded(answer, _CatalogAnswer, what, _MAX_ANSWER).repositories or ()
        url = next_page(session, endpoint, answer)
    raise RegistryError(f"{what}: its catalog has more than {_MAX_PAGES} pages")
