"""Archives of images: what is around the layers is hostile too, and what is shown on the host stays harmless."""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import minidock
from minidock import errors
from minidock.images import archives
from tests.conftest import Cli, Roots
from tests.images import docker_archive, node, oci_archive, sample_image, tar_of
from tests.integration.archives import held
from tests.integration.test_load import files_of, path_of
from tests.registry import build_image
from tests.security.conftest import Marker, folder, one_line, symlink

GIB = 1 << 30
MAX_RSS = 300 << 20


def test_cve_2021_32760_members_that_lead_out(engine: minidock.Engine, marker: Marker, roots: Roots) -> None:
    """Configurations and layers behind links to the host's files are not read; nothing is written there."""
    files = files_of(docker_archive([(sample_image(compress="none"), ["app:1"])]))
    config = json.loads(files["manifest.json"])[0]["Config"]
    secret = str(marker.path / "file")
    for path in (secret, "../" * 20 + secret.lstrip("/"), "../../etc/passwd"):
        for change in (
            lambda entry, path=path: entry.update(Config=path),
            lambda entry, path=path: entry["Layers"].__setitem__(0, path),
        ):
            entry = json.loads(files["manifest.json"])[0]
            change(entry)
            with pytest.raises(errors.Corrupt) as refused:
                engine.images.load(tar_of(*{**files, "manifest.json": json.dumps([entry]).encode()}.items()))
            one_line(refused.value)
        others = [(name, data) for name, data in files.items() if name != config]
        for link in (symlink(config, path), _hard(config, path)):
            with pytest.raises(errors.Corrupt):
                engine.images.load(tar_of(link, *others))
    assert engine.images.list("app") == []
    assert held(roots.data)["tmp"] == []


def _hard(name: str, target: str) -> tarfile.TarInfo:
    return node(name, tarfile.LNKTYPE, link=target)


def test_cve_2017_14992_archive_of_zeros(cli: Cli, tmp_path: Path, roots: Roots) -> None:
    """10 GiB of zeros where an archive should be, and 900 GiB that are only claimed."""
    part = gzip.compress(bytes(64 << 20), 9)
    bomb = tmp_path / "bomb"
    with bomb.open("wb") as out:
        out.write(gzip.compress(tarfile.TarInfo("x").tobuf(format=tarfile.GNU_FORMAT)))
        for _ in range(160):
            out.write(part)
    claim = tarfile.TarInfo("index.json")
    claim.size = 900 * GIB
    (tmp_path / "claim").write_bytes(claim.tobuf(format=tarfile.GNU_FORMAT) + bytes(512))
    for name in ("bomb", "claim"):
        program = (
            "import sys, resource, minidock\n"
            "e = minidock.Engine(data_root=sys.argv[1], run_root=sys.argv[2], config=sys.argv[3])\n"
            "try: e.images.load(sys.argv[4]); print('loaded')\n"
            "except minidock.errors.MinidockError as error: print(type(error).__name__)\n"
            "status = open('/proc/self/status').read()\n"
            "print(int(status.split('VmHWM:')[1].split()[0]) << 10)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, roots.data, roots.run, roots.config, tmp_path / name],
            capture_output=True,
            text=True,
            check=True,
        )
        word, used = done.stdout.split()
        assert word in ("LimitExceeded", "Corrupt")
        assert int(used) < MAX_RSS
        assert held(roots.data)["tmp"] == []


@pytest.mark.parametrize("compress", [gzip.compress, None], ids=["gzip", "zstd"])
def test_ratio_of_a_compressed_archive(
    engine: minidock.Engine, monkeypatch: pytest.MonkeyPatch, compress: Callable[[bytes], bytes] | None
) -> None:
    """The bound is looked at while it is decompressed; here from 1 MiB on, as 1 GiB takes its time."""
    monkeypatch.setattr(archives, "_RATIO_FROM", 1 << 20)
    monkeypatch.setattr(archives, "_RATIO", 500)
    data = tar_of(("zeros", bytes(64 << 20)))
    if compress is None:
        packed = subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout
        with pytest.raises(errors.MinidockError):
            engine.images.load(packed)
        return
    with pytest.raises(errors.LimitExceeded, match="500 to 1"):
        engine.images.load(compress(data))


def test_descriptors_and_threads_stay_flat(engine: minidock.Engine) -> None:
    """Failures of load and save in the middle leave nothing open."""
    good = oci_archive([(sample_image(), ["app:1"])])
    files = files_of(good)
    layer = path_of(sample_image().layers[-1])
    bad = tar_of(*{**files, layer: files[layer][:-1] + b"\xff"}.items())

    def once() -> None:
        for data in (bad, gzip.compress(bad), good[:9000], good):
            try:
                engine.images.load(data)
            except errors.MinidockError:
                continue
        for _ in engine.images.save("app:1"):
            break
        with pytest.raises(errors.MinidockError):
            engine.images.save("app:1", "/dev/full")
        engine.images.remove("app:1")

    once()
    before = (len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))
    for _ in range(5):
        once()
    assert (len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))) == before


def test_mounted_image_is_harmless(engine: minidock.Engine, marker: Marker) -> None:
    """On the host, an image's device opens nothing and its set-user-id program changes nobody."""
    device = node("null", tarfile.CHRTYPE, mode=0o666, device=(1, 3))
    program = node("suid", mode=0o4755, owner=(0, 0))
    image = build_image([tar_of(device, (program, b"#!/bin/sh\n"), folder("a"), symlink("a/out", str(marker.path)))])
    engine.images.load(oci_archive([(image, ["app:1"])]))
    path = Path(engine.images.mount("app:1"))
    try:
        with pytest.raises(PermissionError):
            (path / "null").read_bytes()
        assert (path / "suid").stat().st_mode & stat.S_ISUID
        flags = os.ST_NOSUID | os.ST_NODEV | os.ST_RDONLY
        assert os.statvfs(path).f_flag & flags == flags
    finally:
        engine.images.unmount("app:1")


def test_directory_to_mount_on_is_no_link(engine: minidock.Engine, marker: Marker, tmp_path: Path) -> None:
    """A link is resolved once, before anything is mounted, and the resolved directory is what is recorded."""
    engine.images.import_(tar_of(("a", b"1")), "app")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert engine.images.mount("app", tmp_path / "link") == str(tmp_path / "real")
    assert engine.images.unmount(path=tmp_path / "link") == [str(tmp_path / "real")]
