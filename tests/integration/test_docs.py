"""The examples of the documents run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.images import tar_of
from tests.registry import Registry, push_image

PROJECT = Path(__file__).parents[2]


def blocks(document: str, language: str) -> list[tuple[int, str]]:
    """The fenced blocks of a language: line number and text."""
    text = (PROJECT / document).read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: match.start()].count("\n") + 2, match.group(1)) for match in found]


def examples(*documents: str) -> list[tuple[str, int, str]]:
    """The Python blocks of these documents."""
    return [(document, line, code) for document in documents for line, code in blocks(document, "python")]


PYTHON = examples(
    "docs/python.md",
    "docs/archives.md",
    "docs/lifecycle.md",
    "docs/exec.md",
    "docs/health.md",
    "docs/events.md",
    "docs/logs.md",
    "docs/copying.md",
    "docs/observing.md",
    "docs/build.md",
    "docs/mounts.md",
    "docs/volumes.md",
)
WITH_REGISTRY = examples("docs/images.md")


def run(code: str, env: dict[str, str], where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=env, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{where}: {done.stderr.decode()}"


@pytest.mark.parametrize(("document", "line", "code"), PYTHON, ids=[f"{d}:{n}" for d, n, _ in PYTHON])
def test_python_example(cli_busybox: Cli, document: str, line: int, code: str) -> None:
    run(code, cli_busybox.env, f"{document}:{line}")


@pytest.mark.parametrize(("document", "line", "code"), WITH_REGISTRY, ids=[f"{d}:{n}" for d, n, _ in WITH_REGISTRY])
def test_example_with_a_registry(cli_busybox: Cli, registry: Registry, document: str, line: int, code: str) -> None:
    push_image(registry, "team/app", "v1", [tar_of(("file", b"text"))])
    run(code, {**cli_busybox.env, "EXAMPLE_REGISTRY": registry.host}, f"{document}:{line}")


def test_every_document_that_the_readme_names_exists() -> None:
    named = re.findall(r"\]\(((?:docs|benches)/[^)#]+)\)", (PROJECT / "README.md").read_text())
    assert named
    assert [name for name in named if not (PROJECT / name).exists()] == []
