"""OCI image-spec 1.1 documents: descriptor, index, manifest and image configuration."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"

# Docker's image manifest version 2, schema 2, and what it is made of.
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_PLAIN = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"


class Platform(Struct, omit_defaults=True):
    """What a manifest of an index runs on (image-spec, image-index.md)."""

    architecture: str = ""
    os: str = ""
    os_version: str = field(default="", name="os.version")
    os_features: list[str] = field(default_factory=list, name="os.features")
    variant: str = ""


class Descriptor(Struct, omit_defaults=True, rename="camel"):
    """A typed reference to a blob (image-spec, descriptor.md); ``size`` is in bytes."""

    media_type: str
    digest: str
    size: int
    urls: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    data: str = ""
    platform: Platform | None = None
    artifact_type: str = ""


class Manifest(Struct, omit_defaults=True, rename="camel"):
    """One image: its configuration and its layers, lowest first (image-spec, manifest.md)."""

    schema_version: int = field(name="schemaVersion")
    config: Descriptor
    layers: list[Descriptor]
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = field(default_factory=dict)


class Index(Struct, omit_defaults=True, rename="camel"):
    """Manifests of several platforms (image-spec, image-index.md)."""

    schema_version: int = field(name="schemaVersion")
    manifests: list[Descriptor]
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = field(default_factory=dict)


class Healthcheck(Struct, omit_defaults=True, rename="pascal"):
    """Docker's health check; times are in nanoseconds, 0 inherits the default."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ExecutionConfig(Struct, omit_defaults=True, rename="pascal"):
    """``config`` of an image configuration: defaults of its containers, with Docker's extensions."""

    user: str = ""
    exposed_ports: dict[str, dict[str, Any]] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    on_build: list[str] | None = None
    shell: list[str] | None = None
    args_escaped: bool = False


class RootFS(Struct):
    """The layers by the digest of their uncompressed tar, lowest first."""

    type: str = "layers"
    diff_ids: list[str] = field(default_factory=list)


class History(Struct, omit_defaults=True):
    """How one layer, or an empty one, came about; ``created`` is RFC 3339."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(Struct, omit_defaults=True):
    """An image's configuration (image-spec, config.md). The sha256 of its bytes is the image's id."""

    architecture: str
    os: str
    rootfs: RootFS = field(default_factory=RootFS)
    config: ExecutionConfig | None = None
    history: list[History] | None = None
    created: str | None = None
    author: str = ""
    variant: str = ""
    os_version: str = field(default="", name="os.version")
    os_features: list[str] = field(default_factory=list, name="os.features")
    # Docker's extensions, kept for images that it wrote
    comment: str = ""
    docker_version: str = ""
    parent: str = ""
    # minidock's own: steps of its build, by their keys the digests of layers
    build_cache: dict[str, str] = field(default_factory=dict, name="minidock.cache.v1")
