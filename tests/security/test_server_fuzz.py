"""Every route of the API's own description with wrong methods, values and bodies: an answer with a status, and no harm.

No answer is a 500 but for the reasons that are listed, none shows a traceback, a refusal changes nothing that is kept,
and afterwards the server is as large as before.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest

from minidock.server import openapi, routes
from tests.conftest import Roots, wait_for
from tests.faults.lives import SOAK
from tests.serving import Served, UnixConnection, served

COUNT = int(os.environ.get("MINIDOCK_FUZZ", "30000" if SOAK else "1200"))
DEEP = 5000
TEXTS = [
    "", "x", "0", "1", "-1", "1.5", "1e9", "99999999999999999999999", "NaN", "true", "null", "[]", "{}", "é☃🐳", "\0",
    "\n", "a b", "../../etc/passwd", "/", "a" * 6000, "%", "[" * DEEP, '{"a":' * DEEP, '{"name": {"x": true}}',
    '{"label": ["a=b"], "nope": null}', '{"": [""]}', "[null]", '"', "container:x", "unix:///x", "-", "--", "\u202e",
]  # fmt: skip
LEAVES: list[Any] = [
    None, True, 0, 1, -1, 1.5, 1 << 31, 1 << 63, 1 << 70, "", "x", "\0", "a" * 6000, "é☃", "../..", [], {}, [None],
    {"": None}, [[]], [{}], {"x": {}}, ["x"], {"x": "y"}, [1], "1", "-1", "true",
]  # fmt: skip
RAW_BODIES = [
    b"", b"null", b"[]", b"{}", b"1", b'"x"', b"{", b"}", b"nonsense", b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"a": 1e999}',
    b"[" * DEEP, b'{"a":' * DEEP, b'{"a": 1, "a": 2, "A": 3}', b"\0" * 1024, b"\x1f\x8b" + b"\0" * 100,
    b'{"x": "\xff"}', b"x" * (1 << 20), b'{} {}', '{"Name": "\ud800"}'.encode("utf-8", "surrogatepass"), b"\xfd7zXZ\0",
    b"BZh9" + b"0" * 50,
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "CONNECT", "X" * 100]
IDS = ["made", "runs", "nope", "busybox", "none", "bridge", "x" * 300, "%00", "%2e%2e", "..", "a%2Fb", "é", "-", "."]
STRINGS = ["", "x", "a=b", "a:b", "/a", "/a:/b", "1", "80/tcp", "runs", "busybox", "none", "host", "default", "local"]
NUMBERS = [0, 1, 2, -1, 1000, 8 << 20, 1 << 33]
WAITS = ("-1", "1000", "1")
FOLLOWING = {"/events", "/containers/{id}/stats", "/containers/{id}/logs", "/containers/{id}/wait"}
UNTOUCHED = ("containers", "images", "tags", "volumes", "networks")
"""Tables that a refusal leaves as they are."""
MAY_FAIL = {
    ("POST", "/images/create"): "cannot be reached, or an archive is damaged",
    ("POST", "/images/load"): "an archive is damaged",
    ("POST", "/build"): "an archive is damaged",
    ("PUT", "/containers/{id}/archive"): "an archive is damaged",
    ("POST", "/images/{name}/push"): "cannot be reached",
    ("GET", "/images/search"): "cannot be reached",
    ("GET", "/distribution/{name}/json"): "cannot be reached",
    ("POST", "/auth"): "cannot be reached",
    ("POST", "/containers/{id}/unpause"): "as in Docker",
    ("POST", "/containers/{id}/start"): "the kernel refuses what nobody could know before",
    ("POST", "/containers/{id}/restart"): "the kernel refuses what nobody could know before",
    ("POST", "/containers/{id}/update"): "the kernel refuses what nobody could know before",
}
"""Where 500 is an answer."""


class Case:
    """One request."""

    def __init__(self, method: str, template: str, target: str, body: bytes | None, kind: str) -> None:
        self.method = method
        self.template = template
        self.target = target
        self.body = body
        self.kind = kind

    def __repr__(self) -> str:
        return f"{self.method} {self.target[:300]} {self.kind} {(self.body or b'')[:300]!r}"


class Generator:
    """Cases from the description, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.document: dict[str, Any] = json.loads(json.dumps(openapi.document()))
        self.operations = [
            (method.upper(), path, operation)
            for path, operations in self.document["paths"].items()
            for method, operation in operations.items()
        ]

    def cases(self, count: int) -> Iterator[Case]:
        """Operations in turn; those that are refused anyhow now and then."""
        absent = {(route.method, route.path.replace(":rest", "")) for route in routes.absent()}
        there = [one for one in self.operations if one[:2] not in absent]
        refused = [one for one in self.operations if one[:2] in absent]
        for number in range(count):
            of = refused if number % 12 == 11 else there
            yield self.case(*of[number % len(of)])

    def case(self, method: str, path: str, operation: dict[str, Any]) -> Case:
        rng, target, pairs = self.rng, path, []
        for one in operation["parameters"]:
            if one["in"] == "path":
                target = target.replace(f"{{{one['name']}}}", self.named(path))
            elif rng.random() < 0.3:
                values = STRINGS if rng.random() < 0.5 else TEXTS
                pairs += [(one["name"], rng.choice(values)) for _ in range(rng.choice((1, 1, 1, 2, 20)))]
                # Else these would be waited for.
                pairs = [(name, "0" if name == "t" and value in WAITS else value) for name, value in pairs]
        if rng.random() < 0.1:
            pairs += [(rng.choice(TEXTS), rng.choice(TEXTS)) for _ in range(rng.choice((1, 5, 1200)))]
        query = "&".join(f"{quote(name[:99])}={quote(value[:3000])}" for name, value in pairs)
        if rng.random() < 0.05:
            query += rng.choice(("&%FF=%FE", "&;&;", "&=&==", "?%", "&filters=%ff"))
        given = method if rng.random() < 0.9 else rng.choice(METHODS)
        version = rng.choice(("", "/v1.51", "/v1.24", "/v1.41"))
        if rng.random() < 0.03:
            version = rng.choice(("/v1.52", "/v0.1", "/v99999.1", "/v1"))
        body, kind = self.body(operation)
        return Case(given, path, f"{version}{target}?{query}"[:40_000], body, kind)

    def named(self, path: str) -> str:
        """A name or id for a path, of something that is there more often than not."""
        if self.rng.random() < 0.3:
            return quote(self.rng.choice(IDS), safe="%")
        if path.startswith("/exec"):
            return "EXEC"
        if path.startswith("/images"):
            return "busybox"
        if path.startswith("/networks"):
            return "none"
        return "kept" if path.startswith("/volumes") else self.rng.choice(("made", "runs"))

    def body(self, operation: dict[str, Any]) -> tuple[bytes | None, str]:
        content = operation.get("requestBody", {}).get("content", {})
        kind = next(iter(content), "application/json")
        if self.rng.random() < 0.1:
            kind = self.rng.choice(
                ("", "text/plain", "application/json; charset=latin-1", "application/x-tar", "é" * 9)
            )
        if not content and self.rng.random() < 0.8:
            return None, ""
        if self.rng.random() < 0.2 or "application/json" not in content:
            # Who sends much that nobody reads, and reads nothing meanwhile, waits for himself.
            return self.rng.choice([one for one in RAW_BODIES if content or len(one) < 1 << 16]), kind
        value = self.value(content["application/json"]["schema"], 0)
        if isinstance(value, dict) and self.rng.random() < 0.9:
            name = {"post_containers_create": "Image", "post_networks_id_connect": "Container",
                    "post_networks_create": "Name", "post_containers_id_exec": "Cmd"}  # fmt: skip
            if operation["operationId"] in name:
                value[name[operation["operationId"]]] = self.rng.choice(("busybox", "runs", ["true"], ["sleep", "9"]))
        return json.dumps(value).encode(), kind

    def value(self, schema: dict[str, Any], depth: int) -> Any:
        """A value of the schema, or one that is not."""
        rng = self.rng
        if depth and rng.random() < 0.04:
            return rng.choice(LEAVES)
        if "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if "anyOf" in schema:
            schema = rng.choice(schema["anyOf"])
            return self.value(schema, depth)
        kind = schema.get("type")
        if kind == "object" and "properties" in schema:
            names = [
                name
                for name in schema["properties"]
                if rng.random() < (0.06 if len(schema["properties"]) > 12 else 0.4)
            ]
            found = {name: self.value(schema["properties"][name], depth + 1) for name in names}
            if rng.random() < 0.1:
                found[rng.choice(TEXTS)[:100]] = rng.choice(LEAVES)
            return {name.lower() if rng.random() < 0.1 else name: value for name, value in found.items()}
        if kind == "object":
            inner = schema.get("additionalProperties")
            inner = inner if isinstance(inner, dict) else {}
            return {rng.choice(TEXTS)[:100]: self.value(inner, depth + 1) for _ in range(rng.randrange(3))}
        if kind == "array":
            return [self.value(schema.get("items") or {}, depth + 1) for _ in range(rng.randrange(3))]
        if kind == "string":
            return rng.choice(STRINGS)
        if kind == "integer":
            return rng.choice(NUMBERS)
        return rng.random() < 0.5 if kind == "boolean" else rng.choice(LEAVES)


