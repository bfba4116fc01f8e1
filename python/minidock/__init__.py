"""minidock: the Docker Engine as one pip install.

``minidock.run("busybox", ["echo", "hi"]).stdout`` starts a container, waits for it, and returns what it wrote.
:class:`Engine` is everything else. Names are imported when they are first used, so that ``import minidock`` is cheap.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the module typing is half of what the start of a command costs
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from minidock.containers.attachment import Attachment
    from minidock.containers.container import Container
    from minidock.containers.mounts.python import Mount
    from minidock.containers.options import CreateOptions
    from minidock.containers.result import RunResult, Usage
    from minidock.engine import Engine
    from minidock.errors import MinidockError
    from minidock.events.event import Event
    from minidock.images.image import Image

__all__ = [
    "Attachment",
    "Container",
    "Engine",
    "Event",
    "Image",
    "MinidockError",
    "Mount",
    "RunResult",
    "Usage",
    "__version__",
    "build",
    "errors",
    "run",
]

_HOMES = {
    "Attachment": "minidock.containers.attachment",
    "Container": "minidock.containers.container",
    "Engine": "minidock.engine",
    "Event": "minidock.events.event",
    "Image": "minidock.images.image",
    "MinidockError": "minidock.errors",
    "Mount": "minidock.containers.mounts.python",
    "RunResult": "minidock.containers.result",
    "Usage": "minidock.containers.result",
}


def __getattr__(name: str) -> object:
    import importlib

    if name in _HOMES:
        value: object = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in ("build", "errors"):
        value = importlib.import_module(f"minidock.{name}")
    elif name == "__version__":
        value = importlib.import_module("minidock._native").__version__
    else:
        raise AttributeError(f"module 'minidock' has no attribute {name!r}")
    globals()[name] = value
    return value


if TYPE_CHECKING:
    from minidock import build, errors

    __version__: str


def run(
    image: str,
    command: str | Sequence[str] | None = None,
    *,
    input: bytes | None = None,
    check: bool = False,
    output_limit: int | None = None,
    **options: Unpack[CreateOptions],
) -> RunResult:
    """Run ``command`` in a new container of ``image`` on the default engine, wait, and return what came of it.

    ``input`` is what the command reads; without it, its input is ``/dev/null``. ``output_limit`` bounds stdout and
    stderr, each, in bytes (64 MiB unless given); a command that writes more is killed, which raises LimitExceeded.
    ``check`` raises :class:`~minidock.errors.ContainerFailed` unless the command ends with 0. The container is removed
    afterwards unless ``remove=False``. The options are those of :meth:`ContainerCollection.create`.

    The default engine takes its roots and its configuration from the environment, see :class:`Engine`.
    """
    from minidock.engine import default_engine

    options.setdefault("remove", True)
    return default_engine().containers.run(
        image, command, input=input, check=check, output_limit=output_limit, **options
    )
