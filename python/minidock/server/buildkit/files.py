"""A directory of the client as what COPY and mounts read from: only what they name is fetched, when they need it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from minidock.build.merged import Merged
from minidock.build.sources import Context, Match, is_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from minidock.build.ignore import Ignore
    from minidock.store.build_cache import BuildCache

_DEEP = "**"


class Files(Context):
    """Fetched files. ``fetch`` has in the directory what these paths (none: all) mean to the client, and no more."""

    def __init__(
        self, path: str, rules: Ignore | None, cache: BuildCache, fetch: Callable[[Sequence[str]], None]
    ) -> None:
        super().__init__(path, "the build context", rules, cache)
        self._fetch = fetch
        self._wanted: set[str] = set()
        self._all = False
        self._lock = threading.Lock()

    def want(self, sources: Iterable[str]) -> None:
        """Fetch what sources of COPY mean, unless it is there. Raises what fetching raises."""
        wanted = {_path(source) for source in sources}
        with self._lock:
            missing = {path for path in wanted if not self._has(path)}
            if not missing:
                return
            if "" in missing:
                self._fetch(())
                self._all = True
            else:
                # With what there is: what is not asked for goes.
                self._fetch(sorted(self._wanted | missing))
                self._wanted |= missing
            self.tree = Merged([self.path])  # which directories there are, the one before may remember

    def _has(self, path: str) -> bool:
        if self._all or path in self._wanted:
            return True
        return any(not is_pattern(one) and path.startswith(f"{one}/") for one in self._wanted)

    def match(self, pattern: str, prune: Ignore | None = None, *, deep: bool = False) -> list[Match]:
        self.want([pattern])
        return super().match(pattern, prune, deep=deep)


def _path(source: str) -> str:
    """What to ask the client for: a clean path, which may be a pattern; empty for everything."""
    parts = os.path.normpath(f"/{source}").strip("/").split("/")
    return "/".join(parts[: parts.index(_DEEP)] if _DEEP in parts else parts)
