"""What registries tell about manifests. Light: the quick way to ask for a manifest imports it."""

from __future__ import annotations

from typing import NamedTuple

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


class Manifest(NamedTuple):
    """A manifest's or index's bytes, which have this digest; ``media_type`` is what the registry's header says."""

    media_type: str
    digest: str
    data: bytes


class Head(NamedTuple):
    """What a registry says about a manifest without sending it."""

    media_type: str
    digest: str
    size: int
