"""``build``: caches that go from one machine to another, builds that are done twice, and what the cache takes."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

import minidock
from minidock.build import events
from minidock.build.verifying import NotReproducible
from minidock.errors import Corrupt, InvalidArgument, MinidockError, RegistryError
from tests.conftest import Cli, roots_of_their_own
from tests.integration.building import DATE, build, context, out, steps
from tests.registry import OCI_MANIFEST
from tests.rootfs import busybox_tar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.registry import Registry


@pytest.fixture
def other() -> Iterator[minidock.Engine]:
    """An engine of another machine: it shares nothing with the test's, but has ``busybox``."""
    with (
        roots_of_their_own({"bridge": "none"}) as roots,
        minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine,
    ):
        engine.images.import_(str(busybox_tar()), repository="busybox", changes=['CMD ["sh"]'])
        yield engine


def seen_in(engine: minidock.Engine, directory: Path, dockerfile: str, **options: Any) -> tuple[list[str], list[bool]]:
    """Build; returns the image's layers, and which steps came from the cache."""
    seen: list[events.Event] = []
    image = build(engine, directory, dockerfile, progress=seen.append, **options)
    return image.config.rootfs.diff_ids, list(steps(seen).values())


STAGES = """FROM busybox AS one
RUN cat /proc/sys/kernel/random/uuid > /u
FROM busybox
COPY --from=one /u /v
COPY f /
RUN cat /proc/sys/kernel/random/uuid > /w
"""


def test_a_cache_in_a_registry(
    engine: minidock.Engine, other: minidock.Engine, busybox: str, registry: Registry, tmp_path: Path
) -> None:
    """Another machine takes all steps of ``mode=max``, and of ``min`` those of the target; what is there stays."""
    context(tmp_path, {"f": "f"})
    where = f"{registry.host}/team/app:cache"
    first, _ = seen_in(engine, tmp_path, STAGES, cache_to=[f"type=registry,ref={where},mode=max"], cache_from=[where])
    assert seen_in(other, tmp_path, STAGES, cache_from=[f"type=registry,ref={where}"], tags="made") == (
        first,
        [True] * 4,
    )
    # Nothing that the registry has goes there again but the small documents.
    registry.forget()
    build(engine, tmp_path, STAGES, cache_to=[f"type=registry,ref={where},mode=max"])
    assert not registry.requests("POST")
    # Only what the target consists of; the other stage's step has to be done anew, and its file differs then.
    build(engine, tmp_path, STAGES, cache_to=[f"type=registry,ref={where},compression=gzip"])
    other.images.remove("made")
    other.builder.prune(all=True)
    again, cached = seen_in(other, tmp_path, STAGES, cache_from=[where])
    assert cached[0] is False
    assert again != first


def test_a_cache_that_is_not_to_be_had(
    engine: minidock.Engine, busybox: str, registry: Registry, tmp_path: Path
) -> None:
    """Reading: the build goes on without it. Writing is an error, unless that is ignored."""
    dockerfile = "FROM busybox\nRUN true\n"
    nowhere = "127.0.0.1:1/team/app"
    seen: list[events.Event] = []
    build(
        engine,
        tmp_path,
        dockerfile,
        cache_from=[f"{registry.host}/team/none", nowhere],
        cache_to=[f"type=registry,ref={nowhere},ignore-error=true"],
        progress=seen.append,
    )
    failed = [event.step.name for event in seen if isinstance(event, events.Finished) and event.error]
    assert failed == [
        f"importing cache manifest from {registry.host}/team/none:latest",
        f"importing cache manifest from {nowhere}:latest",
        f"exporting cache to {nowhere}:latest",
    ]
    with pytest.raises(RegistryError):
        build(engine, tmp_path, dockerfile, cache_to=[f"type=registry,ref={nowhere}"])


