"""``load``: every form of an archive becomes the same images; what is wrong is told in one line and leaves nothing."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from minidock.errors import (
    Cancelled,
    Corrupt,
    ImageNotFound,
    InvalidArgument,
    LimitExceeded,
    MinidockError,
    NotFound,
    Timeout,
    Unsupported,
)
from minidock.registry.cancel import Cancel
from tests.conftest import Cli, Roots, wait_for
from tests.images import (
    docker_archive,
    hardlink,
    node,
    noise,
    oci_archive,
    sample_image,
    sample_layers,
    symlink,
    tar_of,
)
from tests.integration.archives import held
from tests.registry import OCI_INDEX, OCI_MANIFEST, Image, build_image, descriptor, digest_of

if TYPE_CHECKING:
    import minidock

PLAIN = docker_archive([(sample_image(compress="none"), ["app:1"])])
IMAGE_ID = digest_of(sample_image(compress="none").config)


def zstd(data: bytes) -> bytes:
    program = shutil.which("zstd")
    assert program, "zstd is missing: apt-get install zstd"
    return subprocess.run([program, "-c"], input=data, capture_output=True, check=True).stdout


def files_of(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}  # type: ignore[union-attr]


def path_of(data: bytes) -> str:
    return f"blobs/sha256/{digest_of(data).removeprefix('sha256:')}"


def layout(entries: list[dict[str, Any]], blobs: list[bytes], **more: bytes) -> bytes:
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode(), **more}
    return tar_of(*files.items(), *((path_of(blob), blob) for blob in blobs))


def blobs_of(image: Image) -> list[bytes]:
    return list(dict.fromkeys([*image.layers, image.config, image.manifest]))


def nothing_of(roots: Roots, engine: minidock.Engine) -> None:
    assert held(roots.data)["tmp"] == []
    assert engine.images.list("app") == []
    ids = [image.id for image in engine.images.list()]
    assert len(ids) <= 1, "only the built-in image"
    assert len(held(roots.data)["layers"]) <= 1


# What is taken


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, zstd, lzma.compress, bz2.compress], ids=["tar", "gzip", "zstd", "xz", "bzip2"]
)
def test_every_compression_from_every_source(
    engine: minidock.Engine, roots: Roots, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    data = compress(PLAIN)
    path = tmp_path / "app.tar"
    path.write_bytes(data)
    r, w = os.pipe()
    feeder = threading.Thread(target=lambda: (os.write(w, data) if len(data) < 65536 else _feed(w, data), os.close(w)))
    feeder.start()
    with path.open("rb") as file:
        for source in (str(path), path, data, io.BytesIO(data), file, r):
            (image,) = engine.images.load(source)
            assert image.id == IMAGE_ID
            assert image.tags == ["app:1"]
            image.remove(force=True)
    feeder.join()
    os.close(r)
    assert held(roots.data)["tmp"] == []


def _feed(w: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(w, view) :]


@pytest.mark.parametrize("compress", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("docker_names", [False, True])
def test_oci_layout(engine: minidock.Engine, compress: str, docker_names: bool) -> None:
    image = sample_image(compress=compress)
    (loaded,) = engine.images.load(oci_archive([(image, ["app:1", "app:2"])], docker_names=docker_names))
    assert loaded.id == digest_of(image.config)
    assert loaded.tags == ["app:1", "app:2"]
    assert loaded.row.manifest == digest_of(image.manifest)
    assert loaded.config.rootfs.diff_ids == [digest_of(layer) for layer in sample_layers()]
    kept = {blob.digest for blob in engine.store.blobs.of_image(loaded.id) if blob.kept}
    wanted = {digest_of(image.config), digest_of(image.manifest)}
    assert kept == wanted | (set() if compress == "none" else {digest_of(layer) for layer in image.layers})


def test_directory(engine: minidock.Engine, tmp_path: Path, cli: Cli) -> None:
    for name, data in files_of(oci_archive([(sample_image(), ["app:1"])])).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (image,) = engine.images.load(tmp_path)
    assert image.tags == ["app:1"]
    assert cli.ok("load", "-i", str(tmp_path)) == "Loaded image: app:1\n"


def test_directory_with_links_out_of_it(engine: minidock.Engine, roots: Roots, tmp_path: Path) -> None:
    image = sample_image()
    top = tmp_path / "top"
    for name, data in files_of(oci_archive([(image, ["app:1"])])).items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    layer = top / path_of(image.layers[0])
    layer.rename(tmp_path / "outside")
    for target in (tmp_path / "outside", Path("../../../outside")):
        layer.symlink_to(target)
        with pytest.raises(Corrupt, match="out of the archive"):
            engine.images.load(top)
        layer.unlink()
    os.mkfifo(layer)
    with pytest.raises(Corrupt, match="not a regular file"):
        engine.images.load(top)
    layer.unlink()
    (tmp_path / "outside").rename(layer)
    (top / "blobs").rename(tmp_path / "blobs")
    (top / "blobs").symlink_to(tmp_path / "blobs")
    with pytest.raises(MinidockError):
        engine.images.load(top)
    nothing_of(roots, engine)


def test_old_archive_with_links_and_compressed_layers_in_any_order(engine: minidock.Engine) -> None:
    base, top = tar_of(("a", noise(70_000))), tar_of(("b", b"2"))
    image = build_image([base, top, base], compress="none")
    config = digest_of(image.config).removeprefix("sha256:")
    names = ["1" * 64 + "/layer.tar", "2" * 64 + "/layer.tar", "3" * 64 + "/layer.tar"]
    manifest = [{"Config": f"{config}.json", "RepoTags": ["app:1"], "Layers": names}]
    for last in (symlink(names[2], f"../{'1' * 64}/layer.tar"), hardlink(names[2], names[0])):
        archive = tar_of(
            ("manifest.json", json.dumps(manifest).encode()),
            last,
            (names[1], gzip.compress(top, mtime=0)),
            (f"{config}.json", image.config),
            ("repositories", b"{}"),
            (names[0], base),
        )
        (loaded,) = engine.images.load(archive)
        assert loaded.config.rootfs.diff_ids == [digest_of(base), digest_of(top), digest_of(base)]
        loaded.remove(force=True)


def test_platforms_of_one_name(engine: minidock.Engine, cli: Cli, tmp_path: Path) -> None:
    images = {
        name: build_image([tar_of(("platform", name.encode()))], platform=name)
        for name in ("linux/amd64", "linux/arm64", "linux/s390x")
    }
    entries = []
    for name, image in images.items():
        system, architecture = name.split("/")
        entries.append(
            {**descriptor(OCI_MANIFEST, image.manifest), "platform": {"os": system, "architecture": architecture}}
        )
    attestation = {**entries[0], "digest": "sha256:" + "0" * 64, "platform": {"os": "unknown", "architecture": "x"}}
    inner = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*entries, attestation]}).encode()
    outer = {**descriptor(OCI_INDEX, inner), "annotations": {"org.opencontainers.image.ref.name": "app:1"}}
    # One of the platforms is not in the archive.
    data = layout([outer], [inner, *blobs_of(images["linux/amd64"]), *blobs_of(images["linux/arm64"])])
    loaded = engine.images.load(data)
    assert {str(image.platform) for image in loaded} == {"linux/amd64", "linux/arm64"}
    host = "linux/arm64" if os.uname().machine == "aarch64" else "linux/amd64"
    assert str(engine.images.get("app:1").platform) == host
    assert engine.images.get("app:1", platform="linux/arm64").id == digest_of(images["linux/arm64"].config)
    tag = engine.store.names.get("docker.io/library/app:1")
    assert tag is not None
    assert tag.target == digest_of(inner)
    engine.images.remove("app:1", force=True)
    path = tmp_path / "app.tar"
    path.write_bytes(data)
    assert cli.ok("load", "--platform", "linux/arm64", "-i", str(path)) == "Loaded image: app:1\n"
    assert str(engine.images.get("app:1").platform) == "linux/arm64"
    assert cli.ok("load", "-i", str(path)) == "Loaded image: app:1\n"
    with pytest.raises(ImageNotFound, match="linux/riscv64"):
        engine.images.load(data, platform="linux/riscv64")


def test_words(cli: Cli, engine: minidock.Engine, tmp_path: Path) -> None:
    first, second = build_image([tar_of(("a", b"1"))]), build_image([tar_of(("a", b"2"))])
    path = tmp_path / "a.tar"
    path.write_bytes(oci_archive([(first, ["app:1", "registry.example/x/y:2"]), (second, [])]))
    assert cli.ok("load", "-i", str(path)).splitlines() == [
        "Loaded image: app:1",
        "Loaded image: registry.example/x/y:2",
        f"Loaded image ID: {digest_of(second.config)}",
    ]
    replacement = oci_archive([(second, ["app:1"])])
    assert cli.ok("load", "-q", input=replacement).splitlines() == [
        f"The image app:1 already exists, renaming the old one with ID {digest_of(first.config)} to empty string",
        "Loaded image: app:1",
    ]
    assert cli.ok("load", input=replacement) == "Loaded image: app:1\n"
    done = cli("load", "-i", "/nosuch")
    assert (done.returncode, done.stderr) == (1, b"minidock: load /nosuch: no such file or directory\n")
    done = cli("load", input=b"")
    assert done.returncode == 1
    assert b"empty" in done.stderr


def test_layers_that_are_there_are_not_read_again(engine: minidock.Engine) -> None:
    events: list[str] = []
    archive = oci_archive([(sample_image(), ["app:1"])])
    engine.images.load(archive, progress=lambda event: events.append(event.status))
    assert set(events) == {"Loading layer"}
    events.clear()
    engine.images.load(archive, progress=lambda event: events.append(event.status))
    assert events == []
    # The same layers in another compression are another blob, and are checked and kept.
    other = sample_image(compress="zstd")
    (image,) = engine.images.load(oci_archive([(other, ["app:zstd"])]))
    assert {digest_of(layer) for layer in other.layers} <= {
        blob.digest for blob in engine.store.blobs.of_image(image.id) if blob.kept
    }


def test_blobs_are_not_kept_where_the_configuration_says_so(roots: Roots) -> None:
    import minidock

    roots.config.write_text(
        f'{{"bridge": "none", "cgroup-parent": "{roots.cgroup_parent}", "storage-opts": ["keep-blobs=false"]}}'
    )
    image = sample_image()
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
        (loaded,) = engine.images.load(oci_archive([(image, ["app:1"])]))
        assert loaded.row.manifest == digest_of(image.manifest)
        content = held(roots.data)["content/sha256"]
        assert not {digest_of(layer).removeprefix("sha256:") for layer in image.layers} & set(content)


# What is refused


def with_bad(what: str) -> tuple[bytes, type[MinidockError], str]:
    """An archive with one thing wrong, the error, and a part of its text."""
    image = build_image([tar_of(("a", noise(3000)))])
    files = files_of(oci_archive([(image, ["app:1"])], docker_names=True))
    layer, config, manifest = path_of(image.layers[0]), path_of(image.config), path_of(image.manifest)
    document = json.loads(image.manifest)

    def relabel(data: bytes) -> None:
        files[path_of(data)] = data
        index = json.loads(files["index.json"])
        index["manifests"][0] |= {"digest": digest_of(data), "size": len(data)}
        files["index.json"] = json.dumps(index).encode()

    extra: list[Any] = []
    match what:
        case "layer changed":
            files[layer] = files[layer][:-20] + bytes(20)
        case "layer of another size":
            files[layer] += b"x"
        case "layer missing":
            del files[layer]
        case "config missing":
            del files[config]
        case "config changed":
            files[config] = files[config].replace(b"linux", b"linuX")
        case "manifest changed":
            files[manifest] = files[manifest].replace(b'"size"', b'"siZe"', 1)
        case "manifest missing":
            del files[manifest]
        case "another layer under a right digest":
            other = gzip.compress(tar_of(("b", b"evil")), mtime=0)
            document["layers"] = [descriptor(document["layers"][0]["mediaType"], other)]
            files[path_of(other)] = other
            relabel(json.dumps(document).encode())
        case "media type that lies":
            document["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+zstd"
            relabel(json.dumps(document).encode())
        case "manifest that is an index too":
            relabel(json.dumps({**document, "manifests": []}).encode())
        case "null manifest":
            relabel(b"null")
        case "deep manifest":
            relabel(b"[" * 100_000)
        case "fewer layers":
            relabel(json.dumps({**document, "layers": []}).encode())
        case "foreign layer":
            document["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
            relabel(json.dumps(document).encode())
        case "manifest.json names another image":
            other = build_image([tar_of(("b", b"evil"))]).config
            files[path_of(other)] = other
            files["manifest.json"] = files["manifest.json"].replace(config.encode(), path_of(other).encode())
        case "manifest.json names another name":
            second = build_image([tar_of(("b", b"2"))])
            files = files_of(oci_archive([(image, ["app:1"]), (second, ["app:2"])], docker_names=True))
            entries = json.loads(files["manifest.json"])
            entries[0]["RepoTags"], entries[1]["RepoTags"] = entries[1]["RepoTags"], entries[0]["RepoTags"]
            files["manifest.json"] = json.dumps(entries).encode()
        case "name that is none":
            files["manifest.json"] = files["manifest.json"].replace(b"app:1", b"../app:1")
        case "index without images":
            files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
            del files["manifest.json"]
        case "key that comes twice":
            files["index.json"] = files["index.json"].replace(b"{", b'{"manifests":[],', 1)
        case "layout of the future":
            files["oci-layout"] = b'{"imageLayoutVersion":"2.0.0"}'
        case "absolute name":
            extra = [("/etc/cron.d/x", b"x")]
        case "name that leaves":
            extra = [("blobs/../../x", b"x")]
        case "member that comes twice":
            extra = [("./" + layer, files[layer])]
        case "link that leaves":
            extra = [symlink("link", "../../etc/passwd")]
        case "hard link that leaves":
            extra = [hardlink("link", "/etc/passwd")]
        case "device":
            extra = [node("dev", tarfile.CHRTYPE, device=(1, 3))]
        case "sizes that disagree":
            info = node("smuggler")
            info.pax_headers["size"] = "512"
            extra = [(info, b"x" * 1024)]
        case "document that is too large":
            files["index.json"] += b" " * (5 << 20)
    archive = tar_of(*extra, *files.items())
    kind, text = BAD[what]
    return archive, kind, text


BAD: dict[str, tuple[type[MinidockError], str]] = {
    "layer changed": (Corrupt, "layer"),
    "layer of another size": (Corrupt, "manifest says"),
    "layer missing": (Corrupt, "is missing"),
    "config missing": (Corrupt, "is missing"),
    "config changed": (Corrupt, "digest"),
    "manifest changed": (Corrupt, "digest"),
    "manifest missing": (Corrupt, "is missing"),
    "another layer under a right digest": (Corrupt, "diff_id"),
    "media type that lies": (Corrupt, "media type"),
    "manifest that is an index too": (Corrupt, "'manifests'"),
    "null manifest": (Corrupt, "not a JSON object"),
    "deep manifest": (MinidockError, "manifest"),
    "fewer layers": (Corrupt, "0 layers"),
    "foreign layer": (Unsupported, "foreign"),
    "manifest.json names another image": (Corrupt, "index.json does not"),
    "manifest.json names another name": (Corrupt, "disagree about what"),
    "name that is none": (Corrupt, "invalid reference"),
    "index without images": (Corrupt, "no images"),
    "key that comes twice": (Corrupt, "twice"),
    "layout of the future": (Unsupported, "version"),
    "absolute name": (Corrupt, "absolute"),
    "name that leaves": (Corrupt, "leaves"),
    "member that comes twice": (Corrupt, "comes twice"),
    "link that leaves": (Corrupt, "out of the archive"),
    "hard link that leaves": (Corrupt, "absolute"),
    "device": (Corrupt, "neither a file"),
    "sizes that disagree": (Corrupt, "extended header"),
    "document that is too large": (LimitExceeded, "more than"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_archive_leaves_nothing(engine: minidock.Engine, roots: Roots, cli: Cli, what: str) -> None:
    archive, kind, text = with_bad(what)
    with pytest.raises(kind, match=text):
        engine.images.load(archive)
    nothing_of(roots, engine)
    done = cli("load", input=archive)
    assert done.returncode == 1
    assert len(done.stderr.decode().splitlines()) == 1
    assert done.stdout == b""
    nothing_of(roots, engine)


def bad_docker(what: str) -> bytes:
    image = sample_image(compress="none")
    files = files_of(docker_archive([(image, ["app:1"])]))
    entry = json.loads(files["manifest.json"])[0]
    match what:
        case "layers swapped":
            entry["Layers"][0], entry["Layers"][1] = entry["Layers"][1], entry["Layers"][0]
        case "a layer less":
            entry["Layers"].pop()
        case "config of another digest":
            other = "0" * 64 + ".json"
            files[other] = files[entry["Config"]]
            entry["Config"] = other
        case "layer elsewhere":
            entry["Layers"][0] = "../../../etc/passwd"
        case "layer missing":
            del files[entry["Layers"][0]]
        case "no list":
            files["manifest.json"] = b'{"Config":"x"}'
            return tar_of(*files.items())
        case "key in another case":
            files["manifest.json"] = json.dumps([{**entry, "layers": []}]).encode()
            return tar_of(*files.items())
        case "wrong type":
            entry["Layers"] = "x"
        case "xz layer":
            files[entry["Layers"][0]] = lzma.compress(files[entry["Layers"][0]])
    files["manifest.json"] = json.dumps([entry]).encode()
    return tar_of(*files.items())


@pytest.mark.parametrize(
    "what",
    [
        "layers swapped",
        "a layer less",
        "config of another digest",
        "layer elsewhere",
        "layer missing",
        "no list",
        "key in another case",
        "wrong type",
        "xz layer",
    ],
)
def test_docker_archive_that_lies(engine: minidock.Engine, roots: Roots, what: str) -> None:
    with pytest.raises((Corrupt, Unsupported)):
        engine.images.load(bad_docker(what))
    nothing_of(roots, engine)


def test_a_broken_image_does_not_keep_the_others(engine: minidock.Engine, roots: Roots, cli: Cli) -> None:
    shared = tar_of(("shared", noise(50_000)))
    good, bad = build_image([shared, tar_of(("a", b"1"))]), build_image([shared, tar_of(("b", b"2"))])
    files = files_of(oci_archive([(bad, ["app:bad"]), (good, ["app:good"])]))
    damaged = path_of(bad.layers[1])
    files[damaged] = files[damaged][:-1] + b"\xff"
    done = cli("load", input=tar_of(*files.items()))
    assert done.returncode == 1
    assert done.stdout == b"Loaded image: app:good\n"
    assert b"layer" in done.stderr
    assert engine.images.find("app:bad") is None
    assert engine.images.get("app:good").id == digest_of(good.config)
    assert len(held(roots.data)["layers"]) == 2


@pytest.mark.parametrize("cut", [100, 512, 700, 5000, -40_000])
def test_archive_that_ends_early(engine: minidock.Engine, roots: Roots, cut: int) -> None:
    with pytest.raises(Corrupt):
        engine.images.load(PLAIN[:cut])
    with pytest.raises(Corrupt):
        engine.images.load(gzip.compress(PLAIN)[:cut])
    with pytest.raises(MinidockError):
        engine.images.load(zstd(PLAIN)[:cut])
    nothing_of(roots, engine)


def test_no_archive(engine: minidock.Engine, tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match="minidock import"):
        engine.images.load(tar_of(("etc/hostname", b"x")))
    with pytest.raises(Corrupt, match="not a tar"):
        engine.images.load(b"junk" * 1000)
    with pytest.raises(Unsupported, match=r"before 1\.10"):
        engine.images.load(tar_of(("repositories", b"{}")))
    with pytest.raises(Corrupt, match=r"neither index\.json"):
        engine.images.load(tmp_path)
    with pytest.raises(NotFound):
        engine.images.load(tmp_path / "nosuch")
    with pytest.raises(InvalidArgument):
        engine.images.load(b"")


def test_bombs(engine: minidock.Engine, roots: Roots) -> None:
    zeros = subprocess.run(
        ["sh", "-c", "head -c 2G /dev/zero | gzip -1"], capture_output=True, check=True
    ).stdout  # 230 to 1: as a layer that is too much
    image = build_image([tar_of(("a", b"1"))])
    config = json.loads(image.config)
    config["rootfs"]["diff_ids"] = ["sha256:" + "1" * 64]
    files = {
        "config.json": json.dumps(config).encode(),
        "layer": zeros,
        "manifest.json": b'[{"Config":"config.json","RepoTags":["app:1"],"Layers":["layer"]}]',
    }
    with pytest.raises((LimitExceeded, Corrupt)):
        engine.images.load(tar_of(*files.items()))
    nothing_of(roots, engine)


# Interruptions


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """An archive of 60 MB in six layers."""
    layers = [tar_of((f"file{number}", noise(10_000_000, number))) for number in range(6)]
    path = tmp_path / "large.tar"
    path.write_bytes(docker_archive([(build_image(layers, compress="none"), ["app:1"])]))
    yield path
    path.unlink()


def test_full_disk(roots: Roots, cli: Cli, large: Path) -> None:
    roots.data.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=700", "tmpfs", str(roots.data)], check=True)
    try:
        for args, data in ((["-i", str(large)], None), ([], large.read_bytes())):
            done = cli("load", *args, input=data)
            assert done.returncode == 1
            assert b"no space left" in done.stderr
            assert len(done.stderr.splitlines()) == 1
            assert held(roots.data)["tmp"] == []
            assert held(roots.data)["layers"] == []
        small = tar_of(("a", b"1"))
        archive = docker_archive([(build_image([small], compress="none"), ["small:1"])])
        assert cli.ok("load", input=archive) == "Loaded image: small:1\n"
    finally:
        subprocess.run(["umount", str(roots.data)], check=True)


def test_kill_in_the_middle(roots: Roots, cli: Cli, large: Path) -> None:
    for delay in (0.0, 0.05, 0.15):
        process = cli.popen("load", "-i", str(large), stdout=subprocess.DEVNULL)
        wait_for(lambda: any(held(roots.data)["tmp"]), what="the load's work")
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        listed = cli.ok("images", "app", "-q").split()
        if not listed:
            assert len(held(roots.data)["layers"]) <= 1
        assert held(roots.data)["tmp"] == []
        if listed:
            cli.ok("rmi", "-f", "app:1")
    assert cli.ok("load", "-i", str(large)) == "Loaded image: app:1\n"


def test_ctrl_c(roots: Roots, cli: Cli, large: Path) -> None:
    r, w = os.pipe()
    process = cli.popen("load", stdin=r, stderr=subprocess.PIPE)
    os.close(r)
    os.write(w, large.read_bytes()[:50_000])
    wait_for(lambda: any(held(roots.data)["tmp"]), what="the load's work")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    os.close(w)
    assert held(roots.data)["tmp"] == []


def test_cancel_and_deadline(engine: minidock.Engine, roots: Roots, large: Path) -> None:
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        engine.images.load(large, cancel=cancel)
    with pytest.raises(Timeout):
        engine.images.load(large, timeout=0.001)
    nothing_of(roots, engine)
    assert engine.images.load(large, timeout=100)


def test_two_at_once(engine: minidock.Engine, roots: Roots, large: Path) -> None:
    failures: list[BaseException] = []

    def one() -> None:
        try:
            engine.images.load(large)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(held(roots.data)["layers"]) == 6
    assert held(roots.data)["tmp"] == []
