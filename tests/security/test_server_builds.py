"""Rows of SECURITY.md section 3 about requests of BuildKit's API, with fields that are missing, empty or wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from minidock.server.buildkit import wire_pb2 as wire
from tests.conftest import Roots
from tests.integration.test_server_buildkit import Client, files
from tests.serving import Served, served

CONTROL, BRIDGE = "/moby.buildkit.v1.Control", "/moby.buildkit.v1.frontend.LLBBridge"
NONE = wire.Definition()
GARBAGE = wire.Definition(**{"def": [b"\xff\xff\xff\xff"]})
EMPTY = wire.Definition(**{"def": [b"", wire.Op(inputs=[wire.Input()]).SerializeToString()]})
ENTRY = wire.CacheOptionsEntry()
IMAGE = wire.Exporter(type="moby", attrs={"name": "made"})
REQUESTS: list[dict[str, Any]] = [
    {},
    {"frontend": "\0"},
    {"frontend": "gateway.v0"},
    {"definition": GARBAGE},
    {"definition": EMPTY},
    {"frontend_inputs": {"": NONE}},
    {"frontend_inputs": {"x": GARBAGE}},
    {"frontend_inputs": {"x": EMPTY}},
    {"source_policy": wire.SourcePolicy(rules=[wire.Empty()])},
    {"cache": wire.CacheOptions(exports=[ENTRY])},
    {"cache": wire.CacheOptions(exports=[wire.CacheOptionsEntry(type="registry")])},
    {"cache": wire.CacheOptions(exports=[wire.CacheOptionsEntry(type="local", attrs={"dest": "/"})])},
    {"exporters": [wire.Exporter()]},
    {"exporters": [wire.Exporter(type="\0" * 5000)]},
    {"exporters": [wire.Exporter(type="moby", attrs={"name": "../../UPPER\0"})]},
    {"exporters": [wire.Exporter(type="local"), wire.Exporter(type="nope")]},
    {"exporter": "nope", "exporter_attrs": {"": ""}},
]
ATTRIBUTES: list[dict[str, str]] = [
    {"": ""},
    {"cache-imports": ""},
    {"cache-imports": "null"},
    {"cache-imports": "[null]"},
    {"cache-imports": "[{}]"},
    {"cache-imports": '[{"Type": null, "Attrs": null}]'},
    {"cache-imports": '[{"Type": "registry", "Attrs": {"ref": "\\u0000"}}]'},
    {"cache-imports": '[{"Type": "local", "Attrs": {"src": "/"}}]'},
    {"cache-imports": "[" * 5000},
    {"context:": ""},
    {"context:a": ""},
    {"context:a": "input:"},
    {"context:a": "input:\0"},
    {"attest:sbom": ""},
    {"platform": "\0"},
    {"platform": "a/b/c/d/e"},
    {"force-network-mode": ""},
    {"shm-size": ""},
    {"shm-size": "-1"},
    {"build-arg:SOURCE_DATE_EPOCH": "-1"},
    {"hostname": "\n"},
    {"target": "x" * 6000},
    {"filename": "../../../../../../etc/passwd"},
    {"requestid": "nope"},
    {"requestid": "frontend.subrequests.\0"},
]
RETURNS = [
    wire.ReturnRequest(),
    wire.ReturnRequest(error=wire.Status()),
    wire.ReturnRequest(error=wire.Status(code=-1, message="\0")),
    wire.ReturnRequest(result=wire.Result()),
    wire.ReturnRequest(result=wire.Result(ref=wire.Ref())),
    wire.ReturnRequest(result=wire.Result(ref=wire.Ref(id="nope"))),
    wire.ReturnRequest(result=wire.Result(refs=wire.RefMap(refs={"": wire.Ref(), "x": wire.Ref(id="\0")}))),
    wire.ReturnRequest(result=wire.Result(metadata={"refs.platforms": b"null", "containerimage.config": b"null"})),
]


@pytest.fixture
def server(roots: Roots) -> Iterator[Served]:
    with served(roots) as found:
        yield found
        assert found.process.poll() is None
        log = found.log.read_text()
        assert "Traceback" not in log, log


@pytest.fixture
def make(server: Served, tmp_path: Path) -> Iterator[Callable[[bytes], Client]]:
    made: list[Client] = []

    def client(dockerfile: bytes) -> Client:
        directory = tmp_path / f"client{len(made)}"
        directory.mkdir()
        made.append(Client(server, directory, {"dockerfile": files({"Dockerfile": dockerfile}), "context": files({})}))
        return made[-1]

    yield client
    for one in made:
        one.close()


def refused(client: Client, request: wire.ControlSolveRequest, what: object) -> None:
    with pytest.raises(grpc.RpcError) as error:
        client.call(f"{CONTROL}/Solve", request, wire.ControlSolveResponse)
    assert len(error.value.details() or "") < 8000, what
    assert error.value.code() not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE), what


def test_cve_2024_23650_missing_and_empty_fields(make: Callable[[bytes], Client], server: Served) -> None:
    before = server("GET", "/images/json").json
    client = make(b"FROM scratch\nENV A=b\n")
    refused(client, wire.ControlSolveRequest(session=client.uuid, frontend="dockerfile.v0"), "no name")
    for number, fields in enumerate(REQUESTS[1:]):
        given = {"ref": f"r{number}", "session": client.uuid, "frontend": "dockerfile.v0", **fields}
        refused(client, wire.ControlSolveRequest(**given), fields)
    for number, attributes in enumerate(ATTRIBUTES):
        given = {"ref": f"a{number}", "session": client.uuid, "frontend": "dockerfile.v0", "frontend_attrs": attributes}
        refused(client, wire.ControlSolveRequest(**given), attributes)
    for number, returned in enumerate(RETURNS):
        request = wire.ControlSolveRequest(ref=f"b{number}", session=client.uuid, exporters=[IMAGE])
        with ThreadPoolExecutor(1) as pool:
            solving = pool.submit(refused, client, request, returned)
            client.call(f"{BRIDGE}/Return", returned, wire.Empty, f"b{number}")
            solving.result(60)
    assert server("GET", "/images/json").json == before
    assert client.solve("after")["containerimage.config.digest"]


def test_cve_2024_23653_no_request_makes_a_step_privileged(make: Callable[[bytes], Client]) -> None:
    client = make(b'# syntax=docker/dockerfile:1-labs\nFROM scratch\nRUN --security=insecure ["/x"]\n')
    for ref, more in (("plain", {}), ("granted", {"entitlements": ["security.insecure", "network.host", ""]})):
        request = wire.ControlSolveRequest(ref=ref, session=client.uuid, frontend="dockerfile.v0", **more)
        with pytest.raises(grpc.RpcError, match=r"insecure"):
            client.call(f"{CONTROL}/Solve", request, wire.ControlSolveResponse)
