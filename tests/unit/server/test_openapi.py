"""The description of the API is valid, and knows every route, and what its handler reads."""

from __future__ import annotations

import ast
import importlib
import json
import re
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from minidock.server import facts, openapi, routes

HANDLERS = Path(importlib.import_module("minidock.server.handlers").__path__[0])
MODULES = sorted({route.handler.partition(".")[0] for route in (*routes.table(), *routes.absent())})
READERS = {"text": "", "flag": "?", "number": "#", "all": "*"}
SHARED = {
    "containers": {"h", "w"},  # size_of, for execs
    "execs": {"h", "w"},
}


def test_valid_and_complete() -> None:
    document = json.loads(json.dumps(openapi.document()))
    validate(document)
    table = [*routes.table(), *routes.absent()]
    described = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert described == {(route.method, route.path.replace(":rest", "")) for route in table}
    assert set(facts.FACTS) == {route.handler for route in table}, "no fact is about nothing"
    ids = [one["operationId"] for operations in document["paths"].values() for one in operations.values()]
    assert len(ids) == len(set(ids))
    for operations in document["paths"].values():
        for one in operations.values():
            assert one["responses"]["default"]["content"]["application/json"]["schema"] == {
                "$ref": "#/components/schemas/Failure"
            }


def read_by(module: str) -> tuple[dict[str, str], set[str]]:
    """Names of parameters that a module's code reads, with their kind, and of structs that bodies are."""
    tree = ast.parse((HANDLERS / f"{module}.py").read_text())
    query: dict[str, str] = {}
    kinds: set[str] = set()
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        whose = ast.unparse(node.func.value)
        if node.func.attr == "json" and whose == "request":
            kinds.add(ast.unparse(node.args[0]))
        if not whose.endswith("query") or node.func.attr not in (*READERS, "filters"):
            continue
        if node.func.attr == "filters":
            query["filters"] = "{}"
        elif isinstance(node.args[0], ast.Constant):
            query[str(node.args[0].value)] = READERS[node.func.attr]
    return query, kinds


@pytest.mark.parametrize("module", MODULES)
def test_what_handlers_read(module: str) -> None:
    query, kinds = read_by(module)
    told = {}
    structs = set()
    for name, fact in facts.FACTS.items():
        if name.startswith(f"{module}."):
            told |= {re.sub(r"[?#*{}]+$", "", word): re.sub(r"^[^?#*{}]*", "", word) for word in fact.query.split()}
            if fact.body is not None and not isinstance(fact.body, str):
                structs.add(fact.body.__name__)
    assert kinds == structs
    missing = query.keys() - told.keys() - SHARED.get(module, set())
    assert not missing, f"handlers read {missing}, and the description does not tell"
    for name, kind in query.items():
        if name in told and kind not in ("", "{}"):
            assert told[name] == kind, name
    source = (HANDLERS / f"{module}.py").read_text()
    for name in told:
        assert f'"{name}"' in source or name in query or name in SHARED.get(module, ()) or name == "platform", name
