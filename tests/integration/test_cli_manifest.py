"""`manifest`: lists of images that are in registries."""

from __future__ import annotations

import base64
import json

import pytest

import minidock
from minidock.errors import Conflict, Corrupt, ImageNotFound, InvalidArgument, RegistryUnreachable
from tests.conftest import Cli, Roots
from tests.hostile import HostileRegistry
from tests.images import tar_of
from tests.registry import (
    DOCKER_LIST,
    OCI_INDEX,
    OCI_MANIFEST,
    Registry,
    build_image,
    digest_of,
    get_manifest,
    has_link,
    push_image,
    push_index,
)


def test_from_images_to_a_list(cli: Cli, registry: Registry) -> None:
    one = push_image(registry, "one", "latest", [tar_of(("a", b"a"))])
    two = push_image(registry, "two", "v2", [tar_of(("b", b"b"))])
    base, name = registry.host, f"{registry.host}/list:1"
    out = cli.ok("manifest", "create", name, f"{base}/one", f"{base}/two:v2")
    assert out == f"Created manifest list {name}\n"
    done = cli("manifest", "create", name, f"{base}/one")
    assert done.returncode == 1
    assert b"refusing to amend an existing manifest list with no --amend flag" in done.stderr
    flags = ["--arch", "arm64", "--variant", "v8", "--os-version", "1", "--os-features", "x,y"]
    cli.ok("manifest", "annotate", *flags, name, f"{base}/two:v2")
    listed = json.loads(cli.ok("manifest", "inspect", name))
    assert listed["mediaType"] == OCI_INDEX
    assert [(it["digest"], it["platform"]) for it in listed["manifests"]] == [
        (one.manifest, {"architecture": "amd64", "os": "linux"}),
        (
            two.manifest,
            {
                "architecture": "arm64",
                "os": "linux",
                "os.version": "1",
                "os.features": ["x", "y"],
                "variant": "v8",
            },
        ),
    ]
    details = json.loads(cli.ok("manifest", "inspect", "-v", name))
    assert [it["Ref"] for it in details] == [f"{base}/one:latest", f"{base}/two:v2"]
    assert base64.b64decode(details[0]["Raw"]) == get_manifest(registry, "one", "latest").body
    single = json.loads(cli.ok("manifest", "inspect", name, f"{base}/two:v2"))
    assert single == details[1]["OCIManifest"]
    *pushed, digest = cli.ok("manifest", "push", name).splitlines()
    assert pushed == [f"Pushed ref {base}/list@{it.manifest} with digest: {it.manifest}" for it in (one, two)]
    found = get_manifest(registry, "list", "1")
    assert (found.headers["docker-content-digest"], found.headers["content-type"]) == (digest, OCI_INDEX)
    assert json.loads(found.body) == listed
    for image in (one, two):
        assert has_link(registry, "list", image.config)
        assert get_manifest(registry, "list", image.manifest).headers["content-type"] == OCI_MANIFEST
    cli.ok("manifest", "rm", name)
    assert json.loads(cli.ok("manifest", "inspect", name)) == listed, "the registry's now"
    cli.ok("pull", "-q", name)


def test_amend_and_purge(engine: minidock.Engine, registry: Registry) -> None:
    base, lists = registry.host, engine.manifests
    for repository in ("one", "two"):
        push_image(registry, repository, "1", [tar_of((repository, b"x"))], docker_types=True)
    assert lists.create(f"{base}/list", [f"{base}/one:1"]) == f"{base}/list:latest"
    lists.create(f"{base}/list", [f"{base}/two:1"], amend=True)
    assert [entry.ref for entry in lists.inspect(f"{base}/list").entries] == [f"{base}/one:1", f"{base}/two:1"]
    assert lists.names() == [f"{base}/list:latest"]
    pushed = lists.push(f"{base}/list", purge=True)
    assert lists.names() == []
    found = get_manifest(registry, "list", "latest")
    assert (found.headers["content-type"], found.headers["docker-content-digest"]) == (DOCKER_LIST, pushed.digest)
    with pytest.raises(ImageNotFound):
        lists.remove(f"{base}/list")
    with pytest.raises(ImageNotFound):
        lists.push(f"{base}/list")


