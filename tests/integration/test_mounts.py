"""Binds, tmpfs, images and overlays in containers: what they see, and what the host sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock import Engine, Mount, _native
from minidock.errors import (
    Denied,
    ImageInUse,
    ImageNotFound,
    InvalidArgument,
    MinidockError,
    Unsupported,
)
from tests.conftest import Cli, Roots
from tests.integration.mounting import names, run


def options_at(text: str, path: str) -> set[str]:
    """The options of the mount at ``path`` in a text of /proc/mounts."""
    lines = [line.split() for line in text.splitlines()]
    return set(next(line[3] for line in reversed(lines) if line[1] == path).split(","))


MOUNTS = "cat /proc/mounts"


def test_binds(engine: Engine, busybox: str, source: Path) -> None:
    """Files and directories, read-only and writable, one in another, in docker-py's words and the flag's."""
    (source / "below").mkdir()
    out = run(
        engine,
        "cat /x/file /f; echo new >/x/below/made; touch /ro/x 2>&- || echo refused; ls /x/below; cat /proc/mounts",
        volumes={
            source: {"bind": "/x", "mode": "rw"},
            f"{source}/": {"bind": "/ro", "mode": "ro"},
            f"{source}/file": "/f",
        },
        mounts=[Mount(target="/x/below/deeper", type="tmpfs")],
    )
    assert out.startswith("host\nhost\nrefused\ndeeper\nmade\n")
    assert "ro" in options_at(out, "/ro")
    assert "rw" in options_at(out, "/x")
    assert (source / "below" / "made").read_text() == "new\n"


def test_a_source_that_is_missing(engine: Engine, busybox: str, source: Path) -> None:
    """``-v`` makes it, whatever the umask is; a mount does not, unless it is told to."""
    before = os.umask(0o077)
    try:
        run(engine, "true", volumes=[f"{source}/new/er:/x"])
    finally:
        os.umask(before)
    assert [(source / path).stat().st_mode & 0o7777 for path in ("new", "new/er")] == [0o755, 0o755]
    with pytest.raises(InvalidArgument, match=f"bind source path does not exist: {source}/no"):
        run(engine, "true", mounts=[f"type=bind,src={source}/no,dst=/x"])
    assert not (source / "no").exists()
    run(engine, "true", mounts=[Mount(target="/x", source=source / "yes", type="bind", create_source=True)])
    assert (source / "yes").is_dir()
    with pytest.raises(InvalidArgument, match=r"error while creating mount source path .*: not a directory"):
        run(engine, "true", volumes=[f"{source}/file/x:/x"])
    container = engine.containers.create("busybox", "true", volumes=[f"{source}/yes:/x"], network="none")
    (source / "yes").rmdir()
    container.start()
    container.wait()
    assert (source / "yes").is_dir()


def test_relative_sources_start_where_the_command_does(cli: Cli, busybox: str, source: Path) -> None:
    done = subprocess.run(
        [
            *cli.argv,
            "run",
            "--rm",
            "-v",
            "./file:/f",
            "--mount",
            "type=bind,src=.,dst=/d",
            "busybox",
            "cat",
            "/f",
            "/d/file",
        ],
        cwd=source,
        env=cli.env,
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"host\nhost\n"


def test_modes_of_binds(engine: Engine, busybox: str, source: Path) -> None:
    """Read-only is so for all that is mounted below, unless that is not wanted; or nothing below is there."""
    (source / "sub").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "vcont", source / "sub"], check=True)
    try:
        (source / "sub" / "inner").touch()
        bind = {"source": source, "type": "bind"}
        out = run(
            engine,
            "for d in a b c d e; do touch /$d/sub/x 2>/dev/null && echo $d; done; ls /c/sub; cat /proc/mounts",
            mounts=[
                Mount(target="/a", read_only=True, **bind),
                Mount(target="/b", read_only=True, recursive="writable", **bind),
                Mount(target="/c", recursive="disabled", **bind),
                Mount(target="/d", read_only=True, recursive="readonly", propagation="rprivate", **bind),
                Mount(target="/e", **bind),
            ],
        )
        assert out.startswith("b\nc\ne\nx\n")
        assert "/a/sub " in out
        assert "/c/sub " not in out
    finally:
        subprocess.run(["umount", source / "sub"], check=True)


def test_propagation(engine: Engine, busybox: str, source: Path) -> None:
    """A slave sees what the host mounts later; a private one does not; who cannot propagate says so."""
    with pytest.raises(InvalidArgument, match=r"is mounted on .* but it is not a shared mount"):
        _private_then(engine, source, "rshared")
    place = source / "shared"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "vcont", place], check=True)
    subprocess.run(["mount", "--make-shared", place], check=True)
    try:
        (place / "later").mkdir()
        with engine.containers.run(
            "busybox",
            "sleep 60",
            detach=True,
            network="none",
            volumes=[f"{place}:/s:rslave", f"{place}:/p:rprivate"],
        ) as container:
            subprocess.run(["mount", "-t", "tmpfs", "vcont2", place / "later"], check=True)
            seen = container.exec(["cat", "/proc/mounts"]).stdout.decode()
            assert "vcont2 /s/later " in seen
            assert "vcont2 /p/later " not in seen
            assert container.attrs["Mounts"][0]["Propagation"] == "rslave"
    finally:
        subprocess.run(["umount", "-R", place], check=True)


def _private_then(engine: Engine, source: Path, mode: str) -> None:
    place = source / "private"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "vcont", place], check=True)
    try:
        subprocess.run(["mount", "--make-private", place], check=True)
        run(engine, "true", volumes=[f"{place}:/x:{mode}"])
    finally:
        subprocess.run(["umount", place], check=True)


def test_what_holds_the_engine_s_own_mounts(engine: Engine, busybox: str, roots: Roots) -> None:
    container = engine.containers.create("busybox", volumes=[f"{roots.data.parent}:/x"], network="none")
    assert container.attrs["Mounts"][0]["Propagation"] == "rslave"
    with pytest.raises(InvalidArgument, match="must use either propagation mode"):
        engine.containers.create("busybox", volumes=[f"{roots.data}:/x:rprivate"], network="none")


def test_ids_are_exchanged(engine: Engine, busybox: str, source: Path) -> None:
    """Files that the container's user writes belong to the directory's owner; root's are its user's."""
    os.chown(source, 1234, 1235)
    os.chown(source / "file", 1234, 1235)
    out = run(
        engine,
        "ls -n /x/file | awk '{print $3, $4}'; echo a >/x/mine; mkdir /v/d; ls -nd /v/d | awk '{print $3, $4}'",
        user="33:44",
        volumes=[f"{source}:/x:U", "owned:/v:idmap"],
    )
    assert out == "33 44\n33 44\n"
    for path in (source / "mine", Path(engine.volumes.get("owned").mountpoint) / "d"):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == ((1234, 1235) if path.name == "mine" else (0, 0))
    # A user by its name, of the image's own file.
    out = run(
        engine, "id -u; echo a >/x/named", user="daemon", volumes=[f"{source}:/x:U", f"{_passwd(source)}:/etc/passwd"]
    )
    assert out == "1\n"
    assert (source / "named").stat().st_uid == 1234


def _passwd(source: Path) -> Path:
    path = source.parent / "passwd"
    path.write_text("root:x:0:0:root:/:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/sh\n")
    return path


def test_another_runtime(engine: Engine, busybox: str, source: Path) -> None:
    runtime = str(Path(minidock.__file__).parent / "_bin" / "minidock-runtime")
    out = run(
        engine,
        "cat /b/file /o/file /i/bin/../nothing 2>&1; touch /ro/x 2>/dev/null || echo no; touch /v/x; ls /v",
        runtime=runtime,
        volumes=[f"{source}:/b", f"{source}:/ro:ro", "data:/v"],
        mounts=[f"type=overlay,src={source},dst=/o", "type=image,src=busybox,dst=/i"],
    )
    assert out == "host\nhost\ncat: can't open '/i/bin/../nothing': No such file or directory\nno\nx\n"


def test_images_are_mounted(engine: Engine, image: str) -> None:
    """All of one or a part, never writable, whatever is asked; it cannot be removed meanwhile."""
    out = run(
        engine,
        "cat /i/full/file /p/file; touch /i/x 2>/dev/null || echo read-only",
        mounts=[Mount(target="/i", source="vol", type="image"), "type=image,src=vol,dst=/p,image-subpath=full"],
    )
    assert out == "image\nimage\nread-only\n"
    with pytest.raises(MinidockError, match="nope"):
        run(engine, "true", mounts=["type=image,src=vol,dst=/p,image-subpath=nope"])
    with pytest.raises(ImageNotFound):
        run(engine, "true", mounts=["type=image,src=unknown,dst=/p"], pull="never")
    container = engine.containers.create("busybox", "true", network="none", mounts=["type=image,src=vol,dst=/i"])
    (shown,) = container.attrs["Mounts"]
    assert (shown["Type"], shown["Name"], shown["RW"], shown["Propagation"]) == ("image", "vol", False, "rprivate")
    for force in (False, True):
        with pytest.raises(ImageInUse, match=container.id[:12]):
            engine.images.remove(engine.images.get("vol").id, force=force)
    engine.images.prune(filters={"dangling": ["false"]})
    assert engine.images.get("vol").id == shown["Source"]
    container.remove()
    engine.images.remove("vol")


def test_overlays(engine: Engine, busybox: str, source: Path) -> None:
    """A directory of the host, copy-on-write: it stays as it is, and what was written goes with the container."""
    os.chmod(source, 0o711)
    mount = f"type=overlay,src={source},dst=/o"
    container = engine.containers.create(
        "busybox", ["sh", "-c", "cat /o/*; echo changed >/o/file; stat -c %a /o"], network="none", mounts=[mount]
    )
    outputs = []
    for _ in range(2):
        container.start()
        container.wait()
        outputs.append(container.logs())
    assert outputs[-1] == b"host\n711\nchanged\n711\n"
    assert [one["Type"] for one in container.attrs["Mounts"]] == ["overlay"]
    assert (source / "file").read_text() == "host\n"
    assert container.diff() == [] or all("/o/" not in change.path for change in container.diff())
    container.remove()
    with pytest.raises(InvalidArgument, match="source path is not a directory"):
        run(engine, "true", mounts=[f"type=overlay,src={source}/file,dst=/o"])


def test_tmpfs(engine: Engine, busybox: str) -> None:
    out = run(
        engine,
        MOUNTS,
        tmpfs={"/a": "", "/b": "size=1m,mode=750,exec,uid=5"},
        mounts=[Mount(target="/c", type="tmpfs", tmpfs_size="64k", tmpfs_mode=0o700, read_only=True)],
    )
    assert {"rw", "nosuid", "nodev", "noexec"} <= options_at(out, "/a")
    assert {"rw", "nosuid", "nodev", "size=1024k", "mode=750", "uid=5"} <= options_at(out, "/b")
    assert "noexec" not in options_at(out, "/b")
    assert {"ro", "size=64k", "mode=700"} <= options_at(out, "/c")
    # As open as the directory that it covers, where there is one.
    assert run(engine, "stat -c %a /usr /new /etc", tmpfs=["/usr", "/new", "/etc:mode=700"]) == "755\n1777\n700\n"
    container = engine.containers.create("busybox", tmpfs=["/a:size=1m", "/b"], network="none")
    assert container.attrs["HostConfig"]["Tmpfs"] == {"/a": "size=1m", "/b": ""}
    assert container.attrs["Mounts"] == []


def test_read_only_with_exceptions(engine: Engine, busybox: str, source: Path) -> None:
    out = run(
        engine,
        "for d in / /v /t /b /m; do touch $d/x 2>/dev/null && echo $d; done; true",
        read_only=True,
        volumes=["/v", f"{source}:/b"],
        tmpfs=["/t"],
        mounts=[Mount(target="/m", type="tmpfs")],
    )
    assert out == "/v\n/t\n/b\n/m\n"


def test_mounts_take_the_place_of_others(engine: Engine, busybox: str, source: Path) -> None:
    """One's own /dev/shm, /etc/hosts and /sys/fs/cgroup, and a directory that others lie in, in any order."""
    out = run(
        engine,
        "cat /etc/hosts /etc/sub/file; ls /etc/hostname; cat /proc/mounts",
        volumes=[f"{source}/file:/etc/sub/file", f"{source}/file:/etc/hosts", "etc:/etc", f"{source}:/dev/shm"],
    )
    assert out.startswith("host\nhost\n/etc/hostname\n")
    assert sum(" /dev/shm " in line for line in out.splitlines()) == 1
    assert sum(" /etc/hosts " in line for line in out.splitlines()) == 1
    assert (Path(engine.volumes.get("etc").mountpoint) / "hosts").read_text() == ""


