"""``image mount`` and ``image unmount``, in Podman's words: Docker has none."""

from __future__ import annotations

from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line
from minidock.cli.words import UsageError
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _mount(session: Session, values: Values, arguments: list[str]) -> int:
    """Mount an image and print where, or list what is mounted."""
    collection = session.engine.images
    if arguments:
        line(collection.mount(arguments[0], arguments[1] if len(arguments) > 1 else None))
        return 0
    from minidock.cli.output import align, write

    rows = [(next(iter(collection.get(one.image_id).tags), one.image_id), one.path) for one in collection.mounted()]
    write(align(rows))
    return 0


def _unmount(session: Session, values: Values, arguments: list[str]) -> int:
    """Take mounts away and print the images' ids; a failure does not keep the others."""
    collection = session.engine.images
    if values["all"] == bool(arguments):
        raise UsageError("give images or directories, or --all", 1)
    places = [one.path for one in collection.mounted()] if values["all"] else arguments
    failed = 0
    for name in places:
        try:
            ids = {one.path: one.image_id for one in collection.mounted()}
            is_path = name.startswith(("/", "."))
            gone = collection.unmount(None if is_path else name, path=name if is_path else None, force=values["force"])
            for image_id in dict.fromkeys(ids[path] for path in gone):
                line(image_id.removeprefix("sha256:"))
        except MinidockError as error:
            complain(f"minidock: {error}")
            failed = 1
    return failed


MOUNT = Command(
    "[IMAGE [DIRECTORY]]",
    "Show an image's files, read-only, in a directory of the host, one below the run root unless it is given, and "
    "print which. Without an image, list what is mounted.",
    [],
    _mount,
    maximum=2,
    complete="images",
)
UNMOUNT = Command(
    "[OPTIONS] IMAGE|DIRECTORY [IMAGE|DIRECTORY...]",
    "Take away what `image mount` has mounted; an image that was mounted several times stays until the last. A "
    "directory begins with / or a dot.",
    [
        Flag("all", "bool", "Take away all mounts", short="a"),
        Flag("force", "bool", "However often it was mounted", short="f"),
    ],
    _unmount,
    complete="images",
)
