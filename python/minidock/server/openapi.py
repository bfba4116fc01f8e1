"""The description of the API, OpenAPI 3.1, made of the table of routes and the facts about handlers."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from minidock.server import facts, routes

_ABOUT = (
    "Docker's Engine API as minidock serves it on a Unix socket, with and without a version (/v1.24 to /v1.51) in "
    "front of each path. Bodies are read as Go reads them: names in any case, null for nothing, unknown fields passed "
    "over. A {name} in the path of an image may contain slashes. Lines of JSON come as application/json."
)
_KINDS: dict[str, dict[str, Any]] = {
    "": {"type": "string"},
    "?": {"type": "boolean"},
    "#": {"type": "integer"},
    "*": {"type": "array", "items": {"type": "string"}},
}
_FILTERS = {
    "type": "object",
    "additionalProperties": {
        "anyOf": [
            {"type": "array", "items": {"type": "string"}},
            {"type": "object", "additionalProperties": {"type": "boolean"}},
        ]
    },
}
_DEFAULTS = frozenset(("containers.start", "containers.stop"))


def document() -> dict[str, Any]:
    """Return the whole description."""
    from minidock import __version__

    table = [*routes.table(), *routes.absent()]
    used = [facts.FACTS[route.handler] for route in table]
    kinds = [
        kind for fact in used for kind in (fact.answer, fact.body) if kind is not None and not isinstance(kind, str)
    ]
    schemas, components = msgspec.json.schema_components(
        [*kinds, facts.Failure], ref_template="#/components/schemas/{name}"
    )
    by_kind = dict(zip(map(str, [*kinds, facts.Failure]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route, fact in zip(table, used, strict=True):
        path = route.path.replace(":rest", "")
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, fact, by_kind)
    return {
        "openapi": "3.1.0",
        "info": {"title": "minidock", "version": routes.version_text(routes.NEWEST), "description": _ABOUT,
                 "x-minidock-version": __version__},
        "servers": [{"url": f"/v{routes.version_text(routes.NEWEST)}"}, {"url": "/"}],
        "paths": paths,
        "components": {"schemas": components},
    }  # fmt: skip


def _operation(route: routes.Route, fact: facts.Fact, schemas: dict[str, Any]) -> dict[str, Any]:
    words = [word for word in re.split(r"[^a-z]+", route.path.lower()) if word]
    found: dict[str, Any] = {
        "operationId": "_".join([route.method.lower(), *words]),
        "summary": fact.summary,
        "tags": [route.handler.partition(".")[0]],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)", route.path)
        ],
        "responses": {},
    }
    found["parameters"] += [_parameter(word) for word in fact.query.split()]
    if fact.body is not None:
        found["requestBody"] = {"content": _content(fact.body, schemas)}
    answer: dict[str, Any] = {"description": fact.summary}
    if fact.answer is not None and route.method != "HEAD":
        answer["content"] = _content(fact.answer, schemas)
    failure = {"description": "What went wrong", "content": _content(facts.Failure, schemas)}
    if fact.status >= 400:
        answer = failure
    found["responses"][str(fact.status)] = answer
    if route.handler in _DEFAULTS:
        found["responses"]["304"] = {"description": "It is so already"}
    found["responses"]["default"] = failure
    return found


def _parameter(word: str) -> dict[str, Any]:
    name = word.rstrip("?#*{}")
    kind = word.removeprefix(name)
    if kind == "{}":
        schema = _FILTERS if name == "filters" else {}
        return {"name": name, "in": "query", "content": {"application/json": {"schema": schema}}}
    return {"name": name, "in": "query", "schema": _KINDS[kind]}


def _content(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    if kind == facts.LINES:
        return {"application/json": {"schema": {"type": "object"}}}
    if isinstance(kind, str):
        return {kind: {"schema": {"type": "string"}} if kind == facts.TEXT else {}}
    return {"application/json": {"schema": schemas[str(kind)]}}
