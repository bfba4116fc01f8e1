"""Rows of SECURITY.md section 3 about copies into and out of containers."""

from __future__ import annotations

import contextlib
import io
import lzma
import os
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import minidock
from minidock.containers.container import Container
from minidock.errors import MinidockError, NotFound
from tests.conftest import wait_for
from tests.images import node, tar_of
from tests.security.conftest import SECRET, Marker, one_line

COPIES = 500


@pytest.fixture
def racing(engine: minidock.Engine, image: Callable[..., str], marker: Marker) -> Iterator[Container]:
    """A container that exchanges /race/d, a directory, and a link to the host's marker, as fast as it can."""
    script = f"""
mkdir -p {marker.path} /race/d /race/other; echo inside >/race/d/file; echo inside >/race/other/file
ln -s {marker.path} /race/link; ln -s ../../../../../..{marker.path} /race/up; touch /ready
cd /race; while :; do
  mv d real; mv link d; mv d link; mv real d
  mv d real; mv up d; mv d up; mv real d
  mv d real; mkfifo d; rm d; ln -s /proc/self/root d; rm d; mv real d
done"""
    container = engine.containers.create(image(), ["sh", "-c", script])
    container.start()
    wait_for(lambda: _has(container, "/ready"), what="the race")
    yield container
    container.remove(force=True)


def _has(container: Container, path: str) -> bool:
    with contextlib.suppress(NotFound):
        container.stat_path(path)
        return True
    return False


def contents(archive: bytes) -> list[bytes]:
    found = []
    with contextlib.suppress(tarfile.ReadError), tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            found += [file.read()] if file else []
    return found


