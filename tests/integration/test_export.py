"""``export``: a container's files as a plain tar, whatever its root filesystem is made of."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minidock.errors import ContainerNotFound, NotFound, Unsupported
from tests.conftest import Cli, Roots
from tests.images import SAMPLE_TREE, oci_archive, read_tree, sample_image
from tests.integration.archives import held
from tests.rootfs import busybox_tar

if TYPE_CHECKING:
    import minidock

MADE_FOR_MOUNTS = {"dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf"}


def exported(container: minidock.containers.container.Container) -> bytes:  # type: ignore[name-defined]
    return b"".join(container.export())


def test_every_kind_of_file(engine: minidock.Engine, roots: Roots) -> None:
    engine.images.load(oci_archive([(sample_image(), ["sample:1"])]))
    container = engine.containers.create("sample:1")
    data = exported(container)
    assert read_tree(data) == SAMPLE_TREE
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = [info.name for info in tar]
        assert names == sorted(names, key=lambda name: name.split("/"))
        assert not any(name in (".", "./") or ".wh." in name for name in names)
        assert "SCHILY.xattr.security.capability" in tar.getmember("capable").pax_headers
        assert tar.getmember("attributes").pax_headers["SCHILY.xattr.user.note"] == "hello ä"
    assert exported(container) == data
    assert held(roots.data)["tmp"] == []
    # What comes out goes in.
    image = engine.images.import_(data, "again")
    assert exported(engine.containers.create("again", ["x"])) == data
    assert image.size > 100_000


def test_changes_of_stopped_and_running_containers(engine: minidock.Engine, busybox: str, cli: Cli) -> None:
    script = "echo new > /new; rm /etc/group; rm -r /home; mkdir /home; echo q > /home/q; echo done; sleep 100"
    container = engine.containers.create(busybox, ["sh", "-c", script])
    container.start()
    root = Path(f"/proc/{container.state.pid}/root")
    for _ in range(200):
        if (root / "home/q").exists() and (root / "home/q").read_bytes():
            break
        subprocess.run(["sleep", "0.05"], check=True)
    before = read_tree(exported(container))
    assert before["new"].data == b"new\n"
    assert "etc/group" not in before
    assert {name for name in before if name.startswith("home")} == {"home", "home/q"}
    assert not any(name.startswith(("proc/", "sys/", "dev/")) for name in before), "nothing that is mounted"
    container.kill()
    container.wait(timeout=30)
    after = read_tree(cli("export", container.name).stdout)
    assert after == before
    assert before.keys() - read_tree(busybox_tar().read_bytes()).keys() == (
        {"new", "home/q"} | (MADE_FOR_MOUNTS - {"dev", "proc", "sys"})
    )


def test_plain_copies_and_directories_of_the_host(
    engine: minidock.Engine, busybox: str, roots: Roots, tmp_path: Path
) -> None:
    import minidock

    wanted = read_tree(busybox_tar().read_bytes())
    roots.config.write_text(f'{{"bridge": "none", "cgroup-parent": "{roots.cgroup_parent}", "storage-driver": "vfs"}}')
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as plain:
        copied = plain.containers.create(busybox, ["true"])
        assert read_tree(exported(copied)) == wanted
        copied.remove()
    with tarfile.open(busybox_tar()) as tar:
        tar.extractall(tmp_path / "rootfs", filter="fully_trusted")
    other = engine.containers.create(None, ["sh", "-c", "echo own > /own; rm /bin/vi"], rootfs=str(tmp_path / "rootfs"))
    other.start()
    assert other.wait(timeout=30) == 0
    found = read_tree(exported(other))
    assert found["own"].data == b"own\n"
    assert "bin/vi" not in found
    assert "bin/busybox" in found
    (tmp_path / "rootfs/mnt").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "rootfs/mnt")], check=True)
    try:
        with pytest.raises(Unsupported, match="from-rootfs"):
            exported(other)
    finally:
        subprocess.run(["umount", str(tmp_path / "rootfs/mnt")], check=True)


def test_owners_of_a_user_namespace_are_the_container_s(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(
        busybox, ["sh", "-c", "echo x > /x; chown 5:6 /x; echo y > /y; rm /bin/vi"], userns_mode="remap"
    )
    assert container.record.uid_map
    container.start()
    assert container.wait(timeout=30) == 0
    found = read_tree(exported(container))
    assert found["x"].owner == (5, 6)
    assert found["y"].owner == (0, 0)
    assert found["bin/busybox"].owner == (0, 0)
    assert "bin/vi" not in found
    image = container.commit("remapped")
    assert engine.containers.run("remapped", ["stat", "-c", "%u:%g", "/x", "/y", "/"]).stdout == b"5:6\n0:0\n0:0\n"
    assert image.config.rootfs.diff_ids[0] == engine.images.get(busybox).config.rootfs.diff_ids[0]


def test_command(engine: minidock.Engine, busybox: str, cli: Cli, tmp_path: Path) -> None:
    container = engine.containers.create(busybox, ["true"], name="one")
    out = tmp_path / "out.tar"
    out.write_bytes(b"old")
    assert cli("export", "-o", str(out), "nosuch").returncode == 1
    assert out.read_bytes() == b"old"
    cli.ok("export", "--output", str(out), "one")
    assert out.read_bytes() == exported(container) == cli("container", "export", "one").stdout
    container.export(tmp_path / "second.tar")
    assert (tmp_path / "second.tar").read_bytes() == out.read_bytes()
    assert max(map(len, container.export(chunk_size=777))) <= 777
    with pytest.raises(NotFound):
        container.export("/nosuch/x.tar")
    master, slave = os.openpty()
    try:
        process = cli.popen("export", "one", stdout=slave, stderr=subprocess.PIPE)
        _, errors = process.communicate(timeout=30)
    finally:
        os.close(master)
        os.close(slave)
    assert (process.returncode, errors) == (
        1,
        b"minidock: cowardly refusing to export to a terminal. Use the -o flag or redirect\n",
    )
    process = cli.popen("export", "one", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    with process.stderr as stream:
        assert stream.read() == b""
    assert process.wait(timeout=30) == 141
    container.remove()
    with pytest.raises(ContainerNotFound):
        list(container.export())
