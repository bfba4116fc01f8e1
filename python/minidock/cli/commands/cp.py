"""``cp``."""

from __future__ import annotations

import os

from minidock.cli.flags import Command, Flag
from minidock.cli.output import write
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _cp(session: Session, values: Values, arguments: list[str]) -> int:
    """Copy, and say how much, where somebody is to read it."""
    from minidock.containers.copying import split_argument

    source, destination = arguments
    if not source or not destination:
        raise UsageError(f"{'destination' if source else 'source'} can not be empty", 1)
    (from_container, from_path), (to_container, to_path) = split_argument(source), split_argument(destination)
    if from_container and to_container:
        raise UsageError("copying between containers is not supported", 1)
    if not from_container and not to_container:
        raise UsageError("must specify at least one container source", 1)
    quiet = values["quiet"] if "quiet" in values else not os.isatty(1)
    containers = session.engine.containers
    follow, archive = values["follow-link"], values["archive"]
    if to_container:
        container = containers.get(to_container)
        if from_path == "-":
            container.copy_to(0, to_path, archive=archive)
            return 0
        done = container.copy_to(from_path, to_path, follow_link=follow, archive=archive)
        where = f"{to_container}:{done.destination}"
    else:
        container = containers.get(from_container)
        if to_path == "-":
            from minidock.cli.commands.archives import pipe_may_close

            with pipe_may_close(1):
                container.copy_from(from_path, 1, follow_link=follow)
            return 0
        done = container.copy_from(from_path, to_path, follow_link=follow, archive=archive)
        where = done.destination
    if not quiet:
        from minidock.cli.units import decimal_size

        write(f"Successfully copied {decimal_size(done.size)} to {where}\n", 2)
    return 0


CP = Command(
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n       minidock cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    "Copy files and directories between a container and this host. '-' as the source is a tar archive on standard "
    "input, which is unpacked into a directory of the container; '-' as the destination writes one to standard output.",
    [
        Flag("archive", "bool", "Keep owners; into a container: give all to the user that it runs as", short="a"),
        Flag("follow-link", "bool", "Copy what a link in SRC_PATH leads to, not the link", short="L"),
        Flag("quiet", "bool", "Say nothing of success; the default where standard output is no terminal", short="q"),
    ],
    _cp,
    minimum=2,
    maximum=2,
    complete="containers",
)
