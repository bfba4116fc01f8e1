"""The live files of networks in the run root, from which supervisors make firewall and names. See docs/networks.md."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from minidock.networks import addresses

if TYPE_CHECKING:
    from collections.abc import Collection


class Endpoint(msgspec.Struct):
    """What a supervisor writes of a container on a network, as far as it matters here."""

    container: str = ""
    addresses: list[str] = []


def leaving(networks: str, network_id: str, holders: Collection[str]) -> dict[tuple[int, int], str]:
    """Version and number of the addresses of live endpoints whose container is none of ``holders``, and their file."""
    directory = f"{networks}/{network_id}/endpoints"
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return {}
    found = {}
    for name in names:
        if name in holders or name.startswith("."):
            continue
        path = f"{directory}/{name}"
        try:
            with open(path, "rb") as file:
                endpoint = msgspec.json.decode(file.read(), type=Endpoint)
            for text in endpoint.addresses:
                found[addresses.parse(text)] = path
        except (OSError, ValueError):
            continue  # it went just now
    return found
