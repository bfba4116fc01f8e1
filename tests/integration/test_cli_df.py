"""`system df`: the figures are what walking the data root finds."""

from __future__ import annotations

import json
from pathlib import Path

import minidock
from tests.conftest import Cli, Roots
from tests.images import tar_of
from tests.registry import Registry, push_image, push_index
from tests.rootfs import busybox_tar


def walk(*folders: Path) -> int:
    """Bytes of all regular files, one with several names once."""
    sizes = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                status = path.stat()
                sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


def images_on_disk(roots: Roots) -> int:
    return walk(roots.data / "layers", roots.data / "content", roots.data / "downloads")


def test_equals_a_walk(engine: minidock.Engine, roots: Roots, registry: Registry) -> None:
    shared = tar_of(("shared", b"s" * 5000))
    push_image(registry, "app", "1", [shared, tar_of(("a", b"a" * 3000))])
    push_image(registry, "app", "2", [shared, tar_of(("b", b"b" * 2000))], compress="zstd")
    mine = push_image(registry, "many", "", [shared])
    other = push_image(registry, "many", "", [tar_of(("c", b"c" * 1000))], platform="linux/arm64/v8")
    push_index(registry, "many", "1", [(mine.manifest, "linux/amd64"), (other.manifest, "linux/arm64/v8")])
    for name in ("app:1", "app:2", "many:1"):
        engine.images.pull(f"{registry.host}/{name}")
    engine.images.pull(f"{registry.host}/many:1", platform="linux/arm64")
    engine.images.import_(busybox_tar(), "busybox", changes=["CMD sh"])
    (roots.data / "downloads" / ("0" * 64)).mkdir(parents=True)
    (roots.data / "downloads" / ("0" * 64) / "data").write_bytes(b"x" * 1234)
    made = engine.containers.create(
        "busybox", ["sh", "-c", "head -c 7000 /dev/zero >/one; head -c 300 /dev/zero >/two"]
    )
    made.start()
    made.wait()
    engine.containers.create(f"{registry.host}/app:1", ["x"])
    usage = engine.df()
    assert usage.layers_size == images_on_disk(roots)
    assert sum(it.size_rw for it in usage.containers if isinstance(it.size_rw, int)) == 7300
    assert walk(*(roots.data / "containers").glob("*/rw")) == 7300
    by_name = {name: image for image in usage.images for name in image.repo_tags}
    first = by_name[f"{registry.host}/app:1"]
    assert (first.containers, by_name["busybox:latest"].containers) == (1, 1)
    assert by_name[f"{registry.host}/app:2"].containers == 0
    # What is not shared is what the image's removal gives back.
    for config in (by_name[f"{registry.host}/app:2"].id, mine.config, other.config):
        (image,) = [it for it in engine.df().images if it.id == config]
        before = images_on_disk(roots)
        engine.images.remove(config, force=True)
        assert before - images_on_disk(roots) == image.size - image.shared_size
    assert engine.df().layers_size == images_on_disk(roots)
    for container in engine.containers.list(all=True):
        container.remove()
    pruned = engine.images.prune(all=True)
    assert pruned.space_reclaimed > 0
    assert engine.df().layers_size == images_on_disk(roots)


def test_nothing(engine: minidock.Engine, roots: Roots) -> None:
    usage = engine.df()
    assert [image.repo_tags for image in usage.images] == [["minidock/hello:latest"]]
    assert (usage.containers, usage.volumes, usage.build_cache) == ([], [], [])
    assert usage.layers_size == images_on_disk(roots)


def test_forms(cli_busybox: Cli) -> None:
    """Docker's tables; what active images have for themselves, and running containers, is not reclaimable."""
    cli = cli_busybox
    cli.ok("run", "--name", "one", "--network", "none", "busybox", "sh", "-c", "head -c 2000000 /dev/zero >/f")
    head, *rows = cli.ok("system", "df").splitlines()
    assert head.split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert rows[0].split()[:3] == ["Images", "2", "1"]
    assert rows[1].split() == ["Containers", "1", "0", "2MB", "2MB", "(100%)"]
    assert rows[2].split() == ["Local", "Volumes", "0", "0", "0B", "0B"]
    assert rows[3].split() == ["Build", "Cache", "0", "0", "0B", "0B"]
    kinds = [json.loads(line) for line in cli.ok("system", "df", "--format", "json").splitlines()]
    assert [kind["Type"] for kind in kinds] == ["Images", "Containers", "Local Volumes", "Build Cache"]
    assert kinds[1] == {
        "Type": "Containers",
        "TotalCount": "1",
        "Active": "0",
        "Size": "2MB",
        "Reclaimable": "2MB (100%)",
    }
    assert cli.ok("system", "df", "--format", "{{.Type}}").splitlines()[0] == "Images"
    verbose = cli.ok("system", "df", "-v").splitlines()
    assert verbose[0] == "Images space usage:"
    at = verbose.index("Containers space usage:")
    assert verbose[at + 2].split()[-2:] == ["STATUS", "NAMES"]
    assert verbose[at + 3].split()[-1] == "one"
    assert verbose[2].split()[-4:] == ["SIZE", "UNIQUE", "SIZE", "CONTAINERS"]
    assert "Build cache usage: 0B" in verbose
    whole = json.loads(cli.ok("system", "df", "-v", "--format", "json"))
    assert sorted(whole) == ["BuildCache", "Containers", "Images", "Volumes"]
    assert whole["Containers"][0]["Size"] == "2MB"
    assert {image["Repository"] for image in whole["Images"]} == {"busybox", "minidock/hello"}
    form = "{{range .Images}}{{.Repository}} {{.Containers}};{{end}}"
    assert "busybox 1;" in cli.ok("system", "df", "-v", "--format", form)
    bad = cli("system", "df", "--format", "{{.Nonsense}}")
    assert (bad.returncode, bad.stderr.count(b"\n")) == (1, 1)
    cli.ok("rm", "one")
