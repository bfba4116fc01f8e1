"""Archives between minidock and today's docker, podman and skopeo: ids stay, and digests wherever blobs are copied."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from minidock.images.content import digest_of
from tests.images import oci_archive, read_tree, sample_image, tar_of
from tests.integration.test_load import blobs_of, files_of, layout
from tests.registry import OCI_INDEX, OCI_MANIFEST, build_image, descriptor

if TYPE_CHECKING:
    import minidock

PEERS = Path(os.environ.get("MINIDOCK_PEERS", Path(__file__).parents[3] / "shared" / "peers" / "peers"))
DATA = Path(os.environ.get("PEERS_ROOT", "/var/tmp/peers")) / "data"
INSIDE = "/srv/peers"


class Peer:
    """One of the peers' commands, and names that no other test has."""

    def __init__(self) -> None:
        self.name = f"archives-{secrets.token_hex(4)}"
        self.directory = DATA / self.name
        self.inside = f"{INSIDE}/{self.name}"

    def __call__(self, *args: str, input: bytes | None = None) -> bytes:
        done = subprocess.run([str(PEERS), *args], input=input, capture_output=True, timeout=100, check=False)
        assert done.returncode == 0, (args, done.stderr.decode())
        return done.stdout

    def inspect(self, engine: str, name: str) -> dict[str, Any]:
        """Id and diff_ids of an image."""
        found = json.loads(self(engine, "image", "inspect", name))[0]
        return {"id": "sha256:" + found["Id"].removeprefix("sha256:"), "diff_ids": found["RootFS"]["Layers"]}


