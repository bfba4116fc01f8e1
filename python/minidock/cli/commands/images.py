"""``images``, ``rmi``, ``image tag``, ``image history`` and ``image prune``."""

from __future__ import annotations

import time

from minidock.cli.commands.remove import confirmed, grouped
from minidock.cli.flags import Command, Flag
from minidock.cli.listing import Listing
from minidock.cli.output import complain, line, printable
from minidock.cli.units import decimal_size, ellipsis, local_time
from minidock.cli.words import UsageError
from minidock.containers.status import duration
from minidock.errors import ImageNotFound, MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _list(session: Session, values: Values, arguments: list[str]) -> int:
    """Print the images in the form that the flags ask for."""
    from minidock.cli.commands import image_rows

    if values["tree"]:
        for name, flag in (("quiet", "quiet"), ("no-trunc", "no-trunc"), ("digests", "digests"), ("format", "format")):
            if values[name]:
                raise UsageError(f"--{flag} is not supported with --tree", 1)
    collection = session.engine.images
    found = collection.list(all=values["all"])
    filters = grouped(values["filter"])
    if arguments:
        filters.setdefault("reference", []).append(arguments[0])
    if filters:
        from minidock.images.filters import select

        found = select(found, filters, collection)
    if values["tree"]:
        from minidock.cli.commands import image_tree

        image_tree.show(session.engine, found)
        return 0
    form = values["format"] or ""
    count = "Containers" in form or "json" in form
    listing = image_rows.listing(values["no-trunc"])
    columns = ["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"] if values["digests"] else listing.columns
    users = session.engine.store.containers
    shown = [image_rows.Shown(image, len(users.of_image(image.id)) if count else -1) for image in found]
    rows = image_rows.lines(shown, digests=values["digests"] or ".Digest" in form)
    listing.show(rows, values["format"], quiet=values["quiet"], columns=columns)
    return 0


def _remove(session: Session, values: Values, arguments: list[str]) -> int:
    """Remove each image and print what went; a failure does not keep the others."""
    failed = 0
    for name in arguments:
        try:
            for step in session.engine.images.remove(name, force=values["force"], platforms=values["platform"]):
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

    def shown(text: str) -> str:
        # Written by whoever made the image: nothing in it may steer the terminal.
        return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))

    def when(it: Any) -> str:
        return f"{duration(time.time() - it.created)} ago" if human else local_time(it.created)

    def size(it: Any) -> str:
        return decimal_size(it.size) if human else str(it.size)

    fields: dict[str, Any] = {
        "ID": lambda it: it.id if full else it.id.removeprefix("sha256:")[:12],
        "CreatedSince": when,
        "CreatedAt": lambda it: local_time(it.created),
        "CreatedBy": lambda it: shown(it.created_by if full else ellipsis(it.created_by.replace("\t", " "), 45)),
        "Size": size,
        "Comment": lambda it: shown(it.comment),
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
    image = session.engine.images.get(arguments[0], platform=values["platform"])
    listing.show(image.history(), values["format"], quiet=values["quiet"])
    return 0


def _prune(session: Session, values: Values, arguments: list[str]) -> int:
    """Remove the images that no container uses."""
    what = "all images without at least one container associated to them" if values["all"] else "all dangling images"
    if not values["force"] and not confirmed(f"This will remove {what}."):
        return 0
    done = session.engine.images.prune(all=values["all"], filters=grouped(values["filter"]))
    if done.images_deleted:
        line("Deleted Images:")
        for step in done.images_deleted:
            line(f"untagged: {step.untagged}" if step.untagged else f"deleted: {step.deleted}")
        line("")
    line(f"Total reclaimed space: {decimal_size(done.space_reclaimed, 4)}")
    return 0


LIST = Command(
    "[OPTIONS] [REPOSITORY[:TAG|@DIGEST]]",
    "List images, newest first.",
    [
        Flag("all", "bool", "List intermediate images too (there are none before the builder exists)", short="a"),
        Flag("digests", "bool", "Show digests"),
        Flag("filter", "filter", "Only those that match: dangling, label, reference, before, since, until", short="f"),
        Flag("format", "string", "'table', 'table TEMPLATE', 'json', or a Go template"),
        Flag("no-trunc", "bool", "Show ids uncut"),
        Flag("quiet", "bool", "Show ids only", short="q"),
        Flag("tree", "bool", "Show all names of an image together, the platforms of a name below it, and disk usage"),
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
        Flag("no-prune", "bool", "Keep parents without a name (there are none before the builder exists)"),
        Flag("platform", "list", "Remove only the image for this platform, OS[/ARCH[/VARIANT]]"),
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
        Flag("platform", "string", "Platform of the image, OS[/ARCH[/VARIANT]]"),
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
        Flag("filter", "filter", "Only those that match: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]"),
        Flag("force", "bool", "Do not ask", short="f"),
    ],
    _prune,
    maximum=0,
)
