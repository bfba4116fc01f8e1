"""Builds by the classic route with progress in BuildKit's messages, and their end by id."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

from tests.faults.server_streams import tar
from tests.serving import Served


def test_buildkit_s_messages(server: Served) -> None:
    """``version=2`` without a session: the same build, told of as by BuildKit."""
    from minidock.server.buildkit import wire_pb2 as wire

    def build(dockerfile: bytes, query: str = "") -> tuple[list[wire.StatusResponse], list[Any]]:
        target = f"/build?version=2&networkmode=none{query}"
        found = server("POST", target, tar(Dockerfile=dockerfile), {"Content-Type": "application/x-tar"})
        assert found.status == 200, found
        traces, others = [], []
        for line in map(json.loads, found.data.splitlines()):
            if line.get("id") == "moby.buildkit.trace":
                traces.append(wire.StatusResponse.FromString(base64.b64decode(line["aux"])))
            else:
                others.append(line)
        return traces, others

    traces, others = build(b"FROM busybox\nRUN echo written\n", "&t=traced")
    image = server("GET", "/images/traced/json").json
    assert others == [{"id": "moby.image.id", "aux": {"ID": image["Id"]}}]
    assert b"written\n" in b"".join(log.msg for trace in traces for log in trace.logs)
    names = {vertex.name for trace in traces for vertex in trace.vertexes if vertex.HasField("completed")}
    assert "[2/2] RUN echo written" in names
    _, others = build(b"FROM busybox\nRUN false\n")
    words = 'process "/bin/sh -c false" did not complete successfully: exit code: 1'
    assert others == [{"errorDetail": {"message": words}, "error": words}]
    for query in ("session=x", "version=2&session=x&remote=client-session", 'version=2&outputs=[{"Type":"tar"}]'):
        assert server("POST", f"/build?{quote(query, safe='=&')}", b"").status == 501


def test_builds_that_are_cancelled(server: Served) -> None:
    """By their id, from another connection."""
    context = tar(Dockerfile=b"FROM busybox\nRUN echo begun; sleep 100\n")
    head = f"Content-Type: application/x-tar\r\nContent-Length: {len(context)}\r\n"
    with server.socket(30) as sock:
        sock.sendall(f"POST /build?version=2&networkmode=none&buildid=one HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        sock.sendall(context)
        found = b""
        while b"moby.buildkit.trace" not in found:
            found += sock.recv(65536)
        assert server("POST", "/build/cancel?id=other").status == 200
        assert server("POST", "/build/cancel?id=one").status == 200
        while b"\r\n0\r\n\r\n" not in found:
            data = sock.recv(65536)
            assert data
            found += data
    assert b"context canceled" in found
    assert server("GET", "/containers/json?all=1").json == []
