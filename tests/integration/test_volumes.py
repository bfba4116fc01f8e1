"""Volumes: made, listed, archived, copied, removed; from Python and on the command line."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import signal
import stat
import tarfile
import threading
from pathlib import Path

import pytest

import minidock
from minidock.errors import (
    Conflict,
    Corrupt,
    Denied,
    InvalidArgument,
    LimitExceeded,
    MinidockError,
    NameInUse,
    NotFound,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
)
from minidock.store.mounts import mount_id
from minidock.volumes import using
from minidock.volumes.collection import VolumeCollection
from minidock.volumes.volume import Volume
from tests.conftest import Cli, Roots
from tests.faults.lives import supervisor
from tests.hosts.test_quota import has_quotas
from tests.images import tar_of


@pytest.fixture
def volumes(engine: minidock.Engine) -> VolumeCollection:
    return engine.volumes


def tree(volume: Volume) -> dict[str, str]:
    root = Path(volume.mountpoint)
    return {
        str(path.relative_to(root)): path.read_text() if path.is_file() and not path.is_symlink() else ""
        for path in sorted(root.rglob("*"))
    }


def uses(engine: minidock.Engine, name: str) -> str:
    """Let a container that never runs have a volume."""
    container_id = os.urandom(32).hex()
    with engine.store.database.transaction():
        using.claim(engine, container_id, [using.Wanted(name)])
    return container_id


def test_a_volume(volumes: VolumeCollection, roots: Roots) -> None:
    one = volumes.create("one", labels={"a": "b"})
    assert one.attrs == {
        "CreatedAt": one.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "Driver": "local",
        "Labels": {"a": "b"},
        "Mountpoint": f"{roots.data}/volumes/one/_data",
        "Name": "one",
        "Options": None,
        "Scope": "local",
    }
    assert (one.id, one.name, one.short_id, one.labels, one.options, one.anonymous) == (
        *("one", "one", "one", {"a": "b"}, {}, False),
    )
    modes = [stat.S_IMODE(os.stat(roots.data / "volumes" / path).st_mode) for path in ("", "one", "one/_data")]
    assert modes == [0o700, 0o700, 0o755]
    # Again, with whatever else: what there is stays as it is.
    assert volumes.create("one", labels={"other": ""}, driver_opts={"type": "tmpfs"}) == one == volumes.get("one")
    assert volumes.get("one").labels == {"a": "b"}
    one.remove()
    one.remove(force=True)
    with pytest.raises(VolumeNotFound, match=r"^get one: no such volume$"):
        one.remove()
    with pytest.raises(VolumeNotFound):
        one.reload()
    assert os.listdir(roots.data / "volumes") == []


def test_one_without_a_name(volumes: VolumeCollection) -> None:
    one = volumes.create()
    assert len(one.name) == 64
    assert one.anonymous
    assert one.labels == {"com.docker.volume.anonymous": ""}
    named = volumes.create("named", labels=["com.docker.volume.anonymous", "x=1"])
    assert named.anonymous  # Docker goes by the label, too
    assert {volume.name for volume in volumes.list({"label": "com.docker.volume.anonymous"})} == {one.name, "named"}


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"name": "a"}, InvalidArgument, "create a: volume name is too short"),
        ({"name": "../../etc"}, InvalidArgument, "includes invalid characters for a local volume name"),
        ({"name": "one", "driver": "nosuch"}, NotFound, "error looking up volume plugin nosuch"),
        ({"name": "two", "driver_opts": {"bogus": 1}}, InvalidArgument, 'create two: invalid option: "bogus"'),
        ({"name": "two", "driver_opts": {"type": "tmpfs"}}, InvalidArgument, 'missing required option: "device"'),
        ({"name": "two", "labels": {"a": "\udc80"}}, InvalidArgument, "must be text in UTF-8"),
    ],
)
def test_nonsense(volumes: VolumeCollection, options: dict[str, object], kind: type[Exception], text: str) -> None:
    volumes.create("one")
    with pytest.raises(kind, match=text):
        volumes.create(**options)  # type: ignore[arg-type]
    assert [volume.name for volume in volumes.list()] == ["one"]
    with pytest.raises(InvalidArgument, match="value is empty"):
        volumes.get("")


def test_containers_keep_their_volumes(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["true"])
    with engine.store.database.transaction():
        wanted = [using.Wanted("data"), using.Wanted("f" * 64, anonymous=True), using.Wanted("data")]
        assert using.claim(engine, container.id, wanted) == ["data", "f" * 64]
        assert using.claim(engine, container.id, wanted) == []
    data = engine.volumes.get("data")
    with pytest.raises(VolumeInUse, match=rf"^remove data: volume is in use - \[{container.id}\]$"):
        data.remove(force=True)
    assert engine.volumes.prune(all=True).volumes_deleted is None
    using.remove_anonymous(engine, ["data", "f" * 64, "nosuch"])
    assert len(engine.volumes.list({"dangling": False})) == 2
    container.remove()
    assert len(engine.volumes.list({"dangling": True})) == 2
    using.remove_anonymous(engine, ["data", "f" * 64, "nosuch"])
    assert engine.volumes.list() == [data]


def test_a_claim_that_is_not_carried_out(engine: minidock.Engine, roots: Roots) -> None:
    bad = [using.Wanted("good"), using.Wanted("bad name")]
    with pytest.raises(InvalidArgument), engine.store.database.transaction():
        using.claim(engine, "f" * 64, bad)
    assert engine.volumes.list() == []
    assert os.listdir(roots.data / "volumes") == []


def test_one_name_for_many(volumes: VolumeCollection) -> None:
    made: list[Volume] = []
    threads = [threading.Thread(target=lambda: made.append(volumes.create("same"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len({volume.record.created for volume in made}) == 1


def test_prune(engine: minidock.Engine, volumes: VolumeCollection) -> None:
    named, anonymous = volumes.create("named", labels={"a": "1"}), volumes.create()
    tmpfs = volumes.create("tmpfs", driver_opts={"type": "tmpfs", "device": "tmpfs"})
    Path(anonymous.mountpoint, "file").write_bytes(b"x" * 1000)
    uses(engine, "used")
    assert volumes.prune(filters={"label": "a"}).volumes_deleted is None
    done = volumes.prune()
    assert (done.volumes_deleted, done.space_reclaimed) == ([anonymous.name], 1000)
    assert volumes.prune(all=True, filters={"label!": ["a=1"]}).volumes_deleted is None
    assert volumes.prune(all=True).volumes_deleted == [named.name]
    assert [volume.name for volume in volumes.list()] == [tmpfs.name, "used"]
    with pytest.raises(InvalidArgument, match=r"^invalid filter 'until'$"):
        volumes.prune(filters={"until": "1h"})


def test_df(engine: minidock.Engine, cli: Cli) -> None:
    engine.volumes.create("ab", labels={"a": "1"})
    engine.volumes.create("tmpfs", driver_opts={"type": "tmpfs", "device": "tmpfs"})  # not counted, as in Docker
    uses(engine, "used")
    os.makedirs(f"{engine.volumes.get('used').mountpoint}/d")
    Path(engine.volumes.get("used").mountpoint, "d", "one").write_bytes(b"x" * 3000)
    os.link(f"{engine.volumes.get('used').mountpoint}/d/one", f"{engine.volumes.get('used').mountpoint}/two")
    Path(engine.volumes.get("ab").mountpoint, "file").write_bytes(b"x" * 1000)
    counted = {it.name: (it.usage_data.ref_count, it.usage_data.size) for it in engine.df().volumes if it.usage_data}
    assert counted == {"ab": (0, 1000), "used": (1, 3000)}
    assert "Local Volumes   2         1         4kB" in cli.ok("system", "df")
    assert "4kB       1kB (25%)" in cli.ok("system", "df")
    verbose = cli.ok("system", "df", "-v")
    assert "\nVOLUME NAME   LINKS     SIZE\nab            0         1kB\nused          1         3kB\n" in verbose
    [form] = json.loads(cli.ok("system", "df", "-v", "--format", "{{json .Volumes}}"))[:1]
    assert (form["Name"], form["Links"], form["Size"], form["Labels"]) == ("ab", "0", "1kB", "a=1")


# --- Archives and copies ---


@pytest.fixture
def full(volumes: VolumeCollection) -> Volume:
    """A volume with all that a file system has."""
    volume = volumes.create("full", labels={"a": "b"})
    root = Path(volume.mountpoint)
    (root / "dir" / "empty").mkdir(parents=True)
    (root / "dir" / "file").write_text("text")
    os.link(root / "dir" / "file", root / "hard")
    (root / "link").symlink_to("/etc/passwd")
    (root / "grüße").write_text("")
    os.chown(root / "dir" / "file", 1000, 2000)
    os.chmod(root / "dir" / "file", 0o4751)
    os.setxattr(root / "dir" / "file", "user.note", b"\0x")
    os.utime(root / "dir" / "file", ns=(1, 1_600_000_000_123_456_789))
    os.mkfifo(root / "fifo")
    os.chown(root, 70, 71)
    os.chmod(root, 0o1770)
    return volume


def assert_full(volume: Volume) -> None:
    root = Path(volume.mountpoint)
    assert tree(volume) == {
        **{"dir": "", "dir/empty": "", "dir/file": "text", "fifo": "", "grüße": "", "hard": "text", "link": ""}
    }
    status = (root / "dir" / "file").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), status.st_nlink) == (1000, 2000, 0o4751, 2)
    assert status.st_mtime_ns == 1_600_000_000_123_456_789
    assert os.getxattr(root / "dir" / "file", "user.note") == b"\0x"
    assert os.readlink(root / "link") == "/etc/passwd"
    status = root.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (70, 71, 0o1770)


def test_export_and_import(full: Volume, volumes: VolumeCollection, tmp_path: Path) -> None:
    full.export(str(tmp_path / "out.tar"))
    copy = volumes.create("copy")
    copy.import_(tmp_path / "out.tar")
    assert_full(copy)
    copy.import_(tmp_path / "out.tar")  # over itself
    assert_full(copy)
    chunks = full.export()
    assert chunks is not None
    assert b"".join(chunks) == (tmp_path / "out.tar").read_bytes()
    assert sorted(os.listdir(os.path.dirname(copy.mountpoint))) == ["_data", "volume.json"]


def test_clone(full: Volume, volumes: VolumeCollection) -> None:
    copy = full.clone("copy")
    assert_full(copy)
    assert copy.labels == {"a": "b"}
    assert full.clone().anonymous
    for name, kind in (("full", NameInUse), ("copy", NameInUse), ("a", InvalidArgument)):
        with pytest.raises(kind):
            full.clone(name)
    full.remove()
    for attempt in (lambda: full.clone("again"), lambda: full.export(str(os.devnull)), lambda: full.import_(b"")):
        with pytest.raises(VolumeNotFound):
            attempt()
        volumes.create("full")  # another one
        with pytest.raises(VolumeNotFound, match="removed meanwhile"):
            attempt()
        volumes.get("full").remove()
    assert len(volumes.list()) == 2


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_import_over_what_is_there(volumes: VolumeCollection, compress: object) -> None:
    volume = volumes.create("one")
    root = Path(volume.mountpoint)
    (root / "file").write_text("old")
    (root / "only").write_text("stays")
    os.chmod(root, 0o1777)
    volume.import_(compress(tar_of(("dir/", b""), ("dir/new", b"n"), ("file", b"new"))))  # type: ignore[operator]
    assert tree(volume) == {"dir": "", "dir/new": "n", "file": "new", "only": "stays"}
    assert stat.S_IMODE(root.stat().st_mode) == 0o1777  # the archive says nothing of it


def _hostile(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        good = tarfile.TarInfo("good")
        tar.addfile(good, io.BytesIO())
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        tar.addfile(entry, io.BytesIO())
        below = tarfile.TarInfo(f"{name}/below")
        tar.addfile(below, io.BytesIO())
    return out.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        *(_hostile("../escape"), _hostile("/../escape"), _hostile("link", tarfile.SYMTYPE, "/etc")),
        *(b"no archive at all" * 100, tar_of(("a", b"x" * 5000))[:3000], gzip.compress(tar_of(("a", b"x")))[:-9]),
        _hostile("/".join(["d"] * 300)),
    ],
    ids=["parent", "absolute", "link", "nonsense", "cut", "cut-gzip", "deep"],
)
def test_archives_that_are_refused(volumes: VolumeCollection, roots: Roots, archive: bytes) -> None:
    volume = volumes.create("one")
    Path(volume.mountpoint, "kept").write_text("k")
    with pytest.raises((Corrupt, Denied, LimitExceeded, Conflict), match=r"^import into volume one: "):
        volume.import_(archive)
    assert tree(volume) == {"kept": "k"}
    assert sorted(os.listdir(os.path.dirname(volume.mountpoint))) == ["_data", "volume.json"]
    assert not (roots.data / "escape").exists()
    assert os.listdir(roots.data / "tmp") == []


def test_an_import_that_was_cut_short_is_gone_on_with(engine: minidock.Engine, volumes: VolumeCollection) -> None:
    """By export, by clone, by the next import, and by a container's start."""
    for finish in (
        lambda volume: list(volume.export()),
        lambda volume: volume.clone(),
        lambda volume: volume.import_(tar_of(("x", b""))),
        lambda volume: using.mount(engine, "f" * 64, [volume.name]),
    ):
        volume = volumes.create()
        Path(volume.mountpoint, "moved").write_text("1")
        merge = Path(volume.mountpoint).parent / "merge"
        merge.mkdir()
        (merge / "left").write_text("2")
        finish(volume)  # type: ignore[no-untyped-call]
        found = tree(volume)
        found.pop("x", None)
        assert found == {"left": "2", "moved": "1"}
        assert not merge.exists()


