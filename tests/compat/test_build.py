"""Builds beside the real Docker of the peers: the same contexts give the same files and the same configuration."""

from __future__ import annotations

import io
import json
import os
import secrets
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.compat.beside import PEERS
from tests.integration.building import context
from tests.integration.test_load import files_of
from tests.rootfs import busybox_tar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Cli

NAME = f"build-compat-{secrets.token_hex(3)}"
FILES: dict[str, str | bytes] = {
    "a.txt": "a\n",
    "b.txt": "b\n",
    "dir/sub/s": "s\n",
    "dir/other.md": "",
    "d700/x": "x\n",
    ".dockerignore": "**/*.md\n!keep.md\n",
    "keep.md": "",
    "gone.md": "",
}
DOCKERFILES = {
    "copy": """FROM build-compat-base
COPY a.txt /n1/f
COPY --chown=5:6 --chmod=711 dir /n3
COPY d700 /n4/
COPY dlink /n5
COPY alink hard /n6/
COPY nope* /n7/
COPY [ab].txt /n8/
COPY --chown=daemon a.txt /n9/x/y
COPY . /all
COPY a.txt b.txt ./
COPY dir/. /etc/
COPY --link a.txt /tmp/
COPY <<EOF <<"E2" /hd/
one $PATH
EOF
two $PATH
E2
""",
    "add": """FROM build-compat-base
ADD in.tar /1
ADD in.tgz /2/
ADD a.txt /3
ADD in.tar a.txt /4/
""",
    "stages": """FROM build-compat-base AS one
WORKDIR /w/x
USER 5:7
WORKDIR y
COPY a.txt .
FROM one AS two
USER root
RUN mkdir d && ln -s d l && echo 1 > d/f && chown -R 3:4 d && chmod 701 d && rm /etc/group
FROM build-compat-base
COPY --from=two /w/x/y/d /got
COPY --from=two /w/x/y/l /link/
COPY --from=0 /w/x/y/a.txt /
COPY --from=build-compat-base /etc/passwd /pw
ENV A=1 B="2 3"
EXPOSE 80 53/udp
LABEL x=y
VOLUME /v
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5s CMD true
ONBUILD RUN x
ENTRYPOINT ["/bin/sh"]
CMD ["-c", "true"]
""",
}


