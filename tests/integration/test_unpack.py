"""Unpacking held against GNU tar and Python's tarfile, exact reassembly, signals, full disks."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minidock import _native


def unpack(data: bytes | Path, target: Path, **options: object) -> _native.LayerResult:
    target.mkdir(exist_ok=True)
    if isinstance(data, Path):
        with data.open("rb") as file:
            return _native.unpack_layer(file.fileno(), target, **options)  # type: ignore[arg-type]
    with memory(data) as file:
        return _native.unpack_layer(file.fileno(), target, **options)  # type: ignore[arg-type]


def memory(data: bytes = b"") -> io.FileIO:
    file = io.FileIO(os.memfd_create("test"), "r+")
    file.write(data)
    file.seek(0)
    return file


def kind(error: pytest.ExceptionInfo[_native.NativeError]) -> str:
    return str(error.value.args[1])


def state(top: Path) -> dict[str, object]:
    """Everything that a tar keeps of a tree; hard links by the first name of their file."""
    out: dict[str, object] = {}
    first: dict[int, str] = {}
    for path in sorted([top, *top.rglob("*")]):
        name = str(path.relative_to(top))
        status = path.lstat()
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
        }
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            content = (path.read_bytes(), first.setdefault(status.st_ino, name))
        out[name] = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev, content, xattrs)
    return out


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One of everything."""
    top = tmp_path / "tree"
    (top / "dir/sub").mkdir(parents=True)
    (top / "dir/file").write_bytes(b"content" * 10_000)
    os.link(top / "dir/file", top / "hard")
    (top / "link").symlink_to("/dangling/target")
    (top / ("n" * 200)).write_text("long name")
    (top / ("d" * 150) / ("e" * 150)).mkdir(parents=True)
    (top / "l").symlink_to("t" * 300)
    (top / "naïve ☃").write_text("not ASCII")
    Path(os.fsdecode(os.fsencode(top) + b"/latin\xe9")).write_text("not UTF-8")
    os.mkfifo(top / "pipe")
    os.mknod(top / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (top / "setuid").write_text("x")
    os.chown(top / "setuid", 1234, 3_000_000_000)
    os.chmod(top / "setuid", 0o4711)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    (top / "ping").write_text("x")
    os.setxattr(top / "ping", "security.capability", capability)
    os.setxattr(top / "dir", "user.note", b"a\x00b\n=")
    with (top / "sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
        file.truncate(5 << 20)
    os.utime(top / "dir/file", ns=(1, 1_600_000_000_123_456_789))
    os.utime(top / "link", ns=(1, -1_500_000_000), follow_symlinks=False)
    os.chmod(top / "dir/sub", 0o1555)
    os.utime(top / "dir/sub", ns=(0, 1_000_000_000_000_000_000))
    os.utime(top / "dir", ns=(0, 1_000_000_000_000_000_000))
    return top


@pytest.mark.parametrize("sparse", [None, "0.0", "0.1", "1.0"])
def test_gnu_tar_posix(tree: Path, tmp_path: Path, sparse: str | None) -> None:
    options = ["--sparse", f"--sparse-version={sparse}"] if sparse else []
    made = tmp_path / "made.tar"
    subprocess.run(
        ["tar", "--format=posix", "--xattrs", "--xattrs-include=*", *options, "-C", tree, "-cf", made, "."], check=True
    )
    result = unpack(made, tmp_path / "out", tar_split=tmp_path / "split")
    assert state(tmp_path / "out") == state(tree)
    assert result.diff_id == "sha256:" + hashlib.sha256(made.read_bytes()).hexdigest() == result.digest
    assert (result.tar_size, result.compression) == (made.stat().st_size, "none")
    if sparse:
        assert (tmp_path / "out/sparse").stat().st_blocks * 512 < 1 << 20
    with memory() as out:
        again = _native.reassemble_layer(tmp_path / "out", tmp_path / "split", out.fileno(), diff_id=result.diff_id)
        assert again.diff_id == result.diff_id
        out.seek(0)
        assert out.read() == made.read_bytes()


@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=gnu", "--sparse"], ["--format=oldgnu"]])
def test_gnu_tar_of_old(tree: Path, tmp_path: Path, options: list[str]) -> None:
    made = tmp_path / "made.tar"
    subprocess.run(["tar", *options, "-C", tree, "-cf", made, "."], check=True)
    unpack(made, tmp_path / "out")
    subprocess.run(["mkdir", tmp_path / "oracle"], check=True)
    subprocess.run(["tar", "-C", tmp_path / "oracle", "-xpf", made], check=True)
    assert state(tmp_path / "out") == state(tmp_path / "oracle")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_python_tarfile(tmp_path: Path, format: int) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=format) as tar:
        for name, size in (("a/b", 5), ("p" * 90 + "/" + "q" * 90, 700), ("c", 0)):
            info = tarfile.TarInfo(name)
            info.size = size
            info.mode = 0o640
            info.mtime = 1_234_567_890.25 if format == tarfile.PAX_FORMAT else 1_234_567_890
            tar.addfile(info, io.BytesIO(b"x" * size))
    unpack(data.getvalue(), tmp_path / "out")
    got = state(tmp_path / "out")
    assert got["p" * 90 + "/" + "q" * 90][5][0] == b"x" * 700  # type: ignore[index]
    assert got["c"][3] == (1_234_567_890_250_000_000 if format == tarfile.PAX_FORMAT else 1_234_567_890 * 10**9)  # type: ignore[index]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_own_tar_comes_back(tree: Path, tmp_path: Path, compression: str) -> None:
    with memory() as out:
        made = _native.tar_tree(tree, out.fileno(), compression=compression)
        out.seek(0)
        data = out.read()
    assert made.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    result = unpack(data, tmp_path / "out")
    assert state(tmp_path / "out") == state(tree)
    assert (result.diff_id, result.digest, result.compression) == (made.diff_id, made.digest, compression)
    with memory() as out:
        assert _native.tar_tree(tmp_path / "out", out.fileno()).diff_id == made.diff_id
    if compression == "none":
        # GNU tar reads it the same way.
        (tmp_path / "gnu").mkdir()
        subprocess.run(
            ["tar", "--xattrs", "--xattrs-include=*", "-C", tmp_path / "gnu", "-xpf", "-"], input=data, check=True
        )
        assert state(tmp_path / "gnu") == state(tree)


def test_tar_is_reproducible(tree: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", tree, tmp_path / "copy"], check=True)
    ids = set()
    for path in (tree, tmp_path / "copy"):
        with memory() as out:
            ids.add(_native.tar_tree(path, out.fileno(), clamp=1_000_000_000).diff_id)
            out.seek(0)
            with tarfile.open(fileobj=out) as tar:
                members = tar.getmembers()
                assert all(member.mtime <= 1_000_000_000 for member in members)
                names = [member.name for member in members]
                assert len(names) == len(set(names))
    assert len(ids) == 1


def test_whiteouts_of_a_layer_become_files_again(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    (layer / "d").mkdir(parents=True)
    os.mknod(layer / "d/gone", stat.S_IFCHR, 0)
    os.setxattr(layer / "d", "trusted.overlay.opaque", b"y")
    with memory() as out:
        _native.tar_tree(layer, out.fileno(), top=False)
        out.seek(0)
        with tarfile.open(fileobj=out) as tar:
            assert [member.name for member in tar] == ["d", "d/.wh..wh..opq", "d/.wh.gone"]
            assert all(member.isreg() or member.isdir() for member in tar)
    (layer / ".wh.evil").write_text("")
    with memory() as out, pytest.raises(_native.NativeError) as error:
        _native.tar_tree(layer, out.fileno())
    assert kind(error) == "invalid"


def small_tar(size: int = 1000) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = size
        tar.addfile(info, io.BytesIO(os.urandom(size)))
    return data.getvalue()


def test_left_out_and_kept_are_the_same_layer(tmp_path: Path) -> None:
    deep = "d" * 150
    for path in ("etc/other", f"{deep}/etc/hosts", f"{deep}/made/deep", "etc/hosts"):
        (tmp_path / "fs" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / path).touch()
    left_out = ["etc/hosts", f"{deep}/made", f"{deep}/made/deep"]
    with (tmp_path / "a.tar").open("w+b") as out:
        written = _native.tar_tree(tmp_path / "fs", out.fileno(), left_out=left_out)
        out.seek(0)
        with tarfile.open(fileobj=out) as tar:
            assert tar.getnames() == [".", deep, f"{deep}/etc", f"{deep}/etc/hosts", "etc", "etc/other"]
    kept = _native.keep_tree(tmp_path / "fs", tmp_path / "split", left_out=left_out)
    assert (kept.diff_id, kept.tar_size, kept.entries, kept.size) == (written.diff_id, written.tar_size, 6, 0)
    assert not (tmp_path / "fs/etc/hosts").exists()
    with (tmp_path / "b.tar").open("wb") as out:
        _native.reassemble_layer(tmp_path / "fs", tmp_path / "split", out.fileno(), diff_id=kept.diff_id)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize("via", ["pipe", "socket"])
def test_streams_without_an_offset(tmp_path: Path, via: str) -> None:
    data = gzip.compress(small_tar(3_000_000))
    if via == "pipe":
        reader, writer = os.pipe()
    else:
        reader, writer = (end.detach() for end in socket.socketpair())

    def fill() -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(writer, left[:70_000]) :]
        os.close(writer)

    thread = threading.Thread(target=fill)
    thread.start()
    (tmp_path / "out").mkdir()
    result = _native.unpack_layer(reader, tmp_path / "out")
    thread.join()
    os.close(reader)
    assert result.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert result.compressed_size == len(data)


def test_gzip_of_several_members(tmp_path: Path) -> None:
    tar = small_tar(5000)
    result = unpack(gzip.compress(tar[:3000]) + gzip.compress(b"") + gzip.compress(tar[3000:]), tmp_path / "out")
    assert result.diff_id == "sha256:" + hashlib.sha256(tar).hexdigest()


def test_damaged_compression(tmp_path: Path) -> None:
    tar = small_tar(200_000)
    whole = gzip.compress(tar)
    with memory() as out, memory(tar) as source:
        _native.compress_layer(source.fileno(), out.fileno(), "zstd")
        out.seek(0)
        zstd = out.read()
    bad = {
        "cut": whole[:-5],
        "cut early": whole[:30],
        "sum": whole[:-8] + bytes(4) + whole[-4:],
        "tail": whole + b"garbage",
        "inside": whole[:100_000] + b"\xff" * 50 + whole[100_050:],
        "zstd cut": zstd[:-3],
        "zstd inside": zstd[:50_000] + b"\xff" * 50 + zstd[50_050:],
        "zstd tail": zstd + b"garbage",
    }
    for name, data in bad.items():
        with pytest.raises(_native.NativeError) as error:
            unpack(data, tmp_path / name)
        assert kind(error) == "corrupt", name
        assert "\n" not in str(error.value.args[0])


def test_truncated_anywhere(tmp_path: Path) -> None:
    tar = small_tar(700)
    tar = tar[: 512 + 1024 + 1024]
    for at, length in enumerate([0, 1, 511, 512, 1000, 1024, 1535, 1536]):
        with pytest.raises(_native.NativeError) as error:
            unpack(tar[:length], tmp_path / str(at))
        assert kind(error) == "corrupt", length
    unpack(tar, tmp_path / "whole")


def test_other_formats_are_named(tmp_path: Path) -> None:
    for at, (data, word) in enumerate(
        [(b"\xfd7zXZ\0" + bytes(600), "xz"), (b"BZh91AY&SY" + bytes(600), "bzip2"), (b"PK\x03\x04" + bytes(600), "zip")]
    ):
        with pytest.raises(_native.NativeError, match=word):
            unpack(data, tmp_path / str(at))


def test_target_and_arguments(tmp_path: Path) -> None:
    tar = small_tar()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("")
    (tmp_path / "link").symlink_to("full")
    (tmp_path / "split").write_text("")
    cases: list[tuple[str, dict[str, object], str]] = [
        ("full", {}, "conflict"),
        ("absent", {}, "not-found"),
        ("link", {}, "system"),
        ("empty", {"tar_split": tmp_path / "split"}, "conflict"),
        ("empty", {"compression": "lz4"}, "invalid"),
        ("empty", {"whiteouts": "x"}, "invalid"),
        ("empty", {"limits": {"x": 1}}, "invalid"),
        ("empty", {"limits": {"time": -1}}, "invalid"),
        ("empty", {"idmap": {"uid": [[0, 1]]}}, "invalid"),
        ("empty", {"idmap": {"uid": [[1000, 0, 1]], "gid": []}}, "invalid"),
        ("empty", {"tar_split": tmp_path / "s2", "whiteouts": "delete"}, "invalid"),
        ("empty", {"compression": "gzip"}, "corrupt"),
    ]
    (tmp_path / "empty").mkdir()
    for name, options, expected in cases:
        with memory(tar) as file, pytest.raises(_native.NativeError) as error:
            _native.unpack_layer(file.fileno(), tmp_path / name, **options)  # type: ignore[arg-type]
        assert kind(error) == expected, (name, options, error.value)
    assert (tmp_path / "full/file").read_text() == ""
    with pytest.raises(_native.NativeError):
        _native.unpack_layer(-1, tmp_path / "empty")


def test_deadline(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, small_tar()[:700])
    (tmp_path / "out").mkdir()
    with pytest.raises(_native.NativeError) as error:
        _native.unpack_layer(reader, tmp_path / "out", limits={"time": 0.3})
    assert kind(error) == "timeout"
    os.close(reader)
    os.close(writer)


def test_progress_and_cancel(tmp_path: Path) -> None:
    progress = _native.Progress()
    reader, writer = os.pipe()
    (tmp_path / "out").mkdir()
    tar = small_tar(30_000)
    os.write(writer, tar[:2048])
    failures: list[_native.NativeError] = []

    def work() -> None:
        try:
            _native.unpack_layer(reader, tmp_path / "out", progress=progress)
        except _native.NativeError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 30
    while progress.read < 512 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert progress.read >= 512
    progress.cancel()
    thread.join(30)
    assert not thread.is_alive()
    assert failures[0].args[4] == 4
    os.close(reader)
    os.close(writer)


def test_ctrl_c_stops(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    program = (
        "import os, sys; from minidock import _native\n"
        "reader, writer = os.pipe(); print(flush=True); _native.unpack_layer(reader, sys.argv[1])"
    )
    command = [sys.executable, "-c", program, tmp_path / "out"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert b"KeyboardInterrupt" in err


@pytest.mark.parametrize(
    "call", ["compress_layer(reader, writer, 'gzip')", "digest_file(reader)", "tar_tree('/usr/lib', writer)"]
)
def test_ctrl_c_stops_other_calls(call: str) -> None:
    """Pipes that give nothing, or that nobody empties."""
    program = f"import os; from minidock import _native; reader, writer = os.pipe(); print(flush=True); _native.{call}"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert b"KeyboardInterrupt" in err


def test_full_disk(tmp_path: Path) -> None:
    """A small tmpfs, mounted where nobody else sees it."""
    (tmp_path / "mnt").mkdir()
    (tmp_path / "layer.tar").write_bytes(small_tar(4 << 20))
    program = (
        "import os, sys; from minidock import _native\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "try: _native.unpack_layer(fd, sys.argv[2])\n"
        "except _native.NativeError as error: print(error.args)"
    )
    script = 'mount -t tmpfs -o size=1m none "$3/mnt" && mkdir "$3/mnt/t" && "$0" -c "$1" "$2" "$3/mnt/t"'
    arguments = [sys.executable, program, tmp_path / "layer.tar", tmp_path]
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert "no space left on device" in done.stdout
    assert "write file" in done.stdout


def test_strange_umask(tree: Path, tmp_path: Path) -> None:
    with memory() as out:
        _native.tar_tree(tree, out.fileno())
        out.seek(0)
        data = out.read()
    (tmp_path / "layer.tar").write_bytes(data)
    program = (
        "import os, sys; from minidock import _native; os.umask(0o777)\n"
        "_native.unpack_layer(os.open(sys.argv[1], os.O_RDONLY), sys.argv[2])"
    )
    (tmp_path / "out").mkdir()
    subprocess.run([sys.executable, "-c", program, tmp_path / "layer.tar", tmp_path / "out"], check=True)
    assert state(tmp_path / "out") == state(tree)
    # Directories that the archive only implies.
    (tmp_path / "layer.tar").write_bytes(tarfile.TarInfo("a/b/c").tobuf() + bytes(1024))
    (tmp_path / "implied").mkdir()
    subprocess.run([sys.executable, "-c", program, tmp_path / "layer.tar", tmp_path / "implied"], check=True)
    assert [(tmp_path / "implied" / name).stat().st_mode & 0o7777 for name in ("", "a", "a/b")] == [0o755] * 3


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=30).filter(
    lambda name: name not in (".", "..") and not name.startswith(".wh.") and len(name.encode()) < 120
)
trees = st.recursive(
    st.one_of(st.binary(max_size=3000), names.map(lambda name: f"->{name}")),
    lambda children: st.dictionaries(names, children, max_size=4),
    max_leaves=12,
)


def build(top: Path, tree: object, seed: int) -> None:
    if isinstance(tree, dict):
        top.mkdir()
        for number, (name, child) in enumerate(tree.items()):
            build(top / name, child, seed * 7 + number)
    elif isinstance(tree, str):
        top.symlink_to(tree[2:])
    else:
        assert isinstance(tree, bytes)
        top.write_bytes(tree)
        os.setxattr(top, "user.seed", str(seed).encode())
    os.chown(top, seed % 70_000, seed % 3_000_000, follow_symlinks=False)
    if not top.is_symlink():
        os.chmod(top, 0o700 | (seed % 0o1000))
    os.utime(top, ns=(0, seed * 12_345_678_901), follow_symlinks=False)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, trees, max_size=5), st.integers(0, 10**6))
def test_random_trees(tmp_path: Path, tree: dict[str, object], seed: int) -> None:
    """GNU tar's archive of a tree, unpacked, is the tree; our archive of it, unpacked, too; reassembly is exact."""
    work = tmp_path / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    build(work / "tree", tree, seed)
    made = work / "made.tar"
    subprocess.run(
        ["tar", "--format=posix", "--xattrs", "--xattrs-include=*", "-C", work / "tree", "-cf", made, "."], check=True
    )
    result = unpack(made, work / "out", tar_split=work / "split")
    expected = state(work / "tree")
    assert state(work / "out") == expected
    with memory() as out:
        _native.reassemble_layer(work / "out", work / "split", out.fileno(), diff_id=result.diff_id)
        out.seek(0)
        assert out.read() == made.read_bytes()
    with memory() as out:
        _native.tar_tree(work / "out", out.fileno())
        out.seek(0)
        unpack(out.read(), work / "again")
    assert state(work / "again") == expected
    copied = work / "copied"
    copied.mkdir()
    _native.copy_tree(work / "out", copied)
    assert state(copied) == expected
