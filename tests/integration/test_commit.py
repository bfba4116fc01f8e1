"""``commit``: what a container has changed becomes a layer, with its configuration."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import tarfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minidock.errors import ContainerNotFound, InvalidArgument, MinidockError, Unsupported
from tests.conftest import Cli, Roots, wait_for
from tests.images import busybox_layers, oci_archive
from tests.integration.archives import held
from tests.integration.test_load import files_of
from tests.registry import build_image, digest_of

if TYPE_CHECKING:
    import minidock


def layer_names(engine: minidock.Engine, name: str) -> list[str]:
    """The members of an image's topmost layer."""
    archive = b"".join(engine.images.save(name))
    files = files_of(archive)
    path = json.loads(files["manifest.json"])[0]["Layers"][-1]
    with tarfile.open(fileobj=io.BytesIO(files[path])) as tar:
        return tar.getnames()


def test_changes_become_a_layer(engine: minidock.Engine, busybox: str) -> None:
    script = (
        "echo new > /etc/new; rm /etc/group; rm -r /home; mkdir /home; echo q > /home/q; ln /etc/new /etc/same;"
        "chown 7:8 /etc/new; chmod 700 /root; mkdir -p /deep/er; ln -s /etc /link"
    )
    container = engine.containers.create(busybox, ["sh", "-c", script])
    container.start()
    assert container.wait(timeout=30) == 0
    image = container.commit("changed", "1", message="a comment", author="Somebody")
    assert image.tags == ["changed:1"]
    base = engine.images.get(busybox)
    assert image.config.rootfs.diff_ids[:-1] == base.config.rootfs.diff_ids
    assert (image.config.author, image.config.comment) == ("Somebody", "a comment")
    history = image.config.history or []
    assert len(history) == len(base.config.history or []) + 1
    assert (history[-1].created_by, history[-1].comment, history[-1].author, history[-1].empty_layer) == (
        f"sh -c {script}",
        "a comment",
        "Somebody",
        False,
    )
    names = layer_names(engine, "changed:1")
    wanted = [
        "etc",
        "etc/.wh.group",
        "etc/new",
        "etc/same",
        "home",
        "home/.wh..wh..opq",
        "home/q",
        "root",
        "deep",
        "deep/er",
        "link",
    ]
    assert sorted(names) == sorted(wanted), "nothing of what is mounted in every container"
    result = engine.containers.run(
        "changed:1",
        ["sh", "-c", "cat /etc/same /home/*; ls /home; stat -c %u:%g /etc/new; stat -c %a /root; ls /etc/group"],
        remove=True,
    )
    assert result.stdout == b"new\nq\nq\n7:8\n700\n"
    assert result.exit_code == 1
    # The container goes on as before, and its image is held by nothing of it.
    container.remove()
    engine.images.remove(busybox)
    assert engine.containers.run("changed:1", ["true"], remove=True).exit_code == 0


