"""Platforms, ``os[/arch[/variant]]``, in Go's words."""

from __future__ import annotations

import os
from collections import namedtuple

from minidock.errors import InvalidArgument, Unsupported

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "ppc64el": ("ppc64le", ""),
}
_KNOWN = frozenset(
    "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x".split()  # noqa: SIM905
)


_MAX_TEXT = 100


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class _Parts(NamedTuple):
        os: str
        architecture: str
        variant: str = ""

else:  # without typing, see minidock.images.references
    _Parts = namedtuple("_Parts", ("os", "architecture", "variant"), defaults=("",))


class Platform(_Parts):
    """Operating system, architecture and variant."""

    __slots__ = ()

    def __str__(self) -> str:
        return "/".join(part for part in self if part)

    def accepts(self, other: Platform) -> bool:
        """Whether what is made for ``other`` is what somebody means who asks for this one."""
        return self.rank(other) is not None

    def rank(self, other: Platform) -> int | None:
        """How well ``other`` fits, 0 is best; None: not at all.

        As in containerd's matcher, each ARM and x86-64 runs what was made for earlier variants, and then what was made
        for its 32-bit kin.
        """
        if self.os != other.os:
            return None
        try:
            return _runs(*self._normal()).index(other._normal())
        except ValueError:
            return None

    def normal(self) -> Platform:
        """The same in the words that messages have: names as Go's, no variant that goes without saying."""
        architecture, variant = self._normal()
        plain = {("amd64", "v1"), ("arm64", "v8")}
        return Platform(self.os, architecture, "" if (architecture, variant) in plain else variant)

    def _normal(self) -> tuple[str, str]:
        architecture, variant = _ARCHITECTURES.get(self.architecture, (self.architecture, ""))
        variant = self.variant or variant
        if architecture == "arm":
            return architecture, variant or "v7"
        if architecture == "arm64":
            return architecture, "v8" if variant in ("", "8") else variant.removesuffix(".0")
        if architecture == "amd64":
            return architecture, variant or "v1"
        return architecture, variant


def _runs(architecture: str, variant: str) -> list[tuple[str, str]]:
    """What runs on an architecture, best first."""
    found = [(architecture, variant)]
    level = _level(variant)
    if architecture == "amd64":
        found += [("amd64", f"v{lower}") for lower in range(level - 1, 0, -1)]
        found.append(("386", ""))
    elif architecture == "arm":
        found += [("arm", f"v{lower}") for lower in range(level - 1, 4, -1)]
    elif architecture == "arm64":
        major, _, minor = variant.removeprefix("v").partition(".")
        if major not in ("8", "9") or _level(minor or "0") < 0:
            return found
        found += [("arm64", _arm64(int(major), lower)) for lower in range(_level(minor or "0") - 1, -1, -1)]
        if major == "9":  # each 9.n is an 8.(n + 5) too, up to 8.9
            found += [("arm64", _arm64(8, lower)) for lower in range(min(_level(minor or "0") + 5, 9), -1, -1)]
        found += _runs("arm", "v8")
    return found


def _arm64(major: int, minor: int) -> str:
    return f"v{major}.{minor}" if minor else f"v{major}"


def _level(variant: str) -> int:
    """The number of a variant; -1 for one that is none, or higher than there will ever be."""
    digits = variant.removeprefix("v")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 3 else -1


def host() -> Platform:
    """This host's platform."""
    machine = os.uname().machine
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def parse(text: str | None) -> Platform:
    """Parse ``linux/arm64``, ``arm64`` or ``linux/arm/v7``; None is the host's.

    Raises InvalidArgument for what is no platform, and Unsupported for an operating system other than Linux.
    """
    if text is None:
        return host()
    if len(text) > _MAX_TEXT:
        raise InvalidArgument(f"platform {text[:_MAX_TEXT]!r}…: expected os[/architecture[/variant]]")
    parts = text.strip().lower().split("/")
    if len(parts) > 3 or not all(parts):
        raise InvalidArgument(f"platform {text!r}: expected os[/architecture[/variant]], such as linux/arm64")
    if len(parts) == 1 and (parts[0] in _KNOWN or parts[0] in _ARCHITECTURES):
        parts.insert(0, "linux")
    if parts[0] != "linux":
        if parts[0] in ("windows", "darwin", "freebsd", "wasi", "solaris", "aix", "plan9"):
            raise Unsupported(f"platform {text!r}: minidock runs Linux containers only")
        raise InvalidArgument(f"platform {text!r}: unknown operating system or architecture {parts[0]!r}")
    if len(parts) == 1:
        return host()
    architecture, variant = _ARCHITECTURES.get(parts[1], (parts[1], ""))
    if architecture not in _KNOWN:
        raise InvalidArgument(f"platform {text!r}: unknown architecture {parts[1]!r}")
    if len(parts) == 3:
        variant = parts[2]
    if architecture == "arm64" and variant in ("8", "v8"):
        variant = ""
    if architecture == "arm" and variant in ("5", "6", "7", "8"):
        variant = "v" + variant
    return Platform("linux", architecture, variant)
