"""``build``: where images go: archives, registries, files that say what was made; and annotations."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from minidock.errors import InvalidArgument
from tests.integration.building import build, context
from tests.integration.test_load import files_of
from tests.registry import OCI_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import minidock
    from tests.conftest import Cli
    from tests.registry import Registry

DOCKERFILE = "FROM busybox\nCOPY f /\n"


def manifest_of(registry: Registry, repository: str, tag: str) -> dict[str, Any]:
    """A manifest in a registry."""
    headers = {"Accept": OCI_MANIFEST}
    if registry.username:
        from tests.registry import basic_header

        headers["Authorization"] = basic_header(registry.username, registry.password)
    reply = registry.request("GET", f"/v2/{repository}/manifests/{tag}", headers=headers)
    assert reply.status == 200
    found: dict[str, Any] = json.loads(reply.body)
    return found


def index_of(archive: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The one entry of an archive's ``index.json``, and its manifest."""
    files = files_of(archive)
    entries = json.loads(files["index.json"])["manifests"]
    assert len(entries) == 1
    return entries[0], json.loads(files[f"blobs/sha256/{entries[0]['digest'].removeprefix('sha256:')}"])


def test_annotations(engine: minidock.Engine, busybox: str, registry: Registry, tmp_path: Path) -> None:
    """They are the name's and not the image's: another name of the same image, and the next build, have none."""
    context(tmp_path, {"f": "f"})
    name, plain = f"{registry.host}/team/app:noted", f"{registry.host}/team/app:plain"
    given = {"b": "2", "manifest:a": "x=y", "manifest[linux/s390x]:c": "other", "manifest-descriptor:d": "there"}
    first = build(engine, tmp_path, DOCKERFILE, tags=plain)
    image = build(engine, tmp_path, DOCKERFILE, tags=name, annotations=given)
    assert image.id == first.id
    assert image.row.manifest != first.row.manifest
    for tag in (name, plain, name):
        engine.images.push(tag)
    assert manifest_of(registry, "team/app", "noted")["annotations"] == {"a": "x=y", "b": "2"}
    assert "annotations" not in manifest_of(registry, "team/app", "plain")
    saved = index_of(b"".join(engine.images.save(name)))
    assert saved[1]["annotations"] == {"a": "x=y", "b": "2"}
    assert "annotations" not in index_of(b"".join(engine.images.save(plain)))[1]
    build(engine, tmp_path, DOCKERFILE, tags=name)
    assert "annotations" not in index_of(b"".join(engine.images.save(name)))[1]
    again = build(engine, tmp_path, DOCKERFILE, tags=name, annotations=["only=this"], verify=True)
    assert (again.id, again.tags) == (first.id, sorted([name, plain]))
    engine.images.remove(name)
    engine.images.remove(plain)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["a"], 'invalid annotation "a", expected key=value'),
        (["foo:a=b"], 'unknown annotation type "foo"'),
        (["org.x:a=b"], 'invalid annotation type "org.x", expected type and optional platform in square brackets'),
        (["index:a=b"], "index annotations not supported for single platform export"),
        ({"manifest,index-descriptor:a": "b"}, "index annotations not supported for single platform export"),
        (["manifest[foo/bar/x/y]:a=b"], 'invalid platform "foo/bar/x/y"'),
        ("a=b", "a mapping or a list"),
    ],
)
def test_annotations_that_are_none(engine: minidock.Engine, tmp_path: Path, given: Sequence[str], why: str) -> None:
    """Docker's words."""
    with pytest.raises(InvalidArgument) as caught:
        build(engine, tmp_path, "FROM scratch\n", annotations=given)
    assert why in str(caught.value)


def test_archives(cli_busybox: Cli, tmp_path: Path) -> None:
    """With a name and without one; annotations are where they belong; files that say what was made."""
    cli, files = cli_busybox, str(context(tmp_path / "c", {"Dockerfile": DOCKERFILE, "f": "f"}))
    iid, metadata, out = (str(tmp_path / name) for name in ("iid", "metadata", "out"))
    said = ["--iidfile", iid, "--metadata-file", metadata]
    cli.ok("tag", "busybox", "app:other")
    noted = ["--annotation", "a=b", "--annotation", "manifest-descriptor:c=d"]
    image = cli.ok("build", "-q", "-t", "app", "-o", f"type=oci,dest={out}", *noted, *said, files).strip()
    archive = (tmp_path / "out").read_bytes()
    entry, manifest = index_of(archive)
    assert entry["annotations"]["c"] == "d"
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/library/app:latest"
    assert manifest["annotations"] == {"a": "b"}
    assert (tmp_path / "iid").read_text() == image
    written = json.loads((tmp_path / "metadata").read_text())
    assert written == {
        "containerimage.config.digest": image,
        "containerimage.digest": entry["digest"],
        "image.name": "docker.io/library/app:latest",
    }
    attributes = "annotation.e=f,annotation-manifest-descriptor[linux].g=h"
    archive = cli("build", "-o", f"type=docker,dest=-,{attributes}", *said, files).stdout
    entry, manifest = index_of(archive)
    assert (entry["annotations"], manifest["annotations"]) == ({"g": "h"}, {"e": "f"})
    assert json.loads((tmp_path / "metadata").read_text())["containerimage.digest"] == entry["digest"]
    # Names of --tag count more than those of --output.
    cli.ok("build", "-q", "-t", "one", "-o", "type=image,name=two", *said, files)
    assert json.loads((tmp_path / "metadata").read_text())["image.name"] == "docker.io/library/one:latest"
    cli.ok("build", "-q", "-o", 'type=image,"name=two,three:3"', files)
    assert sorted(cli.ok("images", "--format", "{{.Repository}}", "--filter", "reference=t*").split()) == [
        "three",
        "two",
    ]
    cli.ok("rmi", "app", "one", "two", "three:3")
    # What fails leaves the file that there was.
    (tmp_path / "out").write_text("old")
    for kind in ("tar", "oci"):
        words = ("build", "-o", f"type={kind},dest={tmp_path}/out", "-")
        assert cli(*words, input=b"FROM scratch\nCOPY nothing /\n").returncode == 1
        assert (tmp_path / "out").read_text() == "old"
        assert cli(*words[:2], f"type={kind},dest={tmp_path}/no/where", files).returncode != 0
    assert sorted(os.listdir(tmp_path)) == ["c", "iid", "metadata", "out"]


