"""Addresses as numbers, and subnets. Pure, and light: the module ``ipaddress`` costs more to import than a lease."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple, TypeAlias

BITS = {4: 32, 6: 128}
_FAMILIES = {4: AF_INET, 6: AF_INET6}


def parse(text: str) -> tuple[int, int]:
    """Return the version (4 or 6) and the number of an address. Raises ValueError for text that is none."""
    version = 6 if ":" in text else 4
    try:
        return version, int.from_bytes(inet_pton(_FAMILIES[version], text), "big")
    except (OSError, UnicodeEncodeError):
        raise ValueError(f"invalid address {text[:60]!a}") from None


def show(version: int, number: int) -> str:
    """The text of an address."""
    return inet_ntop(_FAMILIES[version], number.to_bytes(BITS[version] // 8, "big"))


def pack(version: int, number: int) -> bytes:
    """The bytes of an address, which sort as the addresses do."""
    return number.to_bytes(BITS[version] // 8, "big")


Span: TypeAlias = tuple[int, int, int]
"""Addresses in a row: version, the first, the last."""


def span(text: str) -> Span:
    """The addresses of ``ADDRESS/LENGTH``, quickly. Raises ValueError for what is none."""
    address, _, length = text.partition("/")
    version, number = parse(address)
    host = BITS[version] - int(length)
    first = number >> host << host
    return version, first, first | (1 << host) - 1


class Prefix(NamedTuple):
    """A subnet: all addresses that agree in the first ``length`` bits."""

    version: int
    first: int
    length: int

    @property
    def last(self) -> int:
        """Its highest address."""
        return self.first | (1 << (BITS[self.version] - self.length)) - 1

    def covers(self, version: int, number: int) -> bool:
        """Whether it has the address."""
        return version == self.version and self.first <= number <= self.last

    @property
    def span(self) -> Span:
        """Version, first and last address."""
        return self.version, self.first, self.last

    def overlaps(self, span: Span) -> bool:
        """Whether it has an address of a span."""
        version, first, last = span
        return self.version == version and self.first <= last and first <= self.last

    def __str__(self) -> str:
        return f"{show(self.version, self.first)}/{self.length}"


def parse_prefix(text: str, *, strict: bool = True) -> Prefix:
    """Return the subnet of ``ADDRESS/LENGTH``.

    Raises ValueError for text that is none, and, unless not ``strict``, for an address with bits behind the prefix.
    """
    address, _, digits = text.partition("/")
    version, number = parse(address)
    if not digits.isascii() or not digits.isdigit() or len(digits) > 3 or str(int(digits)) != digits:
        raise ValueError(f"invalid subnet {text[:60]!a}")
    length = int(digits)
    if length > BITS[version]:
        raise ValueError(f"invalid subnet {text[:60]!a}")
    host = BITS[version] - length
    first = number >> host << host
    if strict and first != number:
        raise ValueError(f"invalid subnet {text[:60]!a}")
    return Prefix(version, first, length)
