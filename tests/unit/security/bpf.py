"""An interpreter of classic BPF: what the kernel answers to a call under a compiled filter."""

from __future__ import annotations

import re
import struct
from functools import cache
from pathlib import Path

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
HEADER = 24
ABIS = {"x86_64": 0xC000003E, "x32": 0xC000003E, "x86": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
_TABLE = Path(__file__).parents[3] / "rust/core/src/security/seccomp/syscalls.rs"


@cache
def numbers() -> dict[str, dict[str, int]]:
    """Return ABI → name → number, from the compiler's own table."""
    tables: dict[str, dict[str, int]] = {abi: {} for abi in ABIS}
    for name, row in re.findall(r'\("(\w+)", \[([-0-9, ]+)\]', _TABLE.read_text()):
        for abi, number in zip(ABIS, row.split(", "), strict=True):
            if int(number) >= 0:
                tables[abi][name] = int(number)
    return tables


class Filter:
    """A stored filter that answers calls."""

    def __init__(self, stored: bytes) -> None:
        self.code = list(struct.iter_unpack("<HBBI", stored[HEADER:]))

    def __call__(self, call: str | int, *args: int, abi: str = "x86_64") -> int:
        """Return the action for a call by name or number."""
        number = numbers()[abi][call] if isinstance(call, str) else call
        return self.run(ABIS[abi], number, args)

    def run(self, arch: int, number: int, args: tuple[int, ...] = ()) -> int:
        """Return the action for what the kernel hands to the filter."""
        data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *args, *[0] * (6 - len(args)))
        pc = a = 0
        while True:
            code, jt, jf, k = self.code[pc]
            pc += 1
            match code:
                case 0x20:
                    (a,) = struct.unpack_from("<I", data, k)
                case 0x54:
                    a &= k
                case 0x05:
                    pc += k
                case 0x15:
                    pc += jt if a == k else jf
                case 0x25:
                    pc += jt if a > k else jf
                case 0x35:
                    pc += jt if a >= k else jf
                case 0x06:
                    return int(k)
                case _:
                    raise AssertionError(f"operation {code:#x}")
