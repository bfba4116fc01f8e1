"""What builds refuse, and how they say it."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

import minidock
from minidock.build.dockerfile.instructions import DockerfileError
from minidock.build.failures import BuildFailed
from minidock.errors import MinidockError, NotFound
from tests.integration.building import build, context, out

if TYPE_CHECKING:
    from pathlib import Path


def test_failures_say_where(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """The line, the instruction, the last output; for a source that is missing what hides it, or what is like it."""
    context(tmp_path, {"readme.md": "", "src/main.c": "", ".dockerignore": "*.log\n", "a.log": ""})
    with pytest.raises(BuildFailed) as caught:
        build(engine, tmp_path, f"FROM {busybox}\n\nRUN echo one; \\\n  echo two >&2; exit 3\n")
    error = caught.value
    assert (error.line, error.end_line, error.code, error.exit_code) == (3, 4, 3, 1)
    assert sorted(error.output.split()) == ["one", "two"]
    assert ">>> RUN echo one" in error.excerpt
    for source, words in (
        ("raedme.md", "did you mean readme.md"),
        ("main.c", "did you mean src/main.c"),
        ("a.log", '"*.log" in line 1 of .dockerignore leaves it out'),
    ):
        with pytest.raises(BuildFailed, match="not found") as caught:
            build(engine, tmp_path, f"FROM {busybox}\nCOPY {source} /\n")
        assert words in str(caught.value), source
        assert caught.value.line == 2
    with pytest.raises(BuildFailed, match="cannot copy to non-directory: /etc/passwd"):
        build(engine, tmp_path, f"FROM {busybox}\nCOPY src /etc/passwd\n")
    with pytest.raises(BuildFailed, match="never runs privileged"):
        build(engine, tmp_path, f"FROM {busybox}\nRUN --security=insecure true\n")
    with pytest.raises(DockerfileError, match="unknown instruction"):
        build(engine, tmp_path, f"FROM {busybox}\nNOPE x\n")
    with pytest.raises(NotFound, match="Dockerfile"):
        engine.images.build(tmp_path)
    with pytest.raises(MinidockError, match="network other not found"):
        build(engine, tmp_path, f"FROM {busybox}\nRUN true\n", network="other")
    assert engine.containers.list(all=True) == []


def test_a_context_is_never_left(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Links of the context, and links of the image below, lead nowhere on the host."""
    outside = tmp_path / "outside"
    outside.write_text("host")
    inside = context(tmp_path / "context", {"keep": "kept", "d/f": "f"})
    (inside / "abs").symlink_to(outside)
    (inside / "up").symlink_to("../outside")
    (inside / "loop").symlink_to("loop")
    for name in ("abs", "up", "loop", "../outside", "d/../../outside"):
        with pytest.raises(MinidockError):
            build(engine, inside, f"FROM {busybox}\nCOPY {name} /got\n")
    # The link itself is a file like any other.
    image = build(
        engine,
        inside,
        f"FROM {busybox}\nRUN ln -s {outside} /hostfile && ln -s {tmp_path} /hostdir && ln -s /etc/../tmp /in\n"
        "COPY keep /hostfile\nCOPY keep /hostdir/new/keep\nCOPY d /in/d\nCOPY . /all\n",
    )
    assert outside.read_text() == "host"
    assert not (tmp_path / "new").exists()
    assert out(engine, image, f"cat {outside} {tmp_path}/new/keep /tmp/d/f; readlink /all/abs") == (
        f"keptkeptf{outside}\n"
    )


@pytest.mark.parametrize(
    ("trigger", "reason"),
    [
        ("COPY --from=one /bin /b", "circular dependency detected on stage: one"),
        ("RUN --mount=from=two,target=/m true", 'cannot copy from stage "two", it needs to be defined before'),
    ],
)
def test_onbuild_that_needs_what_comes_later(
    engine: minidock.Engine, busybox: str, tmp_path: Path, trigger: str, reason: str
) -> None:
    """It is refused: it would wait for itself."""
    build(engine, tmp_path, f"FROM {busybox}\nONBUILD {trigger}\n", tags="base")
    with pytest.raises(DockerfileError, match=reason):
        build(engine, tmp_path, "FROM base AS one\nFROM one AS two\nRUN true\n")


def test_names_that_no_layer_can_have(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """A file ``.wh.passwd`` is refused, as a RUN's is, and does not take ``passwd`` away where it is copied to."""
    context(tmp_path, {"d/.wh.passwd": "", "f": ""})
    for line in ("COPY d /etc", "COPY f /etc/.wh.passwd", "COPY <<.wh.passwd /etc/\n.wh.passwd", "COPY f /.wh.etc/f"):
        with pytest.raises(BuildFailed, match=r"\.wh\.\w+: a name that starts with \.wh\. would delete something"):
            build(engine, tmp_path, f"FROM {busybox}\n{line}\n")


def test_sockets_are_no_files(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """One of the context is not found, be it named, rather than copied as a pipe or reached by a command."""
    context(tmp_path, {"d/f": "f"})
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / "d/s"))
        assert out(engine, build(engine, tmp_path, f"FROM {busybox}\nCOPY d /d\n"), "ls /d") == "f\n"
        for line in ("COPY d/s /", "RUN --mount=source=d/s,target=/s true"):
            with pytest.raises(BuildFailed, match=r'"/d/s": not found in the build context$'):
                build(engine, tmp_path, f"FROM {busybox}\n{line}\n")


def test_short_names_are_no_ids(
    engine: minidock.Engine, busybox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of a few hexadecimal digits, such as a stage's that is misspelled, finds no image by its id."""
    digits = engine.images.get(busybox).id.removeprefix("sha256:")
    asked: list[str] = []

    def pull(name: str, **_: object) -> None:
        asked.append(name)
        raise NotFound("not there")

    monkeypatch.setattr(engine.images, "pull", pull)
    for line in (f"FROM {digits[:2]}", f"FROM scratch\nCOPY --from=image{digits[0]} / /", f"FROM {digits[:11]}"):
        with pytest.raises(BuildFailed, match="not there"):
            build(engine, tmp_path, f"{line}\n")
    assert asked == [f"docker.io/library/{name}:latest" for name in (digits[:2], f"image{digits[0]}", digits[:11])]
    assert build(engine, tmp_path, f"FROM {digits[:12]}\nENV A=1\n").id