# --- File systems of driver options ---


def is_mounted(volume: Volume) -> bool:
    return mount_id(volume.mountpoint) is not None


def test_mounted_while_it_is_needed(engine: minidock.Engine, busybox: str) -> None:
    """From the first container's start to the last one's end, however that comes."""
    volume = engine.volumes.create(
        "tmp", driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=7,mode=1750"}
    )

    def started() -> minidock.Container:
        return engine.containers.run(
            busybox, ["sleep", "1000"], detach=True, network_mode="none", volumes=["tmp:/t"], stop_signal="KILL"
        )

    assert not is_mounted(volume)
    one, two = started(), started()
    status = os.stat(volume.mountpoint)
    assert (is_mounted(volume), status.st_uid, stat.S_IMODE(status.st_mode)) == (True, 7, 0o1750)
    one.exec(["touch", "/t/file"])
    assert os.listdir(volume.mountpoint) == ["file"]
    one.stop()
    assert is_mounted(volume)
    with pytest.raises(VolumeInUse):
        volume.remove()
    os.kill(supervisor(two, engine), signal.SIGKILL)
    two.wait()
    two.reload()
    assert two.status == "exited"
    assert not is_mounted(volume)
    assert os.listdir(volume.mountpoint) == []
    one.start()
    assert is_mounted(volume)
    one.remove(force=True)
    two.remove()
    assert not is_mounted(volume)
    assert engine.store.volumes.every_hold() == []
    volume.remove()


