"""The peers' buildx and compose, unmodified, against `minidock serve`: BuildKit's API."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from minidock.build import agents
from tests.compat.buildx import PLAIN, PLUGINS, Docker, docker, module_roots
from tests.conftest import Roots, wait_for
from tests.integration.test_build_ssh import IDENTITIES, agent_of, client
from tests.registry import Registry, get_manifest
from tests.serving import served

__all__ = ["client", "docker", "module_roots"]
TWO_STAGES = """FROM busybox AS a
RUN echo two > /f
COPY hello /
FROM busybox
ARG N=1
LABEL l=v
COPY --from=a /f /hello /made/
RUN cat /made/hello; echo $N > /n
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(TWO_STAGES)
    (tmp_path / "hello").write_text("hello\n")
    return tmp_path


def test_build(docker: Docker, project: Path) -> None:
    assert docker.server("GET", "/_ping").headers["builder-version"] == "2"
    iid, meta = project.parent / "iid", project.parent / "meta"
    options = ("-t", "two:1", "-t", "two:2", "--build-arg", "N=7", "--label", "x=y")
    said = docker.build(project, *options, "--iidfile", str(iid), "--metadata-file", str(meta), ".")
    steps = [re.sub(r" [0-9.]+s$", "", line) for line in said.splitlines()]
    for line in (
        *("[internal] load build definition from Dockerfile", "[internal] load build context"),
        *("[a 2/3] RUN echo two > /f", "[stage-1 2/3] COPY --from=a /f /hello /made/", "exporting to image"),
    ):
        assert any(one.endswith(line) and one.startswith("#") for one in steps), (line, said)
    assert re.search(r"#[0-9]+ [0-9.]+ hello\n", said)
    assert re.search(r"#[0-9]+ naming to docker.io/library/two:2 done\n", said)
    image = docker.engine.images.get("two:1")
    found = json.loads(meta.read_text())
    assert found["containerimage.config.digest"] == image.id == iid.read_text()
    assert found["image.name"] == "docker.io/library/two:1,docker.io/library/two:2"
    assert image.labels == {"l": "v", "x": "y"}
    assert docker.engine.images.get("two:2").id == image.id
    assert docker.cat("two:1", "/n") == "7\n"
    # It is the image that minidock builds itself, and all of it is in the cache.
    again = docker.engine.images.build(project, args={"N": "7"}, labels={"x": "y"}, network="none")
    assert again.id == image.id
    said = docker.build(project, *options, ".")
    assert said.count(" CACHED\n") == 6
    assert "hello\n" not in said
    assert docker.run("build", "-q", "--network", "none", *options, ".", cwd=project).stdout == f"{image.id}\n"


def test_options_of_commands(docker: Docker, project: Path) -> None:
    (project / "Dockerfile").write_text(
        "FROM busybox AS base\nRUN grep 1.2.3.4 /etc/hosts; ulimit -n; df -k /dev/shm | tail -1\n"
        "FROM busybox\nRUN false\n"
    )
    options = ("--target", "base", "--add-host", "me:1.2.3.4", "--ulimit", "nofile=64:64", "--shm-size", "2m")
    said = docker.build(project, *options, "--no-cache-filter", "base", ".")
    for words in (r"1\.2\.3\.4\s+me", "64", r"\S+\s+2048 .*/dev/shm"):
        assert re.search(rf"#[0-9]+ [0-9.]+ {words}\n", said), said


def test_only_what_has_changed_is_sent(docker: Docker, project: Path) -> None:
    (project / "Dockerfile").write_text("FROM scratch\nCOPY d /\n")
    (project / ".dockerignore").write_text("*.log\n")
    directory = project / "d"
    directory.mkdir()
    for number in range(5):
        (directory / f"f{number}").write_text(f"{number}" * 1000)
    (directory / "link").symlink_to("/etc/passwd")
    os.link(directory / "f0", directory / "hard")
    (project / "big.log").write_text("0" * 100_000)

    def sent() -> tuple[str, str]:
        said = docker.build(project, "-t", "sent", ".")
        found = re.search(r"transferring context: ?(\S*)(?: [0-9.]+s)? done\n", said)
        assert found, said
        return found[1], docker.engine.images.get("sent").id

    first = sent()
    assert first[0].startswith("5.")  # kB: not the log
    second = sent()
    assert not second[0].startswith("5.")
    assert second[1] == first[1]
    (directory / "f1").write_text("other")
    (directory / "f2").unlink()
    third = sent()
    assert not third[0].startswith("5.")
    assert third[1] == docker.engine.images.build(project).id != first[1]
    # A time of whole seconds, as programs give it, says nothing.
    for text in ("aaaa", "bbbb"):
        (directory / "f1").write_text(text)
        os.utime(directory / "f1", (1e9, 1e9))
        made = sent()[1]
    assert made == docker.engine.images.build(project).id


