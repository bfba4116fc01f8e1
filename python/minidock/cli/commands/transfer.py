"""``pull`` and ``push``."""

from __future__ import annotations

import contextlib

from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line
from minidock.cli.surface import NO_TRUST
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.images.image import Image
    from minidock.images.references import Reference

INTERRUPTED = 130
_PULL_INTERRUPTED = "the pull was interrupted; the next one goes on from here"
_PUSH_INTERRUPTED = "the push was interrupted; the next one sends what is missing"


def pull_image(session: Session, reference: Reference, *, platform: str | None, quiet: bool, fd: int) -> Image:
    """Pull one image and show how it goes on ``fd``. An interrupt ends the program."""
    from minidock.cli.progress import shown

    with _interruptible(_PULL_INTERRUPTED), shown(fd, quiet=quiet) as progress:
        return session.engine.images.pull(reference.canonical, platform=platform, progress=progress)


@contextlib.contextmanager
def _interruptible(words: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        complain(f"minidock: {words}")
        raise SystemExit(INTERRUPTED) from None


def _pull(session: Session, values: Values, arguments: list[str]) -> int:
    """Pull an image, or all of a repository, and print its full name."""
    from minidock.images import references

    reference = references.parse(arguments[0])
    platform, quiet = values["platform"], values["quiet"]
    if values["all-tags"] and (reference.tag is not None or reference.digest is not None):
        raise UsageError("tag can't be used with --all-tags/-a", 1)
    if not values["all-tags"] and reference.tag is None and reference.digest is None:
        reference = reference.with_default_tag()
        if not quiet:
            line(f"Using default tag: {reference.tag}")
    if values["all-tags"]:
        from minidock.cli.progress import shown

        with _interruptible(_PULL_INTERRUPTED), shown(1, quiet=quiet) as progress:
            session.engine.images.pull_all(reference.name, platform=platform, progress=progress)
    elif platform is not None or not _unchanged(session, reference, quiet=quiet):
        pull_image(session, reference, platform=platform, quiet=quiet, fd=1)
    line(reference.canonical)
    return 0


def _unchanged(session: Session, reference: Reference, *, quiet: bool) -> bool:
    """Whether the image is here and up to date, found out without the engine; then that is all there is to say."""
    data_root = session.plain_data_root
    if data_root is None:
        return False
    from minidock.images import unchanged

    digest = unchanged.digest(reference, data_root)
    if digest is None:
        return False
    if not quiet:
        line(f"{reference.tag}: Pulling from {reference.path}")
        line(f"Digest: {digest}")
        line(f"Status: Image is up to date for {reference.familiar}")
    return True


def _push(session: Session, values: Values, arguments: list[str]) -> int:
    """Push an image under one tag, or all of a repository."""
    from minidock.cli.progress import shown
    from minidock.images import references

    reference = references.parse(arguments[0])
    quiet = values["quiet"]
    if values["all-tags"] and reference.tag is not None:
        raise UsageError("tag can't be used with --all-tags/-a", 1)
    if not values["all-tags"] and reference.tag is None and reference.digest is None:
        reference = reference.with_default_tag()
        if not quiet:
            line(f"Using default tag: {reference.tag}")
    with _interruptible(_PUSH_INTERRUPTED), shown(1, quiet=quiet) as progress:
        session.engine.images.push(
            reference.canonical, all_tags=values["all-tags"], platform=values["platform"], progress=progress
        )
    if quiet:
        line(reference.canonical)
    return 0


_TRUST = Flag("disable-content-trust", reason=NO_TRUST, harmless=True, default=True)

PULL = Command(
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "Download an image from a registry. What an interrupted download has fetched is kept, and the next one goes on "
    "there.",
    [
        Flag("all-tags", "bool", "Download all tagged images of the repository", short="a"),
        _TRUST,
        Flag("platform", "string", "Platform of the image, OS[/ARCH[/VARIANT]]"),
        Flag("quiet", "bool", "Show only the image's full name", short="q"),
    ],
    _pull,
    minimum=1,
    maximum=1,
    complete="images",
)
PUSH = Command(
    "[OPTIONS] NAME[:TAG]",
    "Upload an image to the registry that its name names. A tag of several platforms goes as a whole if all of them "
    "are here.",
    [
        Flag("all-tags", "bool", "Upload all tags of the repository", short="a"),
        _TRUST,
        Flag("platform", "string", "Upload the image for this platform only, OS[/ARCH[/VARIANT]]"),
        Flag("quiet", "bool", "Show only the image's full name", short="q"),
    ],
    _push,
    minimum=1,
    maximum=1,
    complete="images",
)
