"""Lines of lists of images: an image under one of its names, as ``images`` and ``system df -v`` print them."""

from __future__ import annotations

import time

from minidock.cli.listing import Listing
from minidock.cli.units import decimal_size, local_time
from minidock.containers.status import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from minidock.images.image import Image
    from minidock.spec.docker_images import ImageSummary

NONE = "<none>"

_HEADERS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}


class Shown:
    """What lists show of an image: a part of ``ImageSummary``, whose making costs more than the rest of a list."""

    __slots__ = ("containers", "created", "id", "repo_digests", "repo_tags", "shared_size", "size")

    def __init__(self, image: Image, containers: int = -1) -> None:
        self.id = image.id
        self.repo_tags = image.tags
        self.repo_digests = image.repo_digests
        self.created = image.row.created
        self.size = image.size
        self.shared_size = -1
        self.containers = containers


class Line:
    """One line: an image under a repository, with a tag, a digest, both or neither."""

    __slots__ = ("digest", "image", "repository", "tag")

    def __init__(
        self, image: Shown | ImageSummary, repository: str = NONE, tag: str = NONE, digest: str = NONE
    ) -> None:
        self.image = image
        self.repository = repository
        self.tag = tag
        self.digest = digest

    @property
    def age(self) -> str:
        """How long ago the image was made, or N/A when it does not say."""
        created = self.image.created
        return f"{duration(time.time() - created)} ago" if created > 0 else "N/A"


def lines(images: Sequence[Shown | ImageSummary], *, digests: bool) -> list[Line]:
    """A line for each name; with ``digests``, for each name and digest of the same repository.

    A repository that has the image by digest only has a line without a tag, a nameless image one without anything.
    """
    found = []
    for image in images:
        tags = _grouped(image.repo_tags, ":")
        known = _grouped(image.repo_digests, "@")
        for repository, values in tags.items():
            shown = known.pop(repository, [])
            found += [
                Line(image, repository, tag, digest)
                for tag in values
                for digest in (shown if digests else []) or [NONE]
            ]
        for repository, values in known.items():
            found += [Line(image, repository, NONE, digest) for digest in (values if digests else [NONE])]
        if not image.repo_tags and not image.repo_digests:
            found.append(Line(image))
    return found


def _grouped(names: list[str], mark: str) -> dict[str, list[str]]:
    """Tags or digests by repository."""
    found: dict[str, list[str]] = {}
    for name in names:
        repository, _, rest = name.partition(mark) if mark == "@" else name.rpartition(mark)
        found.setdefault(repository, []).append(rest)
    return found


def listing(full: bool, columns: tuple[str, ...] = ("Repository", "Tag", "ID", "CreatedSince", "Size")) -> Listing:
    """The list's fields; ``full`` shows ids uncut."""

    def shared(size: int, own: int) -> str:
        return "N/A" if own == -1 else decimal_size(size, 4)

    fields: dict[str, Any] = {
        "ID": lambda it: it.image.id if full else it.image.id.removeprefix("sha256:")[:12],
        "Repository": lambda it: it.repository,
        "Tag": lambda it: it.tag,
        "Digest": lambda it: it.digest,
        "CreatedSince": lambda it: it.age,
        "CreatedAt": lambda it: local_time(it.image.created),
        "Size": lambda it: decimal_size(it.image.size),
        "Containers": lambda it: "N/A" if it.image.containers == -1 else str(it.image.containers),
        "VirtualSize": lambda it: decimal_size(it.image.size, 4),
        "SharedSize": lambda it: shared(it.image.shared_size, it.image.shared_size),
        "UniqueSize": lambda it: shared(it.image.size - it.image.shared_size, it.image.shared_size),
    }
    return Listing(
        "*formatter.imageContext",
        fields=fields,
        headers=_HEADERS,
        columns=columns,
        raw=[
            ("repository", "Repository"),
            ("tag", "Tag"),
            ("image_id", "ID"),
            ("created_at", "CreatedAt"),
            ("virtual_size", "Size"),
        ],
    )
