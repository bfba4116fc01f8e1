"""``build``: where files come from and where results go: parents, the web, repositories, named contexts, outputs."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import os
import subprocess
import tarfile
import threading
from typing import TYPE_CHECKING, Any

import pytest

from minidock.build import events
from minidock.build.failures import BuildFailed
from minidock.errors import InvalidArgument, MinidockError, SystemFailure
from tests.images import tar_of
from tests.integration.test_build import build, context, layers, out, steps
from tests.registry import push_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import minidock
    from tests.conftest import Cli
    from tests.registry import Registry


@contextlib.contextmanager
def served(directory: Path) -> Iterator[str]:
    """The files of a directory by HTTP; ``/redirect/X`` leads to ``/X``."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(directory))

        def do_GET(self) -> None:
            if self.path.startswith("/redirect/"):
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/redirect"))
                self.end_headers()
            elif self.path == "/short":
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"not all of it")
            else:
                super().do_GET()

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_parents_and_exclude(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Directories on the way keep their modes; a pivot and ``**`` say which there are."""
    context(tmp_path, {"x/y/f": "1", "x/y/z/g": "2", "x/y/r.md": "", "q/k": "k"})
    (tmp_path / "x").chmod(0o700)
    image = build(
        engine,
        tmp_path,
        f"""FROM {busybox}
COPY --parents x/y q/k /d/
COPY --parents x/./y /e/
COPY --parents x/y/z/g /f
COPY --parents x/*/f ./q/* /g/
COPY --parents **/g **/f /h/
COPY --exclude=*.md x/y /i/
COPY --exclude=**/*.md --exclude=y/z x /j/
""",
    )
    made = layers(engine, image)[-7:]
    assert [" ".join(name for name, member in sorted(layer.items()) if member.isfile()) for layer in made] == [
        "d/q/k d/x/y/f d/x/y/r.md d/x/y/z/g",
        "e/y/f e/y/r.md e/y/z/g",
        "f/x/y/z/g",
        "g/q/k g/x/y/f",
        "h/x/y/f h/x/y/z/g",
        "i/f i/z/g",
        "j/y/f",
    ]
    assert [made[0][name].mode for name in ("d", "d/x", "d/x/y")] == [0o755, 0o700, 0o755]


def test_add_fetches(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Files of the web have mode 600; a checksum is checked, and makes fetching needless where the step is known."""
    web = context(tmp_path / "web", {"file.txt": "content", "wrong": "other"})
    with tarfile.open(web / "a.tgz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("inside"), io.BytesIO())
    checksum = f"sha256:{hashlib.sha256(b'content').hexdigest()}"
    with served(web) as url:
        image = build(
            engine,
            tmp_path,
            f"FROM {busybox}\nADD {url}/redirect/file.txt /a/\nADD {url}/file.txt /b\nADD {url}/a.tgz /c/\n"
            f"ADD --unpack=true {url}/a.tgz /d/\nADD --checksum={checksum} {url}/file.txt /e/f\n",
        )
        assert out(engine, image, "stat -c '%n %a %u' /a/* /b /c/* /d/* /e/*; cat /b") == (
            "/a/file.txt 600 0\n/b 600 0\n/c/a.tgz 600 0\n/d/inside 644 0\n/e/f 600 0\ncontent"
        )
        for line, words in (
            (f"ADD {url}/nope /", "status 404"),
            (f"ADD --checksum={checksum} {url}/wrong /", "digest mismatch"),
            (f"ADD {url}/short /", "ended early"),
            (f"ADD {url.replace('//', '//user:pass@')}/file.txt /", "credentials"),
        ):
            with pytest.raises(BuildFailed, match=words) as caught:
                build(engine, tmp_path, f"FROM {busybox}\n{line}\n")
            assert caught.value.line == 2
    known = f"FROM {busybox}\nADD --checksum={checksum} {url}/file.txt /\n"
    with served(web) as again, pytest.raises(SystemFailure):
        engine.images.build(f"{again}/nope")
    with pytest.raises(BuildFailed):
        build(engine, tmp_path, known)


def test_contexts_are_fetched(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """A tar or a Dockerfile by its URL; a repository with a branch and a directory."""
    files = context(tmp_path / "files", {"Dockerfile": f"FROM {busybox}\nCOPY . /x\n", "f": "f"})
    web = tmp_path / "web"
    web.mkdir()
    with tarfile.open(web / "context.tar", "w") as tar:
        tar.add(files, ".")
    (web / "only").write_text(f"FROM {busybox}\nENV ONLY=1\n")
    repository = context(tmp_path / "repo", {"sub/Dockerfile": f"FROM {busybox}\nCOPY . /x\n", "sub/f": "f"})
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@x", "-C", str(repository)]
    for words in (("init", "-q", "-b", "side"), ("add", "."), ("commit", "-q", "-m", "1"), ("update-server-info",)):
        subprocess.run([*git, *words], check=True, timeout=30)
    os.rename(repository / ".git", web / "r.git")
    with served(web) as url:
        plain = engine.images.build(files)
        assert engine.images.build(f"{url}/context.tar").id == plain.id
        assert "ONLY=1" in (engine.images.build(f"{url}/only").defaults.env or [])
        cloned = engine.images.build(f"{url}/r.git#side:sub")
        assert cloned.id == plain.id
        added = build(engine, files, f"FROM {busybox}\nADD {url}/r.git#side /repo\n")
        assert {"repo/sub", "repo/sub/f"} < set(layers(engine, added)[-1])
        assert not any(".git" in name for name in layers(engine, added)[-1])
        with pytest.raises(SystemFailure, match="git fetch"):
            engine.images.build(f"{url}/r.git#nope")
    with pytest.raises(InvalidArgument):
        engine.images.build("https://h/r.git#--upload-pack=touch x")
    assert [name for name in os.listdir(engine.store.paths.tmp) if name.startswith(("context", "build"))] == []


def test_bases_are_pulled(engine: minidock.Engine, registry: Registry, tmp_path: Path) -> None:
    """An image that is not here is pulled, once; with ``pull`` it is looked for each time."""
    name = f"{registry.host}/team/base:1"
    push_image(registry, "team/base", "1", [tar_of(("first", b"1"))])
    dockerfile = f"FROM {name}\nCOPY f /f\n"
    context(tmp_path, {"f": "f"})
    one = build(engine, tmp_path, dockerfile)
    assert [sorted(layer) for layer in layers(engine, one)] == [["first"], ["f"]]
    push_image(registry, "team/base", "1", [tar_of(("second", b"2"))])
    assert build(engine, tmp_path, dockerfile).id == one.id
    two = build(engine, tmp_path, dockerfile, pull=True)
    assert [sorted(layer) for layer in layers(engine, two)] == [["second"], ["f"]]
    with pytest.raises(BuildFailed, match="team/nope") as caught:
        build(engine, tmp_path, f"FROM {registry.host}/team/nope\n")
    assert caught.value.line == 1


def test_named_contexts(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    other = context(tmp_path / "other", {"o": "other", ".dockerignore": "hidden\n", "hidden": ""})
    image = build(
        engine,
        context(tmp_path / "main", {"f": ""}),
        "FROM base\nCOPY --from=Extra . /x\nRUN --mount=from=extra,target=/e cat /e/o > /y\n",
        contexts={"extra": str(other), "base": f"docker-image://{busybox}"},
    )
    assert out(engine, image, "ls -A /x; cat /y") == ".dockerignore\no\nother"
    with pytest.raises(MinidockError, match="a stage has this name"):
        build(engine, tmp_path, f"FROM {busybox} AS extra\n", contexts={"extra": str(other)})


def test_files_instead_of_an_image(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """A directory keeps what it has; no image is left."""
    dockerfile = (
        f"FROM {busybox} AS b\nRUN mkdir /o && echo made > /o/f && ln -s f /o/l\nFROM scratch\nCOPY --from=b /o /\n"
    )
    before = {image.id for image in engine.images.list()}
    target = context(tmp_path / "out", {"mine": "1", "f": "old"})
    engine.images.build_files(tmp_path, target, dockerfile=dockerfile.encode(), network="none")
    assert sorted(os.listdir(target)) == ["f", "l", "mine"]
    assert (target / "l").read_text() == "made\n"
    with open(tmp_path / "t.tar", "wb") as file:
        engine.images.build_files(tmp_path, file.fileno(), dockerfile=dockerfile.encode(), network="none")
    with tarfile.open(tmp_path / "t.tar") as tar:
        assert sorted(tar.getnames()) == ["f", "l"]
    assert {image.id for image in engine.images.list()} == before


def test_the_command_s_outputs(cli_busybox: Cli, tmp_path: Path) -> None:
    cli = cli_busybox
    context(tmp_path / "c", {"Dockerfile": "FROM scratch AS x\nCOPY f /\n", "f": "f"})
    files = str(tmp_path / "c")
    assert cli("build", "-o", str(tmp_path / "out"), files).returncode == 0
    assert os.listdir(tmp_path / "out") == ["f"]
    with tarfile.open(fileobj=io.BytesIO(cli("build", "-q", "-o", "-", files).stdout)) as tar:
        assert tar.getnames() == ["f"]
    assert cli("build", "-t", "saved", "-o", f"type=docker,dest={tmp_path}/i.tar", files).returncode == 0
    cli.ok("rmi", "saved")
    assert "saved:latest" in cli.ok("load", "-i", str(tmp_path / "i.tar"))
    assert cli("build", "-t", "x", "-o", "out", files).returncode == 1
    checked = cli("build", "--check", "-", input=b"FROM scratch\nCMD a b\nNOPE\n")
    assert checked.returncode == 1
    assert b"unknown instruction: NOPE" in checked.stdout
    clean = cli("build", "--check", "-", input=b'FROM scratch\nCMD ["a"]\n')
    assert (clean.returncode, clean.stdout) == (0, b"Check complete, no warnings found.\n")


def test_a_cache_for_another_machine(
    engine: minidock.Engine, busybox: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Steps come out of a directory as if they had been done here; a damaged index is an error, none is not."""
    cache = tmp_path_factory.mktemp("cache")
    context(tmp_path, {"f": "f"})
    dockerfile = (
        f"FROM {busybox} AS one\nRUN cat /proc/sys/kernel/random/uuid > /u\nFROM {busybox}\nCOPY --from=one /u /v\n"
        "COPY f /\n"
    )
    where, source = f"type=local,dest={cache},mode=max", f"type=local,src={cache}"
    first = build(engine, tmp_path, dockerfile, cache_to=[where], cache_from=[source])
    assert len(os.listdir(cache / "blobs/sha256")) == 3

    def forget() -> None:
        engine.images.remove(first.id)
        engine.builder.prune(all=True)

    forget()
    seen: list[events.Event] = []
    assert build(engine, tmp_path, dockerfile, cache_from=[source], progress=seen.append).id == first.id
    assert list(steps(seen).values()) == [True, True, True]
    context(tmp_path, {"f": "other"})
    build(engine, tmp_path, dockerfile, cache_to=[f"type=local,dest={cache}"])
    assert len(os.listdir(cache / "blobs/sha256")) == 2
    forget()
    context(tmp_path, {"f": "f"})
    again = build(engine, tmp_path, dockerfile, cache_from=["type=local,src=/nowhere/at/all"])
    assert again.id != first.id
    engine.images.remove(again.id)
    engine.builder.prune(all=True)
    (cache / "cache.json").write_bytes(b"{")
    with pytest.raises(MinidockError, match="cache"):
        build(engine, tmp_path, dockerfile, cache_from=[source])
    for text in ("type=gha", "type=local", "x/Y:cache", f"type=local,src={cache},what=1"):
        with pytest.raises(MinidockError):
            build(engine, tmp_path, dockerfile, cache_from=[text])
