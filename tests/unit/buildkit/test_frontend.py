"""Attributes of BuildKit's frontend as options of minidock's builder."""

from __future__ import annotations

import pytest

from minidock.build.options import FIXED_DATE
from minidock.errors import InvalidArgument, MinidockError, Unsupported
from minidock.server.buildkit import frontend
from minidock.server.buildkit import wire_pb2 as wire
from minidock.server.buildkit.jobs import result_of


def test_options() -> None:
    given = {
        "filename": "Dockerfile",
        "target": "t",
        "build-arg:A": "b",
        "build-arg:SOURCE_DATE_EPOCH": "1234",
        "label:l": "v",
        "platform": "linux/arm64",
        "no-cache": "one,two",
        "cgroup-parent": "/p",
        "force-network-mode": "none",
        "add-hosts": "a=1.2.3.4,b=::1",
        "shm-size": "1048576",
        "ulimit": "nofile=1:2,nproc=3:3",
        "image-resolve-mode": "pull",
        "hostname": "buildkitsandbox",
        "cache-imports": '[{"Type":"registry","Attrs":{"ref":"localhost:5000/c"}}]',
        "attest:provenance": "type=provenance,disabled=true",
        "frontend.caps": "moby.buildkit.frontend.contexts+forward",
        "vcs:source": "https://example.com/x.git",
        "local-sessionid:context": "abc",
    }
    made = frontend.options(given, [("inline", {})])
    assert (made.target, made.platform, made.network, made.pull) == ("t", "linux/arm64", "none", True)
    assert made.args == {"A": "b", "SOURCE_DATE_EPOCH": "1234"}
    assert made.epoch == 1234
    assert made.labels == {"l": "v"}
    assert not made.no_cache
    assert made.no_cache_filter == ("one", "two")
    assert made.run["extra_hosts"] == ["a=1.2.3.4", "b=::1"]
    assert made.run["ulimits"] == ["nofile=1:2", "nproc=3:3"]
    assert (made.run["shm_size"], made.run["cgroup_parent"]) == (1 << 20, "/p")
    assert [one.type for one in made.cache_from] == ["registry"]
    assert [one.type for one in made.cache_to] == ["inline"]
    plain = frontend.options({"no-cache": "", "image-resolve-mode": "local"}, [])
    assert plain.no_cache
    assert not plain.no_cache_filter
    assert not plain.pull
    assert plain.epoch == FIXED_DATE


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("attest:sbom", "", "attestation sbom"),
        ("platform", "linux/amd64,linux/arm64", "multi-platform"),
        ("shm-size", "-1", "no number"),
        ("hostname", "other", "hostname"),
        ("cache-imports", "{", "cache-imports"),
        ("cache-imports", '[{"Type":"gha"}]', "cache of type gha"),
        ("something", "", "unsupported option 'something'"),
        ("build-arg:SOURCE_DATE_EPOCH", "x", "SOURCE_DATE_EPOCH"),
    ],
)
def test_refused(key: str, value: str, error: str) -> None:
    with pytest.raises(MinidockError, match=error):
        frontend.options({key: value}, [])


def test_contexts() -> None:
    given = {"context:base": "input:0-base", "context:files": "local:files", "context": "https://example.com/x.tar"}
    assert frontend.contexts(given, {"0-base": "ref-1"}) == {"base": "result://ref-1", "files": "local:files"}
    with pytest.raises(InvalidArgument, match="no input"):
        frontend.contexts(given, {})


def test_definitions_of_others() -> None:
    op = wire.Op(source=wire.SourceOp(identifier="docker-image://x")).SerializeToString()
    with pytest.raises(Unsupported):
        result_of(wire.Definition(**{"def": [op]}))