def docker(*argv: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    # buildx keeps notes in the configuration's directory, which tests do not have.
    env = {key: value for key, value in os.environ.items() if key != "DOCKER_CONFIG"}
    return subprocess.run([PEERS, "docker", *argv], input=data, env=env, capture_output=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def peer() -> Iterator[None]:
    """The peers' docker, with the base image."""
    if not PEERS.exists():
        pytest.skip("the peers' docker is not here")
    if docker("info").returncode != 0:
        pytest.skip("the peers' docker does not run: peers up")
    done = docker("import", "-c", 'CMD ["sh"]', "-", f"{NAME}-base", data=busybox_tar().read_bytes())
    assert done.returncode == 0, done.stderr
    yield
    docker("rmi", "-f", f"{NAME}-base", NAME)


def shown(archive: bytes, base: int = 1) -> dict[str, Any]:
    """What is the same in both: configuration, history and layers above ``base`` of them, without times."""
    files = files_of(archive)
    manifest = json.loads(files["manifest.json"])[0]
    config = json.loads(files[manifest["Config"]])
    layers = []
    for path in manifest["Layers"][base:]:
        with tarfile.open(fileobj=io.BytesIO(files[path])) as tar:
            members = {
                member.name: (member.type, member.mode, member.uid, member.gid, member.linkname, _content(tar, member))
                for member in tar
            }
        # Docker's RUN touches /etc, where it mounts files.
        if "etc" in members and not any(name.startswith("etc/") for name in members):
            del members["etc"]
        layers.append(members)
    history = [{key: value for key, value in one.items() if key != "created"} for one in config["history"][base:]]
    return {"config": config["config"], "history": history, "layers": layers}


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.isreg() else None
    return b"" if file is None else file.read()


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_same_image(peer: None, cli: Cli, tmp_path: Path, name: str) -> None:
    directory = context(tmp_path / "c", {**FILES, "Dockerfile": DOCKERFILES[name].replace("build-compat", NAME)})
    (directory / "d700").chmod(0o700)
    (directory / "b.txt").chmod(0o2640)
    (directory / "dir/link").symlink_to("sub")
    (directory / "dlink").symlink_to("dir")
    (directory / "alink").symlink_to("a.txt")
    (directory / "hard").hardlink_to(directory / "a.txt")
    for archive, mode in (("in.tar", "w"), ("in.tgz", "w:gz")):
        with tarfile.open(directory / archive, mode) as tar:  # type: ignore[call-overload]
            member = tarfile.TarInfo("in/side")
            member.size, member.mode, member.uid = 2, 0o4750, 9
            tar.addfile(member, io.BytesIO(b"hi"))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(directory, ".", filter=_root)
    done = docker("build", "-q", "-t", NAME, "-", data=packed.getvalue())
    assert done.returncode == 0, done.stderr.decode()
    cli.ok("import", "-c", 'CMD ["sh"]', str(busybox_tar()), f"{NAME}-base")
    cli.ok("build", "-q", "--network=none", "-t", NAME, "-", input=packed.getvalue())
    ours, theirs = shown(cli("save", NAME).stdout), shown(docker("save", NAME).stdout)
    for part in ("config", "history", "layers"):
        assert ours[part] == theirs[part], part


NAMED = {
    "files": "FROM base\nLABEL a=b\nWORKDIR /q\nCOPY --from=base d /e\n",
    "replaced": "FROM nowhere.example/at/all AS base\nRUN false\nFROM base\nLABEL a=b\nCOPY --from=0 d /e\n",
    "target": "FROM nowhere.example/at/all AS base\nRUN false\n",
    "canonical": "FROM docker.io/library/base:latest\nLABEL a=b\n",
    "mounted": "FROM build-compat-base\nRUN --mount=from=base,target=/x cp -r /x /y\n",
    "circular": "FROM base AS base\nCOPY --from=base d /e\n",
    "capital": "FROM scratch\nCOPY --from=Base d /e\n",
}


@pytest.mark.parametrize("name", NAMED)
def test_files_by_name(peer: None, cli: Cli, tmp_path: Path, name: str) -> None:
    """Layers and configuration; the history differs: minidock's says of each layer which it is."""
    files = context(tmp_path / "files", {"d/x": "x", "hidden": "", ".dockerignore": "hidden\n"})
    os.chown(files / "d/x", 5, 6)
    (files / "d/x").chmod(0o4755)
    (files / "l").symlink_to("d")
    theirs = f"/tmp/{NAME}-files"
    dockerfile = NAMED[name].replace("build-compat", NAME).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(files, ".")
    unpack = f"rm -rf {theirs} && mkdir {theirs} && tar x -p -C {theirs}"
    subprocess.run([PEERS, "exec", "sh", "-c", unpack], input=packed.getvalue(), check=True)
    done = docker("build", "-q", "-t", NAME, "--build-context", f"base={theirs}", "-", data=dockerfile)
    subprocess.run([PEERS, "exec", "rm", "-rf", theirs], check=True)
    cli.ok("import", "-c", 'CMD ["sh"]', str(busybox_tar()), f"{NAME}-base")
    words = ("build", "-q", "--network=none", "-t", NAME, "--build-context", f"base={files}", "-")
    ours = cli(*words, input=dockerfile)
    assert ours.returncode == done.returncode, (ours.stderr, done.stderr)
    if done.returncode:
        reasons = {"circular": "circular dependency detected on stage: base", "capital": "must be lowercase"}
        assert name in reasons, ours.stderr
        assert reasons[name] in ours.stderr.decode()
        return
    base = 1 if name == "mounted" else 0
    both = shown(cli("save", NAME).stdout, base), shown(docker("save", NAME).stdout, base)
    assert both[0]["layers"] == both[1]["layers"]
    assert both[0]["config"] == both[1]["config"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--annotation", "a"], 'invalid annotation "a", expected key=value'),
        (["--annotation", "foo:a=b"], 'unknown annotation type "foo"'),
        (["--annotation", "org.x:a=b"], 'invalid annotation type "org.x", expected type and optional platform'),
        (["--annotation", "index:a=b"], "index annotations not supported for single platform export"),
        (["--annotation", "manifest[linux/arm64]:a=b"], ""),
        (["--provenance", "true"], "ttestation"),
        (["--sbom", "true"], "ttestation"),
        (["--attest", "type=provenance"], "ttestation"),
        (["--attest", "type=provenance,disabled=true"], ""),
        (["--provenance", "0"], ""),
        (["--build-context", "Base=/tmp"], "invalid context name Base: "),
        (["-o", "type=local,dest=/tmp/x", "--iidfile", "/tmp/y"], "local and tar exporters are incompatible with"),
    ],
)
def test_the_same_words(peer: None, cli: Cli, flags: list[str], said: str) -> None:
    for done in (
        docker("build", *flags, "-", data=b"FROM scratch\n"),
        cli("build", *flags, "-", input=b"FROM scratch\n"),
    ):
        assert (done.returncode == 0) == (not said), done.stderr
        assert said in done.stderr.decode()


def _root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    return member