def test_cve_2018_15664_2019_10152_2023_0778_2025_9566_paths_out(
    racing: Container, marker: Marker, tmp_path: Path
) -> None:
    """Where the container exchanges what is copied, nothing of the host is read."""
    for turn in range(COPIES // 4):
        for path in ("/race/d/file", "/race/d", "/race/d/.", "/race"):
            with contextlib.suppress(MinidockError):
                data = b"".join(racing.get_archive(path)[0])
                assert not [content for content in contents(data) if SECRET in content]
        if turn % 10 == 0:
            with contextlib.suppress(MinidockError):
                racing.copy_from("/race/d", tmp_path / str(turn))
    for copied in tmp_path.rglob("*"):
        if copied.is_file() and not copied.is_symlink():
            assert SECRET not in copied.read_bytes()


def test_cve_2018_15664_2021_30465_2026_41568_2026_42306_paths_in(racing: Container, marker: Marker) -> None:
    """Where the container exchanges what is copied into, nothing of the host is written; see the marker's fixture."""
    data = tar_of(("file", b"pwned"), node("deep", tarfile.DIRTYPE, mode=0o777), ("deep/file", b"pwned"))
    source = marker.path.parent / "source"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_text("pwned")
    (source / "sub/file").write_text("pwned")
    for _ in range(COPIES // 4):
        for path in ("/race/d", "/race/d/../d", "/race"):
            with contextlib.suppress(MinidockError):
                racing.put_archive(path, data)
        with contextlib.suppress(MinidockError):
            racing.copy_to(source, "/race/d/sub")


def test_cve_2018_15664_a_container_that_does_not_run(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker
) -> None:
    """Links of an image lead nowhere on the host."""
    absolute, relative = str(marker.path), "../" * 30 + str(marker.path).lstrip("/")
    name = image(
        node("one", tarfile.SYMTYPE, link=absolute),
        node("two", tarfile.SYMTYPE, link=relative),
        node("three", tarfile.SYMTYPE, link="/proc/self/root" + absolute),
        node("four", tarfile.SYMTYPE, link=absolute + "/file"),
    )
    container = engine.containers.create(name, ["true"])
    source = marker.path.parent / "source"
    source.write_text("pwned")
    for link in ("/one", "/two", "/three", "/four", "/one/file", "/two/file"):
        for path in (link, f"{link}/", f"{link}/."):
            with contextlib.suppress(MinidockError):
                assert SECRET not in b"".join(container.get_archive(path)[0])
            with contextlib.suppress(MinidockError):
                container.put_archive(path, tar_of(("file", b"pwned")))
            with contextlib.suppress(MinidockError):
                container.copy_to(source, path)
    for mode in (True, False):
        with contextlib.suppress(MinidockError):
            container.copy_from("/four", marker.path.parent / f"out{mode}", follow_link=mode)


def test_cve_2019_14271_2022_1227_2026_41567_nothing_of_the_container_is_executed(
    engine: minidock.Engine, image: Callable[..., str], tmp_path: Path
) -> None:
    """Libraries, programs and decompressors of the container are files like others."""
    trojan = b"#!/bin/sh\ntouch /pwned /tmp/pwned\n"
    places = ("lib/libnss_files.so.2", "lib64/libnss_files.so.2", "usr/lib/x86_64-linux-gnu/libnss_files.so.2",
              "usr/bin/tar", "usr/bin/xz", "usr/bin/nsenter", "usr/sbin/chroot", "etc/nsswitch.conf")  # fmt: skip
    name = image(*((place, trojan) for place in places))
    container = engine.containers.create(name, ["sleep", "1000"], user="app")
    container.start()
    (tmp_path / "f").write_text("x")
    container.copy_to(tmp_path / "f", "/tmp", archive=True)
    container.put_archive("/tmp", lzma.compress(tar_of(("g", b"x"))), copy_uid_gid=True)
    container.copy_from("/usr", tmp_path / "usr")
    assert not _has(container, "/pwned")
    assert not _has(container, "/tmp/pwned")
    assert not Path("/pwned").exists()
    maps = Path("/proc/self/maps").read_text()
    assert "/containers/" not in maps
    assert "(deleted)" not in "".join(line for line in maps.splitlines() if "libnss" in line)


def test_cve_2019_14271_top_runs_nothing_and_asks_the_host(
    engine: minidock.Engine, image: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No ``ps`` is run, neither the container's nor the host's, and users have the host's names."""
    trojan = b"#!/bin/sh\ntouch /pwned /tmp/pwned\n"
    places = ("lib/libnss_files.so.2", "lib/x86_64-linux-gnu/libnss_files.so.2", "usr/lib/libprocps.so.8",
              "usr/bin/ps", "usr/bin/nsenter", "etc/nsswitch.conf")  # fmt: skip
    passwd = ("etc/passwd", b"intruder:x:0:0::/:/bin/sh\n")
    # The name of a process is the container's to choose: lines of a table, options of ps, other processes.
    script = 'printf "#!/bin/sh\\nsleep 1000\\n" >"/tmp/$1"; chmod 755 "/tmp/$1"; exec "/tmp/$1"'
    evil = ") R 1 1\nroot 1"
    name = image(*((place, trojan) for place in places), passwd)
    container = engine.containers.create(name, ["sh", "-c", script, "-", evil])
    container.start()
    wait_for(lambda: Path(f"/proc/{container.state.pid}/comm").read_text().startswith(") R"), what="the name")
    wait_for(lambda: ["sleep"] in container.top("-eo comm").processes, what="its child")
    for program in ("ps", "nsenter"):
        (tmp_path / program).write_bytes(b"#!/bin/sh\ntouch " + bytes(tmp_path / "pwned") + b"\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    rows = container.top("-eo user,pid,ppid,comm,args").processes
    assert str(container.state.pid) in [row[1] for row in rows]
    for user, pid, parent, *words in rows:
        assert user == "root"
        assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == parent
        assert all(word.isprintable() for word in words), words
    assert rows == container.top("-eo user,pid,ppid,comm,args").processes
    assert not (tmp_path / "pwned").exists()
    assert not Path("/pwned").exists()
    assert not _has(container, "/pwned")
    assert not _has(container, "/tmp/pwned")
    maps = Path("/proc/self/maps").read_text()
    assert "/containers/" not in maps
    assert "(deleted)" not in "".join(line for line in maps.splitlines() if "libnss" in line)


@pytest.mark.parametrize("state", ["created", "running"])
def test_cve_2021_32760_2025_11395_archives_through_links(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker, state: str
) -> None:
    """A link of an archive is no way to a directory of the host, nor to its mode."""
    container = engine.containers.create(image(), ["sleep", "1000"])
    if state == "running":
        container.start()
    for target in (str(marker.path), "../" * 20 + str(marker.path).lstrip("/")):
        for entries in (
            (node("a", tarfile.SYMTYPE, link=target), node("a", tarfile.DIRTYPE, mode=0o777), ("a/file", b"pwned")),
            (node("b", tarfile.SYMTYPE, link=target), ("b/file", b"pwned")),
            (node("c", tarfile.SYMTYPE, link=f"{target}/file"), (node("c", mode=0o777), b"pwned")),
            (node("d", tarfile.LNKTYPE, link=f"{target}/file"), (node("d", mode=0o777), b"pwned")),
            (node("e", tarfile.SYMTYPE, link=target), node("f", tarfile.LNKTYPE, link="e/file")),
            ((f"{target}/file", b"pwned"),),
        ):
            for place in ("/tmp", "/"):
                try:
                    container.put_archive(place, tar_of(*entries))
                except MinidockError as refused:
                    one_line(refused)


def test_copies_out_stay_in_their_directory(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker, tmp_path: Path
) -> None:
    """Links that are in the way on the host lead nowhere; what the container has is never a way out."""
    container = engine.containers.create(
        image(
            node("d", tarfile.DIRTYPE), ("d/file", b"pwned"), node("d/sub", tarfile.DIRTYPE), ("d/sub/file", b"pwned")
        ),
        ["true"],
    )
    for preset in ("d", "d/sub"):
        out = tmp_path / preset.replace("/", "-")
        (out / preset).parent.mkdir(parents=True, exist_ok=True)
        (out / preset).symlink_to(marker.path)
        with pytest.raises(MinidockError, match="cannot overwrite non-directory"):
            container.copy_from("/d", out)
    out = tmp_path / "file"
    (out / "d").mkdir(parents=True)
    (out / "d/file").symlink_to(marker.file)
    container.copy_from("/d", out)
    assert (out / "d/file").read_bytes() == b"pwned"
    assert not (out / "d/file").is_symlink()


def test_copies_out_give_nobody_rights(engine: minidock.Engine, image: Callable[..., str], tmp_path: Path) -> None:
    """Set-user-id bits, capabilities and devices of a container are nothing for the host's users."""
    capability = bytes.fromhex("0100000200040000000000000000000000000000").decode("latin-1")
    script = (
        "cp /bin/busybox /d/setuid; chmod 6755 /d/setuid; mknod -m 666 /d/device c 1 1; mknod -m 666 /d/block b 8 0"
    )
    container = engine.containers.create(image(node("d", tarfile.DIRTYPE)), ["sh", "-ec", script])
    container.start()
    assert container.wait(timeout=30) == 0
    upper = Path(container.record.snapshot["upper"])
    os.setxattr(upper / "d/setuid", "security.capability", capability.encode("latin-1"))
    container.copy_from("/d", tmp_path / "out")
    mode = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in (tmp_path / "out").iterdir()}
    assert mode == {"setuid": 0o755, "device": 0o600, "block": 0o600}
    assert os.listxattr(tmp_path / "out/setuid") == []
    container.copy_from("/d", tmp_path / "kept", archive=True)
    assert stat.S_IMODE((tmp_path / "kept/setuid").stat().st_mode) == 0o6755


def test_cp_rebase_2026_names_are_whole_components(
    engine: minidock.Engine, image: Callable[..., str], tmp_path: Path
) -> None:
    """``dir2`` is not below ``dir``, and a name inside that is the source's own stays."""
    container = engine.containers.create(
        image(
            node("dir", tarfile.DIRTYPE), ("dir/dir", b"1"), ("dir/dir2", b"2"), node("dir/x", tarfile.DIRTYPE),
            ("dir/x/dir", b"3"), node("dir/hard", tarfile.LNKTYPE, link="dir/dir2"), node("dir2", tarfile.DIRTYPE),
            ("dir2/x", b"4"), node("dir/link", tarfile.SYMTYPE, link="dir2"),
        ),
        ["true"],
    )  # fmt: skip
    (tmp_path / "new2").mkdir()
    container.copy_from("/dir", tmp_path / "new")
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert found == {"new", "new2", "new/dir", "new/dir2", "new/x", "new/x/dir", "new/hard", "new/link"}
    assert os.path.samefile(tmp_path / "new/hard", tmp_path / "new/dir2")
    assert (tmp_path / "new/link").readlink() == Path("dir2")
    container.copy_to(tmp_path / "new", "/again")
    with tarfile.open(fileobj=io.BytesIO(b"".join(container.get_archive("/again")[0]))) as tar:
        names = tar.getnames()
    assert set(names) == {name.replace("new", "again", 1) for name in found if name != "new2"}


def test_a_container_that_has_not_entered_its_root(engine: minidock.Engine, image: Callable[..., str]) -> None:
    """Before it does, its root is the host's: nothing is ever copied from there, or to there."""
    name = image()
    seen: list[str] = []
    stop = threading.Event()
    container = engine.containers.create(name, ["sleep", "1000"])

    def look() -> None:
        with minidock.Engine(data_root=engine.data_root, run_root=engine.run_root, config=engine.config_path) as other:
            mine = other.containers.get(container.id)
            while not stop.is_set():
                with contextlib.suppress(MinidockError):
                    mine.put_archive("/tmp", tar_of(("pwned", b"")))
                    if _has(mine, "/proc/self") or _has(mine, "/work"):
                        seen.append("the host")

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(30):
        container.start()
        container.kill()
        container.wait(timeout=30)
    stop.set()
    thread.join(timeout=60)
    assert not seen
    assert not Path("/tmp/pwned").exists()
