"""Images, pulls, pushes and manifest lists beside the real Docker of the peers: the same commands, the same output."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.images import tar_of
from tests.registry import Registry, push_image, push_index

PEERS = Path(os.environ.get("MINIDOCK_PEERS", Path(__file__).parents[3] / "shared" / "peers" / "peers"))

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def both(cli: Cli, registry: Registry) -> Iterator[tuple[Run, Run]]:
    """Docker and minidock, each a function of a command line that returns exit code and standard output."""
    if not PEERS.exists():
        pytest.skip("the peers' docker is not here")

    def docker(*argv: str) -> tuple[int, str]:
        done = subprocess.run([PEERS, "docker", *argv], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout

    def ours(*argv: str) -> tuple[int, str]:
        done = cli(*argv)
        return done.returncode, done.stdout.decode()

    if docker("info")[0] != 0:
        pytest.skip("the peers' docker does not run: peers up")
    yield docker, ours
    form = ["images", "-aq", "-f", f"reference={registry.host}/*/*"]
    if images := set(docker(*form)[1].split()):
        docker("rmi", "-f", *images)


def _platforms(registry: Registry) -> None:
    """``cli/app`` with the tags 1 and 2, ``cli/other`` with an index."""
    push_image(registry, "cli/app", "1", [tar_of(("a", b"a" * 2000))], config={"Labels": {"a": "1"}})
    newer = {"created": "2024-02-01T00:00:00.5Z", "config": {"Labels": {"a": "2", "b": ""}}}
    push_image(registry, "cli/app", "2", [tar_of(("a", b"a" * 2000)), tar_of(("b", b"b"))], **newer)
    mine = push_image(registry, "cli/other", "", [tar_of(("c", b"c"))])
    arm = push_image(registry, "cli/other", "", [tar_of(("d", b"d"))], platform="linux/arm64/v8")
    push_index(registry, "cli/other", "1", [(mine.manifest, "linux/amd64"), (arm.manifest, "linux/arm64/v8")])


def test_pull_and_push(both: tuple[Run, Run], registry: Registry) -> None:
    docker, ours = both
    _platforms(registry)
    app = f"{registry.host}/cli/app"
    for argv in (
        ["pull", f"{app}:1"],
        ["pull", f"{app}:1"],
        ["pull", "-q", f"{app}:2"],
        ["pull", "-a", app],
        ["pull", f"{app}:missing"],
        ["pull", "-a", f"{app}:1"],
        ["pull", "--platform", "linux/arm64", f"{registry.host}/cli/other:1"],
        ["tag", f"{app}:1", f"{registry.host}/cli/copy:1"],
        ["push", "-q", f"{registry.host}/cli/copy:1"],
        ["push", "-q", f"{registry.host}/cli/missing:1"],
    ):
        expected, got = docker(*argv), ours(*argv)
        assert got[0] == expected[0], argv
        assert _comparable(got[1]) == _comparable(expected[1]), argv


def _comparable(text: str) -> list[str]:
    """Layers come in any order, and ours are verified while they are downloaded; tags come in any order.

    Docker leaves out steps of a layer that follow each other too fast.
    """
    passing = (": Verifying Checksum", ": Waiting", ": Download complete")
    return sorted(line for line in text.splitlines() if not line.endswith(passing))


def test_lists(both: tuple[Run, Run], registry: Registry) -> None:
    docker, ours = both
    _platforms(registry)
    app, other = f"{registry.host}/cli/app", f"{registry.host}/cli/other"
    index = _header(registry, "cli/other", "1")
    for name in (f"{app}:1", f"{app}:2", f"{other}@{index}"):
        assert docker("pull", "-q", name) == ours("pull", "-q", name)
    here = f"reference={registry.host}/*/*"
    fields = (
        "{{.ID}} {{.Repository}} {{.Tag}} {{.Size}} {{.VirtualSize}} {{.CreatedAt}} {{.Containers}} {{.SharedSize}}"
    )
    for argv in (
        [],
        ["--digests"],
        ["--no-trunc"],
        ["-q"],
        ["-f", "label=a"],
        ["-f", "label=a=1"],
        ["-f", "label=b"],
        ["-f", "label=a", "-f", "label=b="],
        ["-f", "dangling=true"],
        ["-f", "dangling=false"],
        ["-f", "dangling=0"],
        ["-f", f"since={app}:1"],
        ["-f", f"before={app}:2"],
        ["-f", "until=2024-01-15"],
        ["-f", "until=10h"],
        ["-f", "dangling=maybe"],
        ["-f", "nonsense=1"],
        ["-f", f"before={app}:3"],
        ["--format", fields],
        ["--format", "{{.Digest}} {{.ID}}", "-f", "dangling=false", "-f", "label=a"],
    ):
        expected, got = docker("images", "-f", here, *argv), ours("images", "-f", here, *argv)
        assert got[0] == expected[0], argv
        assert sorted(got[1].splitlines()) == sorted(expected[1].splitlines()), argv
    for name in (app, f"{app}:1", f"{app}:*", f"{other}@{index}", f"{other}:1", f"{registry.host}/cli/[ab]*", "NONE"):
        expected, got = docker("images", "--digests", name), ours("images", "--digests", name)
        assert sorted(got[1].splitlines()) == sorted(expected[1].splitlines()), name
    for argv in (["-q", "--no-trunc", f"{app}:2"], ["--format", "{{.Size}} {{.CreatedBy}}", f"{app}:1"]):
        assert docker("history", *argv) == ours("history", *argv)
    for argv in ([f"{app}:1"], [f"{other}@{index}"], [f"{app}:2"]):
        expected, got = docker("rmi", *argv), ours("rmi", *argv)
        assert _untagged(got[1]) == _untagged(expected[1])


def _header(registry: Registry, repository: str, tag: str) -> str:
    from tests.registry import get_manifest

    return get_manifest(registry, repository, tag).headers["docker-content-digest"]


def _untagged(text: str) -> list[str]:
    """Docker counts layers by their chain; which of them go depends on what else is there."""
    return [line for line in text.splitlines() if line.startswith("Untagged: ")]


def test_manifests(both: tuple[Run, Run], registry: Registry) -> None:
    docker, ours = both
    _platforms(registry)
    push_image(registry, "cli/old", "1", [tar_of(("e", b"e"))], docker_types=True)
    app, old = f"{registry.host}/cli/app", f"{registry.host}/cli/old"
    one, two = f"{registry.host}/cli/list:1", f"{registry.host}/cli/list:2"
    try:
        for argv in (
            ["inspect", "--insecure", f"{app}:1"],
            ["inspect", "--insecure", "-v", f"{old}:1"],
            ["inspect", "--insecure", f"{registry.host}/cli/other:1"],
            ["inspect", "--insecure", "-v", f"{registry.host}/cli/other:1"],
            ["inspect", "--insecure", f"{app}:missing"],
            ["create", "--insecure", one, f"{app}:1", f"{app}:2"],
            ["create", "--insecure", one, f"{app}:1"],
            ["annotate", "--arch", "arm64", "--variant", "v8", "--os-features", "x,y", one, f"{app}:2"],
            ["annotate", "--arch", "z80", one, f"{app}:2"],
            ["inspect", one],
            ["inspect", "-v", one],
            ["inspect", one, f"{app}:1"],
            ["create", "--insecure", two, f"{app}:1", f"{old}:1"],
            ["create", "--insecure", "--amend", two, f"{app}:2"],
            ["inspect", two],
            ["create", "--insecure", f"{one}x", f"{registry.host}/cli/other:1"],
            ["push", "--insecure", one],
            ["push", "--insecure", "--purge", two],
            ["inspect", "--insecure", two],
            ["rm", one, two],
        ):
            expected, got = docker("manifest", *argv), ours("manifest", *argv)
            assert got == expected, argv
    finally:
        docker("manifest", "rm", one)
        docker("manifest", "rm", two)


def test_disk_usage(both: tuple[Run, Run], registry: Registry) -> None:
    """The same rows and columns; Docker's sizes know no compressed blobs."""
    docker, ours = both
    for argv in ([], ["--format", "{{.Type}}"], ["--format", "json"]):
        expected, got = docker("system", "df", *argv), ours("system", "df", *argv)
        assert got[0] == expected[0] == 0
        assert [_words(line) for line in got[1].splitlines()] == [_words(line) for line in expected[1].splitlines()]
    heads = [
        [line for line in run("system", "df", "-v")[1].splitlines() if line.isupper() or line.endswith("usage:")]
        for run in (docker, ours)
    ]
    assert [line.split() for line in heads[0]] == [line.split() for line in heads[1]]


def _words(line: str) -> str:
    """A line without its figures."""
    return re.sub(r"[\d.]+([kMG]?B)?( \(\d+%\))?", "N", re.sub(r" +", " ", line))
