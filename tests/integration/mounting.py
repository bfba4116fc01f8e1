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


def vol_image(engine: Engine) -> str:
    """An image with two volumes, one of them with content."""
    script = "mkdir -p /full/sub; cd /full; echo image >file; ln file hard; chown 5:6 /full; chmod 2750 /full"
    container = engine.containers.create("busybox", ["sh", "-c", script], network="none")
    container.start()
    container.wait()
    container.commit("vol", changes=["VOLUME /full", "VOLUME /empty"])
    container.remove()
    return "vol"
