"""Builds that are written in Python: the same graph, cache and images as of Dockerfiles."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import minidock
from minidock.build import Image, Mount, events, literal
from minidock.build.dockerfile.instructions import DockerfileError
from minidock.build.failures import BuildFailed
from minidock.errors import InvalidArgument, NotFound
from tests.integration.building import build, context, out, steps
from tests.integration.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Cli

_DOCKERFILE = """FROM busybox AS made
ARG WHO=world
RUN --mount=type=cache,target=/cache --mount=type=bind,source=a.txt,target=/in echo hello $WHO > /out; cat /in >> /out
RUN ["cp", "/out", "/two words"]
FROM busybox
LABEL org.example.a="it's \\"quoted\\"" b=c
ENV A=1 PRICE=\\$5 PATH=/app/bin:$PATH
WORKDIR /app
COPY --chown=5:6 --chmod=640 --exclude=*.log src .
COPY ["a.txt", "with space", "/texts/"]
COPY --from=made /out /made/
COPY <<"EOF" /etc/app.conf
$A is 1
EOF
ADD pack.tar /unpacked/
RUN <<EOF
set -e
echo $A > /a
EOF
EXPOSE 80 53/udp
VOLUME /data
USER 5:6
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --retries=2 CMD test -e /a
SHELL ["/bin/sh", "-ec"]
ONBUILD RUN echo on > /tmp/on
MAINTAINER me
ENTRYPOINT ["sh", "-c"]
CMD cat /etc/app.conf
"""


def _files(directory: Path) -> Path:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("in-pack"))
    files: dict[str, str | bytes] = {"a.txt": "a\n", "with space": "s\n", "src/x": "x\n", "src/y.log": "y\n"}
    return context(directory, {**files, "src/skip": "s\n", ".dockerignore": "src/skip\n", "pack.tar": data.getvalue()})


def _program(directory: Path) -> Image:
    made = (
        Image.from_("busybox", name="made")
        .arg("WHO", "world")
        .run(
            "echo hello $WHO > /out; cat /in >> /out",
            mounts=[Mount.cache("/cache"), Mount.bind("/in", "a.txt", context=directory)],
        )
        .run(["cp", "/out", "/two words"])
    )
    return (
        Image.from_("busybox")
        .label({"org.example.a": 'it\'s "quoted"'}, b="c")
        .env(A="1", PRICE=literal("$5"), PATH="/app/bin:$PATH")
        .workdir("/app")
        .copy("src", ".", context=directory, chown="5:6", chmod=0o640, exclude=["*.log"])
        .copy(["a.txt", "with space"], "/texts/", context=directory)
        .copy("/out", "/made/", from_=made)
        .write("/etc/app.conf", "$A is 1\n")
        .add("pack.tar", "/unpacked/", context=directory)
        .run(
            """
            set -e
            echo $A > /a
            """
        )
        .expose(80, "53/udp")
        .volume("/data")
        .user("5:6")
        .stopsignal("SIGINT")
        .healthcheck("test -e /a", interval=30, retries=2)
        .shell(["/bin/sh", "-ec"])
        .onbuild("RUN echo on > /tmp/on")
        .maintainer("me")
        .entrypoint(["sh", "-c"])
        .cmd("cat /etc/app.conf")
    )


@pytest.mark.parametrize("first", ["python", "dockerfile"])
def test_the_steps_of_a_dockerfile_are_the_same_image(
    engine: minidock.Engine, busybox: str, tmp_path: Path, first: str
) -> None:
    del busybox
    files = _files(tmp_path)
    seen: list[events.Event] = []
    builds: list[Callable[[list[events.Event]], minidock.Image]] = [
        lambda seen: _program(files).build(engine, network="none", progress=seen.append, tags="py:1"),
        lambda seen: build(engine, files, _DOCKERFILE, progress=seen.append, tags="df:1"),
    ]
    one, two = builds if first == "python" else builds[::-1]
    made = one([])
    again = two(seen)
    done = steps(seen)
    assert len(done) == 9
    assert all(done.values()), done
    assert made.id == again.id
    assert made.config.history == again.config.history
    assert out(engine, again, "cat /made/out; ls /app /unpacked; cat /etc/app.conf; echo $PRICE") == (
        "hello world\na\n/app:\nx\n\n/unpacked:\nin-pack\n$A is 1\n$5\n"
    )
    # What begins with it does what ONBUILD says, on either way.
    child = Image.from_(_program(files)).build(engine, network="none")
    assert out(engine, child, "cat /tmp/on") == "on\n"
    assert child.id == build(engine, files, "FROM py:1" if first == "python" else "FROM df:1").id


def test_images_are_values(engine: minidock.Engine, busybox: str) -> None:
    """A step makes a new image; what two have in common is done once, and what nobody needs is not done."""
    base = Image.from_(busybox).run("echo base > /base")
    left, right = base.run("echo left > /left"), base.run("echo right > /right")
    base.run("exit 1")
    both = Image.from_("scratch").copy("/left", "/", from_=left).copy(["/right", "/base"], "/", from_=right)
    seen: list[events.Event] = []
    engine.images.build(both, network="none", progress=seen.append)
    finished = [event for event in seen if isinstance(event, events.Finished) and "echo base" in event.step.name]
    assert sorted(event.cached for event in finished) == [False, True]
    with engine.images.build_stream(left, network="none") as stream:
        assert all(steps(list(stream)).values())
    assert out(engine, stream.image, "ls /left") == "/left\n"


def test_contexts_with_rules_of_their_own(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    one = context(tmp_path / "One", {"f": "1", "hidden": "", ".dockerignore": "hidden\n"})
    two = context(tmp_path / "one", {"f": "2", "hidden": "2"})
    image = (
        Image.from_(busybox)
        .copy(".", "/one/", context=one)
        .copy(".", "/two/", context=two)
        .run("cat /m/f > /m1", mounts=[Mount.bind("/m", context=one)])
        .build(engine, network="none", verify=True)
    )
    assert out(engine, image, "cat /one/f /two/f /m1; ls /one /two") == "121/one:\nf\n\n/two:\nf\nhidden\n"


def test_onbuild_copies_from_the_working_directory(
    engine: minidock.Engine, busybox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.from_(busybox).onbuild("COPY f /f").build(engine, tags="on:1")
    monkeypatch.chdir(context(tmp_path, {"f": "here"}))
    image = Image.from_("on:1").build(engine)
    assert out(engine, image, "cat /f") == "here"
    assert image.id == build(engine, tmp_path, "FROM on:1").id


def test_failures_name_the_line_of_the_program(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    def line(text: str) -> int:
        with open(__file__, encoding="utf-8") as file:
            return 1 + next(number for number, found in enumerate(file) if text in found and "line(" not in found)

    failing = (
        Image.from_(busybox)
        .env(A="1")
        .run("echo seen; exit 3")  # the command
        .copy("nowhere", "/", context=tmp_path)  # the source
    )
    with pytest.raises(BuildFailed) as command:
        failing.build(engine, network="none")
    assert (command.value.file, command.value.line) == (__file__, line("# the command"))
    assert (command.value.code, command.value.output) == (3, "seen")
    assert str(command.value).startswith(f"{__file__}:{line('# the command')}: RUN echo seen; exit 3: process")
    assert ">>>         .run(" in command.value.excerpt
    with pytest.raises(BuildFailed) as source:
        Image.from_(busybox).copy("nowhere", "/", context=tmp_path).build(engine)
    assert isinstance(source.value.__cause__, NotFound)
    assert source.value.file == __file__
    with pytest.raises(BuildFailed, match="not found"):
        Image.from_(busybox).copy("f", "/", context=tmp_path / "none").build(engine)
    unknown = Image.from_(busybox).stopsignal("$NO")  # the signal
    with pytest.raises(DockerfileError) as wrong:
        unknown.build(engine)
    assert str(wrong.value).startswith(f"{__file__}:{line('# the signal')}: ")
    assert (wrong.value.file, wrong.value.line) == (__file__, line("# the signal"))
    with pytest.raises(InvalidArgument, match="no Dockerfile"):
        engine.images.build(unknown, dockerfile="x")
    with pytest.raises(InvalidArgument, match=r"minidock\.build\.Image is needed"):
        engine.images.build(1.5)  # type: ignore[arg-type]


def test_docker_py_s_words(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    context(
        tmp_path,
        {"Other": f"FROM {busybox}\nARG A\nRUN echo $A > /a; df -k /dev/shm | tail -n 1 >> /a; cat /etc/hosts >> /a\n"},
    )
    words: dict[str, Any] = {
        "path": str(tmp_path),
        "dockerfile": "Other",
        "tag": "words:1",
        "buildargs": {"A": "x"},
        "nocache": True,
        "rm": True,
        "forcerm": True,
        "network_mode": "none",
        "shmsize": 4 << 20,
        "extra_hosts": {"there": "1.2.3.4"},
        "labels": {"l": "m"},
        "pull": False,
        "container_limits": {"memory": "64m", "cpushares": 512},
    }
    image = engine.images.build(**words)
    assert image.tags == ["words:1"]
    found = out(engine, image, "cat /a")
    assert found.startswith("x\n")
    assert " 4096 " in found
    assert "1.2.3.4" in found
    text = f"FROM {busybox}\nRUN true\n".encode()
    assert engine.images.build(fileobj=io.BytesIO(text), network="none").id
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        member = tarfile.TarInfo("d/File")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    data.seek(0)
    assert engine.images.build(fileobj=data, custom_context=True, dockerfile="d/File", network_mode="none").id


@pytest.mark.parametrize("after", ["", "FROM busybox\nCOPY --from=0 /w /\n"], ids=["target", "another stage"])
def test_a_shell_in_the_place_of_a_command_that_failed(cli_busybox: Cli, tmp_path: Path, after: str) -> None:
    """It has the command's files, user, directory, variables and mounts; nothing of it stays."""
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nENV WHERE=here\nWORKDIR /w\nRUN chmod 777 /w\nUSER 7:8\n"
        "RUN --network=none --mount=type=secret,id=s,uid=7 --mount=type=tmpfs,target=/t echo left > left; exit 9\n"
        + after
    )
    (tmp_path / "secret").write_text("hush")
    terminal = Terminal(
        cli_busybox,
        *("build", "--network=none", "--shell-on-error", "--secret", f"id=s,src={tmp_path}/secret", str(tmp_path)),
    )
    terminal.read_until(b"the build ends with it")
    terminal.write(
        b"echo $(cat left) $WHERE $(id -u):$(id -g) $(pwd) $(cat /run/secrets/s) $(mount | grep -c ' /t ')\n"
    )
    terminal.read_until(b"left here 7:8 /w hush 1")
    terminal.write(b"sh -c 'echo be$(echo gun); sleep 100'\n")
    terminal.read_until(b"begun")
    terminal.seen = b""
    terminal.write(b"\x03")  # is the shell's, and not the build's
    terminal.read_until(b"/w $ ")
    terminal.write(b"echo interr$(echo upted)\n")
    terminal.read_until(b"interrupted")
    terminal.write(b"exit\n")
    terminal.read_until(b"exit code: 9")
    assert terminal.end() == 1
    assert cli_busybox.ok("ps", "-aq") == ""


