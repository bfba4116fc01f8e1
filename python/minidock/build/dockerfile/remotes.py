"""Which sources of ADD are fetched: URLs, and repositories of git."""

from __future__ import annotations

import re
from typing import Literal

_SCP = re.compile(r"[a-zA-Z0-9_.-]+@[a-zA-Z0-9][a-zA-Z0-9.-]*:.+", re.DOTALL)


def kind(source: str) -> Literal["http", "git"] | None:
    """What ``source`` is; None: a path in the build context.

    ``https://…/name.git`` (and what ``#`` or ``?`` adds to it) is a repository, as are ``git://``, ``ssh://`` and
    ``user@host:path``. ``github.com/…`` without a scheme is a path: nothing tells it from one.
    """
    if source.startswith(("http://", "https://")):
        path = re.split("[?#]", source, maxsplit=1)[0]
        return "git" if path.endswith(".git") else "http"
    if source.startswith(("git://", "ssh://")) or _SCP.fullmatch(source):
        return "git"
    return None