def test_failures(docker: Docker, project: Path) -> None:
    (project / "Dockerfile").write_text("FROM busybox\nRUN echo before\nRUN echo bad; exit 7\nCMD x\n")
    said = docker.build(project, ".", code=1)
    words = 'process "/bin/sh -c echo bad; exit 7" did not complete successfully: exit code: 7'
    assert re.search(rf"#[0-9]+ ERROR: {re.escape(words)}\n", said)
    assert " > [3/3] RUN echo bad; exit 7:\n" in said
    rule = "-" * 20
    excerpt = (
        f"Dockerfile:3\n{rule}\n   1 |     FROM busybox\n   2 |     RUN echo before\n"
        f"   3 | >>> RUN echo bad; exit 7\n   4 |     CMD x\n   5 |     \n{rule}\n"
    )
    assert said.endswith(f"{excerpt}ERROR: failed to build: failed to solve: {words}\n")
    (project / "Dockerfile").write_text("FROM busybox\nRUNN x\n")
    said = docker.build(project, ".", code=1)
    assert "   2 | >>> RUNN x\n" in said
    assert "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)" in said
    (project / "Dockerfile").write_text("FROM busybox\n")
    for options, error in (
        (("-f", "none", "."), "none"),
        (("--platform", "linux/amd64,linux/arm64", "."), "multi-platform build is not supported"),
        (("--provenance", "true", "."), "ttestation"),
        (("--cache-to", "type=local,dest=cache", "."), "cache of type local"),
        (("--target", "nothing", "."), "nothing"),
    ):
        assert error in docker.build(project, *options, code=1)


def test_check(docker: Docker, project: Path) -> None:
    """The Dockerfile is checked, and nothing is built."""
    (project / "Dockerfile").write_text("FROM busybox as x\nRUN touch /never\n")
    before = {image.id for image in docker.engine.images.list(all=True)}
    said = docker.run("build", "--check", ".", cwd=project, code=1).stdout
    assert "WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/\n" in said
    assert "   1 | >>> FROM busybox as x\n" in said
    assert {image.id for image in docker.engine.images.list(all=True)} == before
    assert all("/never" not in entry.description for entry in docker.engine.builder.entries())
    (project / "Dockerfile").write_text("FROM busybox\n")
    assert "Check complete, no warnings found." in docker.run("build", "--check", ".", cwd=project).stdout
    assert (
        "outline: minidock builds and checks"
        in docker.run("build", "--call", "outline", ".", cwd=project, code=1).stderr
    )


def test_secrets(docker: Docker, project: Path) -> None:
    (project / "token").write_text("s3cret\n")
    mounts = "--mount=type=secret,id=file --mount=type=secret,id=var,env=VAR"
    (project / "Dockerfile").write_text(f"FROM busybox\nRUN {mounts} cat /run/secrets/file; echo $VAR\n")
    options = ("--secret", "id=file,src=token", "--secret", "id=var,env=SECRET")
    said = docker.build(project, "-t", "told", *options, ".", SECRET="other")
    assert re.search(r"#[0-9]+ [0-9.]+ s3cret\n", said)
    assert re.search(r"#[0-9]+ [0-9.]+ other\n", said)
    assert b"s3cret" not in b"".join(docker.engine.images.save("told"))
    (project / "Dockerfile").write_text("FROM busybox\nRUN --mount=type=secret,id=none,required=true true\n")
    assert "secret none: not found" in docker.build(project, ".", code=1)


