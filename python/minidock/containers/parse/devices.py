"""Devices: mappings, cgroup rules, block device weights and rates."""

from __future__ import annotations

import re

from minidock.containers.parse.sizes import MAX_INT64, size
from minidock.errors import InvalidArgument, Unsupported
from minidock.spec.docker import DeviceMapping, ThrottleDevice, WeightDevice

_RULE = r"([acb]) (?:([0-9]{1,10})|\*):(?:([0-9]{1,10})|\*) ([rwm]{1,3})"
_CDI = r"[A-Za-z][A-Za-z0-9_.-]*/[A-Za-z][A-Za-z0-9_-]*=[A-Za-z0-9][A-Za-z0-9_.:-]*"


def _is_mode(text: str) -> bool:
    return 0 < len(text) <= 3 and set(text) <= set("rwm") and len(set(text)) == len(text)


def device(text: str) -> DeviceMapping:
    """Return the mapping of ``HOST[:CONTAINER][:PERMISSIONS]``; permissions are letters of ``rwm``."""
    if re.fullmatch(_CDI, text):
        raise Unsupported(f"device {text}: CDI devices are not supported")
    parts = text.split(":")
    mode = "rwm"
    if len(parts) > 3:
        raise InvalidArgument(f"invalid device specification: {text}")
    host, container = parts[0], parts[0]
    if len(parts) == 3:
        container, mode = parts[1], parts[2]
        if not _is_mode(mode):
            raise InvalidArgument(f"bad mode specified: {mode}")
    elif len(parts) == 2:
        if _is_mode(parts[1]):
            mode = parts[1]
        else:
            container = parts[1]
    for path in (host, container):
        if not path.startswith("/") or "\0" in path:
            raise InvalidArgument(f"{path!a} is not an absolute path".replace("'", ""))
        if ".." in path.split("/"):
            raise InvalidArgument(f'device path "{path}" must not contain ".."')
    return DeviceMapping(path_on_host=host, path_in_container=container, cgroup_permissions=mode)


def device_cgroup_rule(text: str) -> tuple[str, int | None, int | None, str]:
    """Return (type, major, minor, access) of ``TYPE MAJOR:MINOR ACCESS``; None is ``*``."""
    match = re.fullmatch(_RULE, text)
    if match is None or not _is_mode(match[4]):
        raise InvalidArgument(f"invalid device cgroup format '{text}'")
    numbers = [int(part) if part is not None else None for part in match.group(2, 3)]
    if any(number is not None and number >= 1 << 32 for number in numbers):
        raise InvalidArgument(f"invalid device cgroup format '{text}'")
    return match[1], numbers[0], numbers[1], match[4]


def weight_device(text: str) -> WeightDevice:
    """Return the weight (10 to 1000, or 0) of ``PATH:WEIGHT``."""
    path, _, weight = text.rpartition(":")
    if not path:
        raise InvalidArgument(f"bad format: {text}")
    _check_block_path(path, text)
    if not weight.isascii() or not weight.isdigit() or len(weight) > 4:
        raise InvalidArgument(f"invalid weight for device: {text}")
    number = int(weight)
    if number and not 10 <= number <= 1000:
        raise InvalidArgument(f"invalid weight for device: {text}")
    return WeightDevice(path=path, weight=number)


def throttle_bps(text: str) -> ThrottleDevice:
    """Return the rate of ``PATH:NUMBER[UNIT]`` in bytes per second."""
    path, rate = _throttle(text)
    try:
        number = size(rate)
    except InvalidArgument as error:
        raise InvalidArgument(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. "
            "Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        ) from error
    return ThrottleDevice(path=path, rate=number)


def throttle_iops(text: str) -> ThrottleDevice:
    """Return the rate of ``PATH:NUMBER`` in operations per second."""
    path, rate = _throttle(text)
    if not rate.isascii() or not rate.isdigit() or len(rate) > 19 or int(rate) > MAX_INT64:
        raise InvalidArgument(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return ThrottleDevice(path=path, rate=int(rate))


def _throttle(text: str) -> tuple[str, str]:
    path, _, rate = text.rpartition(":")
    if not path or not rate:
        raise InvalidArgument(f"bad format: {text}")
    _check_block_path(path, text)
    return path, rate


def _check_block_path(path: str, text: str) -> None:
    if not path.startswith("/dev/") or ".." in path.split("/") or "\0" in path:
        raise InvalidArgument(f"bad format for device path: {text}")
