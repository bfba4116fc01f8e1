"""What users do to images in any order leaves a sound store after every step."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable

import pytest

import minidock
from minidock.errors import MinidockError
from minidock.store.cleaner import cleaner
from tests.conftest import Roots
from tests.oracle import assert_sound
from tests.pulls import layer, name, noise
from tests.registry import Registry, get_manifest, push_image, push_index

SOAK = os.environ.get("MINIDOCK_SOAK") == "1"
STEPS = 1500 if SOAK else 60


@pytest.mark.parametrize("seed", range(12 if SOAK else 3))
@pytest.mark.timeout(900 if SOAK else 300)
def test_any_order(roots: Roots, make_registry: Callable[..., Registry], seed: int) -> None:
    rng = random.Random(seed)
    one, two = make_registry(), make_registry()
    tars = [layer(n, 3000) for n in range(6)]
    for number in range(6):
        chosen = [rng.choice(tars) for _ in range(rng.randint(0, 4))]
        push_image(one, "team/app", f"t{number}", chosen, compress=rng.choice(["gzip", "zstd", "none"]))
    made = [
        push_image(one, "team/app", "", rng.sample(tars, 2), platform=platform)
        for platform in ("linux/amd64", "linux/arm64")
    ]
    push_index(one, "team/app", "multi", [(made[0].manifest, "linux/amd64"), (made[1].manifest, "linux/arm64")])
    tags = [f":t{number}" for number in range(6)] + [":multi"]
    names = [name(one, tag, "team/app") for tag in tags] + [
        "local:1",
        "local:2",
        name(two, ":a"),
        name(two, ":b", "x/y"),
    ]
    containers: list[minidock.Container] = []
    failures = 0
    if seed % 3 == 1:
        roots.config.write_text('{"bridge": "none", "storage-opts": ["keep-blobs=false"]}')
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
        images = engine.images
        images.list()

        def pull() -> None:
            images.pull(names[rng.randrange(7)], platform=rng.choice([None, None, "linux/arm64"]))

        def pull_digest() -> None:
            digest = get_manifest(one, "team/app", rng.choice(tags)[1:]).headers["docker-content-digest"]
            images.pull(name(one, f"@{digest}", "team/app"))

        def load() -> None:
            out = io.BytesIO()
            images.save(rng.sample(names, rng.randint(1, 2)), out)
            if rng.random() < 0.5:
                images.prune(all=True)
            images.load(out.getvalue())

        def create() -> None:
            containers.append(engine.containers.create(rng.choice(names), ["x"]))

        def uncreate() -> None:
            if containers:
                containers.pop(rng.randrange(len(containers))).remove(force=True)

        def remove_some() -> None:
            every = images.list()
            image = rng.choice(every)
            images.remove(rng.choice([image.id, *image.tags, *image.repo_digests]), force=rng.random() < 0.5)

        steps: list[Callable[[], object]] = [
            pull,
            pull,
            pull_digest,
            load,
            create,
            uncreate,
            remove_some,
            lambda: images.remove(rng.choice(names), force=rng.random() < 0.3),
            lambda: images.remove(rng.choice(names), platforms=["linux/arm64"]),
            lambda: images.tag(rng.choice(names), *rng.choice(names).rsplit(":", 1)),
            lambda: images.import_(tars[rng.randrange(6)], rng.choice(names[7:9])),
            lambda: images.import_(noise(rng.randrange(4), 10), "nonsense"),
            lambda: images.push(rng.choice(names[9:])),
            lambda: images.prune(all=rng.random() < 0.3),
            images.summaries,
        ]
        done: list[str] = []
        for _ in range(STEPS):
            step = rng.choice(steps)
            try:
                step()
            except MinidockError as error:
                failures += 1
                done.append(f"{getattr(step, '__name__', step)}: {error}")
            else:
                done.append(getattr(step, "__name__", str(step)))
            cleaner.flush()
            try:
                assert_sound(roots.data)
            except AssertionError as error:
                raise AssertionError(f"{error} after {done[-8:]}") from error
        for container in containers:
            container.remove(force=True)
        for image in images.list():
            if "minidock/hello:latest" not in image.tags:
                images.remove(image.id, force=True)
        assert len(images.list()) == 1
        assert len(engine.store.layers.all()) == 1
    assert failures < len(done)
    cleaner.flush()
    assert_sound(roots.data)
