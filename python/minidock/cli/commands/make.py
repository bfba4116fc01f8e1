"""``image from-packages``, ``image from-rootfs``: images that come from no registry."""

from __future__ import annotations

from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.images.progress import ProgressEvent


def _name(text: str) -> str:
    if not text:
        raise UsageError("the image's name is empty", 125)
    return text


def _from_packages(session: Session, values: Values, arguments: list[str]) -> int:
    """Make the image, one line for each step, and print its id."""

    def show(event: ProgressEvent) -> None:
        complain(event.status)

    image = session.engine.images.from_packages(
        arguments[0],
        _name(arguments[1]),
        include=values["include"],
        variant=values["variant"],
        platform=values["platform"],
        mirrors=values["mirror"],
        keyrings=values["keyring"],
        components=values["components"],
        progress=None if values["quiet"] else show,
    )
    line(image.id)
    return 0


FROM_PACKAGES = Command(
    "[OPTIONS] DISTRIBUTION:SUITE NAME[:TAG]",
    "Make a base image of Debian or Ubuntu from the distribution's own package archive, with signature checks. The "
    "host's apt and gpgv fetch and check; by default from the archive in the host's apt sources, with their keys. The "
    "same packages give the same image.",
    [
        Flag("include", "list", "Packages to install besides, separated by commas"),
        Flag("variant", "string", "Set of packages: minbase, apt, buildd, important, standard", default="minbase"),
        Flag("platform", "string", "Platform of the image, OS[/ARCH[/VARIANT]]"),
        Flag("mirror", "list", "Archive to use instead of the host's: a URL, or a whole 'deb' line"),
        Flag("keyring", "list", "File with the archive's keys, instead of the host's"),
        Flag("components", "list", "Components of the archive, such as main,contrib"),
        Flag("quiet", "bool", "Print the image's id only", short="q"),
    ],
    _from_packages,
    minimum=2,
    maximum=2,
)


def _from_rootfs(session: Session, values: Values, arguments: list[str]) -> int:
    """Make the image and print its id."""
    image = session.engine.images.from_rootfs(
        arguments[0],
        _name(arguments[1]),
        exclude=values["exclude"],
        changes=values["change"],
        message=values["message"],
        platform=values["platform"],
    )
    line(image.id)
    return 0


FROM_ROOTFS = Command(
    "[OPTIONS] DIRECTORY NAME[:TAG]",
    "Make an image of one layer from a directory of this host, such as /, as it is now. What is mounted below, sockets "
    "and minidock's own files are left out.",
    [
        Flag("exclude", "list", "Leave out a name, or a path from the top, with *, ?, [] and **"),
        Flag("change", "list", "Dockerfile instruction for the image, such as 'CMD [\"sh\"]'", short="c"),
        Flag("message", "string", "Comment in the image's history", short="m"),
        Flag("platform", "string", "Platform of the image, OS[/ARCH[/VARIANT]]"),
    ],
    _from_rootfs,
    minimum=2,
    maximum=2,
    complete="files",
)
