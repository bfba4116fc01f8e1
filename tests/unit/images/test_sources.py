"""Every kind of source gives the same bytes; compression by xz and bzip2 is undone; damage is told."""

import bz2
import io
import lzma
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.errors import Corrupt, InvalidArgument, LimitExceeded, MinidockError, NotFound, Unsupported
from minidock.images import sources

DATA = os.urandom(3 << 20) + b"\0" * (3 << 20)


def drain(fd: int) -> bytes:
    chunks = []
    while chunk := os.read(fd, 1 << 20):
        chunks.append(chunk)
    return b"".join(chunks)


def read(source: object) -> bytes:
    with sources.opened(source) as stream:  # type: ignore[arg-type]
        data = drain(stream.fd)
        stream.check()
    return data


class Unseekable(io.RawIOBase):
    """A binary file object without a descriptor, that gives little at a time."""

    def __init__(self, data: bytes) -> None:
        self.inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self.inner.read(min(size, 4096) if size > 0 else size)


@pytest.mark.parametrize("compress", [bytes, bz2.compress, lambda data: lzma.compress(data, preset=0)])
def test_all_sources(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    data = compress(DATA)
    path = tmp_path / "x"
    path.write_bytes(data)
    before = len(os.listdir("/proc/self/fd"))
    assert read(str(path)) == DATA
    assert read(path) == DATA
    assert read(data) == DATA
    assert read(Unseekable(data)) == DATA
    assert read(io.BytesIO(data)) == DATA
    with path.open("rb") as file:
        assert read(file.fileno()) == DATA
        assert not file.closed
    with path.open("rb") as file:
        assert read(file) == DATA
    r, w = os.pipe()
    feeder = threading.Thread(target=lambda: (_write(w, data), os.close(w)))
    feeder.start()
    assert read(r) == DATA
    feeder.join()
    os.close(r)
    assert len(os.listdir("/proc/self/fd")) == before


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def test_a_file_object_is_read_from_its_position(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"header" + DATA)
    with path.open("rb") as file:
        assert file.read(6) == b"header"
        assert read(file) == DATA


def test_concatenated_streams_and_padding() -> None:
    assert read(lzma.compress(b"a" * 100) + b"\0" * 8 + lzma.compress(b"b" * 100)) == b"a" * 100 + b"b" * 100
    assert read(bz2.compress(b"a") + bz2.compress(b"b")) == b"ab"


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress])
def test_damage_is_told(compress: Callable[[bytes], bytes]) -> None:
    data = compress(os.urandom(100_000))
    for bad in (data[:-20], data[:50_000] + b"garbage" + data[50_007:], data + b"trailing garbage"):
        with pytest.raises(Corrupt, match="decompress") as caught:
            read(bad)
        assert "\n" not in str(caught.value)


def test_xz_that_wants_too_much_memory() -> None:
    compressor = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])
    data = bytearray(compressor.compress(b"x" * 100) + compressor.flush())
    # The dictionary's size is one byte of the block header, whose CRC follows: 37 is 1.5 GiB.
    header = 12
    size = (data[header] + 1) * 4
    at = data.index(b"\x21\x01", header) + 2
    data[at] = 37
    data[header + size - 4 : header + size] = zlib.crc32(data[header : header + size - 4]).to_bytes(4, "little")
    with pytest.raises(LimitExceeded, match="memory"):
        read(bytes(data))


@pytest.mark.parametrize(
    ("source", "kind", "why"),
    [
        ("/no/such/file", NotFound, "no such file"),
        ("", InvalidArgument, "not a path"),
        ("a\0b", InvalidArgument, "not a path"),
        ("/", InvalidArgument, "is a directory"),
        ("https://example.org/x.tar", Unsupported, "does not fetch"),
        (-3, InvalidArgument, "negative"),
        (987654, MinidockError, "bad file descriptor"),
        (io.StringIO("text"), InvalidArgument, "binary file"),
        (object(), InvalidArgument, "not a path"),
    ],
)
def test_bad_sources(source: object, kind: type[MinidockError], why: str) -> None:
    with pytest.raises(kind, match="import") as caught:
        read(source)
    assert why in str(caught.value)


def test_a_source_that_fails_midway() -> None:
    class Broken(io.RawIOBase):
        calls = 0

        def read(self, size: int = -1) -> bytes:
            self.calls += 1
            if self.calls > 3:
                raise OSError(5, "Input/output error")
            return b"x" * size

    with pytest.raises(MinidockError, match="input/output error"):
        read(Broken())


def test_leaving_early_does_not_wait_for_a_silent_pipe() -> None:
    r, w = os.pipe()
    os.write(w, b"123456789")
    with sources.opened(r) as stream:
        assert os.read(stream.fd, 1) == b"1"
    # The pipe gives nothing: one that is waited for in vain would still be there.
    assert not [thread for thread in threading.enumerate() if thread.name == "minidock-import"]
    os.close(r)
    os.close(w)
