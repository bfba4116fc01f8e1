"""Decoders are made once, by one thread: in a fresh interpreter, since what is made stays made."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from minidock.spec import decoding

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


def test_nobody_else_makes_decoders_of_structs() -> None:
    """Two threads that make the first one of a struct at once crash the interpreter: one place makes them."""
    own = Path(decoding.__file__)
    builtin = {"dict", "list", "str", "bool", "msgspec", "Raw"}
    for path in own.parents[1].rglob("*.py"):
        if path == own:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called = ast.unparse(node.func)
            assert called != "msgspec.convert", path
            assert not called.startswith("msgspec.") or not called.endswith("Decoder"), path
            for keyword in node.keywords if called == "msgspec.json.decode" else []:
                names = {name.id for name in ast.walk(keyword.value) if isinstance(name, ast.Name)}
                assert names <= builtin, (path, names)
