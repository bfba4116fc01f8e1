"""Decoders are made once, by one thread: in a fresh interpreter, since what is made stays made."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import threading
from minidock.spec import decoding
from minidock.spec.docker import HostConfig
start = threading.Barrier(8)
found = []
def one():
    start.wait()
    found.append(decoding.decode(b"{}", HostConfig))
threads = [threading.Thread(target=one) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
assert len(found) == 8 and decoding.decoder(HostConfig) is decoding.decoder(HostConfig)
"""


def test_many_threads_at_once() -> None:
    for _ in range(10):
        subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)
