"""Options of ``create`` → what a container record stores: Docker's ``Config`` and ``HostConfig``. Pure but for files
that an option names (``env_file``, ``label_file``).

A handler per option changes a :class:`Draft`; only the options that were given are looked at. Then the image's
configuration and the engine's defaults are merged in, and what does not fit together is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.containers.draft import health, isolation, logging, network, process, resources, restart, storage
from minidock.containers.draft.base import Draft, Handler
from minidock.errors import InvalidArgument, MinidockError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minidock.config import Config

__all__ = ["HANDLERS", "Draft", "apply", "draft"]

HANDLERS: dict[str, Handler] = (
    process.HANDLERS
    | resources.HANDLERS
    | restart.HANDLERS
    | isolation.HANDLERS
    | network.HANDLERS
    | storage.HANDLERS
    | health.HANDLERS
    | logging.HANDLERS
)


def draft(
    image: str | None,
    command: str | Sequence[str] | None,
    options: Mapping[str, Any],
    config: Config,
    environ: Mapping[str, str],
) -> Draft:
    """Return what ``options`` say, checked one by one; the image's configuration is not merged in yet.

    ``config`` gives defaults, ``environ`` the values of variables that are named without one. Raises InvalidArgument,
    whose text begins with the option's name, and Unsupported.
    """
    made = Draft(image, config, environ)
    process.set_command(made, command)
    apply(made, options)
    return made


def apply(made: Draft, options: Mapping[str, Any]) -> None:
    """Apply options to a draft; those that are None are left out. Raises as :func:`draft`."""
    for name, value in options.items():
        if value is None:
            continue
        handler = HANDLERS.get(name)
        if handler is None:
            raise InvalidArgument(f'unknown option "{name}"')
        try:
            handler(made, value)
        except MinidockError as error:
            raise type(error)(f"{name}: {error}") from error
        except (TypeError, AttributeError, ValueError) as error:
            raise InvalidArgument(f"{name}: a value of type {type(value).__name__} makes no sense here") from error
