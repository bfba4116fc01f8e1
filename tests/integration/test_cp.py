"""``cp`` both ways, archives of paths, by containers that run, have ended, or never ran."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import lzma
import os
import resource
import stat
import subprocess
import sys
import tarfile
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minidock.errors import Conflict, ContainerNotFound, Denied, InvalidArgument, MinidockError, NotFound
from tests.conftest import Cli, Roots, wait_for
from tests.images import node, tar_of

if TYPE_CHECKING:
    import minidock
    from minidock.containers.container import Container

STATES = ["created", "running", "paused", "exited"]


@pytest.fixture
def in_state(engine: minidock.Engine, busybox: str) -> Callable[..., Container]:
    """Make a container in a state, after a script has run in it where it has run."""

    def make(state: str, script: str = ":", **options: object) -> Container:
        keep = "sleep 1000" if state in ("running", "paused") else ":"
        command = ["sh", "-ec", f"{script}\ntouch /tmp/ready\nexec {keep}" if keep != ":" else script]
        container = engine.containers.create(busybox, command, **options)  # type: ignore[arg-type]
        if state == "created":
            return container
        container.start()
        if state == "exited":
            assert container.wait(timeout=30) == 0
        else:
            wait_for(lambda: _exists(container, "/tmp/ready"), what="the script")
        if state == "paused":
            container.pause()
        return container

    return make


def _exists(container: Container, path: str) -> bool:
    try:
        container.stat_path(path)
    except NotFound:
        return False
    return True


def tar(files: dict[str, bytes | None]) -> bytes:
    """A tar of these files; None is a directory."""
    entries = (
        (name, data) if data is not None else node(name.rstrip("/"), tarfile.DIRTYPE, mode=0o755)
        for name, data in files.items()
    )
    return tar_of(*entries)


def members(container: Container, path: str) -> dict[str, tarfile.TarInfo]:
    data = b"".join(container.get_archive(path)[0])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def read(container: Container, path: str) -> bytes:
    data = b"".join(container.get_archive(path)[0])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        file = archive.extractfile(archive.next() or tarfile.TarInfo())
        assert file is not None
        return file.read()


@pytest.mark.parametrize("state", STATES)
def test_there_and_back(in_state: Callable[..., Container], state: str, tmp_path: Path) -> None:
    container = in_state(state)
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub/file").write_text("content")
    os.chown(source / "sub/file", 7, 8)
    (source / "sub/file").chmod(0o4710)
    (source / "link").symlink_to("/etc/passwd")
    os.link(source / "sub/file", source / "hard")
    os.utime(source / "sub/file", ns=(5 * 10**9, 1_500_000_000_123_456_789))
    os.setxattr(source / "sub/file", "user.note", b"kept")
    done = container.copy_to(source, "/new")
    assert done.destination == "/new"
    assert done.size == 512 * 5 + 512 + 1024
    found = members(container, "/new")
    assert sorted(found) == ["new", "new/hard", "new/link", "new/sub", "new/sub/file"]
    assert (found["new/hard"].uid, found["new/hard"].gid, found["new/hard"].mode) == (7, 8, 0o4710)
    assert found["new/link"].linkname == "/etc/passwd"
    container.copy_from("/new", tmp_path / "back")
    back = tmp_path / "back"
    assert (back / "sub/file").read_text() == "content"
    assert os.path.samefile(back / "sub/file", back / "hard")
    status = (back / "sub/file").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (os.getuid(), os.getgid(), 0o710)
    assert status.st_mtime_ns == 1_500_000_000_123_456_789
    assert os.getxattr(back / "sub/file", "user.note") == b"kept"
    container.copy_from("/new/sub/file", tmp_path / "owned", archive=True)
    status = (tmp_path / "owned").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (7, 8, 0o4710)
    if state == "exited":
        container.start()
        assert container.wait(timeout=30) == 0
        assert read(container, "/new/sub/file") == b"content"
    assert "overlay" not in Path("/proc/self/mountinfo").read_text().split(str(tmp_path))[-1][:200]


@pytest.mark.parametrize("state", ["running", "exited"])
def test_archives_of_paths(in_state: Callable[..., Container], state: str) -> None:
    script = "mkdir -p /d/sub; echo 1 >/d/sub/f; ln -s sub /d/dir; ln -s ../../x/../d/sub/f /d/link; ln -s no /d/none"
    container = in_state(state, script)
    assert sorted(members(container, "/d/sub")) == ["sub", "sub/f"]
    assert sorted(members(container, "d/sub/.")) == [".", "./f"]
    assert sorted(members(container, "/d/dir")) == ["dir"]
    assert sorted(members(container, "/d/dir/")) == ["dir", "dir/f"]
    assert "/d/sub/f" in members(container, "/")
    file, link = container.stat_path("/d/sub/f"), container.stat_path("/d/link")
    assert (file.name, file.size, file.mode, file.link_target) == ("f", 2, 0o644, "")
    assert file.mtime.endswith("Z")
    assert (link.name, link.is_link, link.link_target) == ("link", True, "/d/sub/f")
    assert container.stat_path("/d/none").link_target == "/d/no"
    assert container.stat_path("/d/dir/").is_dir
    data, found = container.get_archive("/d/sub")
    assert list(data)  # one that is not read to its end lasts until it is collected, and what makes it, too
    assert (found.name, found.is_dir) == ("sub", True)
    for path, wanted in (
        ("/no", NotFound),
        ("", InvalidArgument),
        ("/d/sub/f/", MinidockError),
        ("a\0b", InvalidArgument),
    ):
        for work in (container.stat_path, container.get_archive):
            with pytest.raises(wanted):
                work(path)


def test_what_is_mounted(in_state: Callable[..., Container]) -> None:
    """A running container shows what it sees, but not the kernel's own file systems."""
    container = in_state("running", "echo shared >/dev/shm/f; mount", hostname="named")
    assert read(container, "/etc/hostname") == b"named\n"
    assert read(container, "/dev/shm/f") == b"shared\n"
    assert list(members(container, "/proc")) == ["proc"]
    assert list(members(container, "/sys")) == ["sys"]
    everything = members(container, "/")
    assert not [name for name in everything if name.startswith(("/proc/", "/sys/", "/dev/"))]
    for path in (
        "/proc/1/environ",
        "/proc/kcore",
        "/sys/kernel",
        "/proc/sys/kernel/core_pattern",
        "/proc/self/root/etc",
    ):
        with pytest.raises(NotFound):
            container.get_archive(path)
    for path in ("/proc", "/sys", "/proc/sys"):
        with pytest.raises(Denied, match="kernel's"):
            container.put_archive(path, tar({"f": b"x"}))
    with pytest.raises(Denied, match="kernel's"):
        container.put_archive("/", tar({"proc/f": b"x"}))
    before = os.stat("/sys").st_mode, os.stat("/proc").st_mode
    container.put_archive("/", tar_of(*(node(name, tarfile.DIRTYPE, mode=0o700) for name in ("proc", "sys"))))
    assert (os.stat("/sys").st_mode, os.stat("/proc").st_mode) == before
    with pytest.raises(Conflict, match="busy"):
        container.put_archive("/etc", tar({"hosts": b"x"}), no_overwrite_dir_non_dir=True)
    container.kill()
    container.wait(timeout=30)
    assert read(container, "/etc/hostname") == b"named\n"
    container.put_archive("/proc", tar({"f": b"x"}))
    assert read(container, "/proc/f") == b"x", "as in Docker, below what is mounted there when it runs"


