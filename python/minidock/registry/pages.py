"""Lists that registries give out as JSON, page by page."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from minidock.errors import LimitExceeded, RegistryError
from minidock.registry import failures
from minidock.registry.hosts import Endpoint, origin
from minidock.registry.session import Answer, Session
from minidock.spec import decoding

T = TypeVar("T")


def next_page(session: Session, endpoint: Endpoint, answer: Answer) -> str | None:
    """The URL of the next page by the ``Link`` header, None at the last. Raises RegistryError for another host's."""
    target, bracket, relation = answer.header("link").partition(">")
    if not bracket or not target.lstrip().startswith("<") or "next" not in relation.lower():
        return None
    url = session.target(endpoint, answer.url, target.lstrip()[1:])
    if origin(url) != origin(answer.url):
        raise RegistryError(f"{endpoint.host}: the next page of its list is at another host, which is refused")
    return url


def decoded(answer: Answer, kind: type[T], what: str, limit: int) -> T:
    """The ``kind`` in an answer's body; closes it. Raises RegistryError where it is something else, or too long."""
    try:
        return decoding.decode(answer.read(limit), kind)
    except LimitExceeded as error:
        raise RegistryError(f"{what}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        cause = failures.printable(str(error), 100)
        raise RegistryError(f"{what}: the answer is not what it should be: {cause}") from error
    finally:
        answer.close()
