"""Dockerfiles that make no sense, built: each is one error that is foreseen, or an image, and nothing is left."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock.build.failures import BuildFailed
from minidock.errors import ImageNotFound, MinidockError
from minidock.store.cleaner import cleaner
from tests.conftest import Roots, wait_for
from tests.faults.build_state import left
from tests.faults.lives import SOAK
from tests.integration.building import build, context, out

ROUNDS = 10_000 if SOAK else 150

WORDS = [
    *("", ".", "..", "/", "//", "a", "b", "b/", "b/c", "dir", "dir/", "dir/sub/../sub/f", "*", "**", "?", "[", "[a-"),
    *("[^", "*/*", "\\", "\\*", "a\0b", "\0", "\x07", "\x7f", "\u202e", "\U0001f600", "é", "\udcff", "x" * 256),
    *("y" * 4096, "d/" * 200 + "f", "/" + "e/" * 2100, "../" * 50 + "etc/passwd", "/etc/passwd", "/etc", "/bin", "out"),
    *("out/passwd", "in", "loop", "loop/x", "fifo", "x.tar", "/proc/self/root/etc", "/dev/null", "~", "-", "--", "-x"),
    *(
        "--x=y",
        "$A",
        "${A:-x}",
        "${A",
        "${A##*}",
        "$",
        '"',
        "'",
        '"a b"',
        "a b",
        "a,b",
        "a=b",
        "=",
        ":",
        ";",
        "#",
        "<<",
    ),
    *("0", "1", "-1", "0777", "7777", "99999999999999999999", "4294967296", "1e9", "NaN", "u+rwX,g=o", "u+", "=", "+t"),
    *("root", "root:root", "app:wheel", "nobody:x", "1:2", "1:2:3", ":", ":1", "1:", "true", "false", "10g", "1tb"),
    *("http://127.0.0.1:1/x", "http://127.0.0.1:99999/", "http://[", "http://", "https://a:b@127.0.0.1:1/x.git#--x"),
    *("git@127.0.0.1:y", "http://127.0.0.1:1/x.git#a:../..", "sha256:0", "sha256:" + "0" * 64, "sha512:x", "md5:0"),
    *("scratch", "busybox", "s", "S", "0", "BUSYBOX", "a/b/c", "a:b:c", "@", "busybox@sha256:" + "0" * 64, "EOF"),
    *(
        "8080",
        "1-70000",
        "80/sctp",
        "53/udp",
        "SIGKILL",
        "SIGRTMAX+9",
        "NONE",
        "CMD x",
        "1s",
        "-5m",
        "[]",
        '["a"',
        "{}",
    ),
]
LINES = [
    *("COPY {} {}", "COPY {} {} {}", 'COPY ["{}", "{}"]', "COPY --chown={} {} /c", "COPY --chmod={} a /c"),
    *("COPY --from={} {} {}", "COPY --parents {} {}", "COPY --exclude={} . {}", "COPY --link={} {} {}", "ADD {} {}"),
    *("ADD --checksum={} {} /x", "ADD --unpack={} {} {}", "ADD --keep-git-dir={} {} /g", "ADD --chown={} x.tar {}"),
    *("COPY <<{} {}\nx\nEOF", "COPY <<EOF {}\n{}\nEOF", "WORKDIR {}", "USER {}", "ENV {}={}", "ENV {} {}", "ARG {}={}"),
    *("LABEL {}={}", "EXPOSE {}", "VOLUME {}", 'VOLUME ["{}"]', "STOPSIGNAL {}", "HEALTHCHECK --interval={} {}"),
    *(
        'SHELL ["{}"]',
        'CMD ["{}", "{}"]',
        "ENTRYPOINT {}",
        "ONBUILD COPY {} {}",
        "ONBUILD {}",
        "MAINTAINER {}",
        "{} {}",
    ),
    *(
        "FROM {}",
        "FROM busybox AS {}",
        "FROM --platform={} busybox",
        "FROM s",
        "FROM scratch AS s",
        "# {}={}",
        "\\\n{}",
    ),
]
RUNS = [
    *("RUN --mount=type=cache,target={},id={} true", "RUN --mount=type=cache,target=/c,from={},source={} true"),
    *("RUN --mount=type=cache,target=/c,mode={},uid={},gid={} true", "RUN --mount=type=bind,source={},target={} true"),
    *("RUN --mount=type=bind,from={},source={},target=/m,rw true", "RUN --mount=type=tmpfs,target={},size={} true"),
    *("RUN --mount=type=secret,id={},target={},mode={} true", "RUN --mount=type={},target={} true", 'RUN ["{}", "{}"]'),
    *("RUN --network={} true", "RUN --security={} true", "RUN {}", "RUN <<EOF\n{}\n{}\nEOF"),
]


def dockerfile(chance: random.Random) -> bytes:
    """A few instructions with operands that go together only now and then."""
    lines = ["FROM busybox AS s"]
    for _ in range(chance.randint(1, 5)):
        template = chance.choice(RUNS if chance.randrange(12) == 0 else LINES)
        first, *parts = template.split("{}")
        lines.append(first + "".join(chance.choice(WORDS) + part for part in parts))
    return "\n".join(lines).encode("utf-8", "surrogateescape") + b"\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A context that has a little of everything."""
    made = context(tmp_path / "c", {"a": "a", "b/c": "c", "x.tar": "no tar", "dir/sub/f": "f"})
    for name, target in (("out", "/etc"), ("in", "dir"), ("loop", "loop")):
        (made / name).symlink_to(target)
    os.mkfifo(made / "fifo")
    return made


