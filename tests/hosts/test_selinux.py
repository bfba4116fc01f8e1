"""SELinux: labels of processes and files, what they forbid, and what the engine says of them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock import _native, errors
from minidock.containers.container import Container
from tests.conftest import Cli, Roots, wait_for
from tests.integration.building import build, out

pytestmark = pytest.mark.skipif(not _native.selinux_enabled(), reason="the kernel has no SELinux")

PROCESS = re.compile(r"system_u:system_r:container_t:(s0:c\d+,c\d+)")
FILE = re.compile(r"system_u:object_r:container_file_t:(s0:c\d+,c\d+)")
UNLABELLED = "system_u:object_r:container_file_t:s0:c1022,c1023"
SHARED = "system_u:object_r:container_file_t:s0"
SLEEP = ["sleep", "1000"]


def of_process(pid: int) -> str:
    """The label that the kernel has for a process."""
    return Path(f"/proc/{pid}/attr/current").read_text().strip("\0\n")


def of_file(path: str | os.PathLike[str]) -> str:
    return os.getxattr(path, "security.selinux").rstrip(b"\0").decode()


def level(label: str) -> str:
    return label.split(":", 3)[3]


def set_label(path: Path, label: str) -> None:
    os.setxattr(path, "security.selinux", label.encode() + b"\0")


@contextlib.contextmanager
def running(engine: minidock.Engine, image: str, command: list[str] = SLEEP, **options: Any) -> Iterator[Container]:
    container = engine.containers.create(image, command, **{"network": "none", **options})
    try:
        container.start()
        yield container
    finally:
        container.remove(force=True, volumes=True)


def log(container: Container) -> list[Any]:
    """The ends of its health checks."""
    container.reload()
    health = container.inspect().state.health
    return [] if health is None else health.log or []


def pid(container: Container) -> int:
    return int(container.inspect().state.pid)


def said(engine: minidock.Engine, image: str, script: str, **options: Any) -> str:
    """What a script writes in a container of its own."""
    options = {"network": "none", "remove": True, **options}
    result = engine.containers.run(image, ["sh", "-c", script], check=False, **options)
    return (result.stdout + result.stderr).decode()


def label_inside(engine: minidock.Engine, image: str, **options: Any) -> str:
    return said(engine, image, "cat /proc/self/attr/current", **options).strip("\0\n")


@pytest.fixture
def folder(roots: Roots) -> Path:
    """A directory of the host with a file, labelled as users' files are."""
    path = roots.data.parent / "folder"
    path.mkdir()
    (path / "file").write_text("host\n")
    for one in (path, path / "file"):
        set_label(one, "unconfined_u:object_r:user_home_t:s0")
    return path


# Labels


def test_process_and_files(engine: minidock.Engine, busybox: str) -> None:
    """What inspect says is what the kernel has, with a pair of categories of each container's own."""
    with running(engine, busybox) as one, running(engine, busybox) as two:
        levels = set()
        for container in (one, two):
            found = container.inspect()
            process = PROCESS.fullmatch(found.process_label)
            file = FILE.fullmatch(found.mount_label)
            assert process
            assert file
            assert process[1] == file[1]
            assert of_process(pid(container)) == found.process_label
            assert of_file(f"/proc/{pid(container)}/root/etc/passwd") == found.mount_label
            assert found.host_config.security_opt is None
            levels.add(process[1])
        assert len(levels) == 2


def test_files_of_another_container(engine: minidock.Engine, busybox: str) -> None:
    """Root of a container that has got another one's files in front of it, by its level alone does not read them."""
    with running(engine, busybox) as one:
        merged = f"/proc/{pid(one)}/root/tmp"
        Path(merged, "mine").write_text("secret\n")
        kept = one.inspect().mount_label
        denied = said(engine, busybox, "cat /other/mine; ls /other", volumes=[f"{merged}:/other"])
        assert "secret" not in denied
        assert denied.count("Permission denied") == 2
        same = said(
            engine,
            busybox,
            "cat /other/mine",
            volumes=[f"{merged}:/other"],
            security_opt=[f"label=level:{level(kept)}"],
        )
        assert same == "secret\n"


