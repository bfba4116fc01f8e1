"""Static programs that tests put into images, compiled once and kept outside the repository."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.rootfs import CACHE


@dataclass(frozen=True)
class Program:
    """A program of one source file."""

    source: Path

    @property
    def target(self) -> Path:
        """Where it is kept: a name by its source and the machine."""
        key = hashlib.sha256(self.source.read_bytes() + platform.machine().encode()).hexdigest()[:16]
        return CACHE / f"{self.source.stem}-{key}"

    def made(self) -> Path:
        """Its file, compiled if it is not there."""
        target = self.target
        if not target.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            made = target.with_suffix(f".{os.getpid()}")
            options = ["-static", "-O1", "-Wall", "-Werror"]
            subprocess.run(["cc", *options, "-o", str(made), str(self.source)], check=True)
            made.rename(target)
        return target


PROBE = Program(Path(__file__).parent / "security" / "probe.c")
AGENT = Program(Path(__file__).parent / "integration" / "agent.c")
