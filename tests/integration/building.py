"""Builds in tests: contexts, and what came out."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import minidock
from minidock.build import events
from tests.integration.test_load import files_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from minidock.images.image import Image

DATE = 946_684_800


def context(directory: Path, files: dict[str, str | bytes]) -> Path:
    """A directory with these files."""
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return directory


def build(engine: minidock.Engine, directory: Path, dockerfile: str, **options: Any) -> Image:
    """Build without a network."""
    return engine.images.build(directory, dockerfile=dockerfile.encode(), **{"network": "none", **options})


def steps(seen: Sequence[events.Event]) -> dict[str, bool]:
    """The steps of a build's instructions, and whether they came from the cache."""
    return {
        event.step.name: event.cached
        for event in seen
        if isinstance(event, events.Finished)
        and event.step.line
        and not event.step.name.split("] ")[1].startswith("FROM")
    }


def layers(engine: minidock.Engine, image: Image) -> list[dict[str, tarfile.TarInfo]]:
    """The members of each layer's tar, by name, lowest layer first."""
    files = files_of(b"".join(engine.images.save(image.id)))
    found = []
    for path in json.loads(files["manifest.json"])[0]["Layers"]:
        with tarfile.open(fileobj=io.BytesIO(files[path])) as tar:
            found.append({member.name: member for member in tar})
    return found


def out(engine: minidock.Engine, image: Image, command: str) -> str:
    """What a shell command writes in a container of the image."""
    result = engine.containers.run(
        image.id, ["sh", "-c", command], entrypoint="", network="none", remove=True, check=True
    )
    return result.stdout.decode()
