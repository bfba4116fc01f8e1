"""Filters of ``images``, as Docker defines them. Several values of one filter: any of them (``label``: all)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minidock.errors import InvalidArgument
from minidock.images.image import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from minidock.images.collection import ImageCollection
    from minidock.store.images import ImageRow

NAMES = ("before", "dangling", "label", "reference", "since", "until")
_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")


def select(images: Sequence[Image], filters: Mapping[str, Sequence[str]], collection: ImageCollection) -> list[Image]:
    """Return the images that pass every filter; with ``reference``, each with those of its names that match.

    Raises InvalidArgument for a filter that does not exist or a value that it cannot have, ImageNotFound for an image
    that ``before`` or ``since`` names.
    """
    for name in filters:
        if name not in NAMES:
            raise InvalidArgument(f"invalid filter '{name}'")
    found = list(images)
    if "reference" in filters:
        found = _named(found, [_pattern(value) for value in filters["reference"]], collection)
    if "dangling" in filters:
        # An image that only a registry's digest names is neither: Docker shows it in both cases.
        if _boolean(filters["dangling"]):
            found = [image for image in found if not image.tags]
        else:
            found = [image for image in found if image.tags or image.repo_digests]
    for value in filters.get("label", ()):
        found = [image for image in found if _has_label(image.labels, value)]
    for value in filters.get("before", ()):
        moment = _created(collection.get(value))
        found = [image for image in found if _created(image) < moment]
    for value in filters.get("since", ()):
        moment = _created(collection.get(value))
        found = [image for image in found if _created(image) > moment]
    limit = _until(filters)
    if limit is not None:
        found = [image for image in found if _created(image) < limit]
    return found


def _created(image: Image) -> float:
    """When an image was made, to the fraction of a second."""
    text = image.config.created or ""
    digits = text.partition(".")[2]
    fraction = digits[: len(digits) - len(digits.lstrip("0123456789"))]
    return image.row.created + (float(f"0.{fraction}") if fraction else 0.0)


def _until(filters: Mapping[str, Sequence[str]]) -> float | None:
    values = filters.get("until", ())
    if len(values) > 1:
        raise InvalidArgument("invalid filter 'until': more than one time is given")
    return _moment(values[0]) if values else None


def prune_filter(
    collection: ImageCollection, filters: Mapping[str, Sequence[str]], everything: bool
) -> tuple[Callable[[ImageRow], bool], bool]:
    """What ``image prune`` may remove, and whether images with tags are among it.

    Raises InvalidArgument for a filter that does not exist or a value that it cannot have.
    """
    for name, values in filters.items():
        if name not in ("dangling", "label", "label!", "until"):
            raise InvalidArgument(f"invalid filter '{name}'")
        if name == "dangling":
            everything = everything or not _boolean(values)
    limit = _until(filters)

    def chosen(row: ImageRow) -> bool:
        if limit is not None and row.created >= limit:
            return False
        labels = Image(collection, row).labels if "label" in filters or "label!" in filters else {}
        return all(_has_label(labels, value) for value in filters.get("label", ())) and not any(
            _has_label(labels, value) for value in filters.get("label!", ())
        )

    return chosen, everything


def _boolean(values: Sequence[str]) -> bool:
    words = {value.lower() for value in values}
    if words <= set(_TRUE):
        return True
    if words <= set(_FALSE):
        return False
    raise InvalidArgument(f"invalid filter 'dangling={', '.join(values)}': must be true or false")


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _named(images: list[Image], patterns: list[re.Pattern[str]], collection: ImageCollection) -> list[Image]:
    """The images that have a name or a digest which matches, each with those of them."""
    found = []
    for image in images:
        tags = [tag for tag in image.tags if _fits(patterns, tag, tag.rpartition(":")[0])]
        digests = [one for one in image.repo_digests if _fits(patterns, one, one.partition("@")[0])]
        if tags or digests:
            found.append(Image(collection, image.row, tags, digests))
    return found


def _fits(patterns: list[re.Pattern[str]], whole: str, repository: str) -> bool:
    """Docker: a pattern is that of the whole name, or of its repository."""
    return any(pattern.fullmatch(whole) or pattern.fullmatch(repository) for pattern in patterns)


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern of Go's path.Match: ``*`` and ``?`` stop at a slash, ``[a-z]``, ``[^a-z]`` and ``\\`` as usual."""
    out: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "\\" and at < len(text):
            out.append(re.escape(text[at]))
            at += 1
        elif char == "[" and (end := text.find("]", at + 1)) > 0:
            inside = text[at:end].replace("\\", "\\\\").replace("[", "\\[")
            out.append(f"[{inside}]")
            at = end + 1
        elif char in "[\\":
            raise InvalidArgument(f"invalid filter 'reference={text}': syntax error in pattern")
        else:
            out.append(re.escape(char))
    try:
        return re.compile("".join(out))
    except re.error:
        raise InvalidArgument(f"invalid filter 'reference={text}': syntax error in pattern") from None


def _moment(text: str) -> float:
    """A Unix time, an RFC 3339 date, or how long ago (``24h``)."""
    import time
    from datetime import datetime

    if text.replace(".", "", 1).isdigit():
        return float(text)
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    spans = re.fullmatch(r"(?:\d+(?:\.\d+)?[hms])+", text)
    if spans:
        parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
        return time.time() - sum(float(number) * units[unit] for number, unit in parts)
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise InvalidArgument(f"invalid filter 'until={text}': neither a time nor a duration") from None
