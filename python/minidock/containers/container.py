"""One container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minidock.containers.result import ExitStatus
    from minidock.engine import Engine


class Container:
    """A container that exists: created, running or exited. Made by :class:`ContainerCollection`.

    ``attrs`` is what ``docker inspect`` prints, as of the last :meth:`reload`.
    """

    def __init__(self, engine: Engine, attrs: dict[str, Any]) -> None:
        self._engine = engine
        self.attrs = attrs

    @property
    def id(self) -> str:
        """The full id, 64 hexadecimal digits."""
        return str(self.attrs["Id"])

    @property
    def short_id(self) -> str:
        """The first 12 digits of the id."""
        return self.id[:12]

    @property
    def name(self) -> str:
        """The name, without a leading slash."""
        return str(self.attrs["Name"]).removeprefix("/")

    @property
    def status(self) -> str:
        """``created``, ``running``, ``exited`` or ``dead``, as of the last :meth:`reload`."""
        return str(self.attrs["State"]["Status"])

    @property
    def labels(self) -> dict[str, str]:
        """The container's labels, the image's among them."""
        return dict(self.attrs["Config"]["Labels"] or {})

    @property
    def image(self) -> str:
        """What the container was created from, as the caller named it."""
        return str(self.attrs["Config"]["Image"])

    def __repr__(self) -> str:
        return f"<Container {self.short_id} {self.name}>"

    def reload(self) -> None:
        """Read the container again. Raises ContainerNotFound when it is gone."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it with no streams attached; its output is thrown away (log drivers come with issue 4)."""
        raise NotImplementedError

    def start_attached(
        self,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        sig_proxy: bool = True,
    ) -> ExitStatus:
        """Start it with its streams on these descriptors (None: ``/dev/null``), and wait for its end.

        With a container that has a tty, ``stdin`` is put into raw mode, its size is passed on, and it is restored on
        every way out. ``sig_proxy`` passes the signals that this process receives on to PID 1.
        """
        raise NotImplementedError

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended and return its exit code. Raises Timeout after ``timeout`` seconds."""
        raise NotImplementedError

    def kill(self, signal: str | int = "KILL") -> None:
        """Send a signal to PID 1. Raises Conflict unless it is running, InvalidArgument for an unknown signal."""
        raise NotImplementedError

    def remove(self, *, force: bool = False) -> None:
        """Remove it; ``force`` kills it first. Raises Conflict when it runs and ``force`` is not set."""
        raise NotImplementedError

    def top(self) -> list[int]:
        """Return the host pids of its processes."""
        raise NotImplementedError
