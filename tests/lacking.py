"""Run a command as on a host that lacks something: ``python tests/lacking.py [ipv6|nftables|netns=PID]... -- COMMAND``.

A seccomp filter answers as a kernel without the feature does; ``netns=PID`` is another host's network.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

_SOCKET = 41  # x86_64
_AF_NETLINK, _NETLINK_NETFILTER = 16, 12
_NEW_NETWORK = 0x40000000
_PR_SET_SECCOMP, _FILTER = 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARGUMENTS = 0, 16

WITHOUT_IPV6 = [
    (_LOAD, 0, 0, _NUMBER), (_EQUAL, 0, 3, _SOCKET),
    (_LOAD, 0, 0, _ARGUMENTS), (_EQUAL, 0, 1, 10),
    (_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT),
    (_RETURN, 0, 0, _ALLOW),
]  # fmt: skip
WITHOUT_NFTABLES = [
    (_LOAD, 0, 0, _NUMBER), (_EQUAL, 0, 5, _SOCKET),
    (_LOAD, 0, 0, _ARGUMENTS), (_EQUAL, 0, 3, _AF_NETLINK),
    (_LOAD, 0, 0, _ARGUMENTS + 16), (_EQUAL, 0, 1, _NETLINK_NETFILTER),
    (_RETURN, 0, 0, _ERRNO | errno.EPROTONOSUPPORT),
    (_RETURN, 0, 0, _ALLOW),
]  # fmt: skip


def install(program: list[tuple[int, int, int, int]]) -> None:
    """Put a classic BPF program on this process and all that it starts. Needs CAP_SYS_ADMIN."""
    code = b"".join(struct.pack("=HBBI", *one) for one in program)
    buffer = ctypes.create_string_buffer(code)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    given = Program(len(program), ctypes.addressof(buffer))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(given), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def main() -> None:
    at = sys.argv.index("--")
    for word in sys.argv[1:at]:
        if word.startswith("netns="):
            fd = os.open(f"/proc/{word.partition('=')[2]}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            if ctypes.CDLL(None, use_errno=True).setns(fd, _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns")
        else:
            install({"ipv6": WITHOUT_IPV6, "nftables": WITHOUT_NFTABLES}[word])
    os.execvp(sys.argv[at + 1], sys.argv[at + 1 :])


if __name__ == "__main__":
    main()
