"""What a build that is over may leave: nothing but its cache."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Roots
from tests.faults.state import cgroups, supervisors


def left(roots: Roots) -> list[str]:
    """What is there and belongs to a build that is over."""
    found = [f"process {pid}" for pid in supervisors(roots)] + cgroups(roots)
    # What was downloaded of a layer stays, for whoever wants it next.
    folders = (roots.data / "tmp", roots.data / "containers", roots.data / "build/locks")
    for folder in (*folders, roots.run / "containers", roots.run / "build"):
        found += map(str, folder.iterdir()) if folder.is_dir() else ()
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [line for line in mounts if f"{roots.data.parent}/" in line and line.split()[4] != str(roots.data)]
    cached = roots.data / "build/mounts"
    found += map(str, cached.glob("*/*.new")) if cached.is_dir() else ()
    return found


def check_cache(cache: Path, *, mounts: int) -> None:
    """Nothing is in a cache for other machines but the index and what it names, which is whole."""
    import hashlib

    assert sorted(path.name for path in cache.iterdir()) == ["blobs", "cache.json"]
    index = json.loads((cache / "cache.json").read_text())
    named = {one["digest"] for kind in ("steps", "mounts") for one in index.get(kind, {}).values()}
    assert len(index.get("mounts", {})) == mounts
    for path in (cache / "blobs/sha256").iterdir():
        assert f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" == f"sha256:{path.name}"
        named.remove(f"sha256:{path.name}")
    assert not named
