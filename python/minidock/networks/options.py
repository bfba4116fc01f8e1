"""Options of network drivers: which there are, what they may say, and what they mean. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from minidock.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BRIDGE = "com.docker.network.bridge."
NAME = BRIDGE + "name"
ICC = BRIDGE + "enable_icc"
MASQUERADE = BRIDGE + "enable_ip_masquerade"
BINDING = BRIDGE + "host_binding_ipv4"
DEFAULT_BRIDGE = BRIDGE + "default_bridge"
MTU = "com.docker.network.driver.mtu"
IPV4, IPV6 = "com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6"

_GATEWAY_MODES = ("nat", "nat-unprotected", "routed", "isolated")
_MACVLAN_MODES = ("bridge", "private", "vepa", "passthru")
_IPVLAN_MODES = ("l2", "l3", "l3s")
_IPVLAN_FLAGS = ("bridge", "private", "vepa")
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
_INTERFACE = r"[!-~]+"
_NAME_MAX = 15
_LEAST_MTU, _LEAST_MTU6, _MOST_MTU = 68, 1280, 65535
# Options of Docker's that would do nothing here, and why.
_REFUSED = {
    "com.docker.network.host_ipv4": "packets that leave have the address of the interface they leave by",
    "com.docker.network.host_ipv6": "packets that leave have the address of the interface they leave by",
    BRIDGE + "trusted_host_interfaces": "published ports are reached by the host's addresses only",
}


class Settings(Struct):
    """What the options of a network say, with the defaults of what they do not say."""

    bridge: str = ""
    mtu: int = 0
    """0 is the kernel's choice."""
    icc: bool = True
    masquerade: bool = True
    inhibit_ipv4: bool = False
    mode4: str = "nat"
    mode6: str = "nat"
    host_binding: str = ""
    """Where ports are published that say no address."""
    interface_prefix: str = "eth"
    parent: str = ""
    mode: str = ""
    """Of a macvlan or ipvlan."""


def settings(driver: str, options: Mapping[str, str], *, internal: bool = False) -> Settings:
    """Return what ``options`` mean to a driver. One that it does not know is kept and means nothing, as in Docker.

    Raises InvalidArgument, in Docker's words, and Unsupported.
    """
    found = Settings()
    readers = _READERS.get(driver, {})
    for name, text in options.items():
        if name in _REFUSED:
            raise Unsupported(f"option {name} is not part of minidock: {_REFUSED[name]}")
        if name in readers:
            attribute, read = readers[name]
            try:
                value = read(text)
            except ValueError as error:
                raise InvalidArgument(f"failed to parse {name} value: {text[:100]} ({error})") from None
            if attribute:
                setattr(found, attribute, value)
    if driver == "macvlan":
        found.mode = _word(
            options.get("macvlan_mode", "") or "bridge",
            _MACVLAN_MODES,
            "requested macvlan mode '{}' is not valid, 'bridge' mode is the macvlan driver default",
        )
    elif driver == "ipvlan":
        found.mode = _word(
            options.get("ipvlan_mode", "") or "l2",
            _IPVLAN_MODES,
            "requested ipvlan mode '{}' is not valid, 'l2' mode is the ipvlan driver default",
        )
        flag = _word(
            options.get("ipvlan_flag", "") or "bridge",
            _IPVLAN_FLAGS,
            "requested ipvlan flag '{}' is not valid, 'bridge' is the ipvlan driver default",
        )
        if flag != "bridge":
            raise Unsupported(f"option ipvlan_flag={flag} is not part of minidock: containers of one network reach "
                              "each other; put them on networks of their own")  # fmt: skip
    if not internal and "isolated" in (found.mode4, found.mode6):
        raise InvalidArgument("gateway mode 'isolated' can only be used for an internal network")
    if found.parent == "lo":
        raise InvalidArgument(f"loopback interface is not a valid {driver} parent link")
    return found


def check_mtu(mtu: int, *, ipv6: bool) -> None:
    """Raise InvalidArgument for an MTU that a network cannot have; 0 is the kernel's choice."""
    if mtu and not _LEAST_MTU <= mtu <= _MOST_MTU:
        raise InvalidArgument(f"invalid MTU number: {mtu}: a network takes {_LEAST_MTU} to {_MOST_MTU}")
    if mtu and ipv6 and mtu < _LEAST_MTU6:
        raise InvalidArgument(f"invalid MTU number: {mtu}: IPv6 needs {_LEAST_MTU6} at least")


def boolean(text: str) -> bool:
    """A boolean in Go's spelling. Raises ValueError in Go's words."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text[:100]}": invalid syntax')


def interface(text: str) -> str:
    """The name of an interface. Raises ValueError for what can be none."""
    if len(text) > _NAME_MAX:
        raise ValueError(f"longer than {_NAME_MAX} characters")
    if text in (".", "..") or re.search("[/:]", text) or not re.fullmatch(_INTERFACE, text):
        raise ValueError("not a name that an interface can have")
    return text


def _optional_interface(text: str) -> str:
    return interface(text) if text else ""


def _prefix(text: str) -> str:
    """The beginning of interface names inside containers; a number of up to four digits follows."""
    interface(text + "0000")
    return text


def _number(text: str) -> int:
    if re.fullmatch("[+-]?[0-9]+", text, re.ASCII) is None:
        raise ValueError(f'strconv.Atoi: parsing "{text[:100]}": invalid syntax')
    value = int(text[:20])
    if value < 0:
        raise InvalidArgument(f"invalid MTU number: {value}")
    return value


def _address(text: str) -> str:
    from minidock.networks import addresses

    try:
        addresses.parse(text)
    except ValueError:
        raise ValueError("nil ip") from None
    return text


def _gateway_mode(text: str) -> str:
    if text not in _GATEWAY_MODES:
        raise ValueError(f"unknown gateway mode {text[:100]}")
    return text


def _word(text: str, words: tuple[str, ...], wrong: str) -> str:
    if text not in words:
        raise InvalidArgument(wrong.format(text[:100]))
    return text


_READERS: dict[str, dict[str, tuple[str, Callable[[str], object]]]] = {
    "bridge": {
        NAME: ("bridge", _optional_interface),
        MTU: ("mtu", _number),
        ICC: ("icc", boolean),
        MASQUERADE: ("masquerade", boolean),
        BRIDGE + "inhibit_ipv4": ("inhibit_ipv4", boolean),
        BRIDGE + "gateway_mode_ipv4": ("mode4", _gateway_mode),
        BRIDGE + "gateway_mode_ipv6": ("mode6", _gateway_mode),
        BINDING: ("host_binding", _address),
        DEFAULT_BRIDGE: ("", boolean),
        "com.docker.network.container_iface_prefix": ("interface_prefix", _prefix),
    },
    "macvlan": {MTU: ("mtu", _number), "parent": ("parent", _optional_interface)},
    "ipvlan": {MTU: ("mtu", _number), "parent": ("parent", _optional_interface)},
}
"""By driver and option: the setting that it is (none: only checked), and how its text is read."""
