"""Flags of volumes and mounts beside the real Docker: what is recorded, refused in which words, and seen."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.compat.beside import Side, both
from tests.conftest import Cli

MOUNT = "--mount"
RECORDED = [
    ["-v", "@v:/x", "-v", "@v:/b/../c/", "-v", "@v:/b:ro,nocopy", "-v", "@v:/d:cached", "-v", "@w:/e:nocopy,Z"],
    ["-v", "/anon", "-v", "/other/", "-v", "@v:/x", "-v", "/x", "-v", "@v:/x", "--volume-driver", "local"],
    [
        *("-v", "/tmp:/x", "-v", "/tmp/:/y:ro", "-v", "/tmp/../etc:/z:delegated,rw,rprivate", "-v", "/etc/passwd:/p"),
        *("-v", "/tmp:/b:private,ro", "-v", "/tmp:/c:consistent", "-v", "/tmp:/d:shared", "--volume-driver", "nope"),
        *("--tmpfs", "/t", "--tmpfs", "/u:size=1m,mode=1777,exec", "--tmpfs", "/t:ro", "--tmpfs", "/v/"),
    ],
    [
        *(MOUNT, "dst=/x", MOUNT, "src=@v,dst=/y", MOUNT, "type=volume,source=@v,target=/z,readonly"),
        *(MOUNT, "src=@v,destination=/a,volume-nocopy", MOUNT, "src=@v,dst=/b,volume-nocopy=false"),
        *(MOUNT, "src=@w2,dst=/c,volume-label=a=b,volume-label=c,volume-driver=local"),
        *(MOUNT, "src=@w3,dst=/d,volume-opt=type=tmpfs,volume-opt=device=tmpfs"),
        *(MOUNT, "src=@v,dst=/e,volume-subpath=a/b"),
    ],
    [
        *(MOUNT, "type=BIND,SRC=/tmp,dst=/x/../y/", MOUNT, 'type=bind,"src=/etc",dst=/z'),
        *(MOUNT, "type=bind,src=/tmp,dst=/a,bind-propagation=rslave,consistency=cached"),
        *(MOUNT, "type=bind,src=/tmp,dst=/b,bind-recursive=enabled"),
        *(MOUNT, "type=bind,src=/tmp,dst=/c,bind-recursive=disabled"),
        *(MOUNT, "type=bind,src=/tmp,dst=/d,bind-recursive=writable,readonly"),
        *(MOUNT, "type=bind,src=/tmp,dst=/e,bind-recursive=readonly,ro,bind-propagation=rprivate"),
        *(MOUNT, "type=tmpfs,dst=/f,tmpfs-size=1m,tmpfs-mode=1770", MOUNT, "type=tmpfs,dst=/g,readonly"),
    ],
    ["--volumes-from", "@donor"],
    ["--volumes-from", "@donor:ro", "-v", "@w:/n", "-v", "/anon"],
]
REFUSED = [
    ["-v", ""],
    ["-v", "/a:/b:xx"],
    ["-v", "/tmp:/b:nocopy"],
    ["-v", "@v:/b:rshared"],
    ["-v", "@v:b"],
    ["-v", "@v:/"],
    ["-v", "@v/b:/x"],
    ["-v", "@v:/x", "-v", "@w:/x"],
    ["-v", "@v:/x", "--tmpfs", "/x"],
    ["-v", "@v:/x", MOUNT, "type=bind,src=/tmp,dst=/x"],
    ["--tmpfs", "/"],
    ["--volumes-from", "@nobody"],
    ["--volumes-from", "@donor:xx"],
    [MOUNT, ""],
    [MOUNT, "type=bind,src=/tmp"],
    [MOUNT, "type=bind,dst=/x"],
    [MOUNT, "type=bind,src=/nowhere/at/all,dst=/x"],
    [MOUNT, "src=@v,dst=/x,ro=yes"],
    [MOUNT, "dst=/x,volume-subpath=b"],
    [MOUNT, "dst=/x,readonly"],
    [MOUNT, "src=@v,dst=/x,bind-propagation=rslave"],
    [MOUNT, "type=tmpfs,src=/tmp,dst=/x"],
    [MOUNT, "type=tmpfs,dst=/x,tmpfs-size=foo"],
    [MOUNT, "type=image,dst=/x"],
    [MOUNT, "type=bind,src=/tmp,dst=/x,bind-propagation=foo"],
    [MOUNT, "type=bind,src=/tmp,dst=/x,bind-recursive=readonly,readonly"],
    [MOUNT, "type=bind,src=/tmp,dst=/x,bind-recursive=foo"],
    [MOUNT, "type=bind,src=/tmp,dst=/x,foo=bar"],
    [MOUNT, 'type=bind,src="/tmp",dst=/x'],
]
SEEN = [
    (["-v", "@v:/x"], "ls -nd /x | cut -d' ' -f1; ls /x; touch /x/a; ls /x"),
    (["-v", "@v:/x:ro"], "ls /x; touch /x/b 2>/dev/null || echo no"),
    (["-v", "@full:/bin", "-v", "@bare:/usr:nocopy"], "ls -ln /bin | wc -l; ls -nd /bin | cut -d' ' -f1; ls /usr"),
    (["-v", "/x/y"], "ls -nd /x /x/y | cut -d' ' -f1"),
    (["--tmpfs", "/x"], "grep ' /x ' /proc/mounts"),
    (["--tmpfs", "/x:exec,size=1m,mode=700"], "grep ' /x ' /proc/mounts; ls -nd /x | cut -d' ' -f1"),
    ([MOUNT, "type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=750,ro"], "grep ' /x ' /proc/mounts"),
    ([MOUNT, "type=image,src=IMAGE,dst=/x,image-subpath=bin"], "ls /x | head -3; touch /x/a 2>/dev/null || echo no"),
    (
        ["--read-only", "-v", "/v", "--tmpfs", "/t"],
        "for d in / /v /t; do touch $d/a 2>/dev/null && echo $d; done; true",
    ),
]


def prepared(sides: tuple[Side, Side]) -> None:
    for side in sides:
        code, _, error = side.raw(
            "create", "--name", "@donor", "--network", "none", "-v", "@v:/n:ro", "-v", "/tmp:/t", "-v", "/anon", "IMAGE"
        )
        assert code == 0, error


def cleared(sides: tuple[Side, Side]) -> None:
    for side in sides:
        _, out, _ = side.raw("ps", "-aq", "--filter", f"name={side.prefix}")
        if out.split():
            side.raw("rm", "-fv", *out.split())
        side.raw("volume", "rm", "-f", *(f"@{name}" for name in ("v", "w", "w2", "w3", "full", "bare")))


def test_what_is_recorded(cli: Cli, busybox: str) -> None:
    with both(cli) as sides:
        prepared(sides)
        try:
            for flags in RECORDED:
                shown = [_recorded(side, flags) for side in sides]
                assert shown[1] == shown[0], flags
        finally:
            cleared(sides)


def _recorded(side: Side, flags: list[str]) -> list[Any]:
    code, _, error = side.raw("create", "--name", "@a", "--network", "none", *flags, "IMAGE", "true")
    assert code == 0, (side.program, flags, error)
    text = re.sub(r'"/[^"]*/volumes/', '"VOLUMES/', side.raw("inspect", "@a")[1])
    shown = json.loads(side.clean(text))[0]
    _, row, _ = side("ps", "-a", "--filter", f"name={side.prefix}a$", "--format", "{{.LocalVolumes}}")
    side.raw("rm", "-v", "@a")
    host_config = shown["HostConfig"]
    return [
        *(host_config.get(key) for key in ("Mounts", "Tmpfs", "VolumesFrom", "VolumeDriver")),
        sorted(host_config["Binds"] or ()),
        shown["Config"]["Volumes"],
        sorted(shown["Mounts"], key=lambda mount: str(mount["Destination"])),
        row,
    ]


def test_what_is_refused(cli: Cli, busybox: str) -> None:
    with both(cli) as sides:
        prepared(sides)
        try:
            for flags in REFUSED:
                expected, got = (_refusal(side, flags) for side in sides)
                assert got == expected, flags
        finally:
            cleared(sides)


def _refusal(side: Side, flags: list[str]) -> str:
    code, _, error = side("create", "--name", "@a", "--pull", "never", "--network", "none", *flags, "IMAGE", "true")
    assert code != 0, (side.program, flags)
    # Ours begins with the option's name where it is an option's own error.
    return re.sub("^(volumes|mounts|tmpfs|volumes_from|volume_driver): ", "", error)


def test_what_is_seen(cli: Cli, busybox: str) -> None:
    with both(cli) as sides:
        try:
            for flags, script in SEEN:
                got = [side("run", "--rm", "--network", "none", *flags, "IMAGE", "sh", "-c", script) for side in sides]
                expected, ours = ((code, out) for code, out, _ in got)
                assert ours == expected, flags
            listed = [side("volume", "ls", "-q", "--filter", f"name={side.prefix}")[1].split() for side in sides]
            assert listed[1] == listed[0]
        finally:
            cleared(sides)


def test_use_keeps_volumes_and_images(cli: Cli, busybox: str) -> None:
    with both(cli) as sides:
        try:
            for side in sides:
                side.raw("create", "--name", "@a", "--network", "none", "-v", "@v:/x", "-v", "/anon", "IMAGE")
            for argv in (["volume", "rm", "@v"], ["rm", "-v", "@a"], ["volume", "rm", "@v"], ["volume", "rm", "@v"]):
                expected, ours = (side(*argv) for side in sides)
                assert ours == expected, argv
        finally:
            cleared(sides)
