# ruff: noqa: N818 - classes are named after the thing that failed
"""The exception tree of minidock.

Every failure that minidock foresees is a :class:`MinidockError`. Its text is one line in lower case without a full
stop that says what failed, on what, why, and what to do. ``exit_code`` is what the CLI ends with; the table that maps
an exception to an HTTP status is in ``minidock.server.failures``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.containers.result import ExecResult, RunResult


class MinidockError(Exception):
    """Any failure that minidock foresees; ``exit_code`` is the CLI's exit status for it."""

    exit_code = 125


class InvalidArgument(MinidockError):
    """A value makes no sense: an option, a size, a name, a configuration key."""


class NotFound(MinidockError):
    """The named object does not exist."""


class ContainerNotFound(NotFound):
    """No container has this name or id."""


class ImageNotFound(NotFound):
    """No image has this name or id."""


class NetworkNotFound(NotFound):
    """No network has this name or id."""


class VolumeNotFound(NotFound):
    """No volume has this name."""


class Conflict(MinidockError):
    """The object's state excludes the operation."""


class NameInUse(Conflict):
    """Another container, network or volume has the name."""


class ImageInUse(Conflict):
    """A container uses the image."""


class NetworkInUse(Conflict):
    """Containers are on the network."""


class VolumeInUse(Conflict):
    """Containers have the volume."""


class AddressInUse(Conflict):
    """Somebody has the address, or a part of the subnet."""


class Unsupported(MinidockError):
    """This host or this version cannot do it; the text says what is missing and what to do."""


class Denied(MinidockError):
    """The kernel or a security rule refused."""


class Corrupt(MinidockError):
    """Stored or received data is damaged or hostile."""


class LimitExceeded(MinidockError):
    """A limit of minidock or of the host was reached."""


class PoolExhausted(LimitExceeded):
    """No address, or no subnet, is left."""


class NoSpace(LimitExceeded):
    """The disk is full."""


class Timeout(MinidockError):
    """A deadline passed."""


class Cancelled(MinidockError):
    """The caller cancelled the operation."""


class RegistryError(MinidockError):
    """A registry's answer makes the operation impossible."""


class RegistryUnauthorized(RegistryError):
    """The registry refuses these credentials, or refuses without any."""


class RegistryUnreachable(RegistryError):
    """No connection, broken or stalled connections, or no sensible answer, after the retries."""


class RateLimited(RegistryError):
    """The registry wants fewer requests; the text says when to try again."""


class Interrupted(MinidockError):
    """Somebody asked this process three times to end while a container in the foreground went on."""

    exit_code = 1


class CommandNotFound(MinidockError):
    """The container's command does not exist in its root filesystem."""

    exit_code = 127


class CommandNotExecutable(MinidockError):
    """The container's command exists but cannot be executed."""

    exit_code = 126


class ContainerFailed(MinidockError):
    """``check=True`` and the command did not end with 0; ``result`` is the whole RunResult or ExecResult."""

    def __init__(self, text: str, result: RunResult | ExecResult) -> None:
        super().__init__(text)
        self.result = result
        self.exit_code = result.exit_code


class SystemFailure(MinidockError):
    """A system call failed in a way that no other class covers."""
