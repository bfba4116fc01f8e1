"""What a registry has under a name, and for which platforms: Docker's ``GET /distribution/{name}/json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from minidock.errors import ImageNotFound, NotFound
from minidock.images import manifest_lists, references
from minidock.images.transfers import login_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.engine import Engine
    from minidock.registry.cancel import Cancel


class Published(msgspec.Struct):
    """The manifest or index that a registry has under a name, and its platforms."""

    media_type: str
    digest: str
    size: int
    platforms: list[dict[str, Any]]


def published(
    engine: Engine, name: str, *, auth_config: Mapping[str, str] | None = None, cancel: Cancel | None = None
) -> Published:
    """Ask the registry of ``name``; nothing is pulled. Raises ImageNotFound, and the errors of registries."""
    reference = references.parse(name).with_default_tag()
    repository = engine.registry.repository(reference, login=login_of(auth_config), cancel=cancel)
    try:
        top = repository.manifest(reference.digest or reference.tag or "", cancel=cancel)
    except NotFound:
        raise ImageNotFound(f"no such manifest: {reference.familiar}") from None
    found = manifest_lists.fetched(repository, reference, top, raw=False, cancel=cancel)
    platforms = [manifest_lists.platform_of(entry) for entry in found.entries if entry.platform is not None]
    return Published(top.media_type, top.digest, len(top.data), platforms)
