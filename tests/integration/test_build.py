"""``build``: Dockerfiles become images, as Docker makes them."""

from __future__ import annotations

import io
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import minidock
from minidock.build import events
from minidock.build.dockerfile.instructions import DockerfileError
from minidock.build.failures import BuildFailed
from minidock.errors import Cancelled
from tests.conftest import Cli, wait_for
from tests.integration.building import DATE, build, context, layers, out, steps
from tests.rootfs import busybox_tar

if TYPE_CHECKING:
    from pathlib import Path


def test_an_image_is_what_docker_makes(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Configuration, history, and the members of the layers; learnt beside Docker 28 with BuildKit."""
    context(tmp_path, {"a.txt": "a\n", "b.txt": "b\n", "dir/sub/s": "s\n", "d700/x": "x\n"})
    (tmp_path / "d700").chmod(0o700)
    (tmp_path / "b.txt").chmod(0o640)
    (tmp_path / "dir/link").symlink_to("sub")
    (tmp_path / "dlink").symlink_to("dir")
    (tmp_path / "alink").symlink_to("a.txt")
    image = build(
        engine,
        tmp_path,
        f"""FROM {busybox}
COPY a.txt /n1/f
COPY a.txt b.txt /n2/
COPY --chown=5:6 --chmod=711 dir /n3
COPY d700 /n4
COPY dlink /n5
COPY alink /n6
COPY nope* /n7/
COPY [ab].txt /n8/
COPY --chown=daemon a.txt /n9/x/y
WORKDIR /tmp
USER 5:7
WORKDIR /w/x
ENV A=1
EXPOSE 80
COPY a.txt .
COPY <<EOF <<"END" /doc/
hello $A
EOF
raw
END
LABEL l=m
CMD ["sh"]
""",
        tags="made:1",
        labels={"more": "1"},
    )
    config = image.config.config
    assert config is not None
    assert (config.working_dir, config.user, config.cmd, config.args_escaped) == ("/w/x", "5:7", ["sh"], True)
    assert config.exposed_ports == {"80/tcp": {}}
    assert config.labels == {"l": "m", "more": "1"}
    assert "A=1" in (config.env or [])
    assert image.tags == ["made:1"]
    base = len(engine.images.get(busybox).config.history or [])
    history = (image.config.history or [])[base:]
    assert [(one.created_by, one.empty_layer) for one in history] == [
        ("COPY a.txt /n1/f # buildkit", False),
        ("COPY a.txt b.txt /n2/ # buildkit", False),
        ("COPY --chown=5:6 --chmod=711 dir /n3 # buildkit", False),
        ("COPY d700 /n4 # buildkit", False),
        ("COPY dlink /n5 # buildkit", False),
        ("COPY alink /n6 # buildkit", False),
        ("COPY nope* /n7/ # buildkit", False),
        ("COPY [ab].txt /n8/ # buildkit", False),
        ("COPY --chown=daemon a.txt /n9/x/y # buildkit", False),
        ("WORKDIR /tmp", False),
        ("USER 5:7", True),
        ("WORKDIR /w/x", False),
        ("ENV A=1", True),
        ("EXPOSE [80/tcp]", True),
        ("COPY a.txt . # buildkit", False),
        ("COPY <<EOF <<END /doc/ # buildkit", False),
        ("LABEL l=m", True),
        ('CMD ["sh"]', True),
    ]
    assert {one.comment for one in history} == {"buildkit.dockerfile.v0"}
    made = layers(engine, image)[len(engine.images.get(busybox).config.rootfs.diff_ids) :]

    def shown(layer: dict[str, tarfile.TarInfo]) -> list[tuple[str, str, int, int, int]]:
        return [
            (name, member.type.decode(), member.mode, member.uid, member.gid) for name, member in sorted(layer.items())
        ]

    directory = ("5", 0o755, 0, 0)
    assert [shown(layer) for layer in made] == [
        [("n1", *directory), ("n1/f", "0", 0o644, 0, 0)],
        [("n2", *directory), ("n2/a.txt", "0", 0o644, 0, 0), ("n2/b.txt", "0", 0o640, 0, 0)],
        [
            ("n3", "5", 0o711, 5, 6),
            ("n3/link", "2", 0o777, 5, 6),
            ("n3/sub", "5", 0o711, 5, 6),
            ("n3/sub/s", "0", 0o711, 5, 6),
        ],
        [("n4", *directory), ("n4/x", "0", 0o644, 0, 0)],
        [("n5", *directory), ("n5/link", "2", 0o777, 0, 0), ("n5/sub", *directory), ("n5/sub/s", "0", 0o644, 0, 0)],
        [("n6", "0", 0o644, 0, 0)],
        [],
        [("n8", *directory), ("n8/a.txt", "0", 0o644, 0, 0), ("n8/b.txt", "0", 0o640, 0, 0)],
        [("n9", "5", 0o755, 1, 1), ("n9/x", "5", 0o755, 1, 1), ("n9/x/y", "0", 0o644, 1, 1)],
        [],
        [("w", "5", 0o755, 5, 7), ("w/x", "5", 0o755, 5, 7)],
        [("w", "5", 0o755, 5, 7), ("w/x", "5", 0o755, 5, 7), ("w/x/a.txt", "0", 0o644, 0, 0)],
        [("doc", *directory), ("doc/END", "0", 0o644, 0, 0), ("doc/EOF", "0", 0o644, 0, 0)],
    ]
    assert {member.mtime for layer in made for member in layer.values()} == {DATE}
    assert image.config.created == "2000-01-01T00:00:00.000000000Z"
    assert out(engine, image, "cat /doc/EOF /doc/END; pwd") == "hello 1\nraw\n/w/x\n"


def test_run_writes_a_layer(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """A command has environment, user, directory and arguments; nothing of its container is in the layer."""
    seen: list[events.Event] = []
    image = build(
        engine,
        tmp_path,
        f"""FROM {busybox}
ARG V=7
ENV E=env
WORKDIR /job
RUN echo "$V $E $PWD $(id -u) $(hostname)" > out; echo said; mkdir /new; chown 3:4 /new; rm /etc/group
USER daemon
SHELL ["/bin/sh", "-ec"]
RUN id -u > /tmp/who; id -G
RUN ["/bin/sh", "-c", "echo $0-$V >> /tmp/who", "exec"]
RUN <<EOF
echo here >> /tmp/who
EOF
RUN <<EOF
#!/bin/sh
echo script >> /tmp/who
EOF
""",
        args={"V": "8"},
        progress=seen.append,
    )
    assert out(engine, image, "cat /job/out /tmp/who") == "8 env /job 0 buildkitsandbox\n1\nexec-8\nhere\nscript\n"
    said = b"".join(event.data for event in seen if isinstance(event, events.Output))
    assert said == b"said\n1\n"
    changed = layers(engine, image)[-5]
    assert set(changed) == {"etc", "etc/.wh.group", "new", "job", "job/out"}
    assert (changed["new"].uid, changed["new"].gid) == (3, 4)
    assert {member.mtime for name, member in changed.items() if name not in ("etc", "etc/.wh.group")} == {DATE}
    assert any(one.created_by.startswith("RUN |1 V=8 /bin/sh -c echo") for one in image.config.history or ())
    assert engine.containers.list(all=True) == []


def test_surroundings_of_a_run(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """As BuildKit in Docker 28 has them: what would be lost cannot be written, nothing differs from host to host."""
    image = build(
        engine,
        tmp_path,
        f"""FROM {busybox}
RUN echo own > /etc/hostname; mkdir /seen; cat /etc/hosts > /seen/hosts; env > /seen/env; hostname > /seen/name
RUN (echo x >> /etc/hosts; echo x >> /etc/resolv.conf) 2> /seen/errors; true
""",
        extra_hosts={"far": "192.0.2.7"},
    )
    seen = layers(engine, image)[-2]
    assert {name for name in seen if name.startswith("etc")} == {"etc", "etc/hostname"}
    hosts = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n192.0.2.7\tfar\n"
    assert out(engine, image, "cat /seen/hosts") == hosts
    assert out(engine, image, "cat /seen/name") == "buildkitsandbox\n"
    assert "HOSTNAME" not in out(engine, image, "cat /seen/env")
    errors = out(engine, image, "cat /seen/errors")
    assert errors.count("Read-only file system") == 2
    container = engine.containers.create(image.id, ["true"], network="none")
    with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as tar:
        assert tar.extractfile("etc/hostname").read() == b"own\n"  # type: ignore[union-attr]


def test_stages(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Stages build on each other and copy from each other; what the target does not need is not built."""
    context(tmp_path, {"f": "f"})
    dockerfile = f"""ARG BASE={busybox}
FROM $BASE AS one
RUN mkdir -p /a/b && echo x > /a/b/x && chown -R 3:4 /a && ln -s a /l
FROM one AS two
RUN echo two > /a/two
FROM $BASE AS unused
RUN exit 9
FROM $BASE AS final
COPY --from=two /a /got
COPY --from=0 /l /byname/
COPY --from={busybox} /etc/passwd /
COPY --from=one /l/b/../b/x /x
FROM scratch AS bare
COPY f /
"""
    image = build(engine, tmp_path, dockerfile, target="Final")
    got = "cd /got; stat -c '%n %u %g' * b/x; cat two; ls /byname; cat /x; head -c 4 /passwd"
    assert out(engine, image, got) == "b 3 4\ntwo 0 0\nb/x 3 4\ntwo\nb\nx\nroot"
    bare = build(engine, tmp_path, dockerfile)
    assert [sorted(layer) for layer in layers(engine, bare)] == [["f"]]
    with pytest.raises(BuildFailed, match="exit code: 9"):
        build(engine, tmp_path, dockerfile, target="unused")
    with pytest.raises(DockerfileError, match="target stage"):
        build(engine, tmp_path, dockerfile, target="nope")


def test_the_cache_knows_what_has_changed(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """A touched file hits, a changed one misses; so does what a step depends on, and nothing else."""
    context(tmp_path, {"a": "1", "b": "1", ".dockerignore": "ignored\n", "ignored": "1"})
    dockerfile = f"FROM {busybox}\nARG V\nCOPY a /\nRUN cat /proc/sys/kernel/random/uuid > /when\nCOPY . /all/\n"

    def cached(**options: Any) -> list[bool]:
        seen: list[events.Event] = []
        made = build(engine, tmp_path, dockerfile, progress=seen.append, **options)
        images.append(made.id)
        return list(steps(seen).values())

    images: list[str] = []
    assert cached() == [False, False, False]
    assert cached() == [True, True, True]
    os.utime(tmp_path / "a", (1, 1))
    os.utime(tmp_path / "b", (2, 2))
    (tmp_path / "ignored").write_text("2")
    assert cached() == [True, True, True]
    assert len(set(images)) == 1
    (tmp_path / "b").write_text("2")
    assert cached() == [True, True, False]
    (tmp_path / "b").write_text("1")
    assert cached() == [True, True, True]
    (tmp_path / "a").chmod(0o755)
    assert cached() == [False, False, False]
    assert cached(args={"V": "1"}) == [True, False, False]
    assert cached(no_cache=True) == [False, False, False]
    with minidock.Engine(engine.data_root, engine.run_root) as other:
        seen: list[events.Event] = []
        build(other, tmp_path, dockerfile, progress=seen.append)
        assert all(steps(seen).values())


def test_modes_by_letters(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """``--chmod=u=rwX,go-w``, as Docker 28 has it: X only where there is something to enter or to run."""
    context(tmp_path, {"dir/plain": "", "dir/program": ""})
    (tmp_path / "dir").chmod(0o775)
    (tmp_path / "dir/plain").chmod(0o664)
    (tmp_path / "dir/program").chmod(0o775)
    image = build(engine, tmp_path, f"FROM {busybox}\nCOPY --chmod=u=rwX,go-wx dir /dir\n")
    modes = {path: one.mode for path, one in layers(engine, image)[-1].items() if path.startswith("dir")}
    assert modes == {"dir": 0o755, "dir/plain": 0o644, "dir/program": 0o744}  # a directory that is made is no copy


def test_an_unknown_owner_is_root_and_told(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    context(tmp_path, {"f": ""})
    seen: list[events.Event] = []
    image = build(engine, tmp_path, f"FROM {busybox}\nCOPY --chown=nobody-here:5 f /x\n", progress=seen.append)
    assert layers(engine, image)[-1]["x"].uid == 0
    assert layers(engine, image)[-1]["x"].gid == 5
    (told,) = [one.text for one in seen if isinstance(one, events.Status) and "warning" in one.text]
    assert told.startswith("warning: the image has no user 'nobody-here' in /etc/passwd: root is taken")


def test_a_working_directory_that_is_missing(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """That of a base image which only names it: a RUN makes it for its user, as Docker's builder does."""
    engine.images.import_(str(busybox_tar()), repository="names", changes=["WORKDIR /tmp/new/deep"])
    image = build(engine, tmp_path, "FROM names\nUSER app:audio\nRUN touch x\n")
    made = {name: (one.mode, one.uid, one.gid) for name, one in layers(engine, image)[-1].items()}
    owned = {"tmp/new": (0o755, 1000, 29), "tmp/new/deep": (0o755, 1000, 29), "tmp/new/deep/x": (0o644, 1000, 29)}
    assert made == {"tmp": (0o1777, 0, 0), **owned}


def test_the_same_input_gives_the_same_image(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    context(tmp_path, {"one/a": "a", "two/a": "a"})
    os.utime(tmp_path / "two/a", (5, 5))
    dockerfile = f"FROM {busybox}\nCOPY . /x\nRUN mkdir /y; echo z > /y/z; ln /y/z /y/zz\n"
    first = build(engine, tmp_path / "one", dockerfile)
    again = build(engine, tmp_path / "two", dockerfile, no_cache=True)
    assert first.id == again.id
    kept = build(engine, tmp_path / "two", dockerfile, timestamps="keep")
    assert kept.id != first.id
    assert [layer["x/a"].mtime for layer in layers(engine, kept) if "x/a" in layer] == [5]


def test_an_image_that_goes_leaves_the_cache(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Layers stay for the next build until they are pruned; then nothing is left."""
    dockerfile = f"FROM {busybox}\nRUN cat /proc/sys/kernel/random/uuid > /when\n"
    before = len(engine.store.layers.all())
    first = build(engine, tmp_path, dockerfile, tags="gone")
    entries = engine.builder.entries()
    assert [entry.shared for entry in entries] == [True]
    engine.images.remove("gone")
    assert [entry.reclaimable for entry in engine.builder.entries()] == [entries[0].size]
    engine.store.repair()
    assert build(engine, tmp_path, dockerfile).id == first.id
    engine.images.remove(first.id)
    pruned = engine.builder.prune()
    assert [entry.id for entry in pruned.entries] == [entries[0].id]
    assert pruned.space_reclaimed == entries[0].size
    assert len(engine.store.layers.all()) == before
    assert build(engine, tmp_path, dockerfile).id != first.id


def test_add(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Archives of the context are unpacked, whatever compresses them, unless that is not wanted."""
    for name, mode in (("a.tar", "w"), ("a.tgz", "w:gz"), ("a.txz", "w:xz"), ("a.tbz", "w:bz2")):
        with tarfile.open(tmp_path / name, mode) as tar:  # type: ignore[call-overload]
            member = tarfile.TarInfo("in/side")
            member.size, member.mode, member.uid = 2, 0o640, 9
            tar.addfile(member, io.BytesIO(b"hi"))
    (tmp_path / "not.gz").write_bytes(b"\x1f\x8b\x08 no archive")
    image = build(
        engine,
        tmp_path,
        f"FROM {busybox}\nADD a.tar /1\nADD a.tgz /2/\nADD a.txz /3\nADD a.tbz /4\n"
        "ADD --unpack=false a.tar /5/\nADD not.gz /6/\nCOPY a.tar /7/\n",
    )
    found = out(engine, image, "stat -c '%n %a %u' /[1-4]/in/side; ls /5 /6 /7")
    assert found == "".join(f"/{n}/in/side 640 9\n" for n in range(1, 5)) + (
        "/5:\na.tar\n\n/6:\nnot.gz\n\n/7:\na.tar\n"
    )


def test_onbuild(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    build(engine, tmp_path, f"FROM {busybox}\nONBUILD COPY f /onbuild\nONBUILD ENV X=1\n", tags="trigger")
    context(tmp_path, {"f": "f"})
    image = build(engine, tmp_path, "FROM trigger\nRUN cat /onbuild > /copy; echo $X >> /copy\n", pull=False)
    assert out(engine, image, "cat /copy") == "f1\n"
    assert image.defaults.on_build is None


def test_contexts(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """A tar in memory or of a file object; a Dockerfile alone; one by another name, with rules of its own."""
    context(tmp_path, {"Dockerfile": f"FROM {busybox}\nCOPY . /x\n", "f": "f", "g": "g", ".dockerignore": "g\n"})
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(tmp_path, ".")
    plain = engine.images.build(tmp_path)
    assert set(layers(engine, plain)[-1]) == {"x", "x/.dockerignore", "x/Dockerfile", "x/f"}
    # What comes as a whole is all wanted, as with Docker.
    assert set(layers(engine, engine.images.build(packed.getvalue()))[-1]) >= {"x/f", "x/g"}
    packed.seek(0)
    assert engine.images.build(packed, tags="packed").tags == ["packed:latest"]
    assert engine.images.build(f"FROM {busybox}\nENV A=1\n".encode()).defaults.env[-1] == "A=1"  # type: ignore[index]
    context(tmp_path, {"sub/Other": f"FROM {busybox}\nCOPY . /x\n", "sub/Other.dockerignore": "*\n!f\n"})
    other = engine.images.build(tmp_path, dockerfile="sub/Other")
    assert set(layers(engine, other)[-1]) == {"x", "x/f"}


def test_a_build_that_is_left_leaves_nothing(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Leaving the stream ends what runs; what was done before is in the cache."""
    dockerfile = f"FROM {busybox}\nRUN date > /d\nRUN echo begun; sleep 1000\n".encode()
    with engine.images.build_stream(tmp_path, dockerfile=dockerfile, network="none") as stream:
        for event in stream:
            if isinstance(event, events.Output):
                break
    with pytest.raises(Cancelled):
        _ = stream.image
    assert engine.containers.list(all=True) == []
    assert len(engine.builder.entries()) == 1
    with engine.images.build_stream(
        tmp_path, dockerfile=dockerfile[: dockerfile.rindex(b"RUN")], network="none"
    ) as done:
        seen = list(done)
    assert all(steps(seen).values())
    assert isinstance(seen[-1], events.Built)
    assert done.image.id == seen[-1].image_id


def test_stages_run_at_the_same_time(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Two stages that wait for each other by a shared cache both end."""
    wait = "for i in $(seq 400); do [ -e /c/{0} ] && exit 0; sleep 0.05; done; exit 7"
    image = build(
        engine,
        tmp_path,
        f"""FROM {busybox} AS one
RUN --mount=type=cache,target=/c touch /c/one; {wait.format("two")}
FROM {busybox} AS two
RUN --mount=type=cache,target=/c touch /c/two; {wait.format("one")}
FROM scratch
COPY --from=one /etc/passwd /1
COPY --from=two /etc/passwd /2
""",
    )
    assert len(image.config.rootfs.diff_ids) == 2


def test_layers_of_one_content_come_twice(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Overlayfs takes no directory twice; an image may well have a layer twice."""
    image = build(
        engine, tmp_path, f"FROM {busybox}\nWORKDIR /tmp\nRUN echo x > /x\nWORKDIR /tmp\nRUN rm /x\nRUN echo x > /x\n"
    )
    diff_ids = image.config.rootfs.diff_ids
    assert len(set(diff_ids)) < len(diff_ids)
    assert out(engine, image, "cat /x") == "x\n"


def test_the_command(cli_busybox: Cli, tmp_path: Path) -> None:
    """What goes on is on standard error; the id on standard output, with ``-q`` only."""
    cli = cli_busybox
    context(
        tmp_path, {"Dockerfile": "FROM busybox\nRUN --network=none echo said; touch /made\n", "Other": "FROM scratch\n"}
    )
    done = cli("build", "-t", "app", "--iidfile", str(tmp_path / "iid"), "--progress", "plain", str(tmp_path))
    assert done.returncode == 0
    assert done.stdout == b""
    log = done.stderr.decode()
    assert "[1/2] FROM busybox" in log
    assert "[2/2] RUN --network=none echo said" in log
    assert " said\n" in log
    assert "naming to docker.io/library/app:latest done" in log
    image_id = cli.ok("build", "-q", str(tmp_path)).strip()
    assert image_id == (tmp_path / "iid").read_text()
    assert cli.ok("build", "-q", "-f", "-", str(tmp_path), input=b"FROM app\nENV X=1\n") != image_id
    assert cli.ok("build", "-q", "-", input=b"FROM app\n").strip() == image_id
    raw = cli("build", "--progress=rawjson", str(tmp_path)).stderr.decode().splitlines()
    vertexes = [vertex for line in raw for vertex in json.loads(line).get("vertexes", ())]
    assert any(vertex.get("cached") for vertex in vertexes)
    failed = cli("build", "-", input=b"FROM busybox\nRUN --network=none echo why; false\n")
    assert failed.returncode == 1
    assert b"Dockerfile:2" in failed.stderr
    assert b">>> RUN" in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith(b"minidock: Dockerfile:2: RUN")
    assert "regular" in cli.ok("builder", "du", "--verbose")
    assert "Total:" in cli.ok("builder", "prune", "-af")


def test_a_killed_build_leaves_no_container(cli_busybox: Cli, tmp_path: Path) -> None:
    """Killed in the middle of a RUN: the container goes, and the next build goes on with what was done."""
    cli = cli_busybox
    context(
        tmp_path,
        {
            "Dockerfile": "FROM busybox\nRUN --network=none cat /proc/sys/kernel/random/uuid > /w\n"
            "RUN --network=none sleep 1000\n"
        },
    )
    process = cli.popen("build", str(tmp_path), stderr=-1)
    wait_for(lambda: b"sleep" in cli("ps", "--no-trunc").stdout, 60, "the second command")
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: not cli.ok("ps", "-aq"), 60, "the end of its container")
    context(tmp_path, {"Dockerfile": "FROM busybox\nRUN --network=none cat /proc/sys/kernel/random/uuid > /w\n"})
    assert b"#4 CACHED" in cli("build", "--progress=plain", str(tmp_path)).stderr
