"""One suite for both ways to make a root filesystem: overlay, and plain copy where overlay cannot be."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minidock.errors import Unsupported
from tests.conftest import Roots
from tests.integration.archives import folder, held, link, tar
from tests.rootfs import busybox_tar

if TYPE_CHECKING:
    import minidock


@pytest.fixture(params=["overlay2", "vfs"])
def engine(request: pytest.FixtureRequest, roots: Roots) -> Iterator[minidock.Engine]:
    """An engine that makes root filesystems in one of the two ways."""
    import minidock

    settings = json.loads(roots.config.read_text())
    roots.config.write_text(json.dumps({**settings, "storage-driver": request.param}))
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as it:
        yield it
        for container in it.containers.list(all=True):
            container.remove(force=True)


def stack(engine: minidock.Engine, name: str, tars: Sequence[bytes]) -> None:
    """Make an image of busybox and further layers, lowest first."""
    from minidock.images import references, sources
    from minidock.images.importing import add_image
    from minidock.images.layers import unpack
    from minidock.spec import oci_image
    from minidock.store.workspace import Workspace

    store = engine.store
    _ = store.database
    with Workspace(store.paths, "test") as work:
        layers = []
        for number, data in enumerate([busybox_tar().read_bytes(), *tars]):
            path = work.join(f"layer{number}")
            with sources.opened(data) as stream:
                layers.append((unpack(stream.fd, path), path))
        config = oci_image.ImageConfig(
            "amd64", "linux", rootfs=oci_image.RootFS("layers", [unpacked.diff_id for unpacked, _ in layers])
        )
        target = references.parse(name).with_default_tag()
        add_image(store, work, config, layers, target=target, now=0)


def sh(engine: minidock.Engine, image: str, script: str) -> str:
    result = engine.containers.run(image, ["sh", "-c", script], network="none")
    assert result.exit_code == 0, result.stderr.decode()
    return result.stdout.decode()


def test_changes_stay_in_the_container(engine: minidock.Engine) -> None:
    stack(engine, "app", [])
    files = Path(engine.store.paths.layers, "1/fs")
    before = sorted(os.listdir(files / "etc")), (files / "etc/passwd").stat(), (files / "bin/busybox").stat()
    script = "echo x >> /etc/passwd; rm /etc/group; mkdir /new; chmod 700 /bin/busybox; ls /new /etc"
    out = sh(engine, "app", script)
    assert "group" not in out.split()
    assert "group" in sh(engine, "app", "ls /etc; grep -c ^x /etc/passwd || true").split()
    after = sorted(os.listdir(files / "etc")), (files / "etc/passwd").stat(), (files / "bin/busybox").stat()
    assert [after[0], *map(unchanging, after[1:])] == [before[0], *map(unchanging, before[1:])]


def unchanging(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, status.st_ino


def test_changes_stay_with_a_container_that_starts_again(engine: minidock.Engine) -> None:
    stack(engine, "app", [])
    container = engine.containers.create("app", ["sh", "-c", "test -e /mark && exit 3; touch /mark"], network="none")
    container.start()
    assert container.wait(timeout=60) == 0
    container.start()
    assert container.wait(timeout=60) == 3
    container.remove()


def test_layers_cover_whiteouts_delete_and_opaque_directories_hide(engine: minidock.Engine) -> None:
    stack(
        engine,
        "app",
        [
            tar(folder("d"), ("d/one", b"1"), ("d/two", b"2"), folder("gone"), ("gone/x", b""), ("file", b"old")),
            tar(folder("d"), ("d/two", b"22"), (".wh.gone", b""), ("file", b"new"), link("link", "d/one")),
            tar(folder("o"), ("o/a", b""), ("o/b", b"")),
            tar(folder("o"), ("o/.wh..wh..opq", b""), ("o/c", b"")),
        ],
    )
    assert sh(engine, "app", "cat /d/one /d/two /file /link; ls /o; ls -d /gone 2>/dev/null || echo no") == (
        "122new1c\nno\n"
    )


def test_the_roots_mode_is_the_images(engine: minidock.Engine) -> None:
    stack(engine, "app", [tar(folder(".", 0o751))])
    assert sh(engine, "app", "stat -c %a /") == "751\n"


@pytest.mark.parametrize("count", [60, 499])
def test_many_layers(engine: minidock.Engine, count: int) -> None:
    stack(engine, "app", [tar(folder("f"), (f"f/{number}", b"")) for number in range(count)])
    assert sh(engine, "app", "ls /f | wc -l") == f"{count}\n"


def test_nothing_is_left(engine: minidock.Engine, roots: Roots) -> None:
    stack(engine, "app", [])
    container = engine.containers.create("app", ["sh", "-c", "mkdir -p /a/b; touch /a/b/c"], network="none")
    container.start()
    container.wait(timeout=60)
    container.remove()
    assert held(roots.data)["containers"] == held(roots.data)["tmp"] == []


def test_a_file_system_where_overlay_fails(roots: Roots) -> None:
    """A data root on an overlay: most kernels refuse one as upper layer; then images are copied, with one warning."""
    import minidock

    lower, upper, work = (roots.data.parent / name for name in ("lower", "upper", "work"))
    for path in (lower, upper, work, roots.data):
        path.mkdir(mode=0o700)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(roots.data)], check=True)
    try:
        with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
            engine.images.import_(str(busybox_tar()), "busybox")
            if engine.snapshots.backend.overlay:
                pytest.skip("this kernel takes an overlay as upper layer of another")
            result = engine.containers.run("busybox", ["sh", "-c", "echo hi > /x; cat /x"], network="none", remove=True)
            assert (result.exit_code, result.stdout) == (0, b"hi\n")
            (warning,) = [one for one in result.warnings if "overlay" in one]
            assert "\n" not in warning
            assert "copying images instead" in warning
            assert "set overlay directory" in warning or "mount overlay" in warning
            assert "('" not in warning
            with pytest.raises(Unsupported, match="needs overlayfs"):
                engine.containers.run(None, ["true"], rootfs="/", network="none")  # type: ignore[arg-type]
        assert held(roots.data)["containers"] == held(roots.data)["tmp"] == []
    finally:
        subprocess.run(["umount", "-l", str(roots.data)], check=True)


def test_the_built_in_image_runs(engine: minidock.Engine) -> None:
    from minidock import helper

    program = helper.installed(engine.store.paths)
    before = unchanging(os.stat(program))
    result = engine.containers.run("minidock/hello", network="none")
    assert result.exit_code == 0, result.stderr.decode()
    assert result.stdout
    assert unchanging(os.stat(program)) == before
