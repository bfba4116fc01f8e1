"""What zygotes have in common: processes that fork others, each of which does one thing and may kill itself at a line.

Requests are lines on stdin, of words between tabs, the last of them the number of the line, 0 for none, or -1 at full
speed, for those who kill by the clock: then the pid comes before the answer. The answer is how many lines of minidock
it took, or ``killed``, or the class of the exception that was raised.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import minidock

HOME = os.path.dirname(minidock.__file__)


class Asking:
    """Who asks: ``process`` is a zygote's."""

    process: subprocess.Popen[str]

    def ask(self, verb: str, step: int) -> None:
        """Send a request."""
        assert self.process.stdin
        self.process.stdin.write(f"{verb}\t{step}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        """Return the next line of what it says."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()


def lines_lived(answer: str, step: int) -> bool:
    """Return whether it came to its end before line ``step``, else it was killed there.

    How many lines there are differs a little from one time to the next: of what waits for another process, say.
    """
    assert answer == "killed" or int(answer) < step
    return answer != "killed"


def lived(step: int, do: Callable[[], object]) -> str:
    """Do it, and be killed (SIGKILL) at line ``step`` of minidock; return the answer of who lives."""
    seen = 0

    def line(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal seen
        if event == "line":
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
        return line

    def call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(HOME) else None

    if step >= 0:
        sys.settrace(call)
    try:
        do()
    except minidock.errors.MinidockError as error:
        return type(error).__name__
    finally:
        sys.settrace(None)
    return str(seen)


def serve(answer: Callable[[list[str], int], str]) -> None:
    """Serve requests until stdin ends; ``answer`` gets the words and the line."""
    for request in sys.stdin:
        *words, step = request.rstrip("\n").split("\t")
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(read)
            os.write(write, answer(words, int(step)).encode())
            os._exit(0)
        os.close(write)
        if int(step) < 0:
            print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        # What the child has started may hold the pipe: it is not read to its end.
        print("killed" if code < 0 else "failed" if code else os.read(read, 64).decode(), flush=True)
        os.close(read)
