"""``build``: limits and options of RUN, users of another namespace, and images for other machines."""

from __future__ import annotations

import contextlib
import glob
import os
import socket
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import minidock
from minidock.build import events
from minidock.build.failures import BuildFailed
from minidock.errors import MinidockError
from minidock.images import platforms
from tests.conftest import roots_of_their_own
from tests.images import tar_of
from tests.integration.building import build, context, layers, out
from tests.registry import push_image, push_index
from tests.rootfs import busybox_tar

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Cli, Roots
    from tests.registry import Registry

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
FILES = (
    "memory.max memory.swap.max cpu.max cpu.weight cpuset.cpus cpuset.mems"
    if V2
    else "memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us "
    "cpu/cpu.shares cpuset/cpuset.cpus cpuset/cpuset.mems"
)


def test_limits(cli_busybox: Cli, tmp_path: Path) -> None:
    """What the flags of the legacy builder say is so for every RUN."""
    cli, made = cli_busybox, tmp_path / "out"
    dockerfile = f"""FROM busybox AS made
RUN cd /sys/fs/cgroup && for file in {FILES}; do echo $file $(cat $file); done > /limits
RUN ulimit -Sn > /ulimits; ulimit -Hn >> /ulimits; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2 > /shm
RUN grep NoNewPrivs /proc/self/status | cut -f2 > /privileges; cat /etc/hosts > /names
FROM scratch
COPY --from=made /limits /ulimits /shm /privileges /names /
"""
    flags = "--memory 64m --memory-swap 96m --cpu-quota 20000 --cpu-period 40000 --cpu-shares 512 --cpuset-cpus 0"
    flags += " --cpuset-mems 0 --ulimit nofile=100:200 --shm-size 1m --security-opt no-new-privileges"
    flags += " --add-host other:1.2.3.4 --network none"
    cli.ok("build", *flags.split(), "-o", str(made), "-", input=dockerfile.encode())
    limits = dict(line.split(" ", 1) for line in (made / "limits").read_text().splitlines())
    assert limits["memory.max" if V2 else "memory/memory.limit_in_bytes"] == str(64 << 20)
    if V2:
        assert limits["cpu.max"] == "20000 40000"
        assert limits["memory.swap.max"] == str(32 << 20)
        assert int(limits["cpu.weight"]) < 100
    else:
        assert (limits["cpu/cpu.cfs_quota_us"], limits["cpu/cpu.cfs_period_us"]) == ("20000", "40000")
        assert limits["memory/memory.memsw.limit_in_bytes"] == str(96 << 20)
        assert limits["cpu/cpu.shares"] == "512"
    prefix = "" if V2 else "cpuset/"
    assert (limits[f"{prefix}cpuset.cpus"], limits[f"{prefix}cpuset.mems"]) == ("0", "0")
    assert (made / "ulimits").read_text() == "100\n200\n"
    assert (made / "shm").read_text() == "1024\n"
    assert (made / "privileges").read_text() == "1\n"
    assert "1.2.3.4\tother" in (made / "names").read_text()


@pytest.mark.parametrize(
    ("flag", "value", "why"),
    [
        ("--memory", "1k", b"memory"),
        ("--security-opt", "nonsense", b"nonsense"),
        ("--ulimit", "nothing=1", b"nothing"),
        ("--cpuset-cpus", "4000", b"4000"),
        ("--add-host", "alone", b"alone"),
    ],
)
def test_limits_that_cannot_be(cli_busybox: Cli, flag: str, value: str, why: bytes) -> None:
    """They are errors, and leave no container."""
    failed = cli_busybox("build", "--network", "none", flag, value, "-", input=b"FROM busybox\nRUN echo never\n")
    assert failed.returncode != 0
    assert why in failed.stderr
    assert b"Traceback" not in failed.stderr


def test_the_parent_of_the_group(engine: minidock.Engine, roots: Roots, busybox: str, tmp_path: Path) -> None:
    """``--cgroup-parent``: the command's group is in it."""
    parent = f"{roots.cgroup_parent}/nested"
    dockerfile = f"FROM {busybox}\nRUN echo here; exec sleep 61.75\n".encode()
    found = ""
    with engine.images.build_stream(tmp_path, dockerfile=dockerfile, network="none", cgroup_parent=parent) as stream:
        for event in stream:
            if isinstance(event, events.Output) and b"here" in event.data:
                break
        while not found:  # the shell becomes what it says a moment later
            found = next(filter(None, map(_groups, filter(str.isdigit, os.listdir("/proc")))), "")
    assert f"{parent}/" in found
    for place in ("/sys/fs/cgroup", *glob.glob("/sys/fs/cgroup/*/")):  # as with Docker the parent stays
        with contextlib.suppress(OSError):
            os.rmdir(place + parent)