def test_agents(docker: Docker, project: Path, client: bytes) -> None:
    (project / "client").write_bytes(client)
    answer = bytes([agents.IDENTITIES_ANSWER]) + bytes(4)
    question = f"RUN --mount=type=ssh client {IDENTITIES.hex()} {IDENTITIES.hex()}\n"
    (project / "Dockerfile").write_text(f"FROM busybox\nCOPY --chmod=755 client /bin/\n{question}")
    with agent_of(project / "agent", answer) as asked:
        said = docker.build(project, "--ssh", f"default={project / 'agent'}", ".")
        assert len(re.findall(rf"#[0-9]+ [0-9.]+ {answer.hex()}\n", said)) == 2, said
        assert asked == [IDENTITIES, IDENTITIES]
    said = docker.build(project, "--no-cache", ".")
    assert re.search(r"#[0-9]+ [0-9.]+ no agent\n", said)


def test_contexts(docker: Docker, project: Path) -> None:
    other = project.parent / f"{project.name}-other"
    other.mkdir()
    (other / "o").write_text("other\n")
    (other / "skipped").write_text("skipped\n")
    (other / ".dockerignore").write_text("skipped\n")
    (project / "Named").write_text("FROM base\nCOPY --from=files . /files/\nRUN ls -A /files; cat /files/o\n")
    contexts = ("--build-context", f"files={other}", "--build-context", "base=docker-image://busybox")
    said = docker.build(project, "-f", "Named", *contexts, ".")
    assert re.search(r"#[0-9]+ [0-9.]+ other\n", said)
    assert "skipped" not in said
    # From standard input: a context, a Dockerfile without one, and a Dockerfile for one.
    tar = project.parent / f"{project.name}.tar"
    with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(project, ".")
    assert "[a 3/3] COPY hello /" in docker.build(project, "-t", "piped", "-", data=tar.read_bytes())
    assert docker.cat("piped", "/made/hello") == "hello\n"
    docker.build(project, "-", data=b"FROM busybox\nRUN test ! -e /hello\n")
    said = docker.build(project, "-f", "-", ".", data=b"FROM busybox\nCOPY hello /x\nRUN cat /x\n")
    assert re.search(r"#[0-9]+ [0-9.]+ hello\n", said)
    (project / "Dockerfile").write_text("FROM scratch\nCOPY nothing /\n")
    assert '"/nothing": not found' in docker.build(project, ".", code=1)
    # An OCI layout of the client, whose image is none of the server's.
    layout = project / "layout.tar"
    (project / "Dockerfile").write_text("FROM busybox\nENV A=laid\nCOPY hello /laid\n")
    docker.build(project, "-o", f"type=oci,dest={layout}", ".")
    with tarfile.open(layout) as archive:
        archive.extractall(project / "layout", filter="data")
    (project / "Dockerfile").write_text("FROM base\nCOPY --from=base /laid /again\nRUN echo $A; cat /again\n")
    said = docker.build(project, "--build-context", f"base=oci-layout://{project / 'layout'}", ".")
    assert re.search(r"#[0-9]+ [0-9.]+ laid\n", said)
    # A path of the host is no context: a client has none there.
    said = docker.run("buildx", "build", "--build-context", "etc=local:/etc", ".", cwd=project, code=1).stderr
    assert "etc" in said


def test_outputs(docker: Docker, project: Path) -> None:
    (project / "Dockerfile").write_text(
        "FROM busybox AS made\nRUN mkdir /o && echo f > /o/f && ln -s f /o/l && ln /o/f /o/h && chmod 640 /o/f\n"
        "FROM scratch\nCOPY --from=made /o /o\n"
    )
    out = project / "out"
    docker.build(project, "-o", str(out), ".")
    assert (out / "o" / "f").read_text() == "f\n"
    assert (out / "o" / "f").stat().st_mode & 0o777 == 0o640
    assert (out / "o" / "l").readlink() == Path("f")
    assert (out / "o" / "h").read_text() == "f\n"
    before = {image.id for image in docker.engine.images.list(all=True)}
    files = {kind: project / f"{kind}.tar" for kind in ("tar", "oci", "docker")}
    for kind, path in files.items():
        docker.build(project, "-t", "out:1", "-o", f"type={kind},dest={path}", ".")
    assert {image.id for image in docker.engine.images.list(all=True)} == before
    with tarfile.open(files["tar"]) as tar:
        assert {"o", "o/f", "o/l", "o/h"} <= {name.strip("./") for name in tar.getnames()}
    docker.build(project, "-t", "out:2", ".")
    image = docker.engine.images.get("out:2").id
    for kind in ("oci", "docker"):
        assert "Loaded image: out:1" in docker.run("load", "-i", str(files[kind]), cwd=project).stdout
        assert docker.engine.images.get("out:1").id == image
        docker.engine.images.remove("out:1")
    docker.build(project, "-o", "type=cacheonly", ".")
    # Several at once.
    docker.build(project, "-t", "out:3", "-o", f"type=tar,dest={project / 'again.tar'}", "-o", "type=image", ".")
    assert docker.engine.images.get("out:3").id == image
    assert (project / "again.tar").read_bytes() == files["tar"].read_bytes()