def test_own_file_systems(engine: minidock.Engine, busybox: str) -> None:
    """Each file system that is made for a container has its label, and can be used."""
    script = (
        "touch /dev/shm/a /t/a /a && echo x >/dev/null && ls /dev/mqueue && cat /etc/hosts >/dev/null && "
        "head -c 4 /dev/urandom >/dev/null && echo used"
    )
    with running(engine, busybox, tmpfs={"/t": ""}) as container:
        result = container.exec(["sh", "-c", script])
        assert (result.stdout, result.stderr) == (b"used\n", b"")
        label = container.inspect().mount_label
        top = f"/proc/{pid(container)}/root"
        for path in (
            "/", "/a", "/t", "/t/a", "/dev", "/dev/null", "/dev/pts", "/dev/shm", "/dev/shm/a", "/dev/mqueue",
            "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/proc/scsi",
        ):  # fmt: skip
            if os.path.exists(top + path):
                assert of_file(top + path) == label, path


@pytest.mark.parametrize("tty", [False, True])
def test_streams(engine: minidock.Engine, busybox: str, *, tty: bool) -> None:
    """A container reads and writes what is attached to it, by name, too."""
    script = "read line; echo got $line >/dev/stdout; echo err >&2; exit 3"
    result = engine.containers.run(
        busybox, ["sh", "-c", script], network="none", input=b"word\n", tty=tty, check=False, remove=True
    )
    assert result.exit_code == 3
    assert b"got word" in result.stdout
    assert b"err" in (result.stdout if tty else result.stderr)
    plain = engine.containers.run(busybox, ["echo", "x"], network="none", log_driver="none", remove=True)
    assert plain.stdout == b"x\n"


def test_exec(engine: minidock.Engine, busybox: str) -> None:
    with running(engine, busybox) as container:
        label = container.inspect().process_label
        for options in ({}, {"user": "1000"}, {"privileged": True}, {"tty": True}):
            result = container.exec(["cat", "/proc/self/attr/current"], **options)
            assert result.stdout.decode().strip("\0\r\n") == label, options
        fed = container.exec(["sh", "-c", "cat; echo err >&2"], input=b"in\n")
        assert (fed.stdout, fed.stderr) == (b"in\n", b"err\n")


def test_restart_keeps_labels(engine: minidock.Engine, busybox: str) -> None:
    with running(engine, busybox) as container:
        before = container.inspect()
        Path(f"/proc/{pid(container)}/root/kept").write_text("x")
        container.restart(timeout=0)
        after = container.inspect()
        assert (after.process_label, after.mount_label) == (before.process_label, before.mount_label)
        assert of_process(pid(container)) == before.process_label
        assert container.exec(["cat", "/kept"]).stdout == b"x"


def test_init_and_health(engine: minidock.Engine, busybox: str) -> None:
    """The built-in init starts a command that has the label; so has a health check."""
    options = {
        "init": True,
        "health_cmd": "test -r /etc/passwd && cat /proc/self/attr/current",
        "health_interval": "1s",
    }
    with running(engine, busybox, **options) as container:
        label = container.inspect().process_label
        assert container.exec(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).exit_code == 0
        children = Path(f"/proc/{pid(container)}/task/{pid(container)}/children").read_text().split()
        assert [of_process(int(child)) for child in children][:1] == [label]
        wait_for(lambda: log(container), timeout=60)
        assert label in log(container)[-1].output


@pytest.mark.parametrize(
    "options",
    [
        {"user": "1000"},
        {"read_only": True},
        {"cap_drop": ["ALL"]},
        {"userns_mode": "remap"},
        {"stdin_open": True},
        {"security_opt": ["no-new-privileges"]},
        {"read_only": True, "tmpfs": ["/tmp"]},
    ],
    ids=str,
)
def test_with_other_options(engine: minidock.Engine, busybox: str, options: dict[str, Any]) -> None:
    assert PROCESS.fullmatch(label_inside(engine, busybox, **options))


def test_root_of_the_host(engine: minidock.Engine) -> None:
    """All of it is seen with the container's label, and on disk keeps its own."""
    before = of_file("/etc/passwd")
    options: dict[str, Any] = {"network": "none", "remove": True, "rootfs": "/"}
    result = engine.containers.run(
        None, ["sh", "-c", "cat /proc/self/attr/current; cat /etc/passwd >/dev/null"], **options
    )
    assert (PROCESS.fullmatch(result.stdout.decode().strip("\0\n")) is not None, result.stderr) == (True, b"")
    assert of_file("/etc/passwd") == before