@pytest.mark.timeout(7200 if SOAK else 300)
def test_any_dockerfile(
    engine: minidock.Engine, busybox: str, roots: Roots, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pull(*_: Any, **__: Any) -> None:
        raise ImageNotFound("no such image: none is pulled here")

    monkeypatch.setattr(type(engine.images), "pull", pull)
    chance = random.Random(None if SOAK else 1)
    made = lines = 0
    for _ in range(ROUNDS):
        data = dockerfile(chance)
        try:
            engine.images.build(files, dockerfile=data, network="none", secrets={"a": "x"})
            made += 1
        except MinidockError as error:
            lines += "\n" in str(error)
        except BaseException as error:
            raise AssertionError(data) from error
    assert made
    assert lines == 0
    cleaner.flush()
    wait_for(lambda: not left(roots), 10, f"the end of {left(roots)}")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("COPY a\0b /x", "no file can have this name"),
        ("COPY <<EOF a\0b\nEOF", "no file can have this name"),
        (f"COPY {'y' * 300} /x", "file name too long"),
        (f"WORKDIR {'y' * 300}", "file name too long"),
        ("RUN <<EOF\nexit 5\ntrue\nEOF", r'process "/bin/sh -c exit 5\\ntrue\\n" did not complete'),
    ],
)
def test_what_cannot_be(engine: minidock.Engine, busybox: str, files: Path, line: str, words: str) -> None:
    with pytest.raises(BuildFailed, match=words) as caught:
        build(engine, files, f"FROM {busybox}\n{line}\n")
    assert caught.value.line == 2


def test_deep_directories(engine: minidock.Engine, busybox: str, files: Path) -> None:
    """As many as a layer can have; more are refused, in a destination and in a context."""
    deep = "/e" * 500
    image = build(engine, files, f"FROM {busybox}\nCOPY a {deep}/\nWORKDIR {deep}\n")
    assert out(engine, image, "cat a") == "a"
    with pytest.raises(BuildFailed, match="path of more than 512"):
        build(engine, files, f"FROM {busybox}\nCOPY a {deep}{deep}/\n")
    (files / ("d/" * 700)).mkdir(parents=True)
    with pytest.raises(BuildFailed, match="d: too many directories within each other"):
        build(engine, files, f"FROM {busybox}\nCOPY d /d\n")
