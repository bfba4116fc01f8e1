"""The page's files: which there are, and that nothing of another server's is in them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from minidock.ui import pages, serving

ASSETS = Path(pages.__file__).parent / "assets"
VENDORED = json.loads((Path(__file__).parents[3] / "tools" / "xterm.json").read_text())


def test_handlers_exist() -> None:
    import importlib

    for route in serving.table():
        module, _, name = route.handler.partition(".")
        assert callable(getattr(importlib.import_module(f"minidock.ui.{module}"), name))


def test_assets_are_those_that_are_packed() -> None:
    names = pages.assets()
    assert {"index.html", "app.js", "style.css", "vendor/xterm/xterm.mjs", "vendor/xterm/LICENSE"} <= names
    assert not [name for name in names if ".." in name or name.startswith("/")]


@pytest.mark.parametrize("path", [*sorted(ASSETS.rglob("*.js")), ASSETS / "index.html", *ASSETS.glob("*.css")])
def test_no_remote_resources_and_no_markup_from_text(path: Path) -> None:
    text = path.read_text()
    found = [one for one in re.findall(r"(?:https?:)?//[a-z][\w.-]*\.[a-z]+", text) if "w3.org" not in one]
    assert found == []
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function", text
    )
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", text)


def test_imports_of_modules_are_there() -> None:
    for path in ASSETS.rglob("*.js"):
        for name in re.findall(r"(?:from|import)\(?\s*'([^']+)'", path.read_text()):
            assert (path.parent / name).is_file(), f"{path.name} imports {name}"


def test_vendored_files_are_those_of_the_lock() -> None:
    files = {
        f"vendor/xterm/{name}": found["sha256"] for one in VENDORED.values() for name, found in one["files"].items()
    }
    there = {name for name in pages.assets() if name.startswith("vendor/")}
    assert there == files.keys()
    for name, digest in files.items():
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == digest
    assert {one["license"] for one in VENDORED.values()} == {"MIT"}