def test_layouts(cli_busybox: Cli, tmp_path: Path) -> None:
    """``type=oci,tar=false``: images side by side in a directory, each by its tag; what was built goes into builds."""
    cli, files, layout = cli_busybox, context(tmp_path / "c", {"Dockerfile": DOCKERFILE, "f": "1"}), tmp_path / "layout"
    output = ["-o", f"type=oci,tar=false,dest={layout}"]

    def entries() -> dict[str, Any]:
        found = json.loads((layout / "index.json").read_text())["manifests"]
        return {one["annotations"]["org.opencontainers.image.ref.name"]: one for one in found}

    first = cli.ok("build", "-q", "-t", "a:one", *output, "--annotation", "manifest-descriptor:c=d", str(files)).strip()
    context(files, {"f": "2"})
    cli.ok("build", "-q", "-t", "a:two", *output, str(files))
    before = entries()
    assert sorted(before) == ["one", "two"]
    assert before["one"]["annotations"]["c"] == "d"
    assert sorted(os.listdir(layout)) == ["blobs", "index.json", "oci-layout"]
    context(files, {"f": "3"})
    cli.ok("build", "-q", "-t", "a:two", *output, str(files))
    assert entries()["one"] == before["one"]
    assert entries()["two"]["digest"] != before["two"]["digest"]
    for path in (layout / "blobs/sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    cli.ok("rmi", "a:one", "a:two")
    again = cli.ok("build", "-q", "--build-context", f"b=oci-layout://{layout}:one", "-", input=b"FROM b\n").strip()
    assert again == first
    cli.ok("rmi", first)
    assert "Loaded image: a:two" in cli.ok("load", "-i", str(layout))
    cli.ok("rmi", "a:one", "a:two")
    (layout / "index.json").write_text("[]")
    damaged = cli("build", *output, str(files))
    assert damaged.returncode != 0
    assert b"index" in damaged.stderr
    for wrong in ("tar=false", "tar=false,dest=-", "tar=nonsense,dest=/x"):
        assert cli("build", "-o", f"type=oci,{wrong}", str(files)).returncode == 1


def test_nothing_but_the_cache(cli_busybox: Cli, tmp_path: Path) -> None:
    """``type=cacheonly``: no image, and the next build has its steps."""
    cli, files = cli_busybox, str(context(tmp_path, {"Dockerfile": DOCKERFILE, "f": "f"}))
    before = cli.ok("images", "-a", "-q", "--no-trunc")
    assert cli.ok("build", "-q", "-o", "type=cacheonly", files) == ""
    assert cli.ok("images", "-a", "-q", "--no-trunc") == before
    assert b"CACHED" in cli("build", "--progress", "plain", "-o", "type=cacheonly", files).stderr
    assert cli("build", "-o", "type=cacheonly,dest=x", files).returncode == 1


def test_platforms(cli_busybox: Cli, tmp_path: Path) -> None:
    """One at a time, as with Docker's own driver; ``local`` is the host's."""
    cli, files = cli_busybox, str(context(tmp_path, {"Dockerfile": "FROM scratch\nLABEL a=b\n"}))
    own = cli.ok("build", "-q", files)
    assert cli.ok("build", "-q", "--platform", "local", files) == own
    assert cli.ok("build", "-q", "--platform", "s390x", files) != own
    for flags in (
        ["--platform", "linux/amd64,linux/arm64"],
        ["--platform", "linux/amd64", "--platform", "linux/arm64"],
    ):
        refused = cli("build", *flags, files)
        assert refused.returncode != 0
        assert b"multi-platform build is not supported" in refused.stderr
    assert b"plan9" in cli("build", "--platform", "plan9/amd64", files).stderr


def test_files_that_say_what_was_made(cli_busybox: Cli, tmp_path: Path) -> None:
    """Outputs of files have no image, which only a file for its id minds; what failed leaves no older id."""
    cli, files = cli_busybox, str(context(tmp_path / "c", {"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "f"}))
    iid, metadata = tmp_path / "iid", tmp_path / "metadata"
    for output in (f"type=local,dest={tmp_path}/out", f"type=tar,dest={tmp_path}/out.tar"):
        metadata.unlink(missing_ok=True)
        cli.ok("build", "-q", "-o", output, "--metadata-file", str(metadata), files)
        assert metadata.read_text() == "{}"
        refused = cli("build", "-o", output, "--iidfile", str(iid), files)
        assert refused.returncode == 1
        assert b"local and tar exporters are incompatible with image ID file" in refused.stderr
    iid.write_text("old")
    assert cli("build", "--iidfile", str(iid), "-", input=b"FROM scratch\nCOPY nothing /\n").returncode == 1
    assert not iid.exists()
    assert cli("build", "--iidfile", str(tmp_path / "no/where"), files).returncode == 1
    assert cli("build", "--metadata-file", str(tmp_path / "no/where"), files).returncode == 1


@pytest.mark.parametrize("flags", [["--push"], ["-o", "type=image,push=true"], ["-o", "type=registry"]])
def test_pushes(cli_busybox: Cli, registry: Registry, tmp_path: Path, flags: list[str]) -> None:
    """Under every name; a registry that is not there is an error after the image is made."""
    cli, files = cli_busybox, str(context(tmp_path, {"Dockerfile": DOCKERFILE, "f": "f"}))
    names = [f"{registry.host}/team/app:{tag}" for tag in ("1", "2")]
    metadata = tmp_path / "metadata"
    cli.ok("build", "-t", names[0], "-t", names[1], *flags, "--metadata-file", str(metadata), files)
    one, two = (manifest_of(registry, "team/app", tag) for tag in ("1", "2"))
    assert one == two
    said = json.loads(metadata.read_text())["containerimage.digest"]
    assert manifest_of(registry, "team/app", said) == one
    assert one["config"]["digest"] == json.loads(metadata.read_text())["containerimage.config.digest"]
    unnamed = cli("build", *flags, "-", input=b"FROM scratch\nRUN never\n")
    assert (unnamed.returncode, unnamed.stderr) == (1, b"minidock: tag is needed when pushing to registry\n")
    failed = cli("build", "-t", "127.0.0.1:1/x:y", *flags, files)
    assert failed.returncode != 0
    assert b"127.0.0.1:1" in failed.stderr
    cli.ok("rmi", *names, "127.0.0.1:1/x:y")


def test_pushes_with_a_password(cli_busybox: Cli, auth_registry: Registry, tmp_path: Path) -> None:
    """The credentials of ``login`` push the image and its cache, and pull a base; without them it is an error."""
    cli, registry = cli_busybox, auth_registry
    cli.env["DOCKER_CONFIG"] = os.environ["DOCKER_CONFIG"]
    files = str(context(tmp_path, {"Dockerfile": DOCKERFILE, "f": "f"}))
    name, cache = f"{registry.host}/team/app:1", f"type=registry,ref={registry.host}/team/app:cache"
    refused = cli("build", "-t", name, "--push", files)
    assert refused.returncode != 0
    assert registry.password.encode() not in refused.stderr
    assert cli("build", "--cache-to", cache, files).returncode != 0
    cli.ok("login", "-u", registry.username, "-p", registry.password, registry.host)
    cli.ok("build", "-t", name, "--push", "--cache-to", cache, files)
    assert len(manifest_of(registry, "team/app", "1")["layers"]) == 2
    cli.ok("rmi", name)
    cli.ok("builder", "prune", "-a", "-f")
    again = cli("build", "--progress", "plain", "-t", name, "--cache-from", cache, files)
    assert again.returncode == 0
    assert b"CACHED" in again.stderr
    cli.ok("rmi", name)
    assert cli("build", "-", input=f"FROM {name}\nLABEL a=b\n".encode()).returncode == 0
    cli.ok("logout", registry.host)
    lost = cli("build", "--progress", "plain", "--no-cache", "--cache-from", cache, files)
    assert lost.returncode == 0
    cli.ok("rmi", name)
    assert cli("build", "-", input=f"FROM {name}\nLABEL a=b\n".encode()).returncode != 0


def test_pushes_over_tls(engine: minidock.Engine, busybox: str, tls_registry: Registry, tmp_path: Path) -> None:
    """Image and cache to a registry with a certificate of an own authority, and back."""
    context(tmp_path, {"f": "f"})
    name, cache = f"{tls_registry.host}/team/app:1", f"type=registry,ref={tls_registry.host}/team/app:cache"
    image = build(engine, tmp_path, DOCKERFILE, tags=name, cache_to=[cache])
    engine.images.push(name)
    engine.images.remove(name)
    engine.builder.prune(all=True)
    assert build(engine, tmp_path, DOCKERFILE, cache_from=[cache]).id == image.id
    engine.images.remove(image.id)
    assert build(engine, tmp_path, f"FROM {name}\n").config.rootfs == image.config.rootfs
