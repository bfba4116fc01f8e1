"""``--annotation``: facts in the documents around an image, which are no part of its configuration nor of its id."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from minidock.errors import InvalidArgument, MinidockError
from minidock.images import platforms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from minidock.images.platforms import Platform
    from minidock.spec.oci_image import ImageConfig

MANIFEST, DESCRIPTOR = "manifest", "manifest-descriptor"
_INDEX = ("index", "index-descriptor")
_WHERE = re.compile(r"([a-z-]+)(?:\[([A-Za-z0-9_/-]+)\])?")
_ATTRIBUTE = re.compile(r"annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(.+)", re.DOTALL)


class Annotation(NamedTuple):
    """One: ``kind`` is what it is in, the image's manifest or the descriptor that leads to it; None: any platform."""

    kind: str
    platform: Platform | None
    key: str
    value: str


def parse(given: Mapping[str, str] | Sequence[str]) -> tuple[Annotation, ...]:
    """Return what ``[KIND[PLATFORM],…:]KEY=VALUE`` means, in Docker's words where it means nothing.

    Raises InvalidArgument.
    """
    if isinstance(given, str):
        raise InvalidArgument(f"annotations {given!r}: a mapping or a list of KEY=VALUE is needed")
    texts: Iterable[str] = (f"{key}={value}" for key, value in given.items()) if hasattr(given, "items") else given
    found: list[Annotation] = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidArgument(f'invalid annotation "{text}", expected key=value')
        kinds, colon, key = name.partition(":")
        if not colon:
            found.append(Annotation(MANIFEST, None, name, value))
            continue
        for kind in kinds.split(","):
            match = _WHERE.fullmatch(kind)
            if match is None:
                raise InvalidArgument(
                    f'invalid annotation type "{kind}", expected type and optional platform in square brackets'
                )
            found.append(_annotation(match[1], match[2], key, value))
    return tuple(found)


def attribute(name: str, value: str) -> str:
    """Return as a text of ``--annotation`` what a key of ``--output`` means; empty for another key.

    ``annotation[-KIND][[PLATFORM]].KEY``
    """
    match = _ATTRIBUTE.fullmatch(name)
    if match is None:
        return ""
    kind, platform, key = match[1] or MANIFEST, match[2], match[3]
    return f"{kind}[{platform}]:{key}={value}" if platform else f"{kind}:{key}={value}"


def _annotation(kind: str, platform: str | None, key: str, value: str) -> Annotation:
    if kind in _INDEX:
        raise InvalidArgument("index annotations not supported for single platform export")
    if kind not in (MANIFEST, DESCRIPTOR):
        raise InvalidArgument(f'unknown annotation type "{kind}"')
    try:
        wanted = None if platform is None else platforms.parse(platform)
    except MinidockError as error:
        raise InvalidArgument(f'invalid platform "{platform}": {error}') from error
    return Annotation(kind, wanted, key, value)


def chosen(annotations: Iterable[Annotation], kind: str, image: ImageConfig) -> dict[str, str]:
    """Those of one kind for an image, by its platform."""
    platform = platforms.Platform(image.os or "linux", image.architecture, image.variant)
    return {
        one.key: one.value
        for one in annotations
        if one.kind == kind and (one.platform is None or one.platform.accepts(platform))
    }
