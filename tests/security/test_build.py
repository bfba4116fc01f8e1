"""Builds: Dockerfiles, contexts and commands are not trusted, and reach nothing of the host."""

from __future__ import annotations

import os
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from minidock.build.failures import BuildFailed
from minidock.errors import InvalidArgument, MinidockError, NotFound
from tests.images import node, tar_of
from tests.integration.building import build, context, layers, out

if TYPE_CHECKING:
    import minidock
    from tests.security.conftest import Marker


def test_cve_2016_8867_capabilities_of_run(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """No capability is inherited or ambient; a user who is not root has none in effect."""
    look = "grep Cap /proc/self/status"
    image = build(engine, tmp_path, f"FROM {busybox}\nRUN {look} > /0\nUSER 1000\nRUN {look} > /tmp/1000\n")
    root, user = (
        dict(line.split(":\t") for line in out(engine, image, f"cat {path}").splitlines())
        for path in ("/0", "/tmp/1000")
    )
    for found in (root, user):
        assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
        assert found["CapBnd"] == "00000000a80425fb"
    assert root["CapEff"] == "00000000a80425fb"
    assert int(user["CapEff"], 16) == int(user["CapPrm"], 16) == 0


def test_cve_2019_13139_options_for_git(engine: minidock.Engine, busybox: str, marker: Marker, tmp_path: Path) -> None:
    for url in (
        f"https://127.0.0.1/r.git#--upload-pack=touch {marker.path}/x",
        f"git@-oProxyCommand=touch {marker.path}/x",
    ):
        with pytest.raises(MinidockError):
            engine.images.build(url)
        with pytest.raises(MinidockError):
            build(engine, tmp_path, f'FROM {busybox}\nADD ["{url}", "/x"]\n')


def test_cve_2024_23652_mount_points_that_become_links(
    engine: minidock.Engine, busybox: str, marker: Marker, tmp_path: Path
) -> None:
    """Nothing of the host is looked at or removed for the sake of what is mounted in a RUN."""
    swap = f"mv /a /b; ln -s {marker.path} /a; ls -la /a"
    image = build(
        engine,
        tmp_path,
        f"FROM {busybox}\nRUN --mount=type=tmpfs,target=/a/sub --mount=type=secret,id=s,target=/a/file {swap}\n",
        secrets={"s": "x"},
    )
    assert out(engine, image, "readlink /a") == f"{marker.path}\n"


@pytest.mark.parametrize("line", ["RUN --security=insecure true", "RUN --device=vendor.com/class=name true"])
def test_cve_2024_23653_privileges_are_refused(
    engine: minidock.Engine, busybox: str, tmp_path: Path, line: str
) -> None:
    with pytest.raises(MinidockError):
        build(engine, tmp_path, f"FROM {busybox}\n{line}\n")


def test_cve_2024_1753_sources_that_lead_out(
    engine: minidock.Engine, busybox: str, marker: Marker, tmp_path: Path
) -> None:
    """Links in a context or a stage are followed inside it, ids of caches are no paths, options are not taken."""
    context(tmp_path, {"f": ""})
    (tmp_path / "link").symlink_to(marker.path)
    (tmp_path / "root").symlink_to("/")
    for mount in (
        "type=bind,source=link,target=/m,rw",
        "type=bind,source=../..,target=/m,rw",
        f"type=bind,from=s,source=/link{marker.path},target=/m,rw",
        "type=bind,from=s,source=/host,target=/m,rw",
        "type=bind,bind-propagation=shared,source=/,target=/m,rw",
        "type=cache,id=../../../x,target=/m",
        f"type=cache,id={marker.path},target=/m",
        "type=cache,from=s,source=/host,target=/m",
        "type=bind,target=/proc/self",
        "type=tmpfs,target=/",
    ):
        dockerfile = (
            f"FROM {busybox} AS s\nRUN ln -s {marker.path} /host && ln -s / /link\nFROM {busybox}\n"
            f"RUN --mount={mount} rm -rf /m/* ; echo changed > /m/file; ls -la /m; true\n"
        )
        try:
            build(engine, tmp_path, dockerfile)
        except MinidockError:
            continue
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "link", "root"]


def test_cve_2024_23651_two_builds_race_a_cache(
    engine: minidock.Engine, busybox: str, marker: Marker, tmp_path: Path
) -> None:
    """What one command puts into a cache leads another's, or the engine, nowhere."""
    context(tmp_path, {"f": ""})
    races = (
        f"m={marker.path}; for i in $(seq 99); do rm -rf /c/d; ln -s $m /c/d; rm /c/d; mkdir /c/d; done; ln -s $m /c/l",
        "for i in $(seq 300); do echo x > /c/d/file; rm -rf /c/d/file; done; echo x > /c/l/file; true",
    )
    failures: list[BaseException] = []

    def run(command: str) -> None:
        try:
            build(engine, tmp_path, f"FROM {busybox}\nRUN --mount=type=cache,target=/c {command} 2>/dev/null; true\n")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(command,)) for command in races]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    engine.builder.prune(all=True)


