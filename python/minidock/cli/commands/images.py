"""``images``, ``rmi``, ``image tag``, ``image history`` and ``image prune``."""

from __future__ import annotations

import time

from minidock.cli.commands.remove import confirmed, grouped
from minidock.cli.flags import Command, Flag
from minidock.cli.listing import Listing
from minidock.cli.output import complain, line
from minidock.cli.surface import IMAGES
from minidock.cli.units import decimal_size, duration, ellipsis, local_time
from minidock.errors import ImageNotFound, MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.images.image import Image

NONE = "<none>"


class _Line:
    """One line of ``images``: an image under one of its names."""

    __slots__ = ("image", "repository", "tag")

    def __init__(self, image: Image, name: str) -> None:
        self.image = image
        head, colon, tag = name.rpartition(":")
        self.repository, self.tag = (head, tag) if colon and "/" not in tag else (name or NONE, NONE)

    @property
    def age(self) -> str:
        """How long ago the image was made, or N/A when it does not say."""
        created = self.image.row.created
        return f"{duration(time.time() - created)} ago" if created > 0 else "N/A"


def _lines(images: list[Image]) -> list[_Line]:
    """A line for each name; a nameless image has one line."""
    return [_Line(image, name) for image in images for name in (image.tags or [""])]


def _listing(full: bool) -> Listing:
    fields: dict[str, Any] = {
        "ID": lambda it: it.image.id if full else it.image.id.removeprefix("sha256:")[:12],
        "Repository": lambda it: it.repository,
        "Tag": lambda it: it.tag,
        "Digest": lambda it: NONE,
        "CreatedSince": lambda it: it.age,
        "CreatedAt": lambda it: local_time(it.image.row.created),
        "Size": lambda it: decimal_size(it.image.size),
        "Containers": lambda it: "N/A",
        "VirtualSize": lambda it: decimal_size(it.image.size, 4),
        "SharedSize": lambda it: "N/A",
        "UniqueSize": lambda it: "N/A",
    }
    headers = {
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
    return Listing(
        "*formatter.imageContext",
        fields=fields,
        headers=headers,
        columns=("Repository", "Tag", "ID", "CreatedSince", "Size"),
        raw=[
            ("repository", "Repository"),
            ("tag", "Tag"),
            ("image_id", "ID"),
            ("created_at", "CreatedAt"),
            ("virtual_size", "Size"),
        ],
    )


def _list(session: Session, values: Values, arguments: list[str]) -> int:
    """Print the images in the form that the flags ask for."""
    from minidock.images.filters import select

    collection = session.engine.images
    found = collection.list(arguments[0] if arguments else None, all=values["all"])
    if "filter" in values:
        found = select(found, grouped(values["filter"]), collection)
    listing = _listing(values["no-trunc"])
    columns = ["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"] if values["digests"] else listing.columns
    rows = _lines(found)
    if values["quiet"]:
        rows = list({row.image.id: row for row in rows}.values())
    listing.show(rows, values["format"], quiet=values["quiet"], columns=columns)
    return 0


def _remove(session: Session, values: Values, arguments: list[str]) -> int:
    """Remove each image and print what went; a failure does not keep the others."""
    failed = 0
    for name in arguments:
        try:
            for step in session.engine.images.remove(name, force=values["force"]):
                line(f"Untagged: {step.untagged}" if step.untagged else f"Deleted: {step.deleted}")
        except MinidockError as error:
            complain(f"minidock: {error}")
            if not (values["force"] and isinstance(error, ImageNotFound)):
                failed = 1
    return failed


def _tag(session: Session, values: Values, arguments: list[str]) -> int:
    session.engine.images.tag(arguments[0], arguments[1])
    return 0


def _history(session: Session, values: Values, arguments: list[str]) -> int:
    """Print how an image's layers came about, newest first."""
    full, human = values["no-trunc"], values["human"]

    def when(it: Any) -> str:
        return f"{duration(time.time() - it.created)} ago" if human else local_time(it.created)

    def size(it: Any) -> str:
        return decimal_size(it.size) if human else str(it.size)

    fields: dict[str, Any] = {
        "ID": lambda it: it.id if full else it.id.removeprefix("sha256:")[:12],
        "CreatedSince": when,
        "CreatedAt": lambda it: local_time(it.created),
        "CreatedBy": lambda it: it.created_by if full else ellipsis(it.created_by.replace("\t", " "), 45),
        "Size": size,
        "Comment": lambda it: it.comment,
    }
    heads = {
        "ID": "IMAGE",
        "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT",
        "CreatedBy": "CREATED BY",
        "Size": "SIZE",
        "Comment": "COMMENT",
    }
    names = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")
    listing = Listing(
        "*formatter.historyContext",
        fields=fields,
        headers=heads,
        columns=names,
        raw=[(name.lower(), name) for name in names],
    )
    listing.show(session.engine.images.get(arguments[0]).history(), values["format"], quiet=values["quiet"])
    return 0


def _prune(session: Session, values: Values, arguments: list[str]) -> int:
    """Remove the images that no container uses."""
    what = "all images without at least one container associated to them" if values["all"] else "all dangling images"
    if not values["force"] and not confirmed(f"This will remove {what}."):
        return 0
    done = session.engine.images.prune(all=values["all"])
    if done.images_deleted:
        line("Deleted Images:")
        for step in done.images_deleted:
            line(f"untagged: {step.untagged}" if step.untagged else f"deleted: {step.deleted}")
        line("")
    line(f"Total reclaimed space: {decimal_size(done.space_reclaimed, 4)}")
    return 0


LIST = Command(
    "[OPTIONS] [REPOSITORY[:TAG]]",
    "List images, newest first.",
    [
        Flag("all", "bool", "List intermediate images too (there are none before the builder exists)", short="a"),
        Flag("digests", "bool", "Show digests"),
        Flag("filter", "filter", "Only those that match: dangling, label, reference, before, since, until", short="f"),
        Flag("format", "string", "'table', 'table TEMPLATE', 'json', or a Go template"),
        Flag("no-trunc", "bool", "Show ids uncut"),
        Flag("quiet", "bool", "Show ids only", short="q"),
        Flag("tree", reason=IMAGES),
    ],
    _list,
    maximum=1,
    complete="images",
)
REMOVE = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    "Remove names of images, and an image with its last name.",
    [
        Flag("force", "bool", "Remove it even if stopped containers use it or it has several names", short="f"),
        Flag("no-prune", reason=IMAGES),
        Flag("platform", "list", reason=IMAGES),
    ],
    _remove,
    minimum=1,
    complete="images",
)
TAG = Command(
    "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    "Give an image another name.",
    [],
    _tag,
    minimum=2,
    maximum=2,
    complete="images",
)
HISTORY = Command(
    "[OPTIONS] IMAGE",
    "Show how an image's layers came about, newest first.",
    [
        Flag("format", "string", "'table', 'table TEMPLATE', 'json', or a Go template"),
        Flag("human", "bool", "Sizes and dates in words", short="H", default=True),
        Flag("no-trunc", "bool", "Show ids and commands uncut"),
        Flag("platform", "string", reason=IMAGES),
        Flag("quiet", "bool", "Show ids only", short="q"),
    ],
    _history,
    minimum=1,
    maximum=1,
    complete="images",
)
PRUNE = Command(
    "[OPTIONS]",
    "Remove images without a name that no container uses.",
    [
        Flag("all", "bool", "Remove images with names too", short="a"),
        Flag("filter", "filter", reason=IMAGES),
        Flag("force", "bool", "Do not ask", short="f"),
    ],
    _prune,
    maximum=0,
)