# --security-opt


def test_disabled(engine: minidock.Engine, busybox: str) -> None:
    """Processes have the engine's label; their files have one that no labelled container gets at."""
    own = Path("/proc/self/attr/current").read_text().strip("\0\n")
    with running(engine, busybox, security_opt=["label=disable"]) as container:
        found = container.inspect()
        assert (found.process_label, found.mount_label) == ("", UNLABELLED)
        assert of_process(pid(container)) == own
        assert container.exec(["cat", "/proc/self/attr/current"]).stdout.decode().strip("\0\n") == own
    assert label_inside(engine, busybox, security_opt=["label:disable"]) == own


@pytest.mark.parametrize("options", [{"privileged": True}, {"pid_mode": "host"}, {"ipc_mode": "host"}], ids=str)
def test_options_that_disable(engine: minidock.Engine, busybox: str, options: dict[str, Any]) -> None:
    """As in Docker, which shows it in the options; unless labels are asked for."""
    own = Path("/proc/self/attr/current").read_text().strip("\0\n")
    with running(engine, busybox, **options) as container:
        found = container.inspect()
        assert found.host_config.security_opt == ["label=disable"]
        assert (found.process_label, found.mount_label) == ("", UNLABELLED)
        assert of_process(pid(container)) == own
    assert PROCESS.fullmatch(label_inside(engine, busybox, security_opt=["label=level:s0:c7,c8"], **options))


def test_chosen(engine: minidock.Engine, busybox: str) -> None:
    chosen = ["label=type:container_kvm_t", "label=level:s0:c3,c4", "label=filetype:container_file_t"]
    with running(engine, busybox, security_opt=chosen) as container:
        found = container.inspect()
        assert found.process_label == "system_u:system_r:container_kvm_t:s0:c3,c4"
        assert found.mount_label == "system_u:object_r:container_file_t:s0:c3,c4"
        assert of_process(pid(container)) == found.process_label


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("label=type:no_such_t", "use SELinux label system_u:system_r:no_such_t:.*: the policy has no such label"),
        ("label=level:s9", "the policy has no such label"),
        ("label=level:s0:c1,c5000", "the policy has no such label"),
        ("label=type:a b", "cannot be part of a label"),
        ("label=colour:x", "bad label option"),
    ],
)
def test_labels_that_are_none(engine: minidock.Engine, busybox: str, option: str, words: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=words):
        engine.containers.create(busybox, SLEEP, security_opt=[option])
    assert engine.containers.list(all=True) == []


def test_joined_namespaces_share_the_label(engine: minidock.Engine, busybox: str) -> None:
    with running(engine, busybox, name="donor", ipc_mode="shareable") as donor, running(engine, busybox) as other:
        label = donor.inspect().process_label
        for mode in ("ipc_mode", "pid_mode"):
            with running(engine, busybox, **{mode: "container:donor"}) as container:
                found = container.inspect()
                assert found.process_label == label
                parts = zip(("user", "role", "type", "level"), label.split(":", 3), strict=True)
                assert found.host_config.security_opt == [f"label={name}:{value}" for name, value in parts]
                assert of_process(pid(container)) == label
        donor.exec(["sh", "-c", "echo shared >/dev/shm/file"])
        assert said(engine, busybox, "cat /dev/shm/file", ipc_mode="container:donor") == "shared\n"
        with pytest.raises(errors.InvalidArgument, match="--ipc and --pid containers SELinux labels aren't the same"):
            engine.containers.create(busybox, SLEEP, ipc_mode="container:donor", pid_mode=f"container:{other.id}")