@pytest.mark.parametrize("state", ["created", "running", "exited"])
def test_read_only_containers(engine: minidock.Engine, busybox: str, state: str, tmp_path: Path) -> None:
    container = engine.containers.create(busybox, ["sleep", "1000" if state == "running" else "0"], read_only=True)
    if state != "created":
        container.start()
    if state == "exited":
        container.wait(timeout=30)
    (tmp_path / "f").write_text("x")
    for path in ("/", "/etc", "/new"):
        with pytest.raises(InvalidArgument, match="container rootfs is marked read-only"):
            container.copy_to(tmp_path / "f", path)
    with pytest.raises(InvalidArgument, match="container rootfs is marked read-only"):
        container.put_archive("/etc", tar({"f": b"x"}))
    assert b"root" in read(container, "/etc/passwd")
    if state == "running":
        container.copy_to(tmp_path / "f", "/dev/shm")
        assert read(container, "/dev/shm/f") == b"x"


def test_archives_into_containers(in_state: Callable[..., Container], tmp_path: Path) -> None:
    container = in_state("running", "mkdir -p /d/sub/inner; ln -s /d /abs; ln -s d /rel; echo x >/d/file")
    plain = tar({"sub/f": b"1", "more/deep/f": b"2"})
    for data in (plain, gzip.compress(plain), lzma.compress(plain), io.BytesIO(plain)):
        container.put_archive("/abs", data)
    with (tmp_path / "tar").open("w+b") as file:
        file.write(plain)
        file.seek(0)
        container.put_archive("rel/", file)
        file.seek(0)
        container.put_archive("/d/.", file.fileno())
    assert read(container, "/d/more/deep/f") == b"2"
    container.put_archive("/d", b"")
    container.put_archive("/d", tar({"sub": b"over a directory"}))
    assert read(container, "/d/sub") == b"over a directory"
    with pytest.raises(Conflict, match='cannot overwrite non-directory "sub" with directory "/d"'):
        container.put_archive("/d", tar({"sub/": None}), no_overwrite_dir_non_dir=True)
    with pytest.raises(Conflict, match='cannot overwrite directory "more" with non-directory "/d"'):
        container.put_archive("/d", tar({"more": b""}), no_overwrite_dir_non_dir=True)
    container.put_archive("/d", tar({".wh.sub": b"a name like others", ".wh..wh..opq": b""}))
    assert read(container, "/d/.wh.sub") == b"a name like others"
    assert read(container, "/d/sub") == b"over a directory"
    for path, wanted in (("/d/file", InvalidArgument), ("/no", NotFound), ("", InvalidArgument)):
        with pytest.raises(wanted):
            container.put_archive(path, plain)
    for bad in (b"x" * 2000, plain[:700], gzip.compress(plain)[:60], tar({"../f": b""})):
        with pytest.raises(MinidockError) as refused:
            container.put_archive("/d", bad)
        assert "\n" not in str(refused.value)
    assert not _exists(container, "/f")