def test_cve_2025_4953_writes_to_the_context(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    context(tmp_path, {"f": "f", "d/g": "g"})
    build(
        engine,
        tmp_path,
        f"FROM {busybox}\nRUN --mount=target=/c,rw rm -r /c/d; echo x > /c/f; echo y > /c/new; chown 5 /c\n"
        "RUN --mount=target=/c echo x > /c/f; true\n",
    )
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == {"f": "f"}
    assert (tmp_path / "d/g").read_text() == "g"
    assert tmp_path.stat().st_uid == 0


def test_cve_2026_44517_dockerfiles_that_lead_out(engine: minidock.Engine, busybox: str, marker: Marker) -> None:
    """The Dockerfile of a context that came from elsewhere is one of its files."""
    good = ("dir/inner", f"FROM {busybox}\nENV INNER=1\n".encode())
    up = "../" * 40
    for kind, link in (
        (tarfile.SYMTYPE, str(marker.file)),
        (tarfile.SYMTYPE, f"dir/{up}{str(marker.file)[1:]}"),
        (tarfile.FIFOTYPE, ""),
        (tarfile.SYMTYPE, "/dev/zero"),
    ):
        archive = tar_of(good, node("Dockerfile", kind, link=link), node("out", tarfile.SYMTYPE, link=str(marker.path)))
        for name in (None, "out/file", str(marker.file), f"{up}{str(marker.file)[1:]}"):
            with pytest.raises(NotFound, match="failed to read dockerfile: open"):
                engine.images.build(archive, dockerfile=name)
    for link in ("dir/inner", "/dir/inner", f"{up}dir/inner"):
        archive = tar_of(good, node("Dockerfile", tarfile.SYMTYPE, link=link))
        assert "INNER=1" in (engine.images.build(archive).defaults.env or [])


def test_cve_2024_24557_an_image_that_looks_alike(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """A base of another content, with the same configuration, history and name, is another base."""
    run = "RUN cat /who > /copy"
    for who in ("good", "evil"):
        base = build(engine, context(tmp_path / who, {"who": who}), f"FROM {busybox}\nCOPY who /who\n", tags="base")
        image = build(engine, tmp_path, f"FROM base\n{run}\n")
        assert out(engine, image, "cat /copy") == who
        assert base.tags == ["base:latest"]


def test_hostile_passwd_files(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Names in ``--chown`` come from regular files of the image, of a size that is sensible."""
    context(tmp_path, {"f": "f"})
    with tarfile_of_passwd(b"evil:x:4294967296:0::/:\nmany:x:0:99999999999::/:\n") as archive:
        engine.images.import_(archive, "odd")
    for user in ("evil", "many", "4294967296"):
        with pytest.raises((BuildFailed, InvalidArgument)):
            build(engine, tmp_path, f"FROM odd\nCOPY --chown={user} f /\n")
    for user in ("nobody", "-1", "a:b:c"):  # root's, as in Docker
        image = build(engine, tmp_path, f"FROM odd\nCOPY --chown={user} f /\n")
        assert [(one.uid, one.gid) for one in layers(engine, image)[-1].values()] == [(0, 0)]
    build(engine, tmp_path, "FROM odd\nCOPY --chown=2147483647:5 f /\n")


def tarfile_of_passwd(data: bytes) -> Any:
    """An image's tar with this passwd file."""
    import io

    return io.BytesIO(tar_of(("etc/passwd", data)))


def test_a_secret_that_is_a_variable_is_in_no_database(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Neither of a command that does its work nor of one that fails; what cannot be a variable is not shown."""
    value = f"secret-{os.urandom(8).hex()}"
    text = f"FROM {busybox}\nENV TOKEN=none\nRUN --mount=type=secret,id=t,env=TOKEN "
    build(engine, tmp_path, text + "test ${#TOKEN} = 23\n", secrets={"t": value})
    with pytest.raises(BuildFailed):
        build(engine, tmp_path, text + "false\n", secrets={"t": value})
    databases = b"".join(path.read_bytes() for path in Path(engine.store.paths.data).glob("minidock.db*"))
    assert databases
    assert value.encode() not in databases
    for odd in (b"a\0b-hidden", b"\xff-hidden"):
        with pytest.raises(MinidockError, match="secret t: no text") as caught:
            build(engine, tmp_path, text + "true\n", secrets={"t": odd})
        assert "hidden" not in str(caught.value)
