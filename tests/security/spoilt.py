"""A good image, ways to spoil it, and what a refusal must leave."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

import minidock
from minidock.errors import (
    MinidockError,
)
from tests.hostile import HostileRegistry
from tests.pulls import REPO, layer, name
from tests.registry import (
    OCI_MANIFEST,
    build_image,
    digest_of,
)

PAIR = [layer(1), layer(2)]
IMAGE = build_image(PAIR)
LAYER = "/blobs/" + digest_of(IMAGE.layers[0])
CONFIG = "/blobs/" + digest_of(IMAGE.config)
LOGIN = {"username": "alice", "password": "s3cret"}


def refused(engine: minidock.Engine, registry: HostileRegistry, *kinds: type[MinidockError], match: str = "") -> str:
    """A pull fails so, and leaves nothing but what the next one may go on with; the error's text."""
    with pytest.raises(kinds, match=match or None) as caught:
        engine.images.pull(name(registry), timeout=60)
    assert [image.tags for image in engine.images.list()] == [["minidock/hello:latest"]]
    (hello,) = engine.images.list()
    assert len(engine.store.layers.all()) == len(engine.store.images.layers(hello.id))
    assert os.listdir(engine.store.paths.tmp) == []
    text = str(caught.value)
    assert len(text) < 1500
    assert "\n" not in text
    return text


def flip(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """An edit of a JSON document."""

    def edit(data: bytes) -> bytes:
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return edit


def with_manifest(registry: HostileRegistry, document: object, media_type: str = OCI_MANIFEST) -> None:
    """Serve a manifest as it is, with its true digest."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    registry.add_manifest(REPO, "latest", media_type, data)


def manifest_of(**more: Any) -> dict[str, Any]:
    return {**json.loads(IMAGE.manifest), **more}


def special(kind: bytes, path: str, target: str = "", mode: int = 0o777) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.linkname, entry.mode = kind, target, mode
    return entry
