"""Mounts of RUN: caches, binds, secrets, and what they leave."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import minidock
from minidock.build import events
from minidock.build.failures import BuildFailed
from tests.integration.building import build, context, out

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDOCK_TEST_SECRET", "value")


def test_mounts(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Caches, secrets and file systems in memory are there for one command and leave nothing."""
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t-v4lue")
    image = build(
        engine,
        tmp_path,
        f"""FROM {busybox}
RUN --mount=type=cache,target=/c echo 1 >> /c/f
RUN --mount=type=cache,target=/c,sharing=locked echo 2 >> /c/f; wc -l < /c/f > /lines
RUN --mount=type=cache,target=/c,sharing=private,id=other,mode=0700,uid=5 stat -c '%a %u' /c > /private
RUN --mount=type=tmpfs,target=/t,size=1m df -k /t | tail -n 1 | awk '{{print $2}}' > /size; touch /t/x
RUN --mount=type=secret,id=file --mount=type=secret,id=value,env=VALUE \
    wc -c < /run/secrets/file > /secret; stat -c %a /run/secrets/file >> /secret; echo ${{#VALUE}} >> /secret
RUN --mount=type=secret,id=missing ls /run/secrets 2>&1 | wc -l > /missing; env | grep -c VALUE >> /missing; true
""",
        secrets=[f"id=file,src={secret}", "id=value,env=MINIDOCK_TEST_SECRET"],
    )
    assert out(engine, image, "cat /lines /private /size /secret /missing; ls /") == (
        "2\n700 5\n1024\n12\n400\n5\n1\n0\n" + "\n".join(sorted(
            ["bin", "dev", "etc", "home", "lines", "missing", "private", "proc", "root", "secret", "size", "sys", "tmp",
             "usr", "var"]
        )) + "\n"
    )  # fmt: skip
    for name in os.listdir(f"{engine.run_root}/build"):
        raise AssertionError(f"{name} is left")
    saved = b"".join(engine.images.save(image.id))
    assert b"s3cr3t-v4lue" not in saved
    with pytest.raises(BuildFailed, match="secret nope: not found"):
        build(engine, tmp_path, f"FROM {busybox}\nRUN --mount=type=secret,id=nope,required true\n")
    with pytest.raises(BuildFailed, match="refused"):
        build(engine, tmp_path, f"FROM {busybox}\nRUN --mount=type=tmpfs,target=/proc/x true\n")


def test_what_a_mount_says_is_in_the_key(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """The command sees a secret's name and mode, so another one is another step; its value makes none."""
    command = "(env | grep SECRET; stat -c %a /run/secrets/s) > /o; true"
    made = [
        build(
            engine,
            tmp_path,
            f"FROM {busybox}\nRUN --mount=type=secret,id=s,{says} {command}\n",
            secrets={"s": value},
        )
        for says, value in (("env=SECRET_A", "x"), ("env=SECRET_B", "x"), ("env=SECRET_B", "y"), ("mode=0644", "x"))
    ]
    said = [out(engine, image, "cat /o").splitlines()[0] for image in made]
    assert said == ["SECRET_A=x", "SECRET_B=x", "SECRET_B=x", "644"]


def test_binds(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """A RUN sees the context, stages and images; what it writes there is gone with it, and the context is as it was."""
    context(tmp_path, {"f": "f", "a.skip": "", "d/b.skip": "", "d/c": "c", ".dockerignore": "**/*.skip\n"})
    image = build(
        engine,
        tmp_path,
        f"""FROM {busybox} AS o
RUN touch /owned && chown 5:6 /owned && chmod 640 /owned
FROM {busybox} AS s
RUN mkdir -p /d/e && echo 1 > /d/e/f
RUN echo 2 > /d/two
FROM {busybox}
RUN --mount=target=/ctx cd /ctx && find . | sort > /1; touch x 2>/dev/null || echo read-only >> /1
RUN --mount=target=/ctx,rw cd /ctx && touch x d/y && rm f && find . -type f | sort > /2
RUN --mount=from=s,target=/s find /s/d -type f | sort > /3
RUN --mount=from=s,source=/d,target=/s,rw cd /s; rm two; touch new; find . -type f | sort > /4
RUN --mount=from={busybox},source=/etc/passwd,target=/pw head -c 4 /pw > /5
RUN --mount=source=f,target=/f,rw echo changed > /f; cat /f > /6
RUN --mount=from=o,source=/owned,target=/f,rw stat -c '%u %g %a' /f > /7
""",
    )
    assert out(engine, image, "cd /; tail -n +1 1 2 3 4 5 6 7; ls").split() == [
        "==>",
        "1",
        "<==",
        ".",
        "./.dockerignore",
        "./d",
        "./d/c",
        "./f",
        "read-only",
        "==>",
        "2",
        "<==",
        "./.dockerignore",
        "./d/c",
        "./d/y",
        "./x",
        "==>",
        "3",
        "<==",
        "/s/d/e/f",
        "/s/d/two",
        "==>",
        "4",
        "<==",
        "./e/f",
        "./new",
        "==>",
        "5",
        "<==",
        "root",
        "==>",
        "6",
        "<==",
        "changed",
        "==>",
        "7",
        "<==",
        "5",
        "6",
        "640",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "bin",
        "dev",
        "etc",
        "home",
        "proc",
        "root",
        "sys",
        "tmp",
        "usr",
        "var",
    ]
    assert (tmp_path / "f").read_text() == "f"
    assert sorted(os.listdir(tmp_path)) == [".dockerignore", "a.skip", "d", "f"]


def test_a_context_that_changes_meanwhile(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """What a command has seen of files that changed while it ran is in the image, and not in the cache."""
    context(tmp_path, {"f": "1"})
    later = 'for i in $(seq 40); do [ "$(cat /c/f)" = 2 ] && break; sleep 0.1; done'
    text = f"FROM {busybox}\nRUN --mount=target=/c cat /c/f; {later}; cat /c/f > /o\n"

    def change(event: events.Event) -> None:
        if isinstance(event, events.Output):
            (tmp_path / "f").write_text("2")

    assert out(engine, build(engine, tmp_path, text, progress=change), "cat /o") == "2"
    (tmp_path / "f").write_text("1")
    assert out(engine, build(engine, tmp_path, text), "cat /o") == "1"
