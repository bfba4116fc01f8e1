"""Docker Engine API 1.51 bodies about images."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from minidock.spec.docker import ZERO_TIME, Flags, GraphDriver, Healthcheck


class ImageRootFS(Struct, rename="pascal"):
    """Layers of an image by diff_id, lowest first."""

    type: str = "layers"
    layers: list[str] | UnsetType = UNSET


class ImageMetadata(Struct, rename="pascal"):
    """Local facts about an image."""

    last_tag_time: str = ZERO_TIME


class ImageConfigBody(Struct, omit_defaults=True, rename="pascal"):
    """``Config`` of ``ImageInspect``: the image's defaults, as Docker prints them."""

    user: str = ""
    exposed_ports: Flags | None = None
    env: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: Healthcheck | None = None
    args_escaped: bool = False
    volumes: Flags | None = None
    working_dir: str = ""
    entrypoint: list[str] | None = None
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    shell: list[str] | None = None


class ImageInspect(Struct, rename="pascal"):
    """``GET /images/{name}/json``; sizes in bytes."""

    id: str
    repo_tags: list[str]
    repo_digests: list[str]
    parent: str = ""
    comment: str = ""
    created: str | UnsetType = UNSET
    docker_version: str = ""
    author: str = ""
    config: ImageConfigBody | None = None
    architecture: str = ""
    variant: str | UnsetType = UNSET
    os: str = ""
    os_version: str | UnsetType = UNSET
    size: int = 0
    virtual_size: int | UnsetType = UNSET
    graph_driver: GraphDriver = field(default_factory=GraphDriver)
    root_fs: ImageRootFS = field(default_factory=ImageRootFS, name="RootFS")
    metadata: ImageMetadata = field(default_factory=ImageMetadata)


class ImageSummary(Struct, rename="pascal"):
    """One entry of ``GET /images/json``; ``created`` in seconds since 1970, -1: not computed."""

    id: str
    parent_id: str
    repo_tags: list[str]
    repo_digests: list[str]
    created: int
    size: int
    shared_size: int = -1
    labels: dict[str, str] | None = None
    containers: int = -1


class ImageHistory(Struct, rename="pascal"):
    """One entry of ``GET /images/{name}/history``, newest first; ``id`` is ``<missing>`` below the image itself."""

    id: str
    created: int
    created_by: str
    tags: list[str] | None
    size: int
    comment: str


class ImageDelete(Struct, omit_defaults=True, rename="pascal"):
    """One step of removing an image: a reference ``untagged`` or an id or layer ``deleted``."""

    untagged: str = ""
    deleted: str = ""


class ImagesPruned(Struct, rename="pascal"):
    """Answer of ``POST /images/prune``; nothing removed is null."""

    images_deleted: list[ImageDelete] | None = None
    space_reclaimed: int = 0