def _groups(pid: str) -> str:
    """The groups of the command above, if it is this process."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if file.read() != b"sleep\x0061.75\0":
                return ""
        with open(f"/proc/{pid}/cgroup") as file:
            return file.read()
    except OSError:
        return ""


REMAPPED = """FROM busybox
COPY --chown=5:6 f /f
RUN id -u > /id; touch /made; chown 7:8 /made; mkdir -m 700 /d; ln -s f /l; cat /f
RUN --mount=type=secret,id=s cat /run/secrets/s > /secret; stat -c '%u %a' /run/secrets/s >> /secret
RUN --mount=type=secret,id=s,env=VALUE echo $VALUE > /value
RUN --mount=type=cache,target=/c,mode=0750 echo x > /c/x && chown 5 /c/x && stat -c '%u %a' /c > /cached
RUN --mount=type=cache,target=/c,mode=0750 stat -c %u /c/x >> /cached
RUN --mount=type=bind,target=/b,rw cat /b/f > /bound && echo w > /b/w
RUN --mount=type=bind,from=busybox,source=/bin,target=/b test -x /b/sh
RUN --mount=type=tmpfs,target=/t touch /t/x && stat -c '%u' /t/x > /temporary
RUN --mount=type=ssh,mode=0620,gid=3 stat -c '%u %g %a %F' $SSH_AUTH_SOCK > /agent
RUN <<EOF
echo scripts, too > /script
EOF
WORKDIR /w/x
RUN chown 5:6 .
USER 5:6
RUN touch mine
"""


def test_remapped_users(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """With ``userns-remap`` a build comes to the same layers, owners included."""
    files = context(tmp_path, {"f": "f"})
    (files / "f").chmod(0o644)
    options: dict[str, Any] = {"secrets": {"s": "hidden"}, "ssh": [f"default={tmp_path}/agent"]}
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as agent:
        agent.bind(f"{tmp_path}/agent")  # which nobody asks
    plain = build(engine, files, REMAPPED, **options)
    with (
        roots_of_their_own({"bridge": "none", "userns-remap": "default"}) as roots,
        minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as other,
    ):
        other.images.import_(str(busybox_tar()), repository="busybox", changes=['CMD ["sh"]'])
        maps = build(other, files, "FROM busybox\nRUN cat /proc/self/uid_map > /map\n")
        assert out(other, maps, "cat /map").split()[1] != "0"
        mapped = build(other, files, REMAPPED, **options)
        assert out(other, mapped, "cat /id /secret /value /cached /bound /temporary /agent") == (
            "0\nhidden0 400\nhidden\n0 750\n5\nf0\n0 3 620 socket\n"
        )
    assert mapped.config.rootfs == plain.config.rootfs
    assert mapped.config.config == plain.config.config


def elf(machine: int) -> bytes:
    """A program for another processor."""
    head = b"\x7fELF\x02\x02\x01" + bytes(9) + (2).to_bytes(2, "big") + machine.to_bytes(2, "big")
    return head.ljust(64, b"\0")


def test_other_platforms(engine: minidock.Engine, busybox: str, registry: Registry, tmp_path: Path) -> None:
    """A base for another processor: its files and the context's come together; what would have to run cannot."""
    files = context(tmp_path, {"f": "f"})
    shell = tarfile.TarInfo("bin/sh")
    shell.mode = 0o755
    one = push_image(registry, "team/foreign", "1", [tar_of((shell, elf(22)))], platform="linux/s390x")
    name = f"{registry.host}/team/foreign:1"
    dockerfile = f"FROM {name}\nARG TARGETARCH\nARG BUILDARCH\nCOPY f /\nWORKDIR /x\nENV A=$TARGETARCH B=$BUILDARCH\n"
    made = build(engine, files, dockerfile, platform="linux/s390x")
    host = platforms.host().architecture
    assert (made.config.os, made.config.architecture) == ("linux", "s390x")
    assert made.config.config is not None
    assert (made.config.config.env or [])[-2:] == ["A=s390x", f"B={host}"]
    assert [sorted(layer) for layer in layers(engine, made)] == [["bin/sh"], ["f"], ["x"]]
    for platform in ("linux/s390x", None):  # with the flag, and by what FROM says
        text = f"FROM --platform=linux/s390x {name}\nRUN true\n"
        with pytest.raises(BuildFailed) as caught:
            build(engine, files, text, **({} if platform is None else {"platform": platform}))
        assert "linux/s390x" in str(caught.value)
        assert caught.value.line == 2
    # A stage of the host's makes what one of the other platform gets.
    push_index(registry, "team/foreign", "both", [(one.manifest, "linux/s390x")])
    cross = (
        f"FROM --platform=$BUILDPLATFORM busybox AS made\nRUN echo made > /o\nFROM {registry.host}/team/foreign:both\n"
    )
    crossed = build(engine, files, f"{cross}COPY --from=made /o /\n", platform="linux/s390x")
    assert crossed.config.architecture == "s390x"
    with pytest.raises(MinidockError, match="s390x"):
        build(engine, files, f"FROM {registry.host}/team/foreign:both\n", pull=True)
