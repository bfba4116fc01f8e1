"""`minidock pull`, and what `run` and `create` pull: Docker's words, exit codes, Ctrl-C, progress on a terminal."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import threading

import pytest

import minidock
from minidock.errors import ImageNotFound, InvalidArgument, RegistryUnreachable
from tests.conftest import Cli, Roots, wait_for
from tests.hostile import HostileRegistry
from tests.images import tar_of
from tests.oracle import assert_sound
from tests.registry import Registry, build_image, push_image, push_index
from tests.rootfs import busybox_tar
from tests.screen import Screen

APP = "team/app"


def layers(*names: str) -> list[bytes]:
    return [tar_of((name, name.encode() * 1000)) for name in names]


def test_words(cli: Cli, registry: Registry) -> None:
    """What Docker prints without a terminal, line by line."""
    pushed = push_image(registry, APP, "latest", layers("a", "b"))
    name = f"{registry.host}/{APP}"
    out = cli.ok("pull", name).splitlines()
    assert out[:2] == ["Using default tag: latest", f"latest: Pulling from {APP}"]
    assert out[-3:] == [
        f"Digest: {pushed.manifest}",
        f"Status: Downloaded newer image for {name}:latest",
        f"{name}:latest",
    ]
    by_layer: dict[str, list[str]] = {}
    for line in out[2:-3]:
        found = re.fullmatch(r"([0-9a-f]{12}): (.*)", line)
        assert found, line
        by_layer.setdefault(found[1], []).append(found[2])
    assert list(by_layer.values()) == [["Pulling fs layer", "Download complete", "Pull complete"]] * 2
    assert cli.ok("image", "pull", f"{name}:latest").splitlines() == [
        f"latest: Pulling from {APP}",
        f"Digest: {pushed.manifest}",
        f"Status: Image is up to date for {name}:latest",
        f"{name}:latest",
    ]
    assert cli.ok("pull", "-q", name) == f"{name}:latest\n"
    whole = f"{name}@{pushed.manifest}"
    assert cli.ok("pull", whole).splitlines() == [
        f"{whole}: Pulling from {APP}",
        f"Digest: {pushed.manifest}",
        f"Status: Image is up to date for {whole}",
        whole,
    ]


def test_all_tags(cli: Cli, registry: Registry) -> None:
    name = f"{registry.host}/{APP}"
    first = push_image(registry, APP, "1", layers("a"))
    second = push_image(registry, APP, "2", layers("a", "b"))
    out = cli.ok("pull", "--all-tags", name).splitlines()
    told = [line for line in out if not re.match("[0-9a-f]{12}: ", line)]
    at = told.index(f"2: Pulling from {APP}")
    assert told.pop(at + 1) == f"Digest: {second.manifest}"
    del told[at]
    assert told == [
        f"1: Pulling from {APP}",
        f"Digest: {first.manifest}",
        f"Status: Downloaded newer image for {name}",
        name,
    ]
    assert any(line.endswith(": Already exists") for line in out)
    assert cli.ok("pull", "-aq", name) == f"{name}\n"
    done = cli("pull", "-a", f"{name}:1")
    assert (done.returncode, done.stderr) == (1, b"minidock: tag can't be used with --all-tags/-a\n")


def test_platforms(cli: Cli, registry: Registry) -> None:
    name = f"{registry.host}/{APP}"
    mine = push_image(registry, APP, "", layers("a"))
    other = push_image(registry, APP, "", layers("b"), platform="linux/arm64/v8")
    push_index(registry, APP, "latest", [(mine.manifest, "linux/amd64"), (other.manifest, "linux/arm64/v8")])
    cli.ok("pull", "-q", name)
    cli.ok("pull", "-q", "--platform", "linux/arm64", name)
    shown = cli.ok("images", "--no-trunc", "--format", "{{.ID}}", name).split()
    assert sorted(shown) == sorted([mine.config, other.config])
    for platform, config in (("linux/amd64", mine.config), ("linux/arm64", other.config)):
        assert cli.ok("image", "inspect", "--platform", platform, "-f", "{{.Id}}", name).strip() == config
        assert cli.ok("history", "--platform", platform, "-q", "--no-trunc", name).strip() == config
    refused = cli("pull", "--platform", "linux/s390x", name)
    assert refused.returncode == 1
    assert b"no matching manifest for linux/s390x" in refused.stderr
    cli.ok("rmi", "--platform", "linux/arm64", name)
    assert cli.ok("images", "-q", "--no-trunc", name).strip() == mine.config


def test_the_host_s_platform_is_meant_whatever_is_here(cli: Cli, registry: Registry) -> None:
    """An image for another platform is not taken for what the tag has for this host."""
    mine = push_image(registry, APP, "", layers("a"))
    other = push_image(registry, APP, "", layers("b"), platform="linux/s390x")
    push_index(registry, APP, "1", [(mine.manifest, "linux/amd64"), (other.manifest, "linux/s390x")])
    name = f"{registry.host}/{APP}:1"
    cli.ok("pull", "-q", "--platform", "linux/s390x", name)
    assert f"Status: Downloaded newer image for {name}\n" in cli.ok("pull", name)
    shown = cli.ok("images", "-q", "--no-trunc", name).split()
    assert sorted(shown) == sorted([mine.config, other.config])
    assert f"Status: Image is up to date for {name}\n" in cli.ok("pull", name)


def test_failures_are_one_line(cli: Cli, registry: Registry, auth_registry: Registry) -> None:
    cases = {
        f"{registry.host}/no/such": "manifest for .*/no/such:latest not found",
        "127.0.0.1:9/x": "connect to 127.0.0.1:9: connection refused",
        "nowhere": "connect to 127.0.0.1:9: connection refused",  # of the proxy that leads nowhere, see conftest
        f"{auth_registry.host}/{APP}": f"minidock login {auth_registry.host}",
        "Not Valid": "invalid reference format",
        f"{registry.host}/x:": "invalid reference format",
    }
    for name, words in cases.items():
        done = cli("pull", name)
        assert done.returncode == 1, name
        assert re.search(words, done.stderr.decode()), done.stderr
        assert done.stderr.startswith(b"minidock: ")
        assert done.stderr.count(b"\n") == 1
    assert cli("pull").returncode == 1
    assert cli("pull", "--disable-content-trust=false", "x").returncode == 125
    assert cli.ok("images", "-q", "-f", "reference=*/*/*") == ""


def test_ctrl_c(cli: Cli, roots: Roots, hostile: HostileRegistry) -> None:
    """130, one line, nothing half visible; the next pull goes on where this one was."""
    image = build_image([tar_of(("a", os.urandom(300_000)))])
    hostile.add(APP, "latest", image)
    gate = threading.Event()
    rule = hostile.rule("/blobs/", gate=gate, gate_after=200_000, skip=1)
    name = f"{hostile.host}/{APP}"
    process = cli.popen("pull", name, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: rule.used and hostile.requests("GET", "/blobs/")[-1].sent >= 200_000, what="most of the layer")
    wait_for(lambda: _downloaded(roots) >= 100_000, what="it on disk")
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=30)
    gate.set()
    assert (process.returncode, complaint.count(b"\n")) == (130, 1)
    assert complaint.startswith(b"minidock: the pull was interrupted")
    assert cli.ok("images", "-q", name) == ""
    assert_sound(roots.data, downloads=1)
    hostile.clear()
    assert cli.ok("pull", "-q", name) == f"{name}:latest\n"
    last = hostile.requests("GET", "/blobs/")[-1]
    assert int(last.headers["range"].removeprefix("bytes=").rstrip("-")) >= 100_000
    assert_sound(roots.data)


def _downloaded(roots: Roots) -> int:
    return sum(path.stat().st_size for path in (roots.data / "downloads").glob("*/data"))


def test_on_a_terminal(cli: Cli, registry: Registry) -> None:
    """Bars while it goes on, one line for each layer in the end."""
    name = f"{registry.host}/{APP}"
    push_image(registry, APP, "latest", layers(*"abcdef"))
    master, slave = pty.openpty()
    try:
        process = cli.popen("pull", name, stdin=slave, stdout=slave, stderr=slave)
        screen = Screen(80, 24)
        wait_for(lambda: _show(master, screen) and f"{name}:latest" in screen.text, 30, "its end")
        assert process.wait(30) == 0
    finally:
        os.close(slave)
        os.close(master)
    lines = [line for line in screen.text if line]
    assert lines[:2] == ["Using default tag: latest", f"latest: Pulling from {APP}"]
    assert len(lines) == 2 + 6 + 3
    assert all(line.endswith(": Pull complete") for line in lines[2:8])


def _show(master: int, screen: Screen) -> bool:
    os.set_blocking(master, False)
    try:
        screen.feed(os.read(master, 65536))
    except (BlockingIOError, OSError):
        return True
    return True


def test_run_pulls_what_is_missing(cli: Cli, registry: Registry) -> None:
    name = f"{registry.host}/tools/busybox"
    tar = busybox_tar().read_bytes()
    pushed = push_image(registry, "tools/busybox", "latest", [tar], config={"Cmd": ["sh"]})
    done = cli("run", "--rm", "--network", "none", name, "echo", "hello")
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    told = done.stderr.decode().splitlines()
    assert told[:2] == [f"Unable to find image '{name}:latest' locally", "latest: Pulling from tools/busybox"]
    assert told[-2:] == [f"Digest: {pushed.manifest}", f"Status: Downloaded newer image for {name}:latest"]
    registry.forget()
    assert cli("run", "--rm", "--network", "none", name, "true").stderr == b""
    assert registry.accesses() == [], "an image that is here is not asked for"
    newer = push_image(registry, "tools/busybox", "latest", [tar, *layers("new")], config={"Cmd": ["sh"]})
    done = cli("create", "--pull", "always", "--name", "cc", name)
    assert done.returncode == 0
    assert re.fullmatch(rb"[0-9a-f]{64}\n", done.stdout)
    assert f"Digest: {newer.manifest}" in done.stderr.decode().splitlines()
    assert cli.ok("inspect", "-f", "{{.Image}}", "cc").strip() == newer.config
    cli.ok("rm", "cc")
    cli.ok("rmi", name)
    done = cli("run", "--rm", "-q", "--network", "none", name, "test", "-e", "/new")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--pull", "never", "nowhere", "true"], ["no such image: nowhere:latest"]),
        (["nowhere", "true"], ["Unable to find image 'nowhere:latest' locally", "connect to 127.0.0.1:9"]),
        (["-q", "nowhere", "true"], ["connect to 127.0.0.1:9"]),
        (["--pull", "sometimes", "nowhere", "true"], ["invalid pull option: 'sometimes'"]),
        (["sha256:" + "0" * 64, "true"], ["no such image: sha256:000"]),
    ],
)
def test_run_of_what_is_nowhere(cli: Cli, argv: list[str], words: list[str]) -> None:
    done = cli("run", "--rm", *argv)
    assert (done.returncode, done.stdout) == (125, b"")
    assert len(done.stderr.splitlines()) == len(words)
    for line, part in zip(done.stderr.decode().splitlines(), words, strict=True):
        assert part in line
    assert cli("create", *argv).returncode in (1, 125)
    assert cli.ok("ps", "-aq") == ""


def test_python(engine: minidock.Engine, registry: Registry) -> None:
    """`create` and `run` pull by themselves, quietly; `pull` and `platform` say what and when."""
    name = f"{registry.host}/{APP}"
    with pytest.raises(ImageNotFound, match="no such image"):
        engine.containers.create(name, ["x"], pull="never")
    with pytest.raises(ImageNotFound, match="not found"):
        engine.containers.create(name, ["x"])
    with pytest.raises(RegistryUnreachable):
        engine.containers.create("nowhere", ["x"])
    with pytest.raises(InvalidArgument, match="must be one of"):
        engine.containers.create(name, ["x"], pull="sometimes")
    mine = push_image(registry, APP, "", layers("a"))
    other = push_image(registry, APP, "", layers("b"), platform="linux/arm64/v8")
    push_index(registry, APP, "latest", [(mine.manifest, "linux/amd64"), (other.manifest, "linux/arm64/v8")])
    first = engine.containers.create(name, ["x"])
    assert first.record.image == mine.config
    with pytest.raises(ImageNotFound, match="for the platform linux/arm64"):
        engine.containers.create(name, ["x"], platform="linux/arm64", pull="never")
    assert engine.containers.create(name, ["x"], platform="linux/arm64").record.image == other.config
    registry.forget()
    assert engine.containers.create(name, ["x"], platform="arm64").record.image == other.config
    assert engine.containers.create(name, ["x"]).record.image == mine.config
    assert registry.accesses() == []
    engine.containers.create(name, ["x"], pull="always")
    assert registry.requests(part="manifests/latest")
