"""``rmi``: names, images, and what containers use, by Docker's rules and in Docker's words."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from minidock.errors import ImageInUse, ImageNotFound
from tests.conftest import Cli, Roots
from tests.integration.archives import held, tar
from tests.registry import Registry, push_image
from tests.rootfs import busybox_tar

if TYPE_CHECKING:
    import minidock
    from minidock.snapshots.snapshots import Snapshot
    from minidock.spec.docker_images import ImageDelete


def steps(removed: list[ImageDelete]) -> list[str]:
    return [f"untagged {one.untagged}" if one.untagged else f"deleted {one.deleted}" for one in removed]


def test_a_name_goes_alone_and_the_image_with_its_last(engine: minidock.Engine, roots: Roots) -> None:
    image = engine.images.import_(tar(("x", b"")), "app:1")
    image.tag("app:2")
    assert steps(engine.images.remove("app:1")) == ["untagged app:1"]
    assert engine.images.get("app:2") == image
    assert steps(engine.images.remove("app:2")) == [
        "untagged app:2",
        f"deleted {image.id}",
        f"deleted {image.config.rootfs.diff_ids[0]}",
    ]
    assert held(roots.data) == {"layers": [], "content/sha256": [], "containers": [], "tmp": []}
    with pytest.raises(ImageNotFound, match="no such image: app:2"):
        engine.images.remove("app:2")


def test_by_id(engine: minidock.Engine) -> None:
    image = engine.images.import_(tar(("x", b"")), "app:1")
    image.tag("other")
    with pytest.raises(ImageInUse, match=r"unable to delete .* \(must be forced\) - image is referenced in multiple"):
        engine.images.remove(image.id)
    assert steps(engine.images.remove(image.id[7:19], force=True))[:3] == [
        "untagged app:1",
        "untagged other:latest",
        f"deleted {image.id}",
    ]


def test_a_digest_of_another_repository_is_a_name_too(engine: minidock.Engine, registry: Registry) -> None:
    """A tag goes although a container uses the image, as long as that is still named."""
    pushed = push_image(registry, "app", "1", [tar(("x", b""))], config={"Cmd": ["x"]})
    image = engine.images.pull(f"{registry.host}/app@{pushed.manifest}")
    image.tag("mine:1")
    container = engine.containers.create("mine:1")
    assert steps(engine.images.remove("mine:1")) == ["untagged mine:1"]
    assert engine.images.get(image.id).repo_digests == [f"{registry.host}/app@{pushed.manifest}"]
    container.remove()


def test_shared_layers_stay(engine: minidock.Engine, roots: Roots) -> None:
    data = tar(("x", b""))
    one = engine.images.import_(data, "one")
    engine.images.import_(data, "two", changes=["CMD x"])
    assert steps(engine.images.remove("one")) == ["untagged one:latest", f"deleted {one.id}"]
    assert len(held(roots.data)["layers"]) == 1
    assert len(engine.images.remove("two")) == 3
    assert held(roots.data)["layers"] == []


def test_an_image_that_a_stopped_container_uses(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    image = engine.images.get(busybox)
    container = engine.containers.create(busybox, ["true"], name="user")
    short, user = image.id[7:19], container.id[:12]
    with pytest.raises(ImageInUse) as caught:
        engine.images.remove(busybox)
    assert str(caught.value) == (
        f'conflict: unable to remove repository reference "busybox:latest" (must force) - container {user} is using '
        f"its referenced image {short}"
    )
    with pytest.raises(ImageInUse, match=rf"\(must be forced\) - image is being used by stopped container {user}"):
        engine.images.remove(image.id)
    assert engine.images.get(busybox) == image
    assert steps(engine.images.remove(busybox, force=True)) == ["untagged busybox:latest", f"deleted {image.id}"]
    assert engine.images.find(busybox) is None
    assert engine.images.find(image.id) is None
    assert len(held(roots.data)["layers"]) == 1, "the container still needs it"
    container.remove()
    assert held(roots.data) == {"layers": [], "content/sha256": [], "containers": [], "tmp": []}


def test_a_container_of_a_forced_out_image_still_starts(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sh", "-c", "exit 7"], network="none")
    engine.images.remove(busybox, force=True)
    container.start()
    assert container.wait(timeout=60) == 7
    container.remove()


def test_an_image_comes_back_while_a_container_holds_it(engine: minidock.Engine, busybox: str) -> None:
    image = engine.images.get(busybox)
    container = engine.containers.create(busybox, ["true"])
    engine.images.remove(busybox, force=True)
    again = engine.images.import_(str(busybox_tar()), "busybox", changes=['CMD ["sh"]'])
    assert again.config.rootfs == image.config.rootfs
    container.remove()
    assert engine.images.get("busybox") == again
    assert engine.images.find(image.id) is None


def test_an_image_that_a_running_container_uses(engine: minidock.Engine, busybox: str) -> None:
    image = engine.images.get(busybox)
    container = engine.containers.create(busybox, ["sleep", "60"], network="none")
    container.start()
    user = container.id[:12]
    for force in (False, True):
        with pytest.raises(
            ImageInUse, match=rf"\(cannot be forced\) - image is being used by running container {user}"
        ):
            engine.images.remove(image.id, force=force)
    assert steps(engine.images.remove(busybox, force=True)) == ["untagged busybox:latest"], (
        "as in Docker, only the name"
    )
    assert engine.images.get(image.id).tags == []
    container.remove(force=True)
    assert len(engine.images.remove(image.id)) == 2


def test_remove_and_create_race(engine: minidock.Engine, roots: Roots) -> None:
    """Either the container wins and keeps the image, or the removal wins and there is no container."""
    for _ in range(15):
        engine.images.import_(tar(("bin", b"")), "app", changes=["CMD /bin"])
        outcome: list[str] = []

        def create(outcome: list[str] = outcome) -> None:
            with contextlib.suppress(ImageNotFound):
                engine.containers.create("app", pull="never")
                outcome.append("created")

        def remove(outcome: list[str] = outcome) -> None:
            with contextlib.suppress(ImageInUse):
                engine.images.remove("app")
                outcome.append("removed")

        threads = [threading.Thread(target=create), threading.Thread(target=remove)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcome in (["created"], ["removed"])
        for container in engine.containers.list(all=True):
            container.remove()
        engine.images.prune(all=True)
    assert held(roots.data)["tmp"] == []


@pytest.mark.parametrize("comes_back", [True, False])
@pytest.mark.parametrize("when", ["before", "after"])
def test_removed_while_a_container_is_made(
    engine: minidock.Engine, roots: Roots, monkeypatch: pytest.MonkeyPatch, when: str, *, comes_back: bool
) -> None:
    """An image that is removed just then, and perhaps imported again at once, is no damaged image."""
    engine.images.import_(tar(("below", b"")), "other")  # so that the layer's number is not given again
    prepare, layers = engine.snapshots.prepare, engine.store.images.layers

    def replace() -> None:
        monkeypatch.undo()
        engine.images.remove("app")
        if comes_back:
            engine.images.import_(tar(("z", b"")), "last")
            engine.images.import_(tar(("bin", b"")), "app", changes=["CMD /bin"])

    def replaced_before(image_id: str) -> list[int]:
        found = layers(image_id)
        replace()
        return found

    def replaced_after(*args: Any, **options: Any) -> Snapshot:
        made = prepare(*args, **options)
        replace()
        return made

    engine.images.import_(tar(("bin", b"")), "app", changes=["CMD /bin"])
    if when == "before":
        monkeypatch.setattr(engine.store.images, "layers", replaced_before)
    else:
        monkeypatch.setattr(engine.snapshots, "prepare", replaced_after)
    with pytest.raises(ImageNotFound, match="removed meanwhile"):
        engine.containers.create("app", pull="never")
    assert held(roots.data)["containers"] == held(roots.data)["tmp"] == []


def test_command_line(cli_busybox: Cli) -> None:
    cli = cli_busybox
    cli.ok("tag", "busybox", "two")
    cli.ok("create", "--name", "user", "busybox", "true")
    assert cli.ok("rmi", "two") == "Untagged: two:latest\n"
    done = cli("rmi", "busybox", "nothing")
    assert done.returncode == 1
    first, second = done.stderr.decode().splitlines()
    assert "unable to remove repository reference" in first
    assert "nothing" in second
    cli.ok("rm", "user")
    lines = cli.ok("rmi", "busybox").splitlines()
    assert [line.partition(":")[0] for line in lines] == ["Untagged", "Deleted", "Deleted"]
