"""``build``: where files come from and where results go: parents, the web, repositories, named contexts, outputs."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import json
import os
import subprocess
import tarfile
import threading
from typing import TYPE_CHECKING, Any

import pytest

from minidock.build import events
from minidock.build.dockerfile.instructions import DockerfileError
from minidock.build.failures import BuildFailed
from minidock.errors import Corrupt, InvalidArgument, MinidockError, SystemFailure
from minidock.store.cleaner import cleaner
from tests.images import tar_of
from tests.integration.building import DATE, build, context, layers, out, steps
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
COPY --parents q/../x/./y/f ./.q/../q/./k /p/
COPY --parents q/.././x/y/f /r/
COPY --exclude=*.md x/y /i/
COPY --exclude=**/*.md --exclude=y/z x /j/
""",
    )
    made = layers(engine, image)[-9:]
    assert [" ".join(name for name, member in sorted(layer.items()) if member.isfile()) for layer in made] == [
        "d/q/k d/x/y/f d/x/y/r.md d/x/y/z/g",
        "e/y/f e/y/r.md e/y/z/g",
        "f/x/y/z/g",
        "g/q/k g/x/y/f",
        "h/x/y/f h/x/y/z/g",
        "p/k p/y/f",
        "r/x/y/f",
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
        for time in (DATE, DATE + 1):
            os.utime(web / "file.txt", (time, time))
            image = build(engine, tmp_path, f"FROM {busybox}\nADD {url}/file.txt /\n", timestamps="keep")
            assert out(engine, image, "stat -c %Y /file.txt") == f"{time}\n"
        context(web, {"x/index.html": "i", "y z": "", "index.html": "i"})
        names = "".join(f"ADD {url}/{path} /n/\n" for path in ("", "x/", "x/%2e%2e/", "y%20z?q=1#f", "x%2Findex.html"))
        image = build(engine, tmp_path, f"FROM {busybox}\n{names}")
        found = {path.removeprefix("n/") for layer in layers(engine, image)[1:] for path in layer if "/" in path}
        assert found == {"__unnamed__", "x", "download", "y z", "index.html"}
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


def test_contexts_are_fetched(
    engine: minidock.Engine, busybox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        assert engine.images.build(f"{url}/r.git?branch=side&subdir=sub").id == plain.id
        # Neither the umask nor the user's configuration counts for files of a repository.
        context(tmp_path / "home", {".gitconfig": "[core]\n\tautocrlf = true\n"})
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        before = os.umask(0o077)
        try:
            assert engine.images.build(f"{url}/r.git#side:sub").id == plain.id
        finally:
            os.umask(before)
        with pytest.raises(Corrupt, match="expected checksum to match abc0, got "):
            engine.images.build(f"{url}/r.git?ref=side&checksum=abc0")
        added = build(engine, files, f"FROM {busybox}\nADD {url}/r.git#side /repo\n")
        assert {"repo/sub", "repo/sub/f"} < set(layers(engine, added)[-1])
        assert not any(".git" in name for name in layers(engine, added)[-1])
        based = build(engine, files, "FROM base\n", contexts={"base": f"{url}/r.git#side:sub"})
        assert [sorted(layer) for layer in layers(engine, based)] == [["Dockerfile", "f"]]
        assert [one.created_by for one in based.config.history or ()] == [f"{url}/r.git"]
        with pytest.raises(SystemFailure, match="git fetch"):
            engine.images.build(f"{url}/r.git#nope")
        for checksum, words in (
            ("sha1:abc", "invalid checksum sha1:abc for Git URL, expected hex commit hash"),
            ("abc0", "expected checksum to match abc0, got "),
        ):
            with pytest.raises(BuildFailed, match=words) as failed:
                build(engine, files, f"FROM {busybox}\nADD --checksum={checksum} {url}/r.git#side /repo\n")
            assert failed.value.line == 2
    with pytest.raises(InvalidArgument):
        engine.images.build("https://h/r.git#--upload-pack=touch x")
    cleaner.flush()
    assert [name for name in os.listdir(engine.store.paths.tmp) if name.startswith(("context", "build"))] == []


def test_owners_of_a_tar(engine: minidock.Engine) -> None:
    """They are kept; not where docker-py's words give it, which packs what it finds on the host."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in (("Dockerfile", b"FROM scratch\nCOPY f /\n"), ("f", b"")):
            member = tarfile.TarInfo(name)
            member.size, member.uid, member.gid = len(data), 1000, 1001
            tar.addfile(member, io.BytesIO(data))
    kept = engine.images.build(out.getvalue())
    assert [(one.uid, one.gid) for one in layers(engine, kept)[-1].values()] == [(1000, 1001)]
    root = engine.images.build(fileobj=io.BytesIO(out.getvalue()), custom_context=True)
    assert [(one.uid, one.gid) for one in layers(engine, root)[-1].values()] == [(0, 0)]


def test_a_base_for_another_system_is_told(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    engine.images.import_(tar_of(("x", b"x")), repository="other", platform="linux/s390x")
    seen: list[events.Event] = []
    dockerfile = f"FROM other\nLABEL a=b\nFROM {busybox}\nCOPY --from=other /x /\n"
    build(engine, tmp_path, dockerfile, progress=seen.append)
    told = [(one.warning.rule, one.warning.line) for one in seen if isinstance(one, events.Warned)]
    assert told == [("InvalidBaseImagePlatform", 4)]


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
        "FROM base\nCOPY --from=extra . /x\nRUN --mount=from=extra,target=/e cat /e/o > /y\n",
        contexts={"extra": str(other), "base": f"docker-image://{busybox}"},
    )
    assert out(engine, image, "ls -A /x; cat /y") == ".dockerignore\no\nother"
    with pytest.raises(MinidockError, match="invalid context name Extra: "):
        build(engine, tmp_path, f"FROM {busybox}\n", contexts={"Extra": str(other)})


def test_files_as_a_base(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """A directory under the name of a base image; learnt beside Docker 28."""
    files = context(tmp_path / "files", {"d/x": "x", ".dockerignore": "hidden\n", "hidden": ""})
    os.chown(files / "d/x", 5, 6)
    (files / "d/x").chmod(0o4755)
    seen: list[events.Event] = []
    dockerfile = "FROM docker.io/library/base:latest\nLABEL a=b\nCOPY --from=base d /e\n"
    image = build(engine, tmp_path, dockerfile, contexts={"base": str(files)}, progress=seen.append)
    assert [sorted(layer) for layer in layers(engine, image)] == [[".dockerignore", "d", "d/x"], ["e", "e/x"]]
    member = layers(engine, image)[0]["d/x"]
    assert (member.mode, member.uid, member.gid, member.mtime) == (0o4755, 0, 0, DATE)
    assert image.config.config is not None
    assert (image.config.config.working_dir, image.config.config.labels) == ("/", {"a": "b"})
    history = [(one.created_by, one.empty_layer) for one in image.config.history or ()]
    assert history[0] == ("local source for docker.io/library/base:latest", False)
    assert [one[1] for one in history] == [False, True, False]
    build(engine, tmp_path, dockerfile, contexts={"base:latest": str(files)}, progress=seen.append)
    assert list(steps(seen).values()) == [True]
    context(files, {"d/x": "other"})
    assert build(engine, tmp_path, dockerfile, contexts={"base": str(files)}).id != image.id
    with pytest.raises(MinidockError, match="not found"):
        build(engine, tmp_path, dockerfile, contexts={"base": str(tmp_path / "nowhere")})
    arm = build(engine, tmp_path, "FROM base\n", contexts={"base": str(files)}, platform="linux/arm64")
    assert (arm.config.architecture, len(arm.config.rootfs.diff_ids)) == ("arm64", 1)
    archive = tmp_path / "served.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(files / "d", "d")
    with served(tmp_path) as url:
        fetched = build(engine, tmp_path, "FROM base\n", contexts={"base": f"{url}/served.tar"})
    assert sorted(layers(engine, fetched)[0]) == ["d", "d/x"]


def test_a_context_in_the_place_of_a_stage(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """What the stage says is not done; learnt beside Docker 28."""
    files = context(tmp_path / "files", {"f": "files"})
    dockerfile = f"FROM nowhere.example/at/all AS base\nRUN false\nFROM {busybox}\nCOPY --from=0 /f /g\n"
    assert out(engine, build(engine, tmp_path, dockerfile, contexts={"base": str(files)}), "cat /g") == "files"
    target = build(engine, tmp_path, dockerfile, contexts={"base": f"docker-image://{busybox}"}, target="base")
    assert target.config.rootfs.diff_ids == engine.images.get(busybox).config.rootfs.diff_ids
    mounted = f"FROM scratch AS base\nRUN false\nFROM {busybox}\nRUN --mount=from=base,target=/x cp /x/f /h\n"
    assert out(engine, build(engine, tmp_path, mounted, contexts={"base": str(files)}), "cat /h") == "files"
    with pytest.raises(DockerfileError, match="circular dependency detected on stage: base"):
        build(engine, tmp_path, "FROM base AS base\nCOPY --from=base f /g\n", contexts={"base": str(files)})


def test_a_layout_as_a_base(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """``oci-layout://``: by tag, by digest, or the only one that there is; it gets no name here."""
    made = build(engine, tmp_path, f"FROM {busybox}\nCOPY <<EOF /mine\nof the layout\nEOF\nENV L=1\n", tags="in:layout")
    layout = tmp_path / "layout"
    layout.mkdir()
    with tarfile.open(fileobj=io.BytesIO(b"".join(engine.images.save("in:layout")))) as tar:
        tar.extractall(layout, filter="data")
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    expected = made.config.rootfs.diff_ids
    engine.images.remove("in:layout")
    engine.builder.prune(all=True)
    before = {image.id for image in engine.images.list()}
    dockerfile = f"FROM base\nRUN test $L = 1 && cat /mine > /out\nFROM {busybox}\nCOPY --from=base /mine /copied\n"
    dockerfile += "COPY --from=0 /out /\n"
    for suffix in ("", ":layout", f"@{digest}", f":whatever@{digest}"):
        image = build(engine, tmp_path, dockerfile, contexts={"base": f"oci-layout://{layout}{suffix}"})
        assert out(engine, image, "cat /copied /out") == "of the layout\n" * 2
    assert {one.id for one in engine.images.list()} == before | {image.id}
    plain = build(engine, tmp_path, "FROM base\n", contexts={"base": f"oci-layout://{layout}"})
    assert plain.config.rootfs.diff_ids == expected
    stage = build(
        engine, tmp_path, "FROM busybox AS base\nRUN false\n", contexts={"base": f"oci-layout://{layout}"}, verify=True
    )
    assert stage.config.rootfs.diff_ids == expected
    index = json.loads((layout / "index.json").read_text())
    index["manifests"].append({**index["manifests"][0], "annotations": {}, "digest": "sha256:" + "0" * 64})
    (layout / "index.json").write_text(json.dumps(index))
    for text, why in (
        (f"{layout}:layout@sha256:12", "invalid digest"),
        (f"{layout}@sha256:{'1' * 64}", "no image sha256:1111"),
        (f"{layout}:other", "no image with the tag 'other' in it; it has layout"),
        (f"{layout}@sha256:{'0' * 64}", "is missing"),
        (f"{tmp_path}/nowhere", "no directory"),
        (":latest", "expected oci-layout://PATH"),
    ):
        with pytest.raises(MinidockError, match=why):
            build(engine, tmp_path, "FROM base\n", contexts={"base": f"oci-layout://{text}"})
    (layout / "blobs/sha256" / digest.removeprefix("sha256:")).write_bytes(b"{}")
    with pytest.raises(MinidockError, match=digest):
        build(engine, tmp_path, "FROM base\n", contexts={"base": f"oci-layout://{layout}:layout"})


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


@pytest.mark.parametrize("url", ["http://me:token@[x/f", "http://h:port/f"])
def test_what_is_no_url(engine: minidock.Engine, busybox: str, tmp_path: Path, url: str) -> None:
    with pytest.raises(BuildFailed, match=r"ADD .*: fetch ") as caught:
        build(engine, tmp_path, f"FROM {busybox}\nARG URL\nADD $URL /f\n", args={"URL": url})
    assert "token" not in str(caught.value)