class Client:
    """Sends cases on one connection as long as it lasts."""

    def __init__(self, server: Served) -> None:
        self.server = server
        self.connection: UnixConnection | None = None

    def send(self, case: Case) -> tuple[int, str, bytes]:
        """Status, content type and what there is of the body; followers are left after their first bytes."""
        if self.connection is None:
            self.connection = UnixConnection(self.server.path, timeout=20)
        connection, headers = self.connection, {}
        if case.kind:
            headers["Content-Type"] = case.kind.encode("utf-8").decode("latin-1")
        try:
            connection.request(case.method, case.target, body=case.body, headers=headers)
            found = connection.getresponse()
            streams = found.getheader("Transfer-Encoding") == "chunked" or found.getheader("Content-Length") is None
            follows = case.template in FOLLOWING or "attach" in case.template or case.template == "/exec/{id}/start"
            data = b"" if streams and follows else found.read()
            if (streams and follows) or found.will_close:
                self.close()
            return found.status, found.getheader("Content-Type", ""), data
        except (http.client.HTTPException, OSError):
            self.close()
            raise

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def kept(roots: Roots) -> dict[str, Any]:
    """What is kept of everything that users make."""
    with closing(sqlite3.connect(f"file:{roots.data}/minidock.db?mode=ro", uri=True)) as database:
        found: dict[str, Any] = {}
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table in UNTOUCHED:
                # Of containers, not how they are: they end by themselves.
                what = "id, name FROM containers" if table == "containers" else f"* FROM {table}"
                if table == "networks":  # Docker's own have a row when somebody looks for it
                    what += " WHERE name NOT IN ('bridge', 'host', 'none')"
                found[table] = sorted(map(repr, database.execute(f"SELECT {what}").fetchall()))
    for folder in ("containers", "volumes"):
        path = roots.data / folder
        found[f"{folder}/"] = sorted(one.name for one in path.iterdir()) if path.is_dir() else []
    return found


