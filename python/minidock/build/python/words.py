"""Texts of Python as words of a Dockerfile: variables are expanded, all else is what it is."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"\\\$|\$\{[^}]*\}|[\\'\"]")


def word(text: str) -> str:
    """Return the word that becomes ``text`` with its variables expanded: quotes and backslashes mean nothing."""
    return _SPECIAL.sub(lambda found: found[0] if "$" in found[0] else f"\\{found[0]}", text)


def literal(text: str) -> str:
    """Return a text for a build in which no ``$`` begins a variable."""
    return text.replace("$", "\\$")
