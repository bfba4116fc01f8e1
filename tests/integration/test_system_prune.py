"""``system prune``: what nothing uses, of every kind, in Docker's words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import minidock
from minidock.errors import InvalidArgument
from tests.conftest import Cli
from tests.images import tar_of
from tests.integration.networks import clear


@pytest.fixture
def full(cli_busybox: Cli, engine: minidock.Engine) -> Iterator[minidock.Engine]:
    """One of each that can go, and one of each that stays."""
    engine.containers.create("busybox", ["true"], name="stopped", network_mode="none", labels={"tier": "a"})
    engine.networks.create("unused", options={"com.docker.network.bridge.name": ""})
    engine.volumes.create("named")
    engine.volumes.create()
    engine.images.import_(tar_of(("x", b"x" * 1000)))
    try:
        yield engine
    finally:
        clear(engine)


QUESTION = """\
WARNING! This will remove:
  - all stopped containers
  - all networks not used by at least one container
  - all anonymous volumes not used by at least one container
  - all dangling images
  - unused build cache

  Items to be pruned will be filtered with:
  - label!=b
  - label=a=b

Are you sure you want to continue? [y/N] """


def test_it_asks(cli: Cli) -> None:
    done = cli("system", "prune", "--volumes", "--filter", "label=a=b", "--filter", "label!=b", input=b"n\n")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, QUESTION, b"")
    done = cli("system", "prune", "-a")
    assert (
        "  - all images without at least one container associated to them\n  - all build cache\n\nAre you"
        in done.stdout.decode()
    )
    for words, text in (
        (["--filter", "bogus=1"], "minidock: invalid filter 'bogus'\n"),
        (["--volumes", "--filter", "until=1h"], 'minidock: the "until" filter is not supported with "--volumes"\n'),
    ):
        done = cli("system", "prune", "-f", *words)
        assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b"", text)


def test_report(full: minidock.Engine, cli: Cli) -> None:
    container = full.containers.get("stopped")
    [anonymous] = [volume for volume in full.volumes.list() if volume.anonymous]
    [dangling] = [image for image in full.images.list() if not image.tags]
    assert cli.ok("system", "prune", "-f", "--filter", "label=nothing") == "Total reclaimed space: 0B\n"
    assert cli.ok("system", "prune", "-f", "--filter", "until=24h") == "Total reclaimed space: 0B\n"
    lines = cli.ok("system", "prune", "-f", "--volumes").splitlines()
    assert lines[:9] == [
        *("Deleted Containers:", container.id, ""),
        *("Deleted Networks:", "unused", ""),
        *("Deleted Volumes:", anonymous.name, ""),
    ]
    assert lines[9:11] == ["Deleted Images:", f"deleted: {dangling.id}"]
    assert lines[-2] == ""
    assert lines[-1].startswith("Total reclaimed space: ")
    assert [volume.name for volume in full.volumes.list()] == ["named"]
    assert full.images.list("busybox")


def test_from_python(full: minidock.Engine) -> None:
    running = full.containers.run("busybox", ["sleep", "100"], detach=True, network_mode="none")
    with pytest.raises(InvalidArgument, match=r"^invalid filter 'dangling'$"):
        full.prune(filters={"dangling": "true"})
    with pytest.raises(InvalidArgument, match="not supported with volumes"):
        full.prune(volumes=True, filters={"until": "1h"})
    done = full.prune(filters={"label": "tier"})
    assert (len(done.containers_deleted), done.networks_deleted, done.images_deleted) == (1, [], [])
    done = full.prune(all=True)
    assert (done.containers_deleted, done.networks_deleted, done.volumes_deleted) == ([], ["unused"], [])
    assert done.space_reclaimed >= 1000
    assert full.images.list("busybox")  # a container has it
    assert len(full.volumes.list()) == 2
    assert len(full.prune(volumes=True).volumes_deleted) == 1
    running.remove(force=True)