@pytest.fixture
def peer() -> Iterator[Peer]:
    """The peers; images and files of the test's name go at the end."""
    if not PEERS.exists():
        pytest.skip("the peers' docker is not here")
    one = Peer()
    if subprocess.run([str(PEERS), "docker", "version"], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("the peers' docker does not run: peers up")
    one.directory.mkdir()
    yield one
    for command in (["docker", "rmi", "-f"], ["podman", "rmi", "-f"]):
        for tag in ("1", "2"):
            subprocess.run([str(PEERS), *command, f"{one.name}:{tag}"], capture_output=True, timeout=60, check=False)
    shutil.rmtree(one.directory)


def ours(image: minidock.images.image.Image) -> dict[str, Any]:  # type: ignore[name-defined]
    return {"id": image.id, "diff_ids": image.config.rootfs.diff_ids}


@pytest.mark.parametrize("tool", ["docker", "podman"])
@pytest.mark.parametrize("compress", ["none", "gzip", "zstd"])
def test_there_and_back(engine: minidock.Engine, peer: Peer, tool: str, compress: str) -> None:
    names = [f"{peer.name}:1", f"{peer.name}:2"]
    (image,) = engine.images.load(oci_archive([(sample_image(compress=compress), names)]))
    before = ours(image)
    peer(tool, "load", input=b"".join(engine.images.save(peer.name)))
    assert peer.inspect(tool, names[0]) == before
    assert peer.inspect(tool, names[1]) == before
    back = peer(tool, "save", names[0])
    image.remove(force=True)
    (image,) = engine.images.load(back)
    assert ours(image) == before
    shown = names[0] if tool == "docker" else f"localhost/{names[0]}"
    assert image.tags == [shown]


def test_podman_oci_archive(engine: minidock.Engine, peer: Peer) -> None:
    name = f"{peer.name}:1"
    (image,) = engine.images.load(oci_archive([(sample_image(), [name])]))
    before = ours(image)
    peer("podman", "load", input=b"".join(engine.images.save(name)))
    back = peer("podman", "save", "--format", "oci-archive", name)
    image.remove(force=True)
    (image,) = engine.images.load(back)
    assert ours(image) == before
    entry = json.loads(files_of(back)["index.json"])["manifests"][0]
    assert image.row.manifest == entry["digest"]
    # What podman compressed is kept so, and its manifest with it.
    again = b"".join(engine.images.save(image.tags[0]))
    assert json.loads(files_of(again)["index.json"])["manifests"][0]["digest"] == entry["digest"]


def test_several_images_at_once(engine: minidock.Engine, peer: Peer) -> None:
    shared = tar_of(("shared", b"x" * 10_000))
    images = [build_image([shared, tar_of((tag, tag.encode()))]) for tag in "12"]
    loaded = engine.images.load(oci_archive([(image, [f"{peer.name}:{n + 1}"]) for n, image in enumerate(images)]))
    peer("docker", "load", input=b"".join(engine.images.save(peer.name)))
    for number, image in enumerate(loaded):
        assert peer.inspect("docker", f"{peer.name}:{number + 1}") == ours(image)
    back = peer("docker", "save", f"{peer.name}:1", f"{peer.name}:2")
    engine.images.remove(f"{peer.name}:1")
    engine.images.remove(f"{peer.name}:2")
    again = {image.id: ours(image) for image in engine.images.load(back)}  # Docker saves in any order
    assert again == {image.id: ours(image) for image in loaded}


def test_skopeo_keeps_manifests(engine: minidock.Engine, peer: Peer) -> None:
    name = f"{peer.name}:1"
    for compress in ("none", "gzip", "zstd"):
        made = sample_image(compress=compress)
        (image,) = engine.images.load(oci_archive([(made, [name])]))
        before, manifest = ours(image), digest_of(made.manifest)
        engine.images.save(name, peer.directory / "ours.tar")
        copy = ["exec", "skopeo", "--insecure-policy", "copy", "-q", "--preserve-digests"]
        peer(*copy, f"oci-archive:{peer.inside}/ours.tar", f"oci:{peer.inside}/layout-{compress}:{name}")
        peer(*copy, f"oci:{peer.inside}/layout-{compress}:{name}", f"oci-archive:{peer.inside}/back.tar:{name}")
        # As a docker-archive its layers travel uncompressed.
        peer(*copy[:-1], f"docker-archive:{peer.inside}/ours.tar", f"docker-archive:{peer.inside}/docker.tar:{name}")
        for back, kept in ((f"layout-{compress}", True), ("back.tar", True), ("docker.tar", False)):
            image.remove(force=True)
            (image,) = engine.images.load(peer.directory / back)
            assert ours(image) == before
            assert image.tags == [name]
            assert (image.row.manifest == manifest) is kept or compress == "none"
            (peer.directory / back).unlink() if back.endswith(".tar") else None
        image.remove(force=True)


def test_skopeo_keeps_indexes(engine: minidock.Engine, peer: Peer) -> None:
    name = f"{peer.name}:1"
    images = {one: build_image([tar_of(("p", one.encode()))], platform=f"linux/{one}") for one in ("amd64", "arm64")}
    entries = [
        {**descriptor(OCI_MANIFEST, image.manifest), "platform": {"os": "linux", "architecture": one}}
        for one, image in images.items()
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    top = {**descriptor(OCI_INDEX, index), "annotations": {"org.opencontainers.image.ref.name": name}}
    blobs = [index, *blobs_of(images["amd64"]), *blobs_of(images["arm64"])]
    engine.images.load(layout([top], blobs))
    engine.images.save(name, peer.directory / "ours.tar")
    copy = ["exec", "skopeo", "--insecure-policy", "copy", "-q", "--all", "--preserve-digests"]
    peer(*copy, f"oci-archive:{peer.inside}/ours.tar", f"oci:{peer.inside}/layout:{name}")
    engine.images.remove(name, force=True)
    assert len(engine.images.load(peer.directory / "layout")) == 2
    tag = engine.store.names.get(f"docker.io/library/{name}")
    assert tag is not None
    assert tag.target == digest_of(index)


def test_exports_agree(engine: minidock.Engine, peer: Peer) -> None:
    """The tree that docker shows of our image is the one that we show."""
    name = f"{peer.name}:1"
    engine.images.load(oci_archive([(sample_image(), [name])]))
    peer("docker", "load", input=b"".join(engine.images.save(name)))
    container = peer("docker", "create", name).decode().strip()
    try:
        theirs = read_tree(peer("docker", "export", container))
    finally:
        peer("docker", "rm", container)
    mine = read_tree(b"".join(engine.containers.create(name).export()))
    made_for_mounts = {".dockerenv", "dev", "dev/console", "dev/pts", "dev/shm", "etc/hostname", "etc/hosts"}
    made_for_mounts |= {"etc/mtab", "etc/resolv.conf", "proc", "sys"}
    assert {path: node for path, node in theirs.items() if path not in made_for_mounts} == mine