def test_a_cache_in_a_registry_that_is_damaged(
    engine: minidock.Engine, other: minidock.Engine, busybox: str, registry: Registry, tmp_path: Path
) -> None:
    """Other bytes than a digest says are an error; what is lost is made anew."""
    dockerfile = (
        "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /u\nRUN --mount=type=cache,target=/c echo 1 > /c/n\n"
    )
    where = f"type=registry,ref={registry.host}/team/app,mounts=true"
    build(engine, tmp_path, dockerfile, cache_to=[where])
    manifest = json.loads(
        registry.request("GET", "/v2/team/app/manifests/latest", headers={"Accept": OCI_MANIFEST}).body
    )
    assert manifest["config"]["mediaType"] == "application/vnd.minidock.buildcache.v1+json"
    [lost, *_, mount] = [blob_in(registry, layer["digest"]) for layer in manifest["layers"]]
    whole = lost.read_bytes()
    lost.write_bytes(whole[:-4] + b"oops")
    with pytest.raises(minidock.MinidockError, match=r"cache 127\.0\.0\.1"):
        build(other, tmp_path, dockerfile, cache_from=[where])
    lost.unlink()
    mount.unlink()
    other.builder.prune(all=True)
    assert seen_in(other, tmp_path, dockerfile, cache_from=[where])[1] == [False, False]
    assert build(other, tmp_path, "FROM busybox\nRUN --mount=type=cache,target=/c cat /c/n\n", cache_from=[where])


def blob_in(registry: Registry, digest: str) -> Path:
    """The file that a registry has a blob in."""
    found = list(registry.folder.rglob(f"blobs/sha256/{digest[7:9]}/{digest[7:]}/data"))
    assert len(found) == 1
    return found[0]


def test_a_cache_inside_of_an_image(
    engine: minidock.Engine, other: minidock.Engine, busybox: str, registry: Registry, tmp_path: Path
) -> None:
    """``type=inline``: whoever can have the image has its steps, here or from the registry."""
    dockerfile = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /u\nRUN cp /u /v\n"
    name = f"{registry.host}/team/app:1"
    plain = build(engine, tmp_path, dockerfile)
    image = build(engine, tmp_path, dockerfile, tags=name, cache_to=["type=inline"])
    assert image.id != plain.id
    assert image.config.rootfs == plain.config.rootfs
    layers = image.config.rootfs.diff_ids
    assert len(image.config.build_cache) == 2
    engine.images.push(name)
    options: dict[str, Any] = {"tags": "same:1", "cache_to": ["type=inline"]}
    assert seen_in(other, tmp_path, dockerfile, cache_from=[name], **options) == (layers, [True, True])
    # As with Docker an image of this host does as well.
    other.builder.prune(all=True)
    assert seen_in(other, tmp_path, dockerfile, cache_from=["same:1"], **options) == (layers, [True, True])
    child = build(engine, tmp_path, f"FROM {name}\nENV A=1\n")
    assert child.config.build_cache == {}


MOUNTED = r"""FROM busybox
RUN --mount=type=cache,target=/c,mode=0711,uid=5 cat /proc/sys/kernel/random/uuid > /c/kept; \
    ln /c/kept /c/same; mkdir /c/.d; echo > "/c/ü x"
RUN --mount=type=cache,target=/l,id=other,sharing=locked echo 1 >> /l/lines
"""
SHOWN = """FROM busybox
RUN --mount=type=cache,target=/c cat /c/kept > /kept; stat -c '%a %u %h' /c /c/same >> /kept; cd /c; echo .d* * >> /kept
RUN --mount=type=cache,target=/l,id=other,sharing=locked echo 2 >> /l/lines; cat /l/lines >> /kept
"""


@pytest.mark.parametrize("kind", ["local", "registry"])
def test_cache_mounts_go_with_the_cache(
    engine: minidock.Engine, other: minidock.Engine, kind: str, busybox: str, tmp_path: Path, request: Any
) -> None:
    """Their files come to a machine that has not these mounts; one that has keeps its own."""
    if kind == "local":
        to, source = f"type=local,dest={tmp_path}/cache,mounts=true", f"type=local,src={tmp_path}/cache"
    else:
        source = f"{request.getfixturevalue('registry').host}/cache"
        to, source = f"type=registry,ref={source},mounts=true", f"type=registry,ref={source}"
    build(engine, tmp_path, MOUNTED, cache_to=[to])
    # A machine whose steps all come from the cache, and that has none of the mounts, hands them on.
    build(other, tmp_path, MOUNTED, cache_from=[f"{source},mounts=false"], cache_to=[to])
    image = build(other, tmp_path, SHOWN, cache_from=[source])
    kept = out(engine, build(engine, tmp_path, SHOWN), "cat /kept")
    assert kept.splitlines()[1:] == ["711 5 3", "644 0 2", ".d kept same ü x", "1", "2"]
    assert out(other, image, "cat /kept") == kept
    # What is here already counts more than what the cache has.
    again = build(other, tmp_path, SHOWN, cache_from=[source], no_cache=True)
    assert out(other, again, "tail -n 2 /kept") == "2\n2\n"


