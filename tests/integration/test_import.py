"""``import``: every form of a root filesystem becomes the same image; what is wrong is told in one line."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
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
from typing import TYPE_CHECKING

import pytest

from minidock.errors import (
    Corrupt,
    Denied,
    InvalidArgument,
    LimitExceeded,
    MinidockError,
    NoSpace,
    NotFound,
    Unsupported,
)
from tests.conftest import Cli, Roots, wait_for
from tests.integration.archives import folder, held, link, tar
from tests.rootfs import busybox_tar

if TYPE_CHECKING:
    import minidock

SMALL = tar(folder("etc"), ("etc/hostname", b"x\n"), ("bin", b"#!"), link("sh", "bin"))


def zstd(data: bytes) -> bytes:
    program = shutil.which("zstd")
    if program is None:
        pytest.skip("zstd is missing: apt-get install zstd")
    return subprocess.run([program, "-c"], input=data, capture_output=True, check=True).stdout


def layers_of(roots: Roots, engine: minidock.Engine, image: minidock.images.image.Image) -> list[Path]:  # type: ignore[name-defined]
    return [Path(engine.store.paths.layer(number), "fs") for number in engine.store.images.layers(image.id)]


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, zstd, lzma.compress, bz2.compress], ids=["tar", "gzip", "zstd", "xz", "bzip2"]
)
def test_every_compression_from_every_source(
    engine: minidock.Engine, roots: Roots, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    data = compress(SMALL)
    path = tmp_path / "root.tar"
    path.write_bytes(data)
    diff_ids = set()
    r, w = os.pipe()
    os.write(w, data)
    os.close(w)
    with path.open("rb") as file, path.open("rb") as raw:
        for source in (str(path), path, data, io.BytesIO(data), file, raw.fileno(), r):
            image = engine.images.import_(source, "app")
            diff_ids.update(image.config.rootfs.diff_ids)
    os.close(r)
    assert len(diff_ids) == 1
    (root,) = layers_of(roots, engine, engine.images.get("app"))
    assert (root / "etc/hostname").read_bytes() == b"x\n"
    assert os.readlink(root / "sh") == "bin"
    assert (root.parent / "tar-split.zst").stat().st_size > 0
    assert len(held(roots.data)["layers"]) == 1, "the same layer is kept once"


def test_configuration(engine: minidock.Engine) -> None:
    image = engine.images.import_(
        SMALL,
        "localhost:5000/me/app:v1",
        changes=['CMD ["sh", "-l"]', "ENV A=1 B=$A", "EXPOSE 80", "LABEL x=y", "USER 1000", "WORKDIR /w", "VOLUME /v"],
        message="made by a test",
        platform="linux/arm/v7",
    )
    assert image.tags == ["localhost:5000/me/app:v1"]
    attrs = engine.images.get("localhost:5000/me/app:v1").attrs
    assert attrs["Id"] == image.id
    assert attrs["RepoTags"] == ["localhost:5000/me/app:v1"]
    assert (attrs["Os"], attrs["Architecture"], attrs["Variant"]) == ("linux", "arm", "v7")
    assert attrs["Config"] == {
        "Cmd": ["sh", "-l"],
        "Env": ["A=1", "B="],
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"x": "y"},
        "User": "1000",
        "WorkingDir": "/w",
        "Volumes": {"/v": {}},
    }
    assert attrs["Comment"] == "made by a test"
    assert attrs["RootFS"] == {"Type": "layers", "Layers": image.config.rootfs.diff_ids}
    assert attrs["Size"] == 4
    (entry,) = image.history()
    assert (entry.id, entry.comment, entry.size) == (image.id, "made by a test", 4)


def test_documents_are_in_the_content_store_by_their_digests(engine: minidock.Engine) -> None:
    import msgspec

    from minidock.images import content
    from minidock.spec.oci_image import Manifest

    image = engine.images.import_(SMALL, "app")
    assert content.read(engine.store.paths, image.id) == image.row.config
    assert image.row.manifest is not None
    manifest = msgspec.json.decode(content.read(engine.store.paths, image.row.manifest), type=Manifest)
    assert manifest.config.digest == image.id
    assert manifest.config.size == len(image.row.config)
    (layer,) = manifest.layers
    assert (layer.digest, layer.size) == (image.config.rootfs.diff_ids[0], len(SMALL))
    Path(engine.store.paths.blob(image.id)).write_bytes(b"{}")
    with pytest.raises(Corrupt, match="its digest is"):
        content.read(engine.store.paths, image.id)


def test_the_tag_moves_to_the_new_image(engine: minidock.Engine) -> None:
    old = engine.images.import_(SMALL, "app")
    new = engine.images.import_(tar(("other", b"")), "app")
    assert engine.images.get("app").id == new.id
    assert engine.images.get(old.id).tags == []


def test_without_a_name(engine: minidock.Engine) -> None:
    image = engine.images.import_(SMALL)
    assert image.tags == []
    assert engine.images.get(image.short_id).id == image.id


def test_two_imports_of_the_same_layer_at_once(engine: minidock.Engine, roots: Roots) -> None:
    failures: list[BaseException] = []
    archive = str(busybox_tar())

    def work(number: int) -> None:
        try:
            engine.images.import_(archive, f"app:{number}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(engine.images.list("app")) == 6
    assert len(held(roots.data)["layers"]) == 2, "hello's and busybox's"
    assert held(roots.data)["tmp"] == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"repository": "Upper"}, "must be lowercase"),
        ({"repository": "a@sha256:" + "0" * 64}, "cannot be given to a digest"),
        ({"repository": "a:b", "tag": "c"}, "has a tag already"),
        ({"tag": "c"}, "without a repository"),
        ({"repository": "a", "tag": "-"}, "invalid tag"),
        ({"changes": ["RUN x"]}, "RUN is not one of"),
        ({"changes": "RUN x"}, "RUN is not one of"),
        ({"platform": "linux/nope"}, "unknown architecture"),
    ],
)
def test_arguments_are_checked_before_anything_is_read(
    engine: minidock.Engine, roots: Roots, arguments: dict[str, object], why: str
) -> None:
    class Untouched(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            pytest.fail("was read")

    with pytest.raises(InvalidArgument) as caught:
        engine.images.import_(Untouched(), **arguments)  # type: ignore[arg-type]
    assert why in str(caught.value)
    assert not roots.data.exists() or held(roots.data)["tmp"] == []


def _device() -> bytes:
    import tarfile

    info = tarfile.TarInfo("x")
    info.size = 1 << 40
    return info.tobuf()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (SMALL[:1800], Corrupt),
        (SMALL[:700], Corrupt),
        (b"this is no tar at all, but a text" * 100, Corrupt),
        (os.urandom(4096), Corrupt),
        (gzip.compress(SMALL)[:-30], Corrupt),
        (gzip.compress(SMALL)[:60] + b"garbage" * 20, Corrupt),
        (lzma.compress(SMALL)[:-30], Corrupt),
        (b"\xfd7zXZ\x00" + b"garbage" * 20, Corrupt),
        (b"BZh9" + b"garbage" * 20, Corrupt),
        (tar(("../escape", b"x")), Denied),
        (tar(link("a", "/tmp"), ("a/escape", b"x")), MinidockError),
        (tar(link("passwd", "/etc/passwd", hard=True)), MinidockError),
        (tar(link("passwd", "../../../../../../etc/passwd", hard=True)), MinidockError),
        (tar((".wh...", b"")), MinidockError),
        (_device(), MinidockError),
    ],
    ids=[
        "cut-header",
        "cut",
        "text",
        "noise",
        "gzip-cut",
        "gzip-damaged",
        "xz-cut",
        "xz-damaged",
        "bzip2-damaged",
        "dotdot",
        "through-link",
        "hardlink",
        "hardlink-dotdot",
        "whiteout",
        "size",
    ],
)
def test_bad_archives_leave_nothing(
    engine: minidock.Engine, roots: Roots, tmp_path: Path, data: bytes, kind: type[MinidockError]
) -> None:
    marker = Path("/tmp/escape")
    marker.unlink(missing_ok=True)
    path = tmp_path / "bad.tar"
    path.write_bytes(data)
    for source in (str(path), data):
        image, error = attempt(engine, source)
        if image is not None:
            # A link may be unpacked as the link that it is; it is never followed.
            assert kind is MinidockError, "was imported"
            engine.images.remove(image.id)
        else:
            assert isinstance(error, kind), error
            assert "\n" not in str(error)
            assert str(error).startswith("import ")
        assert not marker.exists()
        assert [one.tags for one in engine.images.list()] == [["minidock/hello:latest"]]
        assert held(roots.data)["tmp"] == []
        assert len(held(roots.data)["layers"]) == 1, "hello's"


def attempt(
    engine: minidock.Engine, source: str | bytes
) -> tuple[minidock.images.image.Image | None, MinidockError | None]:  # type: ignore[name-defined]
    """Import, and return what came of it."""
    try:
        return engine.images.import_(source, "bad"), None
    except MinidockError as error:
        return None, error


def test_an_empty_source(engine: minidock.Engine, roots: Roots) -> None:
    for data in (b"", gzip.compress(b"")):
        with pytest.raises(Corrupt, match="import bytes"):
            engine.images.import_(data)
    assert held(roots.data)["tmp"] == []


def test_a_bomb_is_stopped(engine: minidock.Engine, roots: Roots) -> None:
    """10 GiB of zeros in 10 MB of gzip; and the memory does not grow with it."""

    def bomb() -> Iterator[bytes]:
        import tarfile
        import zlib

        info = tarfile.TarInfo("zeros")
        info.size = 10 << 30
        packer = zlib.compressobj(9, wbits=31)
        yield packer.compress(info.tobuf(tarfile.GNU_FORMAT))
        zeros = bytes(1 << 22)
        for _ in range(2560):
            yield packer.compress(zeros)
        yield packer.flush()

    chunks = bomb()

    class Source(io.RawIOBase):
        rest = b""

        def read(self, size: int = -1) -> bytes:
            while not self.rest:
                try:
                    self.rest = next(chunks)
                except StopIteration:
                    return b""
            chunk, self.rest = self.rest[:size], self.rest[size:]
            return chunk

    Path("/proc/self/clear_refs").write_text("5")  # the peak of what tests before this one used is not its own
    before = _peak()
    with pytest.raises(LimitExceeded) as caught:
        engine.images.import_(Source())
    assert "\n" not in str(caught.value)
    assert held(roots.data)["tmp"] == []
    assert _peak() - before < 200 << 10


def _peak() -> int:
    """The most memory that this process had in use, in KiB, since its peak was last reset (proc_pid_clear_refs(5))."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.parametrize(
    ("source", "kind", "why"),
    [
        ("/no/such.tar", NotFound, "no such file or directory"),
        ("/etc", InvalidArgument, "is a directory"),
        ("https://example.org/x.tar", Unsupported, "does not fetch"),
    ],
)
def test_sources_that_are_none(engine: minidock.Engine, source: str, kind: type[MinidockError], why: str) -> None:
    with pytest.raises(kind, match=why):
        engine.images.import_(source)


