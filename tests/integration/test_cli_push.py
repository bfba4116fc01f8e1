"""`minidock push`: Docker's words, exit codes, Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading

from tests.conftest import Cli, wait_for
from tests.hostile import HostileRegistry
from tests.images import tar_of
from tests.registry import Registry, get_manifest, list_tags, push_image


def test_words(cli: Cli, registry: Registry) -> None:
    name = f"{registry.host}/team/app"
    cli.ok("import", "-", name, input=tar_of(("a", b"a")))
    out = cli.ok("push", name).splitlines()
    digest = get_manifest(registry, "team/app", "latest").headers["docker-content-digest"]
    assert out[:2] == ["Using default tag: latest", f"The push refers to repository [{name}]"]
    assert re.fullmatch(rf"latest: digest: {digest} size: \d+", out[-1])
    short = out[2].partition(":")[0]
    states = [line.removeprefix(f"{short}: ") for line in out[2:-1]]
    assert states == ["Preparing", "Compressing", "Pushed"]
    again = cli.ok("image", "push", f"{name}:latest").splitlines()
    assert again[1:3] == [f"{short}: Preparing", f"{short}: Layer already exists"]
    assert cli.ok("push", "-q", name) == f"{name}:latest\n"
    cli.ok("tag", name, f"{name}:2")
    cli.ok("tag", name, f"{name}:3")
    out = cli.ok("push", "--all-tags", name).splitlines()
    assert [line.partition(":")[0] for line in out if ": digest: " in line] == ["2", "3", "latest"]
    assert list_tags(registry, "team/app") == ["2", "3", "latest"]
    cli.ok("tag", name, f"{registry.host}/other/app")
    assert any(": Mounted from team/app" in line for line in cli.ok("push", f"{registry.host}/other/app").splitlines())


def test_failures_are_one_line(cli: Cli, registry: Registry, auth_registry: Registry) -> None:
    cli.ok("import", "-", f"{auth_registry.host}/app", input=tar_of(("a", b"a")))
    cli.ok("import", "-", "127.0.0.1:9/app", input=tar_of(("a", b"a")))
    cases = {
        f"{registry.host}/no/such": "an image does not exist locally with the tag: ",
        f"{auth_registry.host}/app": f"minidock login {auth_registry.host}",
        "127.0.0.1:9/app": "connect to 127.0.0.1:9: connection refused",
        f"x@sha256:{'0' * 64}": "cannot push a digest reference",
        "a b": "invalid reference format",
    }
    for name, words in cases.items():
        done = cli("push", name)
        assert done.returncode == 1
        assert words in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1
    done = cli("push", "-a", "app:1")
    assert (done.returncode, done.stderr) == (1, b"minidock: tag can't be used with --all-tags/-a\n")


def test_one_platform(cli: Cli, registry: Registry) -> None:
    name = f"{registry.host}/team/app"
    cli.ok("import", "--platform", "linux/arm64", "-", f"{name}:1", input=tar_of(("a", b"a")))
    assert cli("push", "--platform", "linux/amd64", f"{name}:1").returncode == 1
    cli.ok("push", "--platform", "linux/arm64", f"{name}:1")
    assert list_tags(registry, "team/app") == ["1"]


def test_ctrl_c(cli: Cli, hostile: HostileRegistry, registry: Registry) -> None:
    push_image(registry, "team/app", "latest", [tar_of(("a", os.urandom(300_000)))])
    cli.ok("pull", "-q", f"{registry.host}/team/app")
    name = f"{hostile.host}/team/app"
    cli.ok("tag", f"{registry.host}/team/app", name)
    gate = threading.Event()
    hostile.rule("/blobs/uploads/", gate=gate)
    process = cli.popen("push", name, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for(lambda: hostile.requests(part="/blobs/uploads/"), what="an upload")
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=30)
    gate.set()
    assert (process.returncode, complaint.count(b"\n")) == (130, 1)
    assert complaint.startswith(b"minidock: the push was interrupted")
    assert not hostile.requests("PUT", "/manifests/")
    hostile.clear()
    cli.ok("push", "-q", name)
