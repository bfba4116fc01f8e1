"""A command on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

from tests.conftest import Cli


class Terminal:
    """A `minidock` command on a pseudo-terminal of its own."""

    def __init__(self, cli: Cli, *argv: str) -> None:
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.process = cli.popen(*argv, stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True)
        self.seen = b""

    def read_until(self, text: bytes, timeout: float = 60) -> None:
        end = time.monotonic() + timeout
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.master, 4096)

    def write(self, data: bytes) -> None:
        os.write(self.master, data)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def end(self) -> int:
        code = self.process.wait(60)
        assert termios.tcgetattr(self.slave) == self.before, "the terminal was not restored"
        self.close()
        return code

    def close(self) -> None:
        for fd in (self.master, self.slave):
            os.close(fd)