def test_credentials_are_the_client_s(docker: Docker, project: Path, token_registry: Registry) -> None:
    """The server has none: what the client has is asked for, to push and to pull."""
    name = f"{token_registry.host}/team/app:1"
    (project / "Dockerfile").write_text("FROM scratch\nCOPY hello /\n")
    options = ("-t", name, "--push", "--metadata-file", "meta", ".")
    assert "ERROR: failed to build: failed to solve" in docker.build(project, *options, code=1)
    config = Path(docker.env["DOCKER_CONFIG"]) / "config.json"
    both = base64.b64encode(f"{token_registry.username}:{token_registry.password}".encode()).decode()
    config.write_text(json.dumps({"auths": {token_registry.host: {"auth": both}}}))
    try:
        said = docker.build(project, *options)
        pushed = json.loads((project / "meta").read_text())
        digest = pushed["containerimage.digest"]
        assert f"pushing manifest for {name}@{digest} done\n" in said
        assert get_manifest(token_registry, "team/app", "1").headers["docker-content-digest"] == digest
        docker.engine.images.remove(name)
        (project / "Dockerfile").write_text(f"FROM {name}\nCOPY hello /again\n")
        docker.build(project, "--pull", "-t", "pulled", ".")
        assert len(docker.engine.images.get("pulled").config.rootfs.diff_ids) == 2
    finally:
        config.unlink()


def _begun(process: subprocess.Popen[str], text: str) -> threading.Thread:
    """Wait until a build's log has a text; the rest of it is read by the thread that is returned."""
    assert process.stderr is not None
    seen = ""
    while not re.search(rf"#[0-9]+ [0-9.]+ {text}", seen):
        line = process.stderr.readline()
        assert line, seen
        seen += line
    reader = threading.Thread(target=process.stderr.read)
    reader.start()
    return reader


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_client_that_goes_takes_its_build_along(docker: Docker, project: Path, number: signal.Signals) -> None:
    (project / "Dockerfile").write_text("FROM busybox\nRUN echo begun; sleep 100\n")
    with docker.popen("build", "--no-cache", "--network", "none", *PLAIN, ".", cwd=project) as process:
        reader = _begun(process, "begun")
        os.killpg(process.pid, number)
        process.wait(30)
        reader.join()
    wait_for(lambda: not docker.engine.containers.list(all=True))
    workspaces = Path(docker.server.roots.data) / "tmp"
    wait_for(lambda: not [name for name in os.listdir(workspaces) if name.startswith("build-")])
    assert docker.run("build", "-q", "-", data=b"FROM busybox\nENV A=B\n", cwd=project).stdout.startswith("sha256:")


def test_several_at_once(docker: Docker, project: Path) -> None:
    """Each waits for the other one, so that both have to go on at the same time."""
    (project / "Dockerfile").write_text(
        "FROM busybox\nARG N\nARG M\n"
        "RUN --mount=type=cache,target=/c touch /c/$N; until test -e /c/$M; do sleep 0.05; done; echo met\n"
    )
    options = ("build", "--no-cache", "--network", "none", *PLAIN, ".")
    processes = [
        docker.popen(*options, "--build-arg", f"N={n}", "--build-arg", f"M={m}", cwd=project)
        for n, m in (("1", "2"), ("2", "1"))
    ]
    for process in processes:
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said
        assert re.search(r"#[0-9]+ [0-9.]+ met\n", said)