def test_registry_s_own(engine: minidock.Engine, registry: Registry) -> None:
    """Manifests and lists of a registry; those of a list are fetched only when asked for."""
    mine = push_image(registry, "app", "", [tar_of(("a", b"a"))])
    other = push_image(registry, "app", "", [tar_of(("b", b"b"))], platform="linux/arm/v7")
    push_index(registry, "app", "1", [(mine.manifest, "linux/amd64"), (other.manifest, "linux/arm/v7")])
    name = f"{registry.host}/app:1"
    registry.forget()
    found = engine.manifests.inspect(name)
    assert len(registry.requests("GET", "/manifests/")) == 1
    assert (found.is_list, [entry.raw for entry in found.entries]) == (True, [b"", b""])
    full = engine.manifests.inspect(name, manifests=True)
    assert full.entries[1].ref == f"{name}@{other.manifest}"
    assert full.entries[1].raw == get_manifest(registry, "app", other.manifest).body
    single = engine.manifests.inspect(f"{registry.host}/app@{other.manifest}")
    assert not single.is_list
    platform = single.entries[0].platform
    assert platform is not None
    assert (platform.os, platform.architecture, platform.variant) == ("linux", "arm", "v7")


def test_what_is_refused(engine: minidock.Engine, roots: Roots, registry: Registry, auth_registry: Registry) -> None:
    base, lists = registry.host, engine.manifests
    pushed = push_image(registry, "one", "1", [tar_of(("a", b"a"))])
    push_index(registry, "one", "many", [(pushed.manifest, "linux/amd64")])
    push_image(auth_registry, "far", "1", [tar_of(("a", b"a"))])
    with pytest.raises(InvalidArgument, match="is a manifest list"):
        lists.create(f"{base}/list", [f"{base}/one:1", f"{base}/one:many"])
    assert lists.names() == [], "nothing is kept when one image fails"
    with pytest.raises(ImageNotFound, match="no such manifest"):
        lists.create(f"{base}/list", [f"{base}/missing"])
    with pytest.raises(ImageNotFound, match="no such manifest"):
        lists.inspect(f"{base}/missing")
    with pytest.raises(InvalidArgument):
        lists.create(f"{base}/list@{pushed.manifest}", [f"{base}/one:1"])
    lists.create(f"{base}/list", [f"{base}/one:1"])
    with pytest.raises(Conflict):
        lists.create(f"{base}/list", [f"{base}/one:1"])
    with pytest.raises(InvalidArgument, match=r"unsupported os/arch combination: linux/z80"):
        lists.annotate(f"{base}/list", f"{base}/one:1", architecture="z80")
    with pytest.raises(ImageNotFound, match="does not exist in"):
        lists.annotate(f"{base}/list", f"{base}/two:1", architecture="arm")
    with pytest.raises(ImageNotFound):
        lists.inspect(f"{base}/list", f"{base}/two:1")
    lists.create("127.0.0.1:9/list", [f"{base}/one:1"])
    with pytest.raises(InvalidArgument, match="different registry"):
        lists.push("127.0.0.1:9/list")
    file = next(path for path in (roots.data / "manifests").glob("*/*") if path.name != "name")
    file.write_bytes(b"{")
    (damaged,) = [path.read_text() for path in file.parent.glob("name")]
    with pytest.raises(Corrupt):
        lists.inspect(damaged)


def test_what_would_steer_a_terminal_is_escaped(cli: Cli, hostile: HostileRegistry) -> None:
    image = build_image([tar_of(("a", b"a"))], annotations={"evil": "\x1b[2J\x9b2J<&>"})
    hostile.add("one", "1", image)
    name = f"{hostile.host}/one:1"
    for argv in (["inspect", name], ["inspect", "-v", name]):
        text = cli.ok("manifest", *argv)
        assert "\\u001b[2J" in text
        assert "\x1b" not in text
        assert "\x9b" not in text
    assert json.loads(cli.ok("manifest", "inspect", name))["annotations"]["evil"] == "\x1b[2J\x9b2J<&>"


def test_insecure(engine: minidock.Engine) -> None:
    """Without --insecure another host must speak https; with it, http is tried too."""
    for insecure in (False, True):
        with pytest.raises(RegistryUnreachable):
            engine.manifests.inspect("registry.invalid:5000/x", insecure=insecure)


def test_a_registry_that_mounts_nothing(engine: minidock.Engine, hostile: HostileRegistry) -> None:
    """Blobs that cannot be mounted are copied, and checked on the way."""
    image = build_image([tar_of(("a", b"a" * 100_000))])
    hostile.add("one", "1", image)
    engine.manifests.create(f"{hostile.host}/list", [f"{hostile.host}/one:1"])
    hostile.rule("mount=", method="POST", status=405)
    engine.manifests.push(f"{hostile.host}/list")
    for blob in (image.config, *image.layers):
        assert hostile.blob("list", digest_of(blob)) == blob
