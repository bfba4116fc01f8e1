"""The live files of networks in the run root, from which supervisors make firewall and names. See docs/networks.md."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import msgspec

from minidock.networks import addresses, naming, options
from minidock.spec import decoding
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from minidock.networks.record import Record
    from minidock.store.paths import Paths

VERSION = 1
FILE = "network.json"
_ID_LENGTH = 64
_HEX = frozenset("0123456789abcdef")


class Endpoint(msgspec.Struct):
    """What a supervisor writes of a container on a network, as far as it matters here."""

    container: str = ""
    addresses: list[str] = []


class Interface(msgspec.Struct):
    """What a live file says of the network's interface, and whose it is."""

    table: str = ""
    bridge: str = ""
    parent: str = ""
    borrowed: bool = False
    data_root: str = ""


def document(record: Record, paths: Paths, boot_id: str) -> dict[str, Any]:
    """What the live file of a network says. ``boot`` and what follows is the engine's own."""
    settings = options.settings(record.driver, record.options, internal=record.internal)
    own = []
    for one in record.subnets:
        address = one.own or one.gateway
        version = 6 if ":" in one.subnet else 4
        mode = settings.mode4 if version == 4 else settings.mode6
        if record.bridge and address and mode != "isolated" and not (version == 4 and settings.inhibit_ipv4):
            own.append(f"{address}/{one.subnet.rpartition('/')[2]}")
    modes = {4: settings.mode4, 6: settings.mode6}
    return {
        "version": VERSION,
        "id": record.id,
        "name": record.name,
        "driver": record.driver,
        "table": naming.table(paths.run),
        "bridge": record.bridge,
        "parent": "" if record.bridge else settings.parent or f"dm-{record.id[:12]}",
        "mode": settings.mode,
        "mtu": settings.mtu,
        "addresses": own,
        "subnets": [one.subnet for one in record.subnets],
        "internal": record.internal,
        "icc": settings.icc,
        "masquerade": settings.masquerade and modes[4].startswith("nat"),
        "masquerade6": settings.masquerade and modes[6].startswith("nat"),
        "routed": record.enable_ipv4 and modes[4] in ("routed", "nat-unprotected"),
        "routed6": record.enable_ipv6 and modes[6] in ("routed", "nat-unprotected"),
        "boot": boot_id,
        "data_root": paths.data,
        "borrowed": record.borrowed,
    }


def read(paths: Paths, network_id: str) -> bytes | None:
    """The live file of a network; None when it has none."""
    try:
        with open(f"{paths.run_networks}/{network_id}/{FILE}", "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os(error, "read", f"{paths.run_networks}/{network_id}/{FILE}") from error


def write(paths: Paths, network_id: str, content: bytes) -> None:
    """Write the live file of a network, whole or not at all. Raises OSError's translation."""
    directory = f"{paths.run_networks}/{network_id}"
    temporary = f"{directory}/.{FILE}.{os.getpid()}"
    try:
        if not os.path.isdir(f"{directory}/endpoints"):
            for path in (paths.run_networks, directory, f"{directory}/endpoints"):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path, 0o700)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(content)
            os.rename(temporary, f"{directory}/{FILE}")
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise from_os(error, "write", f"{directory}/{FILE}") from error


def hide(paths: Paths, network_id: str) -> bytes | None:
    """Take a network's live files out of everybody's sight, and return its file; None when it had none.

    :func:`discard` deletes them when what they say has been taken down.
    """
    content = read(paths, network_id)
    try:
        os.rename(f"{paths.run_networks}/{network_id}", f"{paths.run_networks}/.{network_id}")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os(error, "remove", f"{paths.run_networks}/{network_id}") from error
    return content


def discard(paths: Paths, network_id: str) -> None:
    """Delete the live files of a network that was hidden."""
    import shutil

    shutil.rmtree(f"{paths.run_networks}/.{network_id}", ignore_errors=True)


def hidden(paths: Paths) -> Iterator[tuple[str, bytes | None]]:
    """Networks that somebody died while removing: id and live file."""
    for name in _listed(paths.run_networks):
        if name.startswith(".") and _is_id(name[1:]):
            yield name[1:], read(paths, name)


def shown(paths: Paths) -> list[str]:
    """The ids of networks with live files, whatever data root they are of."""
    return [name for name in _listed(paths.run_networks) if _is_id(name)]


def is_of(paths: Paths, content: bytes | None) -> bool:
    """Whether a live file is of this data root, or of one that is gone: several may share a run root."""
    if content is None:
        return True
    try:
        root = decoding.decode(content, Interface).data_root
        return root in ("", paths.data) or not os.path.exists(root)
    except msgspec.DecodeError:
        return True


def endpoints(networks: str, network_id: str) -> list[str]:
    """The ids of the containers that have a live endpoint on a network."""
    return [name for name in _listed(f"{networks}/{network_id}/endpoints") if not name.startswith(".")]


def leaving(networks: str, network_id: str, holders: Collection[str]) -> dict[tuple[int, int], str]:
    """Version and number of the addresses of live endpoints whose container is none of ``holders``, and their file."""
    found = {}
    for name in endpoints(networks, network_id):
        if name in holders:
            continue
        path = f"{networks}/{network_id}/endpoints/{name}"
        try:
            with open(path, "rb") as file:
                endpoint = decoding.decode(file.read(), Endpoint)
            for text in endpoint.addresses:
                found[addresses.parse(text)] = path
        except (OSError, ValueError):
            continue  # it went just now
    return found


def _is_id(name: str) -> bool:
    """Whether an entry is a network's: the firewall has files of its own there."""
    return len(name) == _ID_LENGTH and _HEX.issuperset(name)


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise from_os(error, "read", path) from error
