"""Mounts as users name them; the words are those of Docker 28, capitals aside."""

from __future__ import annotations

import csv
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.containers.mounts import points
from minidock.containers.mounts.python import Mount, request, volume_texts
from minidock.containers.parse import mount_option, mounts, tmpfs
from minidock.containers.record import Point
from minidock.errors import InvalidArgument, MinidockError
from minidock.spec.docker import MountRequest

VOLUME = {"type": "volume", "copy": True}
BIND = {"type": "bind", "create": True}


def facts(point: Point) -> dict[str, Any]:
    """What of a point is not as by default."""
    found: dict[str, Any] = msgspec.to_builtins(point)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data:/x", {**VOLUME, "destination": "/x", "name": "data", "mode": "z"}),
        ("data:/b/../c/", {**VOLUME, "destination": "/c", "name": "data", "mode": "z"}),
        ("data:/x:rw", {**VOLUME, "destination": "/x", "name": "data", "mode": "rw"}),
        ("data:/x:ro", {**VOLUME, "destination": "/x", "name": "data", "mode": "ro", "rw": False}),
        ("data:/x:cached", {**VOLUME, "destination": "/x", "name": "data", "mode": "cached"}),
        ("data:/x:U", {**VOLUME, "destination": "/x", "name": "data", "mode": "U", "idmap": True}),
        (
            "data:/x:ro,nocopy",
            {
                "type": "volume",
                "destination": "/x",
                "name": "data",
                "mode": "ro,nocopy",
                "rw": False,
            },
        ),
        ("/srv:/x", {**BIND, "destination": "/x", "source": "/srv"}),
        ("/srv/../a/:/x/", {**BIND, "destination": "/x", "source": "/a"}),
        (
            "/srv:/x:private,ro",
            {
                **BIND,
                "destination": "/x",
                "source": "/srv",
                "mode": "private,ro",
                "rw": False,
                "propagation": "private",
            },
        ),
        ("/srv:/x:rw,Z", {**BIND, "destination": "/x", "source": "/srv", "mode": "rw,Z"}),
        ("/srv:/sys/fs/x", {**BIND, "destination": "/sys/fs/x", "source": "/srv"}),
        ("/srv:/proc/uptime", {**BIND, "destination": "/proc/uptime", "source": "/srv"}),
    ],
)
def test_binds(text: str, expected: dict[str, Any]) -> None:
    assert facts(points.bind(text)) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "invalid empty volume spec"),
        (":", "invalid spec: :: empty section between colons"),
        (":/b", "invalid spec: :/b: empty section between colons"),
        ("/a:/b:", "invalid spec: /a:/b:: empty section between colons"),
        ("/a:/b:c:d", "invalid volume specification: '/a:/b:c:d'"),
        ("/foo:rw", "invalid volume specification: '/foo:rw'"),
        ("/a:/b:xx", "invalid mode: xx"),
        ("/a:/b:RO", "invalid mode: RO"),
        ("aa:/b:rw,ro", "invalid mode: rw,ro"),
        ("aa:/b:ro,ro", "invalid mode: ro,ro"),
        ("aa:/b:z,Z", "invalid mode: z,Z"),
        ("aa:/b:U,idmap", "invalid mode: U,idmap"),
        ("aa:/b:nocopy,nocopy", "invalid mode: nocopy,nocopy"),
        ("/tmp:/b:rshared,rslave", "invalid mode: rshared,rslave"),
        ("/tmp:/b:consistent,cached", "invalid mode: consistent,cached"),
        ("/tmp:/b:noexec", "invalid mode: noexec"),
        ("aa:/x:/y", "invalid mode: /y"),
        (
            "/tmp:/b:nocopy",
            "invalid volume specification: '/tmp:/b:nocopy': invalid mount config for type \"bind\": "
            "field VolumeOptions must not be specified",
        ),
        (
            "aa:/b:rshared",
            "invalid volume specification: 'aa:/b:rshared': invalid mount config for type \"volume\": "
            "field BindOptions must not be specified",
        ),
        (
            "aa:b",
            "invalid volume specification: 'aa:b': invalid mount config for type \"volume\": "
            "invalid mount path: 'b' mount path must be absolute",
        ),
        (
            "/tmp:/.",
            "invalid volume specification: '/tmp:/.': invalid mount config for type \"bind\": "
            "invalid specification: destination can't be '/'",
        ),
        ("a:/x", "create a: volume name is too short, names should be at least two alphanumeric characters"),
        (
            "a b:/x",
            'create a b: "a b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" '
            "are allowed. If you intended to pass a host directory, use absolute path",
        ),
        ("../x:/x", 'create ../x: "../x" includes invalid characters'),
        ("aa:/proc", "mounts on and under /proc are refused"),
        ("aa:/proc/self/attr", "mounts on and under /proc are refused"),
        ("/tmp:/x/../proc/sys", "mounts on and under /proc are refused"),
        ("aa:/proc/uptime", "mounts on and under /proc are refused"),
    ],
)
def test_binds_refused(text: str, error: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        points.bind(text)
    assert error in str(caught.value)


def test_relative_sources() -> None:
    assert mounts.absolute("./x:/y", "/home/me") == "/home/me/x:/y"
    assert mounts.absolute(".:/y:ro", "/home/me") == "/home/me:/y:ro"
    assert mounts.absolute("../x:/y", "/home/me") == "/home/x:/y"
    assert mounts.absolute("data:/y", "/home/me") == "data:/y"
    assert mounts.absolute("~/x:/y", "/home/me") == "~/x:/y"
    assert mounts.absolute("./x", "/home/me") == "./x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dst=/x", {"Type": "volume", "Target": "/x"}),
        ("src=data,dst=/x", {"Type": "volume", "Source": "data", "Target": "/x"}),
        ("type=BIND,SRC=/tmp,destination=/x", {"Type": "bind", "Source": "/tmp", "Target": "/x"}),
        ("type=bind,source=./,target=/x", {"Type": "bind", "Source": "/here", "Target": "/x"}),
        ('type=bind,"src=/a,b",dst=/x', {"Type": "bind", "Source": "/a,b", "Target": "/x"}),
        ('type=bind,"src=/a""b",dst=/x', {"Type": "bind", "Source": '/a"b', "Target": "/x"}),
        ("src=data,dst=/x,readonly", {"Type": "volume", "Source": "data", "Target": "/x", "ReadOnly": True}),
        ("src=data,dst=/x,ro=1", {"Type": "volume", "Source": "data", "Target": "/x", "ReadOnly": True}),
        ("src=data,dst=/x,readonly=false", {"Type": "volume", "Source": "data", "Target": "/x"}),
        (
            "src=data,dst=/x,volume-nocopy",
            {
                "Type": "volume",
                "Source": "data",
                "Target": "/x",
                "VolumeOptions": {"NoCopy": True, "DriverConfig": {}},
            },
        ),
        (
            "src=data,dst=/x,volume-nocopy=false",
            {"Type": "volume", "Source": "data", "Target": "/x", "VolumeOptions": {"DriverConfig": {}}},
        ),
        (
            "src=data,dst=/x,volume-label=a=b,volume-label=c,volume-driver=local,volume-opt=type=tmpfs,volume-opt=o=a",
            {
                "Type": "volume",
                "Source": "data",
                "Target": "/x",
                "VolumeOptions": {
                    "Labels": {"a": "b", "c": ""},
                    "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs", "o": "a"}},
                },
            },
        ),
        (
            "src=data,dst=/x,volume-subpath=a/b",
            {
                "Type": "volume",
                "Source": "data",
                "Target": "/x",
                "VolumeOptions": {"Subpath": "a/b", "DriverConfig": {}},
            },
        ),
        (
            "type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=1770,tmpfs-opt=exec,tmpfs-opt=uid=5",
            {
                "Type": "tmpfs",
                "Target": "/x",
                "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 1016, "Options": [["exec"], ["uid", "5"]]},
            },
        ),
        ("type=tmpfs,dst=/x,tmpfs-mode=0", {"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {}}),
        (
            "type=image,src=busybox,dst=/x,image-subpath=bin",
            {"Type": "image", "Source": "busybox", "Target": "/x", "ImageOptions": {"Subpath": "bin"}},
        ),
        ("type=bind,src=/a,dst=/x,bind-recursive=enabled", {"Type": "bind", "Source": "/a", "Target": "/x"}),
        (
            "type=bind,src=/a,dst=/x,bind-recursive=disabled",
            {"Type": "bind", "Source": "/a", "Target": "/x", "BindOptions": {"NonRecursive": True}},
        ),
        (
            "type=bind,src=/a,dst=/x,bind-nonrecursive",
            {"Type": "bind", "Source": "/a", "Target": "/x", "BindOptions": {"NonRecursive": True}},
        ),
        (
            "type=bind,src=/a,dst=/x,bind-recursive=writable,readonly",
            {
                "Type": "bind",
                "Source": "/a",
                "Target": "/x",
                "ReadOnly": True,
                "BindOptions": {"ReadOnlyNonRecursive": True},
            },
        ),
        (
            "type=bind,src=/a,dst=/x,bind-recursive=readonly,readonly,bind-propagation=rprivate",
            {
                "Type": "bind",
                "Source": "/a",
                "Target": "/x",
                "ReadOnly": True,
                "BindOptions": {"Propagation": "rprivate", "ReadOnlyForceRecursive": True},
            },
        ),
        (
            "type=bind,src=/a,dst=/x,consistency=cached,bind-create-src",
            {
                "Type": "bind",
                "Source": "/a",
                "Target": "/x",
                "Consistency": "cached",
                "BindOptions": {"CreateMountpoint": True},
            },
        ),
        (
            "type=bind,src=/a,dst=/x,idmap",
            {"Type": "bind", "Source": "/a", "Target": "/x", "BindOptions": {"Idmap": True}},
        ),
        ("src=aa,dst=/x,U", {"Type": "volume", "Source": "aa", "Target": "/x", "VolumeOptions": {"Idmap": True}}),
        ("type=overlay,src=/a,dst=/x", {"Type": "overlay", "Source": "/a", "Target": "/x"}),
        ("type=bind,src=/a,dst=/x,type=volume", {"Type": "volume", "Source": "/a", "Target": "/x"}),
    ],
)
def test_mount_option(text: str, expected: dict[str, Any]) -> None:
    made = mount_option.mount(text, "/here")
    assert msgspec.to_builtins(made) == expected
    assert msgspec.convert(expected, MountRequest) == made


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "EOF"),
        ("type=bind", "target is required"),
        ("type=bind,src=/tmp", "target is required"),
        ("src=aa,dst=/x,ro=yes", "invalid value for ro: yes"),
        ("src=aa,dst=/x,volume-nocopy=maybe", "invalid value for volume-nocopy: maybe"),
        ("src=aa,dst=/x,bind-propagation=rslave", "cannot mix 'bind-*' options with mount type 'volume'"),
        ("type=bind,src=/tmp,dst=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
        ("type=bind,src=/tmp,dst=/x,tmpfs-size=1m", "cannot mix 'tmpfs-*' options with mount type 'bind'"),
        ("type=bind,src=/tmp,dst=/x,image-subpath=a", "cannot mix 'image-*' options with mount type 'bind'"),
        ("type=tmpfs,dst=/x,idmap", "idmap is for mounts of type bind and volume, not 'tmpfs'"),
        ("type=tmpfs,dst=/x,tmpfs-size=foo", "invalid value for tmpfs-size: foo"),
        ("type=tmpfs,dst=/x,tmpfs-size=-1", "invalid value for tmpfs-size: -1"),
        ("type=tmpfs,dst=/x,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ("type=bind,src=/tmp,dst=/x,bind-nonrecursive=x", "invalid value for bind-nonrecursive: x"),
        (
            "type=bind,src=/tmp,dst=/x,bind-recursive=true",
            'invalid value for bind-recursive: true (must be "enabled", "disabled", "writable", or "readonly")',
        ),
        (
            "type=bind,src=/tmp,dst=/x,bind-recursive=writable",
            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
        ),
        (
            "type=bind,src=/tmp,dst=/x,bind-recursive=readonly,readonly",
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction",
        ),
        ("type=bind,src=/tmp,dst=/x,foo=bar", "unexpected key 'foo' in 'foo=bar'"),
        ("type=bind,src=/tmp,dst=/x,bind-foo=bar", "unexpected key 'bind-foo' in 'bind-foo=bar'"),
        ("type=bind,src=/tmp,dst=/x,foo", "invalid field 'foo' must be a key=value pair"),
        ("type=bind,src,dst=/x", "invalid field 'src' must be a key=value pair"),
        ("type=bind,src=/tmp, dst=/x", "unexpected key ' dst' in ' dst=/x'"),
        ('type=bind,src="/tmp",dst=/x', 'parse error on line 1, column 15: bare " in non-quoted-field'),
        ('type=bind,"src=/tmp', 'parse error on line 1, column 20: extraneous or missing " in quoted-field'),
        ('type=bind,"src=/t"x', 'parse error on line 1, column 18: extraneous or missing " in quoted-field'),
        ("type=bind,src=/a\n,dst=/x", "a line break needs quotes"),
    ],
)
def test_mount_option_refused(text: str, error: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        mount_option.mount(text)
    assert error in str(caught.value)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("type=bind,dst=/x", 'invalid mount config for type "bind": field Source must not be empty'),
        ("type=bind,src=tmp,dst=/x", "\"bind\": invalid mount path: 'tmp' mount path must be absolute"),
        ("type=bind,src=/tmp,dst=x", "\"bind\": invalid mount path: 'x' mount path must be absolute"),
        ("type=tmpfs,dst=/", "\"tmpfs\": invalid specification: destination can't be '/'"),
        ("type=tmpfs,src=/tmp,dst=/x", '"tmpfs": field Source must not be specified'),
        ("type=image,dst=/x", '"image": field Source must not be empty'),
        ("type=image,src=a,dst=/x,image-subpath=../x", '"image": subpath must be a relative path within the image'),
        ("type=npipe,src=/tmp,dst=/x", 'invalid mount config for type "npipe": mount type unknown'),
        ("type=bind,src=/a,dst=/x,bind-propagation=foo", '"bind": invalid propagation mode: foo'),
        ("src=aa,dst=/x,volume-subpath=../b", '"volume": subpath must be a relative path within the volume'),
        ("src=aa,dst=/x,volume-subpath=a/../../b", '"volume": subpath must be a relative path within the volume'),
        ("src=aa,dst=/x,volume-subpath=/b", '"volume": subpath must be a relative path within the volume'),
        ("dst=/x,volume-subpath=b", '"volume": must not set Subpath when using anonymous volumes'),
        ("dst=/x,readonly", '"volume": must not set ReadOnly mode when using anonymous volumes'),
        ("src=/tmp,dst=/x", 'create /tmp: "/tmp" includes invalid characters'),
        ("type=tmpfs,dst=/x,tmpfs-opt=foo", 'invalid tmpfs option "foo"'),
        ("type=bind,src=/a,dst=/proc/x", "mounts on and under /proc are refused"),
        ("type=tmpfs,dst=/proc", "mounts on and under /proc are refused"),
    ],
)
def test_points_refused(text: str, error: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        points.point(mount_option.mount(text))
    assert error in str(caught.value)


def test_tmpfs_options() -> None:
    assert tmpfs.options("") == ["noexec", "nosuid", "nodev"]
    assert tmpfs.options("exec,size=1m,mode=1770") == ["nosuid", "nodev", "exec", "size=1m", "mode=1770"]
    assert tmpfs.options("defaults,ro,rw,size=1m,size=2m") == ["noexec", "nosuid", "nodev", "rw", "size=2m"]
    assert tmpfs.options("size=10%,rslave,uid=5") == ["noexec", "nosuid", "nodev", "size=10%", "rslave", "uid=5"]
    for text in ("foo", "size=bad", "mode=zz", "mode=9", "uid=-1", "bind", "remount", "size=", "upperdir=/etc", "x=y"):
        with pytest.raises(InvalidArgument, match="invalid tmpfs option"):
            tmpfs.options(text)
    for text, error in (("x", "must be absolute"), ("", "must be absolute"), ("/", "can't be '/'"), ("/proc", "/proc")):
        with pytest.raises(InvalidArgument, match=error):
            tmpfs.split(text)


def test_volumes_from() -> None:
    assert mounts.volumes_from("a:ro")[0] == "a"
    assert mounts.volumes_from("a:ro")[1].read_only
    assert mounts.volumes_from("a:z")[1].label == "z"
    for text, error in (
        ("", "volumes-from specification cannot be an empty string"),
        (":ro", 'invalid name or ID supplied: ""'),
        ("a:xx", "invalid mode: xx"),
        ("a:nocopy", "invalid mode: nocopy"),
        ("a:rslave", "invalid mode: rslave"),
    ):
        with pytest.raises(InvalidArgument, match=error):
            mounts.volumes_from(text)


def test_python_forms() -> None:
    """What docker-py takes, and our own type, mean what the flags mean."""
    forms = {
        "/src": {"bind": "/a", "mode": "ro"},
        "data": "/b",
        "/c": {},
        "/d": {"bind": "/d", "propagation": "rslave"},
    }
    assert list(volume_texts(forms)) == ["/src:/a:ro", "data:/b:rw", "/c", "/d:/d:rw,rslave"]
    for value in ("data:/x", {"data": {}, "x": {"mode": "ro"}}, {"x": {"bind": "/x", "size": 1}}):
        with pytest.raises((TypeError, InvalidArgument)):
            list(volume_texts(value))
    for mount, text in (
        (Mount(target="/x"), "dst=/x"),
        (Mount(target="/x", source="aa", read_only=True), "src=aa,dst=/x,ro"),
        (Mount(target="/x", source="/a", type="bind", idmap=True), "type=bind,src=/a,dst=/x,idmap"),
        (Mount(target="/x", source="aa", idmap=True), "src=aa,dst=/x,idmap"),
        (
            Mount(target="/x", source="/a", type="bind", recursive="writable", read_only=True),
            "type=bind,src=/a,dst=/x,bind-recursive=writable,ro",
        ),
        (
            Mount(target="/x", type="tmpfs", tmpfs_size="1m", tmpfs_mode=0o700, tmpfs_options=("exec", "uid=5")),
            "type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=700,tmpfs-opt=exec,tmpfs-opt=uid=5",
        ),
        (Mount(target="/x", source="i", type="image", subpath="a"), "type=image,src=i,dst=/x,image-subpath=a"),
    ):
        assert request(mount) == request(text) == request(msgspec.to_builtins(request(text)))
    with pytest.raises(InvalidArgument, match="none of enabled"):
        request(Mount(target="/x", source="/a", type="bind", recursive="yes"))
    with pytest.raises(InvalidArgument, match="field VolumeOptions"):
        points.point(request(Mount(target="/x", source="/a", type="bind", no_copy=True)))
    with pytest.raises(InvalidArgument, match="a mount: "):
        request({"Type": 5})


words = st.sampled_from(["ro", "rw", "z", "Z", "rslave", "nocopy", "U", "cached", "xx", ""])
parts = st.one_of(st.text(max_size=12), st.sampled_from(["/a", "/b/c", "data", "/proc", "/", ".", "..", "a"]))


@given(st.lists(parts, max_size=4), st.lists(words, max_size=3))
def test_any_bind_is_sound_or_refused(some: list[str], mode: list[str]) -> None:
    text = ":".join([*some, ",".join(mode)] if mode else some)
    try:
        made = points.bind(text)
    except MinidockError:
        return
    where = made.destination
    assert where.startswith("/")
    assert where != "/"
    assert "//" not in where
    assert ".." not in where.split("/")
    assert made.type == "volume" or made.source.startswith("/")
    assert made.type == "bind" or "/" not in made.name
    assert where not in mounts.PROC_FILES or made.type == "bind"


@given(st.lists(st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=("Cs",))), min_size=1))
def test_fields_are_read_as_they_were_written(some: list[str]) -> None:
    """Every list survives being written as comma-separated values."""
    if some == [""]:
        return
    lines: list[str] = []
    csv.writer(type("Out", (), {"write": lambda _, text: lines.append(text)})(), lineterminator="").writerow(some)
    assert list(mount_option.fields(lines[0])) == some


@given(st.text(max_size=60))
def test_any_mount_is_read_or_refused(text: str) -> None:
    for one in (text, f"type=bind,src=/a,dst={text}", f"dst=/x,{text}"):
        try:
            made = points.point(mount_option.mount(one))
        except MinidockError:
            continue
        assert made.destination.startswith("/")


@given(st.text(alphabet="size=modeuid,10%kmro_ex", max_size=40))
def test_any_tmpfs_option_is_allowed_or_refused(text: str) -> None:
    try:
        made = tmpfs.options(text)
    except MinidockError:
        return
    keys = [word.partition("=")[0] for word in made]
    assert len(keys) == len(set(keys))
