"""``commit``."""

from __future__ import annotations

from minidock.cli.flags import Command, Flag
from minidock.cli.output import line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _commit(session: Session, values: Values, arguments: list[str]) -> int:
    """Make the image and print its id."""
    image = session.engine.containers.get(arguments[0]).commit(
        arguments[1] if len(arguments) > 1 else None,
        message=values["message"] or "",
        author=values["author"] or "",
        changes=values["change"],
        pause=values["pause"],
    )
    line(image.id)
    return 0


COMMIT = Command(
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    "Make an image from what a container has changed in its own. One that runs is frozen meanwhile.",
    [
        Flag("author", "string", "Author, such as 'John Hannibal Smith <hannibal@a-team.com>'", short="a"),
        Flag("change", "list", "Dockerfile instruction for the image, such as 'CMD [\"sh\"]'", short="c"),
        Flag("message", "string", "Comment in the image's history", short="m"),
        Flag("pause", "bool", "Freeze the container meanwhile", short="p", default=True),
    ],
    _commit,
    minimum=1,
    maximum=2,
    complete="containers",
)
