"""``save``: one tar for every reader, the same bytes each time, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from minidock.errors import Corrupt, ImageNotFound, InvalidArgument, NotFound
from tests.conftest import Cli, Roots
from tests.images import noise, oci_archive, sample_image, sample_layers, tar_of
from tests.integration.archives import held
from tests.integration.test_load import blobs_of, files_of, layout, path_of
from tests.registry import OCI_INDEX, OCI_MANIFEST, build_image, descriptor, digest_of

if TYPE_CHECKING:
    import minidock


@pytest.fixture
def other(roots: Roots) -> Iterator[minidock.Engine]:
    """A second engine, on roots beside the first's."""
    import minidock

    with minidock.Engine(data_root=f"{roots.data}-2", run_root=f"{roots.run}-2", config=str(roots.config)) as engine:
        yield engine


def saved(engine: minidock.Engine, *names: str, **options: Any) -> bytes:
    return b"".join(engine.images.save(list(names), **options))


def index_of(archive: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(files_of(archive)["index.json"])["manifests"]
    return found


def check(archive: bytes) -> None:
    """All that an archive's documents name is there, and is what its digest says."""
    files = files_of(archive)
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert name == path_of(data)
    for entry in json.loads(files["manifest.json"]):
        diff_ids = json.loads(files[entry["Config"]])["rootfs"]["diff_ids"]
        assert len(diff_ids) == len(entry["Layers"])
        assert all(layer in files for layer in entry["Layers"])
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = []
        for info in tar:
            assert (info.uid, info.gid, info.uname, info.gname, info.mtime) == (0, 0, "", "", 0)
            names.append(info.name)
        assert names == [
            "blobs",
            "blobs/sha256",
            *sorted(n for n in files if n.startswith("blobs/")),
            *sorted(n for n in files if not n.startswith("blobs/")),
        ]


@pytest.mark.parametrize("compress", ["none", "gzip", "zstd"])
def test_the_same_bytes_after_a_round_trip(
    engine: minidock.Engine, other: minidock.Engine, tmp_path: Path, compress: str
) -> None:
    image = sample_image(compress=compress)
    engine.images.load(oci_archive([(image, ["app:1"])]))
    archive = saved(engine, "app:1")
    check(archive)
    assert archive == saved(engine, "app:1")
    files = files_of(archive)
    assert {path_of(blob) for blob in blobs_of(image)} == {name for name in files if name.startswith("blobs/")}
    (loaded,) = other.images.load(archive)
    assert loaded.id == digest_of(image.config)
    assert loaded.row.manifest == digest_of(image.manifest)
    assert saved(other, "app:1") == archive
    # To a file, in parallel; to a pipe; by a Python file: the same.
    other.images.save("app:1", tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_bytes() == archive
    buffer = io.BytesIO()
    other.images.save("app:1", buffer)
    assert buffer.getvalue() == archive
    with (tmp_path / "b.tar").open("wb") as file:
        file.write(b"before")
        other.images.save("app:1", file)
    assert (tmp_path / "b.tar").read_bytes() == b"before" + archive
    with (tmp_path / "b.tar").open("ab") as file:
        other.images.save("app:1", file)
    assert (tmp_path / "b.tar").read_bytes() == b"before" + archive * 2


def test_what_was_imported_is_put_together_again(engine: minidock.Engine, other: minidock.Engine) -> None:
    layer = tar_of(("a", noise(3_000_000)), ("b", b"2"))
    image = engine.images.import_(layer, "app", "1", changes=['CMD ["x"]'])
    archive = saved(engine, "app:1")
    check(archive)
    assert files_of(archive)[path_of(layer)] == layer
    (loaded,) = other.images.load(archive)
    assert (loaded.id, loaded.row.manifest) == (image.id, image.row.manifest)
    assert saved(other, "app:1") == archive


def test_without_kept_blobs_the_manifest_is_another(roots: Roots) -> None:
    import minidock

    roots.config.write_text(
        f'{{"bridge": "none", "cgroup-parent": "{roots.cgroup_parent}", "storage-opts": ["keep-blobs=false"]}}'
    )
    image = sample_image()
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
        engine.images.load(oci_archive([(image, ["app:1"])]))
        archive = saved(engine, "app:1")
        check(archive)
        files = files_of(archive)
        assert {path_of(layer) for layer in sample_layers()} <= files.keys()
        manifest = json.loads(files[f"blobs/sha256/{index_of(archive)[0]['digest'][7:]}"])
        assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar"}
        assert manifest["config"]["digest"] == digest_of(image.config)
        # What it is put together to is still checked against the digest.
        (
            Path(engine.store.paths.layer(engine.store.images.layers(digest_of(image.config))[0])) / "fs/etc/keep"
        ).write_bytes(b"xxxx\n")
        with pytest.raises(Corrupt):
            saved(engine, "app:1")


def test_names(engine: minidock.Engine) -> None:
    first, second = build_image([tar_of(("a", b"1"))]), build_image([tar_of(("a", b"1")), tar_of(("b", b"2"))])
    engine.images.load(oci_archive([(first, ["app:1", "app:2", "registry.example:5000/x/y:3"]), (second, ["other:1"])]))

    def names(*wanted: str) -> list[str | None]:
        archive = saved(engine, *wanted)
        check(archive)
        return [entry.get("annotations", {}).get("io.containerd.image.name") for entry in index_of(archive)]

    one, two = "docker.io/library/app:1", "docker.io/library/app:2"
    assert names("app:1") == [one]
    assert names("app") == [one, two]
    assert names("app:2", "app:1", "app:2") == [two, one]
    assert names("registry.example:5000/x/y:3", "other") == ["registry.example:5000/x/y:3", "docker.io/library/other:1"]
    assert names(digest_of(first.config)) == [None]
    assert names(digest_of(first.config)[7:19]) == [None]
    assert names(digest_of(first.config), "app:1") == [one]
    archive = saved(engine, "app", "other:1")
    assert json.loads(files_of(archive)["repositories"]) == {
        "app": {"1": digest_of(first.layers[0])[7:], "2": digest_of(first.layers[0])[7:]},
        "other": {"1": digest_of(second.layers[1])[7:]},
    }
    assert [entry["RepoTags"] for entry in json.loads(files_of(archive)["manifest.json"])] == [
        ["app:1", "app:2"],
        ["other:1"],
    ]
    for name, error in (("nosuch", ImageNotFound), ("app:3", ImageNotFound), ("APP", InvalidArgument)):
        with pytest.raises(error):
            saved(engine, "other", name)
    with pytest.raises(InvalidArgument):
        saved(engine)


def test_image_save(engine: minidock.Engine) -> None:
    (image,) = engine.images.load(oci_archive([(sample_image(), ["app:1", "app:2"])]))
    chunks = list(image.save(chunk_size=1000))
    assert max(map(len, chunks)) <= 1000
    assert "annotations" not in index_of(b"".join(chunks))[0]
    assert index_of(b"".join(image.save(named=True)))[0]["annotations"]["org.opencontainers.image.ref.name"] == "1"
    assert index_of(b"".join(image.save(named="app:2")))[0]["annotations"]["org.opencontainers.image.ref.name"] == "2"
    with pytest.raises(ImageNotFound):
        list(image.save(named="other"))
    # Nobody has to read it to the end.
    threads = threading.active_count()
    for chunk in image.save(chunk_size=10):
        assert chunk
        break
    assert threading.active_count() <= threads
    assert held(Path(engine.data_root))["tmp"] == []


def test_platforms(engine: minidock.Engine, other: minidock.Engine) -> None:
    base = tar_of(("base", noise(2000)))
    images = {
        name: build_image([base, tar_of(("platform", name.encode()))], platform=f"linux/{name}")
        for name in ("amd64", "arm64")
    }
    entries = [
        {**descriptor(OCI_MANIFEST, image.manifest), "platform": {"os": "linux", "architecture": name}}
        for name, image in images.items()
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    top = {**descriptor(OCI_INDEX, index), "annotations": {"org.opencontainers.image.ref.name": "app:1"}}
    blobs = list(dict.fromkeys([index, *blobs_of(images["amd64"]), *blobs_of(images["arm64"])]))
    engine.images.load(layout([top], blobs))
    archive = saved(engine, "app:1")
    check(archive)
    assert [entry["digest"] for entry in index_of(archive)] == [digest_of(index)]
    assert len(json.loads(files_of(archive)["manifest.json"])) == 1, "what knows no platforms gets the host's"
    assert len(other.images.load(archive)) == 2
    assert saved(other, "app:1") == archive
    # One of them
    single = saved(engine, "app:1", platform="linux/arm64")
    check(single)
    assert [entry["digest"] for entry in index_of(single)] == [digest_of(images["arm64"].manifest)]
    with pytest.raises(ImageNotFound, match="riscv64"):
        saved(engine, "app:1", platform="linux/riscv64")
    # Not all of them are here: the index would lead to nothing.
    engine.images.remove("app:1", platforms=["linux/arm64"])
    part = saved(engine, "app:1")
    check(part)
    assert [entry["digest"] for entry in index_of(part)] == [digest_of(images["amd64"].manifest)]


def test_output_is_replaced_only_when_all_went_well(
    engine: minidock.Engine, cli: Cli, tmp_path: Path, roots: Roots
) -> None:
    image = sample_image()
    engine.images.load(oci_archive([(image, ["app:1"])]))
    out = tmp_path / "a.tar"
    out.write_bytes(b"old")
    link = tmp_path / "link.tar"
    link.symlink_to("a.tar")
    assert cli("save", "-o", str(out), "nosuch").returncode == 1
    assert out.read_bytes() == b"old"
    cli.ok("save", "-o", str(link), "app:1")
    assert link.is_symlink()
    archive = out.read_bytes()
    assert archive == cli("save", "app:1").stdout
    assert out.stat().st_mode & 0o777 == 0o600
    # A damaged blob
    blob = Path(engine.store.paths.blob(digest_of(image.layers[-1])))
    blob.write_bytes(bytes(blob.stat().st_size))
    done = cli("save", "-o", str(out), "app:1")
    assert done.returncode == 1
    assert b"damaged in the store" in done.stderr
    assert out.read_bytes() == archive
    assert cli("save", "app:1").returncode == 1
    assert sorted(tmp_path.iterdir()) == [out, link]
    with pytest.raises(NotFound):
        engine.images.save("app:1", "/nosuch/directory/a.tar")
    with pytest.raises(InvalidArgument):
        engine.images.save("app:1", tmp_path)
    assert held(roots.data)["tmp"] == []


def test_full_output(engine: minidock.Engine, cli: Cli, tmp_path: Path) -> None:
    layer = tar_of(("a", noise(3_000_000)))
    engine.images.import_(layer, "app")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=True)
    try:
        done = cli("save", "-o", str(small / "a.tar"), "app")
        assert done.returncode == 1
        assert b"no space left" in done.stderr
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_terminal_is_refused(engine: minidock.Engine, cli: Cli, busybox: str) -> None:
    master, slave = os.openpty()
    try:
        process = cli.popen("save", busybox, stdout=slave, stderr=subprocess.PIPE)
        _, errors = process.communicate(timeout=30)
    finally:
        os.close(master)
        os.close(slave)
    assert process.returncode == 1
    assert errors == b"minidock: cowardly refusing to save to a terminal. Use the -o flag or redirect\n"


def test_reader_that_goes_away(cli: Cli, engine: minidock.Engine, roots: Roots) -> None:
    engine.images.import_(tar_of(("a", noise(3_000_000))), "app")
    process = cli.popen("save", "app", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(1000)
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as errors:
        assert errors.read() == b""
    assert process.wait(timeout=30) == 141
    assert held(roots.data)["tmp"] == []


def test_image_that_is_removed_meanwhile_is_saved_whole(engine: minidock.Engine) -> None:
    layer = tar_of(("a", noise(3_000_000)))
    image = build_image([layer])
    for made in (
        lambda: engine.images.import_(layer, "app", "1"),
        lambda: engine.images.load(oci_archive([(image, ["app:1"])])),
    ):
        made()
        whole = hashlib.sha256(saved(engine, "app:1")).hexdigest()
        chunks = iter(engine.images.save("app:1"))
        parts = [next(chunks)]
        engine.images.remove("app:1", force=True)
        parts += chunks
        assert hashlib.sha256(b"".join(parts)).hexdigest() == whole
        assert len(held(Path(engine.data_root))["layers"]) <= 1
