"""The examples of the documents run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli

PROJECT = Path(__file__).parents[2]


def blocks(document: str, language: str) -> list[tuple[int, str]]:
    """The fenced blocks of a language: line number and text."""
    text = (PROJECT / document).read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: match.start()].count("\n") + 2, match.group(1)) for match in found]


PYTHON = [("docs/python.md", line, code) for line, code in blocks("docs/python.md", "python")]


@pytest.mark.parametrize(("document", "line", "code"), PYTHON, ids=[f"{d}:{n}" for d, n, _ in PYTHON])
def test_python_example(cli_busybox: Cli, document: str, line: int, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=cli_busybox.env, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{document}:{line}: {done.stderr.decode()}"


def test_every_document_that_the_readme_names_exists() -> None:
    named = re.findall(r"\]\(((?:docs|benches)/[^)#]+)\)", (PROJECT / "README.md").read_text())
    assert named
    assert [name for name in named if not (PROJECT / name).exists()] == []