def test_owners(in_state: Callable[..., Container], tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    os.chown(tmp_path / "f", 5, 6)
    for user, wanted in (
        ("", (5, 6)),
        ("1000", (1000, 1000)),
        ("1000:77", (1000, 77)),
        ("app", (1000, 1000)),
        ("9", (9, 0)),
    ):
        container = in_state("created", user=user) if user else in_state("created")
        container.copy_to(tmp_path / "f", "/plain")
        container.copy_to(tmp_path / "f", "/archive", archive=True)
        container.put_archive("/", tar({"put": b""}), copy_uid_gid=True)
        found = members(container, "/plain")["plain"], members(container, "/archive")["archive"]
        assert [(member.uid, member.gid) for member in found] == [(5, 6), wanted]
        if user:
            assert (members(container, "/put")["put"].uid, members(container, "/put")["put"].gid) == wanted
    container = in_state("created", user="nobody-here")
    with pytest.raises(NotFound, match="passwd"):
        container.copy_to(tmp_path / "f", "/archive", archive=True)


def test_large_and_sparse_files(in_state: Callable[..., Container], tmp_path: Path) -> None:
    container = in_state("running")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (tmp_path / "sparse").open("wb") as file:
        file.write(b"head")
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"middle")
    container.copy_to(tmp_path / "sparse", "/sparse")
    container.copy_from("/sparse", tmp_path / "back")
    back = (tmp_path / "back").stat()
    assert (back.st_size, back.st_blocks < 100) == (1 << 40, True)
    with (tmp_path / "back").open("rb") as file:
        assert file.read(4) == b"head"
        file.seek(1 << 39)
        assert file.read(6) == b"middle"
    data = os.urandom(1 << 20) * 64
    (tmp_path / "big").write_bytes(data)
    container.copy_to(tmp_path / "big", "/big")
    digest = hashlib.sha256()
    chunks, found = container.get_archive("/big")
    assert found.size == len(data)
    for chunk in chunks:
        digest.update(chunk)
    assert digest.hexdigest()
    container.copy_from("/big", tmp_path / "big2")
    assert (tmp_path / "big2").read_bytes() == data
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert used < 400 << 10, "no more than the test's own copies"