def test_the_first_failure_alone_has_a_shell_and_a_signal_ends_it(cli_busybox: Cli, tmp_path: Path) -> None:
    stages = "".join(f"FROM busybox AS s{number}\nRUN exit {number + 3}\n" for number in range(3))
    copies = "".join(f"COPY --from=s{number} / /{number}/\n" for number in range(3))
    (tmp_path / "Dockerfile").write_text(f"{stages}FROM scratch\n{copies}")
    command = ("build", "--network=none", "--shell-on-error", str(tmp_path))
    terminal = Terminal(cli_busybox, *command)
    terminal.read_until(b"/ # ")
    terminal.write(b"exit\n")
    terminal.read_until(b"exit code: ")
    assert terminal.end() == 1
    assert terminal.seen.count(b"the build ends with it") == 1
    terminal = Terminal(cli_busybox, *command)
    terminal.read_until(b"/ # ")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 128 + signal.SIGTERM
    assert cli_busybox.ok("ps", "-aq") == ""


def test_a_shell_that_cannot_be(cli_busybox: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY --from=busybox /bin/busybox /b\nRUN ["/b", "false"]\n')
    terminal = Terminal(cli_busybox, "build", "--progress=plain", "--network=none", "--shell-on-error", str(tmp_path))
    terminal.read_until(b"minidock: no shell: ")
    terminal.read_until(b"exit code: 1")
    assert terminal.end() == 1
    done = cli_busybox("build", "--shell-on-error", str(tmp_path))
    assert done.returncode == 1
    assert b"--shell-on-error needs a terminal: standard input is none" in done.stderr


def test_a_dockerfile_s_build_does_not_read_this(cli_busybox: Cli) -> None:
    code = (
        "import sys, minidock, minidock.build\n"
        "minidock.Engine().images.build(b'FROM busybox')\n"
        "assert not [name for name in sys.modules if name.startswith('minidock.build.python')]\n"
        "minidock.build.Image.from_('x')\n"
    )
    subprocess.run([sys.executable, "-c", code], env=cli_busybox.env, check=True, timeout=60)