def complaint(case: Case, status: int, kind: str, data: bytes) -> str:
    """What is wrong with an answer; empty: nothing."""
    if status == 500:
        if (case.method, case.template) not in MAY_FAIL:
            return "a 500"
        if b"internal error" in data:
            return "an internal error"
    if status >= 400 and case.method != "HEAD":
        if kind.partition(";")[0] != "application/json":
            return f"a failure as {kind}"
        try:
            message = json.loads(data)["message"]
        except (ValueError, KeyError, TypeError):
            return "no message"
        if not message or len(message) > 5000:
            return "a message that is none"
    if b"Traceback" in data:
        return "a traceback"
    return "" if status in (101, 200, 201, 204, 304, 400, 403, 404, 405, 408, 409, 413, 500, 501, 503) else "a status"


@pytest.mark.timeout(3000 if SOAK else 300)
def test_every_route_with_nonsense(roots: Roots, busybox: str) -> None:
    del busybox
    generator = Generator(int(os.environ.get("MINIDOCK_SEED", "2026")))
    body = {"Image": "busybox", "Cmd": ["sleep", "10000"], "StopTimeout": 0, "HostConfig": {"NetworkMode": "none"}}

    def prepare(server: Served) -> str:
        for name in ("made", "runs"):
            server("POST", f"/containers/create?name={name}", body)
        server("POST", "/containers/runs/unpause")
        server("POST", "/containers/runs/start")
        if server("GET", "/images/busybox/json").status != 200:
            server("POST", "/commit?container=runs&repo=busybox&pause=0")
        server("POST", "/volumes/create", {"Name": "kept"})
        made = server("POST", "/containers/runs/exec", {"Cmd": ["true"], "AttachStdout": True})
        return str(made.json.get("Id", "none"))

    def clear(server: Served) -> None:
        for one in server("GET", "/containers/json?all=1").json:
            if one["Names"][0] not in ("/made", "/runs"):
                server("DELETE", f"/containers/{one['Id']}?force=1&v=1")

    with served(roots) as server:
        client, found, before, sizes, exec_id = Client(server), [], None, [], ""
        seen: Counter[int] = Counter()
        for number, case in enumerate(generator.cases(COUNT)):
            if number % 40 == 0:
                clear(server)
                exec_id = prepare(server)
                before = None
            case.target = case.target.replace("EXEC", exec_id)
            if number in (COUNT // 3, COUNT - 1):
                client.close()
                wait_for(lambda: server.threads() <= 6, 60, "threads")
                sizes.append((server.resident(), server.descriptors()))
            if before is None:
                before = kept(roots)
            try:
                status, kind, data = client.send(case)
            except (http.client.HTTPException, OSError) as error:
                found.append(f"{case!r}: {error!r}")
                before = None
                continue
            seen[status] += 1
            wrong = complaint(case, status, kind, data)
            if wrong:
                found.append(f"{case!r}: {wrong}: {status} {data[:300]!r}")
            if 400 <= status < 500 and not case.template.endswith(("/start", "/restart", "/build")):
                now = kept(roots)
                if now != before:
                    changed = [name for name in now if now[name] != before[name]]
                    found.append(f"{case!r}: {status} and {changed} changed")
                before = now
            else:
                before = None
            assert server.process.poll() is None, f"{case!r} has ended the server"
        client.close()
        assert server("GET", "/_ping").status == 200
        assert all(seen[status] >= max(1, COUNT // 600) for status in (200, 201, 204, 400, 404)), seen
        assert not found, "\n".join(["", *found[:40], f"{len(found)} in all"])
        assert "Traceback" not in server.log.read_text()
        (size, descriptors), (last, last_descriptors) = sizes
        assert last < size + (24 << 20), f"{size >> 10} KiB, then {last >> 10}"
        assert last_descriptors <= descriptors + 8
        for one in server("GET", "/containers/json?all=1").json:
            server("DELETE", f"/containers/{one['Id']}?force=1&v=1")


def test_the_document_is_served(roots: Roots) -> None:
    with served(roots) as server:
        for target in ("/openapi.json", "/v1.51/openapi.json"):
            found = server("GET", target)
            assert found.json == json.loads(json.dumps(openapi.document()))
        assert server("POST", "/openapi.json").status == 404
        paths = {path for route in routes.table() for path in [route.path.replace(":rest", "")]}
        assert paths <= found.json["paths"].keys()
