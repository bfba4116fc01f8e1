"""What ``--cache-to`` and ``--cache-from`` say, as Docker has it, and what differs between two trees."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from minidock.build import exchange
from minidock.build.exchange import Index, Kept, Place, Step
from minidock.build.verifying import difference
from minidock.errors import Corrupt, MinidockError

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "sha256:" + "a" * 64


def test_destinations() -> None:
    assert exchange.destination("type=local,dest=/d") == Place(type="local", where="/d")
    assert exchange.destination("type=registry,ref=host:5000/a/b,mode=max,mounts=true") == Place(
        type="registry", where="host:5000/a/b:latest", everything=True, mounts=True
    )
    assert exchange.destination("user/app:cache").where == "docker.io/user/app:cache"
    assert exchange.destination('type=local,"dest=/a,b"').where == "/a,b"
    assert exchange.destination(
        "type=registry,ref=a/b,compression=gzip,oci-mediatypes=true,image-manifest=true,ignore-error=true"
    ) == Place(type="registry", where="docker.io/a/b:latest", compression="gzip", lenient=True)
    assert exchange.destination("type=inline") == Place(type="inline")


def test_sources() -> None:
    assert exchange.source("type=local,src=/d") == Place(type="local", where="/d", mounts=True)
    assert exchange.source("type=registry,ref=a/b:1,mounts=false") == Place(type="registry", where="docker.io/a/b:1")
    assert exchange.source(f"a/b@{DIGEST}").where == f"docker.io/a/b@{DIGEST}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ref=a/b",
        "type=local",
        "type=local,src=/d",
        "type=local,dest=/d,what=1",
        "type=local,dest=/d,mode=most",
        "type=local,dest=/d,dest=/e",
        "type=local,dest=/d,mounts=perhaps",
        "type=local,dest=/d,compression=estargz",
        "type=local,dest=/d,image-manifest=false",
        "type=inline,mode=max",
        "type=inline,mounts=true",
        "type=s3,bucket=b",
        "type=registry",
        "type=registry,ref=UPPER",
        f"type=registry,ref=a/b@{DIGEST}",
        'type=local,dest="/d',
    ],
)
def test_wrong_destinations(text: str) -> None:
    with pytest.raises(MinidockError):
        exchange.destination(text)


@pytest.mark.parametrize("text", ["type=inline", "type=local,dest=/d", "type=registry,ref=a/b,mode=max", "type=gha"])
def test_wrong_sources(text: str) -> None:
    with pytest.raises(MinidockError):
        exchange.source(text)


def test_an_index_comes_back() -> None:
    index = Index(steps={"k": Step("exec", "RUN x", DIGEST, DIGEST, 5)}, mounts={"m": Kept("/c", DIGEST, 3)})
    data = exchange.encode(index)
    assert exchange.decode(data, "x") == index
    assert exchange.decode(b'{"version": 9, "steps": {}}', "x") == Index()
    for bad in (b"{", b"[]", b'{"version":1,"steps":{"k":1}}', data.replace(b"sha256:a", b"sha256:/")):
        with pytest.raises(Corrupt):
            exchange.decode(bad, "x")


def _trees(tmp_path: Path) -> tuple[Path, Path]:
    made = []
    for name in ("one", "two"):
        top = tmp_path / name
        (top / "d/e").mkdir(parents=True)
        (top / "d/f").write_bytes(b"same")
        (top / "l").symlink_to("d")
        for path in (top / "d/f", top / "d/e", top / "d"):
            os.utime(path, (1, 1))
        os.utime(top / "l", (1, 1), follow_symlinks=False)
        made.append(top)
    return made[0], made[1]


def test_what_differs(tmp_path: Path) -> None:
    one, two = _trees(tmp_path)
    assert difference(str(one), str(two)) is None
    os.utime(two / "d", (2, 2))
    assert difference(str(one), str(two)) == (
        "/d",
        "its time is 1970-01-01T00:00:01.000000000Z, and 1970-01-01T00:00:02.000000000Z in the second",
    )
    (two / "d/e/new").write_bytes(b"")
    assert difference(str(one), str(two)) == ("/d/e/new", "only the second build makes it")
    (two / "d/f").write_bytes(b"sane")
    os.utime(two / "d/e/new", (1, 1))
    assert difference(str(one), str(two)) == ("/d/e/new", "only the second build makes it")
    (two / "d/e/new").unlink()
    assert difference(str(one), str(two)) == ("/d/f", "its content, from byte 2 on")
    (two / "d/f").write_bytes(b"longer")
    assert difference(str(one), str(two)) == ("/d/f", "its size is 4, and 6 in the second")
    (two / "d/f").chmod(0o700)
    assert (difference(str(one), str(two)) or ("",))[1].startswith("its mode is")
    (two / "d/f").unlink()
    (two / "d/f").mkdir()
    assert difference(str(one), str(two)) == ("/d/f", "a file, and a directory in the second")
