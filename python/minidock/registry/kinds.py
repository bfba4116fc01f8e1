"""What registries tell about manifests. Light: the quick way to ask for a manifest imports it."""

from __future__ import annotations

from collections import namedtuple

CERTIFICATES = ("/etc/docker/certs.d", "/etc/minidock/certs.d")
"""Directories with a directory of certificates for each ``host[:port]``; $MINIDOCK_CERTS_D replaces them."""

MAX_MANIFEST = 4 << 20
ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class _Document(NamedTuple):
        media_type: str
        digest: str
        data: bytes

    class _Summary(NamedTuple):
        media_type: str
        digest: str
        size: int

else:  # without typing, see minidock.images.references
    _Document = namedtuple("_Document", ("media_type", "digest", "data"))
    _Summary = namedtuple("_Summary", ("media_type", "digest", "size"))


class Manifest(_Document):
    """A manifest's or index's bytes, which have this digest; ``media_type`` is what the registry's header says."""

    __slots__ = ()


class Head(_Summary):
    """What a registry says about a manifest without sending it."""

    __slots__ = ()
