"""The sample image of :mod:`tests.images`, pulled from a real registry, is on disk and in containers what it says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import minidock
from tests.images import CAPABILITY, SAMPLE_TREE, busybox_layers, push_platforms, read_tree, sample_layers
from tests.registry import Registry, push_image


@pytest.mark.parametrize(
    ("how", "docker_types"), [("gzip", True), ("gzip", False), ("zstd", False), ("none", False), ("none", True)]
)
def test_sample(engine: minidock.Engine, registry: Registry, how: str, docker_types: bool) -> None:
    layers = busybox_layers(*sample_layers())
    pushed = push_image(registry, "some/sample", "x", layers, compress=how, docker_types=docker_types)
    image = engine.images.pull(f"{registry.host}/some/sample:x")
    assert image.id == pushed.config
    # busybox is the first layer, and has an etc, too
    tops = sorted({name.partition("/")[0] for name in SAMPLE_TREE})
    result = engine.containers.run(image.id, ["tar", "-cf", "-", *tops], remove=True, network="none")
    assert result.exit_code == 0, result.stderr
    found = read_tree(result.stdout)
    del found["etc/passwd"], found["etc/group"]
    for name in ("etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"):
        found.pop(name, None)
    assert found == SAMPLE_TREE


def test_attributes(engine: minidock.Engine, registry: Registry, roots: object) -> None:
    push_image(registry, "some/sample", "x", sample_layers())
    engine.images.pull(f"{registry.host}/some/sample:x")
    (attributes,) = Path(engine.data_root).rglob("attributes")
    assert os.getxattr(attributes, "user.note") == b"hello \xc3\xa4"
    (capable,) = Path(engine.data_root).rglob("capable")
    assert os.getxattr(capable, "security.capability") == CAPABILITY
    (owned,) = Path(engine.data_root).rglob("owned")
    assert owned.stat().st_mtime == 1_234_567_890


def test_platforms(engine: minidock.Engine, registry: Registry) -> None:
    platforms = ("linux/amd64", "linux/arm64/v8", "linux/arm/v7")
    push_platforms(registry, "app", "x", platforms, base=busybox_layers())
    name = f"{registry.host}/app:x"
    for platform in platforms:
        image = engine.images.pull(name, platform=platform)
        result = engine.containers.run(image.id, ["cat", "/platform"], remove=True, network="none")
        assert result.stdout.decode() == platform