def test_events_of_containers(engine: minidock.Engine, busybox: str) -> None:
    """However a container ends and goes, what happens to its volumes is told in Docker's order."""
    engine.volumes.create("data")
    options = {"network_mode": "none", "volumes": ["data:/data:ro"]}
    engine.containers.run(busybox, ["true"], remove=True, **options)
    ended = engine.containers.run(busybox, ["true"], detach=True, **options)
    ended.wait()
    ended.remove()
    engine.containers.run(busybox, ["sleep", "1000"], detach=True, **options).remove(force=True)
    actions = ("create", "start", "die", "mount", "unmount", "destroy")
    told = [
        f"{event.type[0]}:{event.action}"
        for event in engine.events(since="1h", until="-1s")
        if event.action in actions and event.type in ("container", "volume")
    ]
    once = ["c:create", "v:mount", "c:start", "c:die", "v:unmount", "c:destroy"]
    assert told == ["v:create", *once * 3]


def test_what_cannot_be_mounted(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    bound = engine.volumes.create("bound", driver_opts={"type": "none", "o": "bind", "device": f"{tmp_path}/late"})
    tmpfs = engine.volumes.create("tmpfs", driver_opts={"type": "tmpfs", "device": "tmpfs"})
    container = engine.containers.create(
        busybox, ["touch", "/b/file"], network_mode="none", volumes=["tmpfs:/t", "bound:/b"]
    )
    text = (
        rf"error while mounting volume '{bound.mountpoint}': failed to mount local volume: mount {tmp_path}/late:"
        rf"{bound.mountpoint}, flags: 0x1000: no such file or directory$"
    )
    with pytest.raises(MinidockError, match=text):
        container.start()
    assert not is_mounted(tmpfs)
    (tmp_path / "late").mkdir()
    container.start()
    assert container.wait() == 0
    container.reload()
    assert container.status == "exited"
    assert not is_mounted(bound)
    assert os.listdir(tmp_path / "late") == ["file"]
    container.remove()
    bound.remove()
    assert os.listdir(tmp_path / "late") == ["file"]


def test_archives_of_what_is_not_mounted(volumes: VolumeCollection, tmp_path: Path) -> None:
    """It is mounted for as long as they take."""
    bound = volumes.create("bound", driver_opts={"type": "none", "o": "bind", "device": str(tmp_path)})
    (tmp_path / "file").write_text("old")
    copy = bound.clone("copy")
    assert (tree(copy), copy.options) == ({"file": "old"}, {})
    bound.import_(tar_of(("file", b"new"), ("dir/x", b"x")))
    assert (tmp_path / "file").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["dir", "file"]
    copy.import_(b"".join(bound.export() or ()))
    assert tree(copy) == {"dir": "", "dir/x": "x", "file": "new"}
    assert not is_mounted(bound)


@pytest.mark.skipif(has_quotas(), reason="the file system has project quotas: tests/hosts/test_quota.py")
def test_a_size_needs_quotas(volumes: VolumeCollection) -> None:
    """The words are Docker's, and then what is missing."""
    text = r"^create small: quota size requested but no quota support: "
    with pytest.raises(Unsupported, match=text):
        volumes.create("small", driver_opts={"size": "1m"})
    assert volumes.list() == []


# --- The command line ---


def test_commands(cli: Cli, tmp_path: Path, roots: Roots) -> None:
    assert cli.ok("volume", "create", "--label", "a=1", "--label", "b", "--label", "a=2", "v10") == "v10\n"
    anonymous = cli.ok("volume", "create").strip()
    assert cli.ok("volume", "create", "--name", "v9") == "v9\n"
    assert cli.ok("volume", "ls").splitlines()[0] == "DRIVER    VOLUME NAME"
    assert cli.ok("volume", "ls", "-q").split()[-2:] == ["v9", "v10"]  # as people count
    assert cli.ok("volume", "ls", "-q", "-f", "label=a=2", "-f", "label=b") == "v10\n"
    assert cli.ok("volume", "ls", "-f", "name=^v9$", "--format", "raw") == "name: v9\ndriver: local\n\n"
    [line] = cli.ok("volume", "ls", "-f", "name=v10", "--format", "json").splitlines()
    assert json.loads(line) == {
        "Availability": "N/A", "Driver": "local", "Group": "N/A", "Labels": "a=2,b=", "Links": "N/A",
        "Mountpoint": f"{roots.data}/volumes/v10/_data", "Name": "v10", "Scope": "local", "Size": "N/A",
        "Status": "N/A",
    }  # fmt: skip
    form = 'table {{.Name}}\t{{.Label "a"}}\t{{.Labels}}'
    assert (
        cli.ok("volume", "ls", "-f", "name=v10", "--format", form)
        == "VOLUME NAME   a         LABELS\nv10           2         a=2,b=\n"
    )
    [document] = json.loads(cli.ok("volume", "inspect", "v10"))
    assert (
        json.loads(cli.ok("inspect", "v10")) == json.loads(cli.ok("inspect", "--type", "volume", "v10")) == [document]
    )
    assert cli.ok("volume", "inspect", "-f", "{{.Name}} {{.Labels}} {{.Options}}", "v10", "v9") == (
        "v10 map[a:2 b:] map[]\nv9 map[] map[]\n"
    )
    Path(document["Mountpoint"], "file").write_text("x")
    tar = tmp_path / "out.tar"
    cli.ok("volume", "export", "-o", str(tar), "v10")
    cli.ok("volume", "import", "v9", "-", input=tar.read_bytes())
    assert (roots.data / "volumes" / "v9" / "_data" / "file").read_text() == "x"
    assert cli.ok("volume", "clone", "v9", "v11") == "v11\n"
    words = {"_MINIDOCK_COMPLETE": "bash_complete", "COMP_WORDS": "minidock volume rm v1", "COMP_CWORD": "3"}
    assert cli(env=words).stdout == b"plain,v10\nplain,v11\n"
    done = cli("volume", "rm", "v9", "nosuch", "v11")
    assert (done.returncode, done.stdout) == (1, b"v9\nv11\n")
    assert done.stderr == b"minidock: get nosuch: no such volume\n"
    assert cli.ok("volume", "rm", "-f", "nosuch") == "nosuch\n"
    done = cli("volume", "prune", input=b"y\n")
    assert done.stdout.decode() == (
        "WARNING! This will remove anonymous local volumes not used by at least one container.\n"
        "Are you sure you want to continue? [y/N] "
        f"Deleted Volumes:\n{anonymous}\n\nTotal reclaimed space: 0B\n"
    )
    assert cli.ok("volume", "prune", "-af") == "Deleted Volumes:\nv10\n\nTotal reclaimed space: 1B\n"
    events = cli.ok(
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "type=volume",
        "--format",
        "{{.Action}} {{.Actor.ID}} {{json .Actor.Attributes}}",
    )
    assert 'create v10 {"driver":"local"}' in events
    assert 'destroy v9 {"driver":"local"}' in events
    assert events.splitlines()[-1] == 'prune  {"reclaimed":"1"}'


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("create ab cd", 1, "requires at most 1 argument"),
        ("create --name ab cd", 1, "conflicting options: cannot specify a volume-name through both --name"),
        ("create --label =x ab", 125, "invalid label '=x': empty name"),
        ("create -o size=-1 ab", 1, "create ab: invalid size: '-1'"),
        ("ls -f dangling=maybe", 1, "invalid filter 'dangling=[maybe]'"),
        ("inspect nosuch", 1, "get nosuch: no such volume"),
        ("prune -f --filter all=x", 1, 'strconv.ParseBool: parsing "x": invalid syntax'),
        ("prune -a --filter all=1", 1, "conflicting options: cannot specify both --all and --filter all=1"),
        ("export nosuch", 1, "get nosuch: no such volume"),
        ("import nosuch -", 1, "get nosuch: no such volume"),
        ("import ab https://example.org/x", 1, "curl -L URL | minidock volume import ab -"),
        ("clone nosuch ab", 1, "get nosuch: no such volume"),
    ],
)
def test_mistakes(cli: Cli, words: str, code: int, text: str) -> None:
    done = cli("volume", *words.split())
    assert done.returncode == code, done.stderr
    assert text in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