def test_bake(docker: Docker, project: Path) -> None:
    targets = {
        "base": {"dockerfile-inline": "FROM busybox\nRUN --network=none echo base > /base\nENV A=b\n"},
        "one": {
            "dockerfile-inline": "FROM base\nCOPY --from=base /base /copied\n"
            "RUN --network=none echo $A > /one; cat /base /copied >> /one\n",
            "contexts": {"base": "target:base"},
            "tags": ["bake:one"],
        },
        "two": {"args": {"N": "2"}, "tags": ["bake:two"], "network": "none"},
    }
    bake = {"group": {"default": {"targets": ["one", "two"]}}, "target": targets}
    (project / "docker-bake.json").write_text(json.dumps(bake))
    docker.run("buildx", "bake", *PLAIN, cwd=project)
    assert docker.cat("bake:one", "/one") == "b\nbase\nbase\n"
    assert docker.cat("bake:two", "/n") == "2\n"


def test_compose(docker: Docker, project: Path) -> None:
    if not (PLUGINS / "docker-compose").exists():
        pytest.skip("the peers' docker compose is not here")
    (project / "compose.yaml").write_text(
        "name: built\nservices:\n"
        "  one: {build: {context: ., network: none, args: {N: '5'}}}\n"
        '  two: {build: {context: ., network: none, dockerfile_inline: "FROM busybox\\nRUN echo two > /two\\n"}}\n'
    )
    for bake in ("true", "false"):
        docker.run("compose", *PLAIN, "build", cwd=project, COMPOSE_BAKE=bake)
        assert docker.cat("built-one", "/n") == "5\n"
        assert docker.cat("built-two", "/two") == "two\n"
        for name in ("built-one", "built-two"):
            docker.engine.images.remove(name)


def test_builder(docker: Docker, project: Path) -> None:
    shown = docker.run("buildx", "ls", cwd=project).stdout
    assert re.search(r"default +running +v[0-9.]+ +linux/", shown)
    assert "Driver:        docker\n" in docker.run("buildx", "inspect", cwd=project).stdout
    docker.build(project, "-o", "type=cacheonly", ".")
    used = docker.run("buildx", "du", "--verbose", cwd=project).stdout
    assert "RUN echo two > /f\n" in used
    assert "local source for context\n" in used
    one = docker.run("buildx", "du", "--filter", "type=source.local", "--format", "{{.Type}}", cwd=project).stdout
    assert set(one.split()) == {"source.local"}
    for command in (("buildx", "prune", "-af"), ("builder", "prune", "-af")):
        docker.build(project, "-o", "type=cacheonly", ".")
        assert re.search(r"Total( reclaimed space)?:\s*[1-9]", docker.run(*command, cwd=project).stdout)
        assert not docker.engine.builder.entries()


def test_without_the_extra(roots: Roots, tmp_path: Path) -> None:
    """The server says that it has the classic builder, and docker uses that."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['grpc'] = None\n")
    lacking = Roots(roots.data, roots.run, roots.cgroup_parent, roots.config)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        with served(lacking) as server:
            assert server("GET", "/_ping").headers["builder-version"] == "1"
            found = server("POST", "/grpc", headers={"Connection": "Upgrade", "Upgrade": "h2c"})
            assert found.status == 501
            assert "minidock[buildkit]" in found.message


def test_what_no_client_of_buildkit_sends(docker: Docker) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "h2c"}
    assert docker.server("POST", "/grpc").status == 400
    assert docker.server("POST", "/session", headers=upgrade).status == 400
    head = b"POST /grpc HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    before = docker.server.descriptors()
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100, b"\0" * 10_000):
        assert docker.server.raw(head + data).startswith(b"HTTP/1.1 101 ")
    session = head.replace(b"/grpc", b"/session").replace(b"Host", b"X-Docker-Expose-Session-Uuid: a\r\nHost")
    for data in (b"", b"\xff" * 100):
        assert docker.server.raw(session + data).startswith(b"HTTP/1.1 101 ")
    wait_for(lambda: docker.server.descriptors() <= before)
