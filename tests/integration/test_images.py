"""``images``, ``tag``, ``history``, ``inspect``, and the built-in image."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minidock import helper
from minidock.errors import Conflict, ImageNotFound, InvalidArgument
from tests.conftest import Cli, Roots
from tests.integration.archives import disk_usage, held, tar

if TYPE_CHECKING:
    import minidock

HELLO = "minidock/hello:latest"


def test_the_built_in_image_is_always_there(engine: minidock.Engine, roots: Roots) -> None:
    (image,) = engine.images.list()
    assert image.tags == [HELLO]
    for name in ("minidock/hello", HELLO, "docker.io/minidock/hello", image.id, image.id[7:12]):
        assert engine.images.get(name).id == image.id
    assert image.attrs["Config"]["Cmd"] == ["/hello"]
    (number,) = engine.store.images.layers(image.id)
    program = Path(engine.store.paths.layer(number), "fs/hello")
    assert os.listdir(program.parent) == ["hello"]
    assert program.stat().st_ino == os.stat(helper.installed(engine.store.paths)).st_ino, "it takes no space of its own"
    assert held(roots.data)["tmp"] == []


def test_the_built_in_image_cannot_be_lost(engine: minidock.Engine) -> None:
    image = engine.images.get("minidock/hello")
    for name in (HELLO, image.id):
        for force in (False, True):
            with pytest.raises(Conflict, match="is built in"):
                engine.images.remove(name, force=force)
    image.tag("other")
    engine.images.remove(HELLO)
    assert engine.images.get("minidock/hello").id == image.id, "it comes back"
    engine.images.remove("other")
    assert engine.images.get("minidock/hello").id == image.id
    engine.images.prune(all=True)
    assert engine.images.get("minidock/hello").id == image.id


def test_a_new_helper_makes_a_new_built_in_image(
    engine: minidock.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = engine.images.get("minidock/hello")
    newer = tmp_path / "minidock-runtime"
    newer.write_bytes(Path(helper.shipped()).read_bytes() + b"newer")
    newer.chmod(0o755)
    monkeypatch.setattr(helper, "shipped", lambda: str(newer))
    monkeypatch.setattr(helper, "_installed", {})
    new = engine.images.get("minidock/hello")
    assert new.id != old.id
    assert engine.images.find(old.id) is None
    assert [image.tags for image in engine.images.list()] == [[HELLO]]


def test_a_users_own_hello_is_left_alone(engine: minidock.Engine) -> None:
    engine.images.get("minidock/hello")
    mine = engine.images.import_(tar(("x", b"")), "minidock/hello")
    assert engine.images.get("minidock/hello").id == mine.id
    engine.images.remove("minidock/hello")
    assert engine.images.get("minidock/hello").id != mine.id


def test_names_and_ids(engine: minidock.Engine) -> None:
    image = engine.images.import_(tar(("x", b"")), "me/app:1.0")
    image.tag("me/app")
    image.tag("other", "2")
    assert image.tags == ["me/app:1.0", "me/app:latest", "other:2"]
    assert [one.id for one in engine.images.list("me/app")] == [image.id]
    assert engine.images.list("me/app")[0].tags == ["me/app:1.0", "me/app:latest"]
    assert engine.images.list("me/app:1.0")[0].tags == ["me/app:1.0"]
    assert engine.images.list("nothing") == []
    digits = image.id.removeprefix("sha256:")
    for name in ("me/app", "docker.io/me/app:1.0", "other:2", image.id, digits, digits[:12], "sha256:" + digits[:4]):
        assert engine.images.get(name) == image
    for name in ("me/app:2", "me", "other", "0" * 64, "sha256:" + "0" * 64, "sha256:0000"):
        with pytest.raises(ImageNotFound, match="no such image"):
            engine.images.get(name)
    for name in ("", "A", "a b", "sha256:xyz", "sha256:"):
        with pytest.raises(InvalidArgument, match="invalid reference format"):
            engine.images.get(name)
    with pytest.raises(InvalidArgument):
        image.tag("Not/Valid")
    with pytest.raises(ImageNotFound):
        engine.images.tag("nothing", "x")


def test_order_and_speed_of_a_long_list(engine: minidock.Engine) -> None:
    for number in range(30):
        engine.images.import_(tar((f"f{number}", b"")), f"many:{number}")
    listed = engine.images.list()
    assert len(listed) == 31
    assert [image.row.created for image in listed] == sorted((image.row.created for image in listed), reverse=True)


def test_an_images_struct_for_the_rest_server(engine: minidock.Engine) -> None:
    image = engine.images.import_(tar(("x", b"12345")), "app", changes=["LABEL a=b"])
    (summary,) = engine.images.summaries("app")
    assert (summary.id, summary.repo_tags, summary.size, summary.labels) == (image.id, ["app:latest"], 5, {"a": "b"})
    assert summary.created == image.row.created


def test_filters_and_prune(engine: minidock.Engine, roots: Roots) -> None:
    engine.images.import_(tar(("one", b"111")))
    kept = engine.images.import_(tar(("two", b"")), "kept")
    before = disk_usage(roots)
    report = engine.images.prune()
    assert report.space_reclaimed == before - disk_usage(roots) > 3
    assert report.images_deleted is not None
    assert {image.id for image in engine.images.list()} == {kept.id, engine.images.get("minidock/hello").id}
    assert engine.images.prune().images_deleted is None
    engine.images.prune(all=True)
    assert [image.tags for image in engine.images.list()] == [[HELLO]]
    assert len(held(roots.data)["layers"]) == 1


def test_command_line(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar(("x", b"")))
    image = cli.ok("import", str(path), "app").strip()
    assert image.removeprefix("sha256:")[:12] in cli.ok("images")
    cli.ok("tag", "app", "app:2")
    (attrs,) = json.loads(cli.ok("image", "inspect", "app:2"))
    assert attrs["RepoTags"] == ["app:2", "app:latest"]
    assert "Imported from" in cli.ok("history", "app")
    done = cli("image", "inspect", "nothing")
    assert done.returncode == 1
    assert "nothing" in done.stderr.decode()