def test_command_line(cli_busybox: Cli, tmp_path: Path) -> None:
    cli_busybox.ok("run", "-d", "--name", "cc", "--network", "none", "busybox", "sleep", "1000")
    (tmp_path / "f").write_text("hi\n")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a:b").write_text("x")

    def cp(*argv: str, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*cli_busybox.argv, "cp", *argv],
            cwd=tmp_path,
            env=cli_busybox.env,
            input=input,
            capture_output=True,
            check=False,
        )

    def said(*argv: str) -> str:
        done = cp("-q=false", *argv)
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
        return done.stderr.decode()

    assert said("f", "cc:/x") == "Successfully copied 2.05kB to cc:/x\n"
    assert said("./d/a:b", "cc:/") == "Successfully copied 2.05kB to cc:/\n"
    assert said("d", "cc:rel") == "Successfully copied 2.56kB to cc:rel\n"
    assert said("cc:/x", "out") == f"Successfully copied 2.05kB to {tmp_path}/out\n"
    assert said("cc:/rel/.", ".") == f"Successfully copied 2.56kB to {tmp_path}/.\n"
    assert (tmp_path / "a:b").read_text() == "x"
    assert cp("f", "cc:/x").stderr == b""
    archive = cp("cc:/rel", "-")
    assert cp("-", "cc:/tmp", input=archive.stdout).returncode == 0
    assert cp("cc:/tmp/rel/a:b", "from-tar").returncode == 0
    assert (tmp_path / "from-tar").read_text() == "x"
    odd = os.fsencode(tmp_path) + b"/\xff\xfe"
    with open(odd, "wb") as file:
        file.write(b"odd")
    assert subprocess.run([*cli_busybox.argv, "cp", odd, "cc:/"], env=cli_busybox.env, check=False).returncode == 0
    assert b"\xff\xfe" in cp("cc:/", "-").stdout
    for argv, text in (
        (["cc:/no", "."], "could not find the file /no in container cc"),
        (["no", "cc:/"], f"lstat {tmp_path}/no: no such file or directory"),
        (["-", "cc:/x"], 'destination "cc:/x" must be a directory'),
        (["f", "nope:/x"], "no such container: nope"),
        (["a", "b"], "must specify at least one container source"),
        (["cc:/a", "cc:/b"], "copying between containers is not supported"),
        (["", "cc:/"], "source can not be empty"),
        (["cc:/", ""], "destination can not be empty"),
        (["cc:/x"], "'minidock cp' requires 2 arguments (see 'minidock cp --help')"),
        (["-", "cc:/tmp"], "copy cc:/tmp: not a tar archive, it looks like text"),
    ):
        done = cp(*argv, input=b"junk" * 400)
        assert (done.returncode, done.stderr.decode()) == (1, f"minidock: {text}\n"), argv
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*cli_busybox.argv, "cp", "cc:/bin", "-"],
        env=cli_busybox.env,
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b""), "nobody reads"
    assert "Copy files" in cli_busybox.ok("cp", "--help")
    assert "between" in cli_busybox.ok("container", "cp", "--help")
    cli_busybox.ok("rm", "-f", "cc")


def test_a_start_waits_for_what_is_being_written(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["cat", "/d/f"])
    read_end, write_end = os.pipe()
    data = tar({"d/f": b"whole"})
    copying = threading.Thread(target=lambda: container.put_archive("/", read_end))
    copying.start()
    os.write(write_end, data[:600])

    def left() -> int:
        return int.from_bytes(fcntl.ioctl(read_end, termios.FIONREAD, bytes(4)), sys.byteorder)

    wait_for(lambda: left() == 0, what="the archive to be read, which is done under the lock")
    starting = threading.Thread(target=lambda: engine.containers.get(container.id).start())
    starting.start()
    time.sleep(0.3)
    assert starting.is_alive()
    assert engine.containers.get(container.id).status == "created"
    os.write(write_end, data[600:])
    os.close(write_end)
    copying.join(timeout=30)
    os.close(read_end)
    starting.join(timeout=30)
    assert container.wait(timeout=30) == 0
    assert container.logs() == b"whole"


def test_readers_keep_nobody_waiting(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["true"])
    chunks, _ = container.get_archive("/bin")
    other, _ = container.get_archive("/etc")
    container.start()
    assert container.wait(timeout=30) == 0
    assert len(b"".join(chunks)) > 1 << 20
    del other


