"""The table of routes: every handler exists, and the document says of every route what is served."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from minidock.server import routes

DOCUMENT = (Path(__file__).parents[3] / "docs" / "compatibility.md").read_text()


def told(text: str) -> set[str]:
    return set(re.findall(r"`((?:GET|HEAD|POST|PUT|DELETE) /[^` ]*)`", text))


def test_every_handler_is_there() -> None:
    for route in routes.table():
        module, _, name = route.handler.partition(".")
        assert callable(getattr(importlib.import_module(f"minidock.server.handlers.{module}"), name)), route.path


def test_the_document_tells_of_every_route() -> None:
    assert told(DOCUMENT) - {"GET /plugins"} == {
        f"{one.method} {one.path.replace(':rest', '')}" for one in routes.table()
    }


def test_names_in_paths() -> None:
    by_path = {(one.method, one.path): one.pattern for one in routes.table()}
    inspect = by_path["GET", "/images/{name:rest}/json"]
    found = inspect.fullmatch("/images/registry:5000/team/app@sha256:ab/json")
    assert found is not None
    assert found["name"] == "registry:5000/team/app@sha256:ab"
    assert by_path["GET", "/containers/{id}/json"].fullmatch("/containers/a/b/json") is None
    assert by_path["GET", "/containers/{id}/json"].fullmatch("/containers/a/json\n") is None
