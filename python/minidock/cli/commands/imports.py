"""``import``."""

from __future__ import annotations

from minidock.cli.flags import Command, Flag
from minidock.cli.output import line
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _import(session: Session, values: Values, arguments: list[str]) -> int:
    """Make the image and print its id."""
    source = arguments[0]
    if source.startswith(("http://", "https://")):
        raise UsageError(
            f"import {source}: minidock does not download; pipe it in: curl -L URL | minidock import - NAME", 1
        )
    image = session.engine.images.import_(
        0 if source == "-" else source,
        repository=arguments[1] if len(arguments) > 1 else None,
        changes=values["change"],
        message=values["message"],
        platform=values["platform"],
    )
    line(image.id)
    return 0


IMPORT = Command(
    "[OPTIONS] FILE|- [REPOSITORY[:TAG]]",
    "Make an image of one layer from a root filesystem's tar, plain or compressed by gzip, zstd, xz or bzip2. The "
    "file - is standard input.",
    [
        Flag("change", "list", "Dockerfile instruction for the image, such as 'CMD [\"sh\"]'", short="c"),
        Flag("message", "string", "Comment in the image's history", short="m"),
        Flag("platform", "string", "Platform of the image, OS[/ARCH[/VARIANT]]"),
    ],
    _import,
    minimum=1,
    maximum=2,
    complete="files",
)
