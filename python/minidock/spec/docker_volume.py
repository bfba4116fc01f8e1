"""Docker Engine API 1.51 bodies about volumes."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType


class UsageData(Struct, rename="pascal"):
    """How much a volume takes up, in bytes, and how many containers have it; ``GET /system/df`` only."""

    ref_count: int
    size: int


class VolumeInspect(Struct, kw_only=True, rename="pascal"):
    """``GET /volumes/{name}``, and one element of ``GET /volumes``. Null: there are none."""

    created_at: str
    driver: str = "local"
    labels: dict[str, str] | None = None
    mountpoint: str
    name: str
    options: dict[str, str] | None = None
    scope: str = "local"
    usage_data: UsageData | UnsetType = UNSET


class VolumesPruned(Struct, rename="pascal"):
    """``POST /volumes/prune``: the names of what was removed, null when there was nothing, and its bytes."""

    volumes_deleted: list[str] | None = None
    space_reclaimed: int = 0