def test_network_of_another_container(engine: minidock.Engine, busybox: str) -> None:
    """Both read the files that say who they are, though their levels differ."""
    joined = {"network": "container:donor"}
    with running(engine, busybox, name="donor") as donor, running(engine, busybox, **joined) as container:
        assert container.inspect().process_label != donor.inspect().process_label
        for one in (container, donor):
            assert one.exec(["cat", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"]).exit_code == 0


# Mounts


def test_bind_is_denied_unless_it_is_relabelled(engine: minidock.Engine, busybox: str, folder: Path) -> None:
    before = of_file(folder)
    result = said(engine, busybox, "cat /x/file; echo y >/x/new; ls /x", volumes=[f"{folder}:/x"])
    assert result.count("Permission denied") == 3
    assert of_file(folder) == of_file(folder / "file") == before
    assert said(engine, busybox, "cat /x/file", volumes=[f"{folder}:/x"], security_opt=["label=disable"]) == "host\n"
    assert said(engine, busybox, "cat /x/file", volumes=[f"{folder}:/x"], privileged=True) == "host\n"


def test_shared_bind(engine: minidock.Engine, busybox: str, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub/link").symlink_to("/etc/shadow")
    shadow = of_file("/etc/shadow")
    with running(engine, busybox, volumes=[f"{folder}:/x:z"]) as one:
        assert one.exec(["sh", "-c", "cat /x/file; echo 1 >/x/new"]).stdout == b"host\n"
        assert {of_file(path) for path in (folder, folder / "file", folder / "sub")} == {SHARED}
        assert os.getxattr(folder / "sub/link", "security.selinux", follow_symlinks=False).decode() == f"{SHARED}\0"
        assert said(engine, busybox, "cat /x/file /x/new", volumes=[f"{folder}:/x:ro,z"]) == "host\n1\n"
    assert of_file("/etc/shadow") == shadow


def test_private_bind(engine: minidock.Engine, busybox: str, folder: Path) -> None:
    with running(engine, busybox, volumes=[f"{folder}:/x:Z"]) as one:
        assert of_file(folder / "file") == one.inspect().mount_label
        assert one.exec(["cat", "/x/file"]).stdout == b"host\n"
        assert "Permission denied" in said(engine, busybox, "cat /x/file", volumes=[f"{folder}:/x"])
        # Whoever asks last has it.
        assert said(engine, busybox, "cat /x/file", volumes=[f"{folder}/file:/x/file:Z"]) == "host\n"
        assert one.exec(["cat", "/x/file"]).exit_code == 1
        with pytest.raises(errors.InvalidArgument):
            engine.containers.create(busybox, SLEEP, volumes=[f"{folder}:/x:z,Z"])


def test_volumes(engine: minidock.Engine, busybox: str) -> None:
    """They are all containers': by name, and without one."""
    with running(engine, busybox, volumes=["data:/d", "/anonymous"]) as one:
        assert one.exec(["sh", "-c", "echo 1 >/d/f; echo 2 >/anonymous/f"]).exit_code == 0
        assert said(engine, busybox, "cat /d/f", volumes=["data:/d:ro"]) == "1\n"
        assert said(engine, busybox, "cat /d/f /anonymous/f", volumes_from=[one.id]) == "1\n2\n"
        volume = Path(engine.volumes.get("data").mountpoint)
        assert of_file(volume) == SHARED
    (volume / "host").write_text("3\n")
    set_label(volume / "host", "unconfined_u:object_r:user_home_t:s0")
    assert said(engine, busybox, "cat /d/host", volumes=["data:/d"]) == "3\n"


def test_image_and_overlay_mounts(engine: minidock.Engine, busybox: str, folder: Path) -> None:
    """What is shown by a file system of its own has the container's label, and what is on disk keeps its own."""
    before = of_file(folder / "file")
    mounts = [f"type=image,source={busybox},target=/i", f"type=overlay,source={folder},target=/o"]
    script = "cat /i/etc/passwd >/dev/null && cat /o/file && echo 1 >/o/new && cat /o/new"
    assert said(engine, busybox, script, mounts=mounts) == "host\n1\n"
    assert of_file(folder / "file") == before


def test_relabelling_what_is_the_system_s(engine: minidock.Engine, busybox: str, folder: Path, roots: Roots) -> None:
    """Refused by its own name and by links to it: labels stay as they are, those of the engine too."""
    home = Path("/home/minidock-test")
    home.mkdir()
    links = {"etc": "/etc", "far": "etc", "top": "/", "shadow": "/etc/shadow", "home": str(home)}
    links["engine"] = str(roots.data / "containers")
    for name, target in links.items():
        (folder / name).symlink_to(target)
    own = [home, "/var/log", roots.data, roots.data.parent, roots.run]
    sources = ["/etc", "/etc/shadow", *own, *(folder / name for name in links), folder / "top" / "usr" / "bin"]
    kept = ["/", "/etc", "/etc/shadow", "/etc/passwd", "/usr/bin", "/usr/bin/env", *own, roots.data / "containers"]
    try:
        before = [of_file(path) for path in kept]
        for source in sources:
            for mode in ("z", "Z"):
                with pytest.raises(errors.Denied, match="relabelling it would change the"):
                    engine.containers.run(busybox, ["true"], volumes=[f"{source}:/x:{mode}"], remove=True)
        assert [of_file(path) for path in kept] == before
        # What a link of the user's leads to is the user's.
        (home / "data").mkdir()
        (folder / "data").symlink_to(home / "data")
        assert said(engine, busybox, "touch /x/a && echo made", volumes=[f"{folder}/data:/x:z"]) == "made\n"
        assert of_file(home / "data") == SHARED
        assert of_file(home) == before[kept.index(home)]
    finally:
        shutil.rmtree(home)


def test_volumes_of_directories_of_the_host(engine: minidock.Engine, busybox: str, folder: Path) -> None:
    """They are labelled as volumes are, and the system's are left as they are."""
    before = of_file("/etc"), of_file("/etc/shadow")
    for name, device in (("mine", str(folder)), ("etc", "/etc")):
        engine.volumes.create(name, driver_opts={"type": "none", "device": device, "o": "bind"})
    assert said(engine, busybox, "cat /x/file", volumes=["mine:/x"]) == "host\n"
    assert of_file(folder / "file") == SHARED
    assert "Permission denied" in said(engine, busybox, "cat /x/shadow", volumes=["etc:/x:ro"])
    with pytest.raises(errors.Denied, match="relabelling it would change the host's own labels"):
        engine.containers.run(busybox, ["true"], volumes=["etc:/x:Z"], remove=True)
    assert (of_file("/etc"), of_file("/etc/shadow")) == before


# Files in and out


def test_copies(engine: minidock.Engine, busybox: str, folder: Path) -> None:
    """What comes into a container can be read there, and no label leaves with what goes out."""
    with running(engine, busybox) as container:
        container.copy_to(folder / "file", "/in")
        assert container.exec(["cat", "/in"]).stdout == b"host\n"
        container.exec(["sh", "-c", "echo out >/out"])
        container.copy_from("/out", folder)
        assert (folder / "out").read_text() == "out\n"
        assert "container_file_t" not in of_file(folder / "out")
        container.stop(timeout=0)
        container.copy_to(folder / "file", "/stopped")
        container.start()
        assert container.exec(["cat", "/stopped"]).stdout == b"host\n"


def test_images_have_no_labels(engine: minidock.Engine, busybox: str) -> None:
    """Neither those of commit nor what export writes, and the next container reads the files."""
    with running(engine, busybox) as container:
        container.exec(["sh", "-c", "mkdir /made; echo 1 >/made/file; chmod 700 /home"])
        assert [change.path for change in container.diff() if "/etc" in change.path] == []
        image = container.commit("committed")
        exported = b"".join(container.export())
    saved = b"".join(engine.images.save("committed"))
    for archive in (exported, saved):
        assert b"security.selinux" not in archive
        assert b"container_file_t" not in archive
    assert said(engine, image.id, "cat /made/file") == "1\n"


def test_build(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """RUN has a label of its own, and what it is shown is its to use."""
    (tmp_path / "context").mkdir()
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    (tmp_path / "file").write_text("context\n")
    image = build(
        engine,
        tmp_path,
        f"""FROM {busybox}
COPY file /copied
RUN cat /proc/self/attr/current > /label
RUN --mount=type=cache,target=/c echo 1 >> /c/f && cat /c/f > /cache
RUN --mount=type=cache,target=/c echo 2 >> /c/f && cat /c/f > /cache
RUN --mount=type=secret,id=s wc -c < /run/secrets/s > /secret
RUN --mount=type=bind,target=/b cat /b/file > /bound
RUN --mount=type=bind,source=file,target=/f cat /f > /boundfile
RUN --mount=type=tmpfs,target=/t touch /t/x
""",
        secrets=[f"id=s,src={secret}"],
    )
    label, _, rest = (
        out(engine, image, "cat /label; echo; cat /cache /secret /bound /boundfile /copied")
        .replace("\0", "")
        .partition("\n")
    )
    assert PROCESS.fullmatch(label)
    assert rest.strip("\n").split("\n") == ["1", "2", "6", "context", "context", "context"]
    assert "container_file_t" not in of_file(tmp_path / "file")


# What is said of it


def configured(roots: Roots, path: Path, **values: Any) -> Path:
    """A configuration that differs from the test's own by some values."""
    own = json.loads(roots.config.read_text())
    path.write_text(json.dumps({**own, **{key.replace("_", "-"): value for key, value in values.items()}}))
    return path


def test_not_enabled(roots: Roots, engine: minidock.Engine, busybox: str, tmp_path: Path, folder: Path) -> None:
    """With ``selinux-enabled: false`` nothing is labelled, as in Docker."""
    config = configured(roots, tmp_path / "off.json", selinux_enabled=False)
    own = Path("/proc/self/attr/current").read_text().strip("\0\n")
    before = of_file(folder)
    with minidock.Engine(roots.data, roots.run, config=config) as off:
        with running(off, busybox, volumes=[f"{folder}:/x:z"]) as container:
            found = container.inspect()
            assert (found.process_label, found.mount_label) == ("", "")
            assert of_process(pid(container)) == own
            assert of_file(folder) == before
        assert "name=selinux" not in off.info()["SecurityOptions"]
        made = off.containers.create(busybox, SLEEP, security_opt=["label=type:x"])
        assert made.warnings == ["security option label has no effect: selinux-enabled is false"]
        made.remove()
    assert "name=selinux" in engine.info()["SecurityOptions"]


def test_command(cli_busybox: Cli) -> None:
    options = cli_busybox.ok("info", "--format", "{{json .SecurityOptions}}")
    assert "name=selinux" in json.loads(options)
    shown = cli_busybox.ok("run", "--rm", "busybox", "cat", "/proc/self/attr/current")
    assert PROCESS.fullmatch(shown.strip("\0\n"))
    refused = cli_busybox("run", "--rm", "--security-opt", "label=type:none_t", "busybox", "true")
    assert refused.returncode == 125
    assert b"Traceback" not in refused.stderr
    assert b"the policy has no such label" in refused.stderr


def test_doctor(cli_busybox: Cli) -> None:
    found = {check["name"]: check for check in json.loads(cli_busybox("doctor", "--json").stdout)}
    modules = found["security modules"]
    enforcing = Path("/sys/fs/selinux/enforce").read_text() == "1"
    mode = "enforcing" if enforcing else "permissive"
    assert modules["status"] == "ok"
    assert re.search(rf"SELinux \({mode}, policy \w+\)", modules["found"])
    assert "SELinux policy" not in found


def test_policy_without_labels_for_containers(cli_busybox: Cli, tmp_path: Path) -> None:
    """It is said what is missing, and what goes without."""
    named = re.search(r"^SELINUXTYPE=(\w+)", Path("/etc/selinux/config").read_text(), re.MULTILINE)
    assert named
    contexts = Path(f"/etc/selinux/{named[1]}/contexts/lxc_contexts")
    fake = tmp_path / "contexts"
    fake.write_text('process = "system_u:system_r:nothing_t:s0"\nfile = "system_u:object_r:nothing_file_t:s0"\n')

    def there(*args: str) -> subprocess.CompletedProcess[bytes]:
        script = 'mount --bind "$0" "$1" && shift && exec "$@"'
        argv = ["unshare", "-m", "sh", "-c", script, str(fake), str(contexts), *cli_busybox.argv, *args]
        return subprocess.run(argv, env=cli_busybox.env, capture_output=True, timeout=300, check=False)

    refused = there("run", "--rm", "busybox", "true")
    assert refused.returncode == 125
    assert b"does not know nothing_t: install its module for containers" in refused.stderr
    assert b"Traceback" not in refused.stderr
    assert (
        there("run", "--rm", "--network", "none", "--security-opt", "label=disable", "busybox", "true").returncode == 0
    )
    assert there("run", "--rm", "--network", "none", "--privileged", "busybox", "true").returncode == 0
    checked = there("doctor", "--json")
    found = {check["name"]: check for check in json.loads(checked.stdout)}["SELinux policy"]
    assert (checked.returncode, found["status"]) == (1, "fail")
    assert "nothing_t" in found["found"]
