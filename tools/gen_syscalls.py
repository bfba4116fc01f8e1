"""Write rust/core/src/security/seccomp/syscalls.rs: every system call's number on five ABIs.

    python tools/gen_syscalls.py SYSCALLS_CRATE_DIR [UNISTD_X32_H]

Sources are the ``syscalls`` crate (0.8, MIT, itself generated from the kernel's tables) for x86_64, i386, aarch64 and
arm, and the kernel's own ``asm/unistd_x32.h`` for x32. What is newer than those sources is in ``NEWER``; since 5.1 the
kernel gives a new call one number on every architecture.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

TARGET = Path(__file__).parent.parent / "rust/core/src/security/seccomp/syscalls.rs"
ABIS = ("x86_64", "x32", "x86", "aarch64", "arm")
X32_BIT = 0x40000000

# Linux 6.19 and 7.0.
NEWER = {"listns": 470, "rseq_slice_yield": 471}

# The x32 header at hand may be older than the crate: calls from 451 on are common to x86_64 and x32, but for these.
NOT_ON_X32 = {"map_shadow_stack", "uretprobe", "uprobe"}

# Private calls of the arm kernel (asm/unistd.h), which the crate leaves out, and the names that profiles use for
# numbers whose kernel name differs.
EXTRA = {
    "arm": {
        "breakpoint": 0xF0001,
        "cacheflush": 0xF0002,
        "usr26": 0xF0003,
        "usr32": 0xF0004,
        "set_tls": 0xF0005,
        "get_tls": 0xF0006,
    }
}
ALIASES = {
    "sync_file_range2": {"arm": "arm_sync_file_range"},
    "arm_sync_file_range": {"arm": "sync_file_range2"},
    "newfstatat": {"aarch64": "fstatat"},
}


def crate_table(crate: Path, arch: str) -> dict[str, int]:
    """Return name → number from one generated table of the crate."""
    text = (crate / f"src/arch/{arch}.rs").read_text()
    return {name: int(number) for name, number in re.findall(r"^\s+(\w+) = (\d+),$", text, re.MULTILINE)}


def x32_table(header: Path, x86_64: dict[str, int]) -> dict[str, int]:
    """Return name → number, bit included, from asm/unistd_x32.h and what is newer than it."""
    found = re.findall(r"#define __NR_(\w+) \(__X32_SYSCALL_BIT \+ (\d+)\)", header.read_text())
    table = {name: int(number) for name, number in found}
    newest = max(number for number in table.values() if number < 512)
    table |= {n: v for n, v in x86_64.items() if newest < v < 512 and n not in NOT_ON_X32}
    return {name: X32_BIT + number for name, number in table.items()}


def main() -> None:
    """Generate the table."""
    crate = Path(sys.argv[1])
    header = Path(sys.argv[2] if len(sys.argv) > 2 else "/usr/include/x86_64-linux-gnu/asm/unistd_x32.h")
    tables = {arch: crate_table(crate, arch) for arch in ABIS if arch != "x32"}
    for arch in tables:
        tables[arch] |= NEWER
    tables["x32"] = x32_table(header, tables["x86_64"])
    for arch, extra in EXTRA.items():
        tables[arch] |= extra
    for name, where in ALIASES.items():
        for arch, kernel_name in where.items():
            if kernel_name in tables[arch]:
                tables[arch].setdefault(name, tables[arch][kernel_name])
    tables["aarch64"].pop("fstatat", None)
    names = sorted(set().union(*(t.keys() for t in tables.values())))
    rows = [f'    ("{n}", [{", ".join(str(tables[a].get(n, -1)) for a in ABIS)}]),' for n in names]
    TARGET.write_text(
        "//! Every system call's number on the five ABIs. Written by tools/gen_syscalls.py; do not edit.\n"
        "\n"
        "/// Name and numbers on x86_64, x32 (bit included), i386, aarch64 and arm; -1 where the ABI lacks it.\n"
        "/// Sorted by name.\n"
        "#[rustfmt::skip]\n"
        f"pub(super) static SYSCALLS: &[(&str, [i32; {len(ABIS)}])] = &[\n" + "\n".join(rows) + "\n];\n"
    )


if __name__ == "__main__":
    main()