def test_what_changes_meanwhile(in_state: Callable[..., Container], tmp_path: Path) -> None:
    """A container that writes, deletes and exchanges files all the time: what comes is whole, or a plain error."""
    churn = (
        "mkdir -p /d; cd /d; while :; do for i in 1 2 3; do mkdir -p a$i/b; echo $i >a$i/b/f; mv a$i c$i; rm -rf c$i; "
        "ln -sf /etc l$i; rm -f l$i; mkfifo p$i; rm p$i; head -c 100000 /dev/zero >z$i; : >z$i; done; done"
    )
    container = in_state("running", f"({churn}) &")
    source = tmp_path / "a1"
    (source / "b").mkdir(parents=True)
    (source / "b/g").write_text("x")
    failures = []
    for turn in range(40):
        try:
            for chunk in container.get_archive("/d")[0]:
                assert chunk
            container.copy_from("/d", tmp_path / str(turn))
            container.copy_to(source, "/d")
        except MinidockError as error:
            failures.append(error)
    assert not [error for error in failures if "\n" in str(error)]
    assert {type(error).__name__ for error in failures} <= {"Conflict", "NotFound", "SystemFailure"}


def test_removed_and_gone(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    container = engine.containers.create(busybox, ["true"])
    container.remove()
    for work in (
        lambda: container.stat_path("/"),
        lambda: container.get_archive("/"),
        lambda: container.copy_to("/etc/passwd", "/"),
        lambda: container.copy_from("/etc", tmp_path),
        container.diff,
    ):
        with pytest.raises(ContainerNotFound):
            work()


def test_plain_copies(roots: Roots, tmp_path: Path) -> None:
    import minidock
    from tests.rootfs import busybox_tar

    roots.config.write_text(f'{{"bridge": "none", "cgroup-parent": "{roots.cgroup_parent}", "storage-driver": "vfs"}}')
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
        engine.images.import_(str(busybox_tar()), repository="busybox")
        container = engine.containers.create("busybox", ["sh", "-c", "cat /new; rm -r /home; echo x >/etc/motd"])
        (tmp_path / "f").write_text("copied")
        container.copy_to(tmp_path / "f", "/new")
        container.start()
        assert container.wait(timeout=30) == 0
        assert container.logs() == b"copied"
        assert [str(change) for change in container.diff()] == ["C /etc", "A /etc/motd", "D /home", "A /new"]
        container.copy_from("/etc", tmp_path / "etc")
        assert (tmp_path / "etc/motd").read_text() == "x\n"
        container.remove()


def test_directories_of_the_host(engine: minidock.Engine, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/f").write_text("host")
    container = engine.containers.create(None, ["true"], rootfs=str(tree))
    assert read(container, "/etc/f") == b"host"
    container.put_archive("/etc", tar({"f": b"changed", "new": b""}))
    assert read(container, "/etc/f") == b"changed"
    assert (tree / "etc/f").read_text() == "host"
    assert [str(change) for change in container.diff()] == ["C /etc", "C /etc/f", "A /etc/new"]


@pytest.mark.parametrize("state", STATES)
def test_remapped_ids(in_state: Callable[..., Container], state: str, tmp_path: Path) -> None:
    """Owners are the container's own numbers on both ways, and host numbers in its files."""
    container = in_state(state, "mkdir -p /d; echo x >/d/mine; chown 5:6 /d/mine", userns_mode="remap")
    shift = container.record.uid_map[0][1]
    (tmp_path / "f").write_text("x")
    os.chown(tmp_path / "f", 7, 8)
    container.copy_to(tmp_path / "f", "/etc/f")
    found = members(container, "/etc")
    assert (found["etc/f"].uid, found["etc/f"].gid) == (7, 8)
    assert (found["etc/passwd"].uid, found["etc/passwd"].gid, found["etc"].uid) == (0, 0, 0)
    upper = Path(container.record.snapshot["upper"])
    assert ((upper / "etc/f").stat().st_uid, (upper / "etc").stat().st_uid) == (7 + shift, shift)
    assert "A /etc/f" in [str(change) for change in container.diff()]
    if state != "created":
        assert (members(container, "/d")["d/mine"].uid, members(container, "/d")["d/mine"].gid) == (5, 6)
    if state in ("created", "exited"):
        container.start()
        assert container.wait(timeout=30) == 0
        assert (members(container, "/etc/f")["f"].uid, read(container, "/etc/f")) == (7, b"x")
