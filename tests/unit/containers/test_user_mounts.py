"""From the mounts of a record to the document of its bundle."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from minidock.containers.mounts.idmaps import exchange
from minidock.containers.mounts.points import bind, point
from minidock.containers.parse.mount_option import mount
from minidock.containers.record import Point, Record, decode, encode
from minidock.containers.runtime_spec.mounts import mounts
from minidock.containers.runtime_spec.user_mounts import sources, user_mounts
from minidock.spec.docker import ContainerConfig, HostConfig
from minidock.store.paths import Paths

PATHS = Paths("/data", "/run/md")


def record(*texts: str, **fields: Any) -> Record:
    """A record with these ``-v`` and ``--mount``."""
    made = [bind(text) if "=" not in text else point(mount(text)) for text in texts]
    return Record(
        id="c" * 64,
        name="box",
        created="2026-01-01T00:00:00Z",
        config=ContainerConfig(),
        host_config=fields.pop("host_config", HostConfig(ipc_mode="private", shm_size=1 << 20)),
        mounts=made,
        **fields,
    )


def shown(one: Record) -> list[tuple[str, str, str, list[str]]]:
    return [(m.destination, m.type, m.source, m.options) for m in user_mounts(one, PATHS, {})]


def test_options() -> None:
    made = record(
        "/src:/b",
        "/src:/c:ro",
        "/src:/d:shared",
        "vol:/e",
        "vol:/f:ro",
        "type=bind,src=/src,dst=/g,bind-recursive=disabled,ro",
        "type=bind,src=/src,dst=/h,bind-recursive=writable,ro",
        "type=tmpfs,dst=/i,tmpfs-size=1m,ro",
        host_config=HostConfig(tmpfs={"/a/b": "mode=700"}),
    )
    volume = "/data/volumes/vol/_data"
    assert shown(made) == [
        ("/b", "bind", "/src", ["rbind", "rprivate"]),
        ("/c", "bind", "/src", ["rbind", "rprivate", "rro"]),
        ("/d", "bind", "/src", ["rbind", "shared"]),
        ("/e", "bind", volume, ["rbind", "rprivate"]),
        ("/f", "bind", volume, ["rbind", "rprivate", "rro"]),
        ("/g", "bind", "/src", ["bind", "rprivate", "ro"]),
        ("/h", "bind", "/src", ["rbind", "rprivate", "ro"]),
        ("/i", "tmpfs", "tmpfs", ["noexec", "nosuid", "nodev", "ro", "size=1048576"]),
        ("/a/b", "tmpfs", "tmpfs", ["noexec", "nosuid", "nodev", "mode=700"]),
    ]


def test_sources() -> None:
    made = record(
        "src=vol,dst=/a,volume-subpath=x/../y",
        "type=image,src=i,dst=/b,image-subpath=bin",
        "type=overlay,src=/s,dst=/c",
    )
    made.mounts[1].source = "sha256:1"
    here = f"/data/containers/{made.id}/mounts/2"
    assert msgspec.to_builtins(sources(made, PATHS, {"sha256:1": ["/l/2", "/l/1"]})) == [
        {"destination": "/a", "kind": "subpath", "root": "/data/volumes/vol/_data", "path": "y"},
        {"destination": "/b", "kind": "layers", "path": "bin", "lower": ["/l/2", "/l/1"]},
        {"destination": "/c", "kind": "overlay", "lower": ["/s"], "upper": f"{here}/upper", "work": f"{here}/work"},
    ]
    assert [source for _, _, source, _ in shown(made)][1:] == ["none", "none"]


def test_ids() -> None:
    """In a user namespace all but binds have the container's ids on disk."""
    made = record("/src:/b", "vol:/v", uid_map=[(0, 100_000, 65_536)], gid_map=[(0, 200_000, 65_536)])
    plain, volume = user_mounts(made, PATHS, {})
    assert (plain.uid_mappings, plain.gid_mappings) == ([], [])
    assert [(one.container_id, one.host_id, one.size) for one in volume.uid_mappings] == [(0, 100_000, 65_536)]
    assert [(one.container_id, one.host_id, one.size) for one in volume.gid_mappings] == [(0, 200_000, 65_536)]
    assert volume.options[-1] == "idmap"


def places(one: Record) -> list[str]:
    return [m.destination for m in mounts(one, "/bundle", None, has_mqueue=True, more=user_mounts(one, PATHS, {}))]


def test_order_and_places() -> None:
    """What others lie in comes first; a mount takes the place of the one that every container has there."""
    plain = places(record())
    assert plain[-3:] == ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"]
    made = places(record("/s:/etc/hosts", "/s:/etc", "/s:/a/b/c", "/s:/a", "/s:/dev/shm"))
    assert sorted(made) == sorted({*plain, "/etc", "/a", "/a/b/c"})
    assert made[-7:] == ["/etc", "/a", "/etc/hosts", "/dev/shm", "/etc/resolv.conf", "/etc/hostname", "/a/b/c"]
    made = places(record("/dev:/dev", "/s:/dev/x"))
    assert [path for path in made if path.startswith("/dev")] == ["/dev", "/dev/x"]


def test_records_keep_mounts() -> None:
    made = record("/src:/b:ro", "vol:/v", "type=tmpfs,dst=/t", "src=vol,dst=/w,volume-subpath=a,idmap")
    assert decode(encode(made)).mounts == made.mounts
    assert b'"mounts"' not in encode(record())
    assert decode(encode(record())).mounts == []
    assert Point("bind", "/x").rw


@given(st.integers(0, (1 << 32) - 2), st.integers(0, (1 << 32) - 2), st.integers(0, (1 << 32) - 2))
def test_exchange(one: int, other: int, any_id: int) -> None:
    """Each of two ids becomes the other, all others stay, and every id is mapped once."""
    parts = exchange(one, other)

    def seen(number: int) -> int:
        (found,) = [outside + number - inside for inside, outside, size in parts if inside <= number < inside + size]
        return found

    assert (seen(one), seen(other)) == (other, one)
    assert any_id in (one, other) or seen(any_id) == any_id
    assert sum(size for _, _, size in parts) == (1 << 32) - 1
    assert all(size > 0 for _, _, size in parts)
