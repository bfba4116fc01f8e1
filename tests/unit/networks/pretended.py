"""A host whose bridges are files in a directory, in place of the kernel's; and a process that dies at a given step.

``python pretended.py ROOT STEP create|remove NAME`` makes or removes a network, and ends without a word at its STEP-th
step; with 9 then, and with 0 when it came to its end.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minidock import _native
from minidock.config import Config
from minidock.engine import Engine
from minidock.networks import live, machine
from minidock.networks.addresses import Span, span

CONFIG = Config(bridge="none")


class Host:
    """Stands for the functions of ``_native`` that concern networks."""

    def __init__(self, root: Path) -> None:
        self.links = root / "links"
        self.links.mkdir(exist_ok=True)

    def interfaces(self) -> set[str]:
        """Names of all bridges."""
        return set(os.listdir(self.links))

    def spans(self, *, ipv6: bool) -> list[Span]:
        """What routes lead to."""
        routes = [span(subnet) for link in self.links.iterdir() for subnet in link.read_text().split()]
        return [route for route in routes if ipv6 or route[0] == 4]

    def has_interface(self, name: str) -> bool:
        """Whether there is a bridge of this name."""
        return (self.links / name).exists()

    def network_ensure(self, document: bytes, networks: str, *, forward: bool = True) -> list[str]:
        """Make a bridge."""
        said = json.loads(document)
        assert Path(networks, said["id"], "network.json").read_bytes() == document
        assert forward
        if said["bridge"]:
            (self.links / said["bridge"]).write_text(" ".join(said["subnets"]))
        return []

    def networks_remove(self, documents: list[bytes], networks: str) -> None:
        """Remove bridges."""
        for document in documents:
            said = json.loads(document)
            assert not Path(networks, said["id"]).exists()
            (self.links / (said["bridge"] or said["parent"])).unlink(missing_ok=True)

    def firewall_ensure(self, table: str, networks: str) -> bool:
        """There is none."""
        return False

    def firewall_problems(self, table: str) -> list[str]:
        """There are none."""
        return []

    @property
    def functions(self) -> dict[str, Callable[..., Any]]:
        """By name."""
        names = ("network_ensure", "networks_remove", "firewall_ensure", "firewall_problems")
        return {name: getattr(self, name) for name in names}


def _dying(step: int) -> None:
    """End the process before or after the ``step``-th of what changes anything."""
    left = [step]

    def tick() -> None:
        left[0] -= 1
        if left[0] == 0:
            os._exit(9)

    def wrap(owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def outer(*args: Any, **kwargs: Any) -> Any:
            tick()
            found = inner(*args, **kwargs)
            tick()
            return found

        setattr(owner, name, outer)

    for owner, names in (
        (_native, ("network_ensure", "networks_remove")),
        (live, ("write", "hide", "discard")),
        (os, ("rename", "mkdir")),
    ):
        for name in names:
            wrap(owner, name)


def main(root: str, step: str, verb: str, name: str) -> None:
    """Do it."""
    for function, stand_in in Host(Path(root)).functions.items():
        setattr(_native, function, stand_in)
    machine.host = Host(Path(root))  # type: ignore[assignment]
    machine._LOCKS = (f"{root}/lock",)
    with Engine(f"{root}/data", f"{root}/run", CONFIG) as engine:
        engine.networks.list()
        _dying(int(step))
        if verb == "create":
            engine.networks.create(name)
        else:
            [error] = engine.networks.remove([name])
            assert error is None


if __name__ == "__main__":
    main(*sys.argv[1:])