@pytest.fixture
def small_disk(roots: Roots) -> Iterator[Path]:
    """A data root on a file system of 8 MiB."""
    roots.data.mkdir(mode=0o700, parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(roots.data)], check=True)
    yield roots.data
    subprocess.run(["umount", "-l", str(roots.data)], check=True)


def test_no_space_left(small_disk: Path, roots: Roots, cli: Cli) -> None:
    import minidock

    big = tar(("big", os.urandom(12 << 20)))
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
        good = engine.images.import_(SMALL, "good")
        with pytest.raises(NoSpace, match="no space left on device") as caught:
            engine.images.import_(big, "big")
        assert "\n" not in str(caught.value)
        assert held(small_disk)["tmp"] == []
        assert engine.images.find("big") is None
        assert engine.images.get("good").id == good.id
        # There is room again.
        engine.images.import_(tar(("middle", os.urandom(3 << 20))), "middle")
    done = cli("import", "-", "big", input=big)
    assert done.returncode == 1
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert "no space left on device" in line


def test_command_line_from_a_pipe_and_a_file(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "root.tar.gz"
    path.write_bytes(gzip.compress(SMALL))
    first = cli.ok("import", str(path), "one:1").strip()
    second = cli.ok("import", "-c", "CMD x", "-m", "hello", "-", "two", input=SMALL).strip()
    assert first.startswith("sha256:")
    assert len(second) == 71
    listed = cli.ok("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    assert {f"one:1 {first}", f"two:latest {second}"} < set(listed.splitlines())


def _slow(cli: Cli) -> subprocess.Popen[bytes]:
    """An import that has unpacked something and waits for more."""
    process = cli.popen("import", "-", "slow", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(tar(folder("d"), ("d/first", b"x" * 300_000), ("second", b"y" * 5_000_000))[:4_000_000])
    process.stdin.flush()
    return process


def _started(data: Path) -> bool:
    return bool(list((data / "tmp").glob("import-*/layer/fs/d/first"))) if (data / "tmp").is_dir() else False


def test_an_interrupted_import_leaves_nothing(cli: Cli, roots: Roots) -> None:
    process = _slow(cli)
    wait_for(lambda: _started(roots.data), what="the first file")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"Traceback" not in errors
    assert held(roots.data)["tmp"] == held(roots.data)["content/sha256"] == held(roots.data)["layers"] == []


def test_a_killed_import_is_swept_up_by_the_next_command(cli: Cli, roots: Roots) -> None:
    process = _slow(cli)
    wait_for(lambda: _started(roots.data), what="the first file")
    process.kill()
    process.communicate(timeout=60)
    assert len(held(roots.data)["tmp"]) == 1
    assert "slow" not in cli.ok("images")
    assert held(roots.data)["tmp"] == []


def test_an_import_that_goes_on_is_left_alone_by_others(cli: Cli, roots: Roots) -> None:
    process = _slow(cli)
    wait_for(lambda: _started(roots.data), what="the first file")
    for _ in range(3):
        cli.ok("images")
        assert _started(roots.data)
    assert process.stdin is not None
    process.stdin.write(tar(folder("d"), ("d/first", b"x" * 300_000), ("second", b"y" * 5_000_000))[4_000_000:])
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert cli.ok("images", "-q", "--no-trunc", "slow").strip() == out.decode().strip()


def test_import_waits_for_a_slow_source(engine: minidock.Engine) -> None:
    r, w = os.pipe()

    def feed() -> None:
        for start in range(0, len(SMALL), 1500):
            os.write(w, SMALL[start : start + 1500])
            time.sleep(0.005)
        os.close(w)

    thread = threading.Thread(target=feed)
    thread.start()
    image = engine.images.import_(r, "slow")
    thread.join()
    os.close(r)
    assert image.size == 4


def test_source_date_epoch(engine: minidock.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tars of one tree in another order and of other times give one image then; without, each its own layer."""

    def archive(order: str, mtime: int) -> bytes:
        entries = []
        for name in order:
            info = tarfile.TarInfo(name)
            info.mtime = mtime
            entries.append(info)
        return tar(*entries)

    one, two = archive("ab", 2_000_000_000), archive("ba", 2_100_000_000)
    assert engine.images.import_(one).config.rootfs.diff_ids == ["sha256:" + hashlib.sha256(one).hexdigest()]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    made = [engine.images.import_(data, "stable", message="m") for data in (one, two)]
    assert made[0].id == made[1].id
    assert (made[0].config.created or "").startswith("2001-09-09T01:46:40")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(InvalidArgument, match="SOURCE_DATE_EPOCH"):
        engine.images.import_(one)