def test_what_excludes_each_other(engine: Engine, busybox: str, source: Path) -> None:
    for options in (
        {"volumes": ["aa:/x", "bb:/x"]},
        {"volumes": ["aa:/x", f"{source}:/x/"]},
        {"volumes": ["aa:/x"], "mounts": [f"type=bind,src={source},dst=/x"]},
        {"volumes": ["aa:/x"], "tmpfs": ["/x"]},
        {"mounts": ["type=tmpfs,dst=/x", "type=tmpfs,dst=/x/"]},
    ):
        with pytest.raises(InvalidArgument, match="Duplicate mount point: /x"):
            engine.containers.create("busybox", network="none", **options)  # type: ignore[arg-type]
    container = engine.containers.create("busybox", network="none", volumes=["aa:/x", "aa:/x", "/x"])
    assert container.attrs["HostConfig"]["Binds"] == ["aa:/x"]
    assert container.attrs["Config"]["Volumes"] == {"/x": {}}
    assert [one["Name"] for one in container.attrs["Mounts"]] == ["aa"]
    assert names(engine) == {"aa"}


@pytest.mark.parametrize(
    "options",
    [
        {"volumes": ["aa:/proc"]},
        {"volumes": ["/proc/x"]},
        {"volumes": ["/etc:/x/../proc/self"]},
        {"tmpfs": ["/proc"]},
        {"mounts": ["type=tmpfs,dst=/proc/sys"]},
        {"volumes": ["/"]},
        {"volumes": ["aa:/"]},
        {"volumes": ["x"]},
        {"volumes": ["/etc:x"]},
    ],
)
def test_places_that_are_refused(engine: Engine, busybox: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        engine.containers.create("busybox", network="none", **options)
    assert names(engine) == set()


def test_a_bind_on_proc_is_a_procfs_or_refused(engine: Engine, busybox: str, source: Path) -> None:
    with pytest.raises(Denied):
        run(engine, "true", volumes=[f"{source}:/proc"])
    assert engine.containers.list(all=True) == []


def test_system_directories_are_not_relabelled(engine: Engine, busybox: str, source: Path, roots: Roots) -> None:
    """With SELinux or without (CVE-2021-43816), nor by links, nor the engine's own."""
    links = {"direct": "/etc", "indirect": "direct", "top": "/", "engine": str(roots.data)}
    for name, target in links.items():
        (source / name).symlink_to(target)
    paths = ["/etc", "/", "/usr", "/var/log", roots.data, roots.run, *(source / name for name in links)]
    for path in (*paths, source / "top" / "usr"):
        for mode in ("Z", "ro,z"):
            with pytest.raises(Denied, match="mount it without z or Z"):
                run(engine, "true", volumes=[f"{path}:/x:{mode}"])
    assert run(engine, "cat /x", volumes=[f"{source}/file:/x:z"]) == "host\n"


@pytest.mark.skipif(_native.selinux_enabled(), reason="the label of what is the system's would change")
def test_what_lies_in_system_directories_may_have_z_without_selinux(engine: Engine, busybox: str, source: Path) -> None:
    """As compose files have it, for the hosts that need it."""
    (source / "link").symlink_to("/etc/passwd")
    for path in ("/etc/passwd", source / "link"):
        assert "root:" in run(engine, "cat /x", volumes=[f"{path}:/x:ro,z"])


def test_remapped(engine: Engine, busybox: str, source: Path) -> None:
    """In a user namespace volumes and images have the container's ids on disk; binds have the host's unless mapped."""
    out = run(
        engine,
        "touch /v/file /b/mapped; stat -c %u /v/file /b/mapped; (touch /plain/x) 2>/dev/null || echo no",
        userns_mode="remap",
        volumes=["data:/v", f"{source}:/b:U", f"{source}:/plain"],
        mounts=["type=image,src=busybox,dst=/i"],
    )
    assert out == "0\n0\nno\n"
    assert (Path(engine.volumes.get("data").mountpoint) / "file").stat().st_uid == 0
    assert (source / "mapped").stat().st_uid == 0
    with pytest.raises(Unsupported, match="overlay"):
        run(engine, "true", userns_mode="remap", mounts=[f"type=overlay,src={source},dst=/o"])


def test_lists_and_events(engine: Engine, cli: Cli, busybox: str, source: Path) -> None:
    one = cli.ok("create", "--name", "one", "-v", "data:/x", "-v", f"{source}:/b", "-v", "/anon", "busybox").strip()
    cli.ok("create", "--name", "two", "busybox")
    for value in ("data", "/x", str(source), "/b"):
        assert cli.ok("ps", "-aq", "--no-trunc", "--filter", f"volume={value}").split() == [one]
    assert cli.ok("ps", "-aq", "--filter", "volume=/nowhere") == ""
    assert cli.ok("ps", "-a", "--filter", "name=one", "--format", "{{.LocalVolumes}}") == "2\n"
    shown = cli.ok("ps", "-a", "--no-trunc", "--filter", "name=one", "--format", "{{.Mounts}}").strip().split(",")
    assert {"data", str(source)} < set(shown)
    (attrs,) = json.loads(cli.ok("inspect", "one"))
    assert attrs["HostConfig"]["Binds"] == ["data:/x", f"{source}:/b"]
    assert attrs["Config"]["Volumes"] == {"/anon": {}}
    cli.ok("start", "-a", "one")
    assert cli.ok("rm", "-v", "one") == "one\n"
    assert cli.ok("volume", "ls", "-q") == "data\n"
    found = cli.ok("events", "--since", "1h", "--until", "0s", "--filter", "volume=data", "--format", "{{.Action}}")
    assert found.split() == ["create", "mount", "unmount"]
    attributes = json.loads(
        cli.ok("events", "--since", "1h", "--until", "0s", "--filter", "event=mount", "--filter", "volume=data",
               "--format", "{{json .Actor.Attributes}}")
    )  # fmt: skip
    assert attributes == {
        "container": one,
        "destination": "/x",
        "driver": "local",
        "propagation": "",
        "read/write": "true",
    }


def test_a_plain_run_loads_nothing_of_it(roots: Roots, busybox: str) -> None:
    script = (
        "import sys, minidock; minidock.run('busybox', 'true', network='none');"
        "print([name for name in sys.modules if name.startswith('minidock.') and"
        " ('.mounts.' in name or name.endswith(('.user_mounts', '.mount_option', 'parse.mounts', '.tmpfs'))"
        " or name.startswith('minidock.volumes'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], env=roots.env, capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"
    assert minidock.Mount is Mount
