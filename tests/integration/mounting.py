"""What the tests of mounts and of containers' volumes have in common."""

from __future__ import annotations

from typing import Any

from minidock import Engine


def run(engine: Engine, script: str, **options: Any) -> str:
    """Run a script in a container that is removed; return what it writes."""
    options = {"network": "none", "remove": True, **options}
    result = engine.containers.run("busybox", ["sh", "-c", script], **options)
    assert result.exit_code == 0, result.stderr.decode()
    return result.stdout.decode()


def names(engine: Engine) -> set[str]:
    return {volume.name for volume in engine.volumes.list()}