def test_a_damaged_mount_is_an_error(
    engine: minidock.Engine, other: minidock.Engine, busybox: str, tmp_path: Path
) -> None:
    build(engine, tmp_path, MOUNTED, cache_to=[f"type=local,dest={tmp_path}/cache,mounts=true"])
    index = json.loads((tmp_path / "cache/cache.json").read_bytes())
    for kept in index["mounts"].values():
        path = tmp_path / "cache/blobs" / kept["digest"].replace(":", "/")
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(minidock.MinidockError, match="mount /c: its content is"):
        build(other, tmp_path, SHOWN, cache_from=[f"type=local,src={tmp_path}/cache"])
    assert build(other, tmp_path, SHOWN.replace("cat /c/kept > /kept; ", "").replace("/c/same ", ""))
    index["steps"] = {"a": {"kind": "", "description": "", "diff_id": "../../x", "digest": "../x", "size": 1}}
    (tmp_path / "cache/cache.json").write_text(json.dumps(index))
    with pytest.raises(Corrupt, match="no digest"):
        build(other, tmp_path, SHOWN, cache_from=[f"type=local,src={tmp_path}/cache"])


def test_verify(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """What comes out the same is made and named; else the first file that differs is, and nothing is made."""
    context(tmp_path, {"f": "f"})
    good = (
        "FROM busybox AS one\nRUN --mount=type=cache,target=/c touch /c/n; ls /c > /a; date > /tmp/x; rm /tmp/x\n"
        "FROM busybox\nCOPY f /\nCOPY --from=one /a /a\nENV A=1\n"
    )
    image = build(engine, tmp_path, good, verify=True, tags="good")
    assert image.tags == ["good:latest"]
    before = len(engine.builder.entries())
    assert build(engine, tmp_path, good, verify=True).id == image.id
    assert len(engine.builder.entries()) == before
    bad = "FROM busybox\nRUN echo same > /a\nRUN mkdir /d; cat /proc/sys/kernel/random/uuid > /d/u; echo > /d/z\n"
    with pytest.raises(NotReproducible) as caught:
        build(engine, tmp_path, bad, verify=True, tags="bad")
    assert (caught.value.path, caught.value.how) == ("/d/u", caught.value.how)
    assert caught.value.step.startswith("[3/3] RUN mkdir /d")
    assert "its content, from byte" in str(caught.value)
    assert engine.images.find("bad") is None
    # What a cache mount holds makes a difference that only the second build shows.
    build(engine, tmp_path, "FROM busybox\nRUN --mount=type=cache,target=/c echo >> /c/lines\n")
    with pytest.raises(NotReproducible, match="/lines"):
        build(engine, tmp_path, "FROM busybox\nRUN --mount=type=cache,target=/c cp /c/* / || true\n", verify=True)
    assert engine.containers.list(all=True) == []


def test_the_commands(cli_busybox: Cli, tmp_path: Path) -> None:
    """``build --verify`` ends with 1; ``builder du --format`` as Docker has it, and limits of ``builder prune``."""
    cli = cli_busybox
    context(tmp_path, {"Dockerfile": "FROM busybox\nRUN --network=none cat /proc/sys/kernel/random/uuid > /n\n"})
    failed = cli("build", "--verify", "-q", str(tmp_path))
    assert failed.returncode == 1
    assert (
        b"verify: the second build differs: [2/2] RUN --network=none cat /proc/sys/kernel/random/uuid > /n: /n: "
        in failed.stderr
    )
    context(
        tmp_path,
        {"Dockerfile": "FROM busybox\nRUN --network=none --mount=type=cache,target=/c echo 1 > /c/n; : > /n\n"},
    )
    image = cli.ok("build", "--verify", "-q", str(tmp_path)).strip()
    first, *rest = [json.loads(text) for text in cli.ok("builder", "du", "--format", "json").splitlines()]
    assert len(rest) == 2
    assert set(first) == {
        "CreatedAt", "Description", "ID", "LastUsedAt", "Mutable", "Parents", "Reclaimable", "Shared", "Size", "Type",
        "UsageCount",
    }  # fmt: skip
    shown = cli.ok("builder", "du", "--format", "{{.Type}} {{.Mutable}} {{.Shared}} {{.Size}}", "--filter", "shared=1")
    assert re.fullmatch(r"regular false true [0-9]+B\n", shown)
    assert cli.ok("builder", "du", "--format", "table {{.ID}} {{.Size}}", "--filter", "type=exec.cachemount").split()[
        ::2
    ] == ["ID", next(one["ID"] for one in (first, *rest) if one["Mutable"]) + "*"]
    table = cli.ok("builder", "du")
    assert table.split("\n")[0].split() == ["ID", "RECLAIMABLE", "SIZE", "LAST", "ACCESSED"]
    assert "true" in table
    assert "B* " in table
    assert "Total:" in table
    assert "Total:" not in cli.ok("builder", "du", "--filter", "type=regular")
    assert "Created at:" in cli.ok("builder", "du", "--format", "pretty")
    refused = cli("builder", "du", "--format", "json", "--verbose")
    assert b"--format and --verbose cannot be used together" in refused.stderr
    assert cli.ok("builder", "prune", "-af", "--min-free-space", "1") == "Total:\t0B\n"
    assert cli.ok("builder", "prune", "-af", "--min-free-space", "1pb", "--reserved-space", "1gb") == "Total:\t0B\n"
    assert cli.ok("builder", "prune", "-af", "--max-used-space", "1gb") == "Total:\t0B\n"
    assert len(cli.ok("builder", "prune", "-af", "--min-free-space", "1000pb").splitlines()) == 5
    assert cli.ok("images", "-q", "--no-trunc").split()[0] in (image, *cli.ok("images", "-aq", "--no-trunc").split())


def test_words(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """What cannot be is refused before anything is built."""
    assert os.listdir(tmp_path) == []
    for text in ("type=inline,mode=max", "type=gha", "type=registry,ref=a@sha256:" + "0" * 64):
        with pytest.raises(minidock.MinidockError):
            build(engine, tmp_path, "FROM busybox\n", cache_to=[text])
    with pytest.raises(InvalidArgument, match="ref is required"):
        build(engine, tmp_path, "FROM busybox\n", cache_from=["type=registry"])


def test_cache_mounts_that_wait_for_nothing_of_their_own(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """One cache twice in a RUN, locked; and one that begins with a stage that uses it, which is another one."""
    mount = "--mount=type=cache,id=a,sharing=locked"
    text = f"""FROM {busybox} AS one
RUN sleep 0.3; mkdir /d; echo d > /d/f
RUN {mount},target=/x {mount},target=/y touch /x/g; test -e /y/g
FROM {busybox}
RUN {mount},target=/x,from=one,source=/d ls /x > /names
"""
    assert out(engine, build(engine, tmp_path, text), "cat /names") == "f\n"


def test_a_cache_mount_that_cannot_be_made(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Nothing is left of it, and nothing of one whose build was killed."""
    text = f"FROM {busybox}\nRUN --mount=type=cache,id=a,target=/x,from={busybox},source=/SOURCE ls /x > /names\n"
    with pytest.raises(MinidockError, match="no directory /none in"):
        build(engine, tmp_path, text.replace("SOURCE", "none"))
    top = f"{engine.store.paths.data}/build/mounts"
    directory = f"{top}/{os.listdir(top)[0]}"
    assert os.listdir(directory) == []
    os.makedirs(f"{directory}/data-0.new/d")
    build(engine, tmp_path, text.replace("SOURCE", "bin"))
    assert os.listdir(directory) == ["data"]


def both(engine: minidock.Engine, directory: Path, dockerfile: str, **options: Any) -> list[str]:
    """What a build has in ``/o`` with the first and with the second value of each option."""
    made = []
    for index in range(2):
        given = {name: values[index] for name, values in options.items()}
        made.append(out(engine, build(engine, directory, dockerfile, **given), "cat /o"))
    return made


def test_what_a_command_sees_is_in_the_key(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """Proxies that the Dockerfile names, limits, owners in binds; proxies that it does not name are in none."""
    for proxy in ("http://a", "http://b"):
        image = build(engine, tmp_path, f"FROM {busybox}\nENV http_proxy={proxy}\nRUN echo $http_proxy > /o\n")
        assert out(engine, image, "cat /o") == f"{proxy}\n"
    proxies = [{"HTTP_PROXY": "http://a"}, {"HTTP_PROXY": "http://b"}]
    text = f"FROM {busybox}\nRUN echo $HTTP_PROXY > /o\n"
    assert both(engine, tmp_path, text, args=proxies) == ["http://a\n"] * 2
    text = f"FROM {busybox}\nARG HTTP_PROXY\nRUN echo $HTTP_PROXY > /o\n"
    assert both(engine, tmp_path, text, args=proxies) == ["http://a\n", "http://b\n"]
    text = f"FROM {busybox}\nRUN ulimit -n > /o; df -k /dev/shm | awk 'NR == 2 {{print $2}}' >> /o\n"
    limits = {"ulimits": [["nofile=500"], ["nofile=500"]], "shm_size": ["1m", "2m"]}
    assert both(engine, tmp_path, text, **limits) == ["500\n1024\n", "500\n2048\n"]
    assert both(engine, tmp_path, text, ulimits=[["nofile=600"], ["nofile=700"]], shm_size=["1m"] * 2) == [
        "600\n1024\n",
        "700\n1024\n",
    ]
    context(tmp_path, {"f": "f"})
    text = f"FROM {busybox}\nRUN --mount=target=/c stat -c %u /c/f > /o\n"
    for owner in (0, 5):
        os.chown(tmp_path / "f", owner, owner)
        assert out(engine, build(engine, tmp_path, text), "cat /o") == f"{owner}\n"


def test_parents_are_in_the_key(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """``COPY --parents`` makes directories like those above a file: their modes, times and owners are in the key."""
    context(tmp_path, {"a/f": "f"})
    text = f"FROM {busybox} AS s\nRUN mkdir /p; echo > /p/f; chown OWNER /p\nFROM {busybox}\n"
    text += "COPY --parents a/f /\nCOPY --from=s --parents /p/f /\nRUN stat -c '%a %u' /a /p > /o\n"
    for mode, owner in ((0o755, 0), (0o700, 0), (0o700, 5)):
        (tmp_path / "a").chmod(mode)
        image = build(engine, tmp_path, text.replace("OWNER", str(owner)))
        assert out(engine, image, "cat /o") == f"{mode:o} 0\n755 {owner}\n"
    for time in (DATE, DATE + 1):
        os.utime(tmp_path / "a", (time, time))
        image = build(engine, tmp_path, f"FROM {busybox}\nCOPY --parents a/f /\n", timestamps="keep")
        assert out(engine, image, "stat -c %Y /a") == f"{time}\n"


def test_a_cache_mount_that_begins_with_other_files_is_another_one(
    engine: minidock.Engine, busybox: str, tmp_path: Path
) -> None:
    """As with Docker: a stage or a named context that comes out anew is seen, and what it was before is kept, too."""
    mount = "--mount=type=cache,id=a,target=/c,from"
    files = tmp_path / "files"
    for value in ("1", "2", "1"):
        context(files, {"x": value})
        text = f"""FROM {busybox} AS base
COPY x /d/x
FROM {busybox}
RUN {mount}=base,source=/d {mount.replace("/c", "/n")}=named sh -c 'cat /c/x /n/x > /o; ls /c | wc -l >> /o; touch /c/y'
"""
        image = build(engine, files, text, contexts={"named": str(files)})
        assert out(engine, image, "cat /o") == f"{value}{value}1\n"
