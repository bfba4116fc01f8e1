"""``port``."""

from __future__ import annotations

import re

from minidock.cli.flags import Command
from minidock.cli.output import line
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.spec.docker import PortBinding


def _address(binding: PortBinding) -> str:
    host = f"[{binding.host_ip}]" if ":" in binding.host_ip else binding.host_ip
    return f"{host}:{binding.host_port}"


def _natural(text: str) -> list[tuple[int, str]]:
    """Order numbers in a text as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split("([0-9]+)", text)]


def _port(session: Session, values: Values, arguments: list[str]) -> int:
    """Print where all published ports are, or one of them."""
    name = arguments[0]
    wanted = arguments[1] if len(arguments) > 1 and arguments[1] else None
    found = session.engine.containers.get(name).port(wanted)
    if wanted is None:
        lines = [f"{port} -> {_address(binding)}" for port, bindings in found.items() for binding in bindings]
        for text in sorted(lines, key=_natural):
            line(text)
        return 0
    if not found:
        raise UsageError(f"no public port '{wanted}' published for {name}", 1)
    addresses = [_address(binding) for bindings in found.values() for binding in bindings]
    for text in sorted(addresses, key=_natural):
        line(text)
    return 0


PORT = Command(
    "CONTAINER [PRIVATE_PORT[/PROTO]]",
    "Show where the ports of a container are published.",
    [],
    _port,
    minimum=1,
    maximum=2,
    complete="containers",
)