def test_nothing_changed(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    created = engine.containers.create(busybox, ["true"])
    ran = engine.containers.create(busybox, ["true"])
    ran.start()
    ran.wait(timeout=30)
    before = held(roots.data)["layers"]
    for container in (created, ran):
        image = container.commit()
        assert image.tags == []
        assert image.config.rootfs == engine.images.get(busybox).config.rootfs
        assert (image.config.history or [])[-1].empty_layer
        assert image.size == engine.images.get(busybox).size
    assert held(roots.data)["layers"] == before
    assert held(roots.data)["tmp"] == []


def test_configuration(engine: minidock.Engine, cli: Cli) -> None:
    base = build_image(
        busybox_layers(), config={"Env": ["PATH=/bin", "A=base"], "Labels": {"a": "1"}, "Cmd": ["sh"], "User": "app"}
    )
    engine.images.load(oci_archive([(base, ["base:1"])]))
    cli.ok(
        "create", "--name", "cc", "-e", "A=own", "-e", "B=2", "--label", "b=2", "--workdir", "/tmp",
        "--hostname", "secret", "--stop-signal", "USR1", "--entrypoint", "echo", "base:1", "hello",
    )  # fmt: skip
    id_ = cli.ok("commit", "-c", "ENV C=3", "-c", "LABEL c=3", "-c", "EXPOSE 80", "-m", "why", "-a", "me", "cc", "x:y")
    image = engine.images.get("x:y")
    assert id_.strip() == image.id
    config = image.defaults
    assert sorted(config.env or []) == ["A=own", "B=2", "C=3", "PATH=/bin"]
    assert config.labels == {"a": "1", "b": "2", "c": "3"}
    assert (config.user, config.working_dir, config.stop_signal) == ("app", "/tmp", "USR1")
    assert (config.entrypoint, config.cmd) == (["echo"], ["hello"])
    assert config.exposed_ports == {"80/tcp": {}}
    assert b"secret" not in image.row.config, "what belongs to one container only is left out"
    # Layers that are kept as they came stay so.
    manifest = json.loads(files_of(b"".join(engine.images.save("x:y")))[f"blobs/sha256/{image.row.manifest[7:]}"])
    assert manifest["layers"][0]["digest"] == digest_of(base.layers[0])
    assert cli("commit", "cc", "X:Y").returncode == 1
    assert cli("commit", "-c", "RUN x", "cc").returncode == 1
    assert cli("commit", "nosuch").returncode == 1
    assert cli.ok("commit", "--pause=false", "cc").startswith("sha256:")


@pytest.mark.parametrize(
    ("changes", "entrypoint", "cmd"),
    [
        (['ENTRYPOINT ["x"]'], ["x"], None),
        (["ENTRYPOINT []"], ["echo"], ["hello"]),
        (["CMD []"], ["echo"], []),
        (['ENTRYPOINT ["x"]', 'CMD ["y"]'], ["x"], ["y"]),
    ],
)
def test_entrypoint_and_command_as_in_docker(
    engine: minidock.Engine, busybox: str, changes: list[str], entrypoint: list[str], cmd: list[str] | None
) -> None:
    container = engine.containers.create(busybox, ["hello"], entrypoint=["echo"])
    config = container.commit("x", changes=changes).defaults
    assert (config.entrypoint, config.cmd) == (entrypoint, cmd)


def test_the_same_files_give_the_same_layer(
    engine: minidock.Engine, busybox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    images = []
    for _ in range(2):
        container = engine.containers.create(busybox, ["sh", "-c", "for i in 3 1 2; do echo $i > /$i; done"])
        container.start()
        container.wait(timeout=30)
        images.append(container.commit())
        container.remove()
    assert images[0].id == images[1].id
    assert images[0].config.created == "2001-09-09T01:46:40.000000000Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    container = engine.containers.create(busybox, ["true"])
    with pytest.raises(InvalidArgument, match="SOURCE_DATE_EPOCH"):
        container.commit()


def test_what_cannot_be_committed(engine: minidock.Engine, busybox: str, roots: Roots, tmp_path: Path) -> None:
    import minidock

    container = engine.containers.create(busybox, ["true"])
    container.remove()
    with pytest.raises(ContainerNotFound):
        container.commit("x")
    (tmp_path / "rootfs").mkdir()
    other = engine.containers.create(None, ["true"], rootfs=str(tmp_path / "rootfs"))
    with pytest.raises(Unsupported, match="export"):
        other.commit("x")
    roots.config.write_text(f'{{"bridge": "none", "cgroup-parent": "{roots.cgroup_parent}", "storage-driver": "vfs"}}')
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as plain:
        copied = plain.containers.create(busybox, ["true"])
        with pytest.raises(Unsupported, match="plain copy"):
            copied.commit("x")
        copied.remove()


def test_large_changes_and_names_of_any_length(engine: minidock.Engine, busybox: str) -> None:
    deep = "/".join(["d" * 200] * 3)
    script = f"mkdir -p /{deep}; dd if=/dev/urandom of=/{deep}/file bs=1M count=5 2>/dev/null; sha256sum < /{deep}/file"
    container = engine.containers.create(busybox, ["sh", "-c", script])
    container.start()
    assert container.wait(timeout=30) == 0
    image = container.commit("large")
    upper = Path(container.record.snapshot["upper"])
    result = engine.containers.run("large", ["cat", f"/{deep}/file"], remove=True)
    assert result.stdout == (upper / deep / "file").read_bytes()
    assert image.size > 5_000_000


def test_started_or_removed_meanwhile(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    """Whatever wins: the image is whole or there is none."""
    for action in ("start", "remove"):
        container = engine.containers.create(busybox, ["sleep", "0.1"])

        def commit(container: minidock.containers.container.Container = container) -> None:  # type: ignore[name-defined]
            with contextlib.suppress(MinidockError):
                container.commit("raced")

        thread = threading.Thread(target=commit)
        thread.start()
        getattr(engine.containers.get(container.id), action)()
        thread.join()
        if engine.images.find("raced") is not None:
            assert engine.containers.run("raced", ["true"], remove=True).exit_code == 0
            engine.images.remove("raced", force=True)
        if action == "start":
            container.wait(timeout=30)
        assert [name for name in held(roots.data)["tmp"] if name.startswith("commit")] == []
    assert os.listdir(roots.data / "layers")


def test_kill_leaves_nothing(cli: Cli, engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    script = "dd if=/dev/urandom of=/file bs=1M count=40 2>/dev/null"
    container = engine.containers.create(busybox, ["sh", "-c", script], name="large")
    container.start()
    assert container.wait(timeout=60) == 0
    cli.ok("images")  # makes the built-in one
    before = held(roots.data)
    for delay in (0.0, 0.05):
        process = cli.popen("commit", "large", "killed", stdout=subprocess.DEVNULL)
        wait_for(lambda: any(name.startswith("commit") for name in held(roots.data)["tmp"]), what="the commit's work")
        time.sleep(delay)
        process.kill()
        process.wait()
        if "killed" not in cli.ok("images"):
            assert held(roots.data) == before
        else:
            cli.ok("rmi", "killed")
    assert engine.containers.get("large").status == "exited"
    assert cli.ok("commit", "large", "whole").startswith("sha256:")
    assert engine.images.get("whole").size > 40_000_000


@pytest.mark.parametrize("pause", [True, False])
def test_a_container_that_runs(engine: minidock.Engine, busybox: str, pause: bool) -> None:
    """It is frozen meanwhile, unless told otherwise, and runs on afterwards; its image has what it had written."""
    script = "echo 1 >/made; rm -r /home; touch /ready; while :; do date +%s%N >/dev/shm/now; sleep 0.01; done"
    container = engine.containers.create(busybox, ["sh", "-c", script])
    container.start()
    upper = Path(container.record.snapshot["upper"])
    wait_for((upper / "ready").exists, what="the script")
    image = container.commit("running", pause=pause)
    assert sorted(layer_names(engine, "running")) == [".wh.home", "made", "ready"]
    assert image.tags == ["running:latest"]
    container.reload()
    assert container.status == "running"
    before = b"".join(container.get_archive("/dev/shm/now")[0])
    wait_for(lambda: b"".join(container.get_archive("/dev/shm/now")[0]) != before, what="the container to run on")
    assert engine.containers.run("running", ["cat", "/made"], remove=True).stdout == b"1\n"


def test_a_paused_container_stays_paused(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sleep", "1000"])
    container.start()
    container.pause()
    container.commit("paused")
    container.reload()
    assert container.status == "paused"
