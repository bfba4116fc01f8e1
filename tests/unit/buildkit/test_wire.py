"""The code of BuildKit's messages is what `just protos` makes of wire.proto."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PYTHON = Path(__file__).parents[3] / "python"
WIRE = Path("minidock") / "server" / "buildkit" / "wire.proto"


def test_is_current(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*command, str(WIRE)], cwd=PYTHON, check=True)
    for suffix in (".py", ".pyi"):
        name = WIRE.with_name(f"wire_pb2{suffix}")
        assert (tmp_path / name).read_text() == (PYTHON / name).read_text(), "run `just protos`"
