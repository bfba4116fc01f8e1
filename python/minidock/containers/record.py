"""What the store keeps of a container, as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from minidock.containers.document import Owner
from minidock.containers.endpoints import Endpoint, Wanted
from minidock.spec import decoding
from minidock.spec.docker import ContainerConfig, ContainerState, HostConfig

VERSION = 1


class Step(msgspec.Struct):
    """What the container of a build's RUN is given beside an ordinary one."""

    mounts: list[tuple[str, str, str, list[str]]] = []
    """Destination, type, source and options, as in the runtime-spec."""
    sources: list[dict[str, Any]] = []
    """What binds among them show instead of a path of the host, as in the supervisor's document."""
    environment: str = ""
    """A file with more variables of it, a NUL byte after each: secrets, which no record has."""


class Point(msgspec.Struct, omit_defaults=True):
    """One mount of a container: what ``Mounts`` of ``inspect`` is made from, and its part of every bundle."""

    type: str
    """``bind``, ``volume``, ``tmpfs``, ``image`` or ``overlay``."""
    destination: str
    """Absolute and clean, in the container."""
    source: str = ""
    """A path of the host, of ``bind`` and ``overlay``; the id of an image."""
    name: str = ""
    """A volume's, or what an image was called."""
    driver: str = ""
    mode: str = ""
    """As Docker shows it."""
    rw: bool = True
    propagation: str = ""
    recursive: bool = True
    """With what is mounted below the source."""
    read_only: str = ""
    """How far, without ``rw``: ``top`` is the mount itself only; else all of it."""
    anonymous: bool = False
    copy: bool = False
    """The volume gets what the image has there, if it is empty."""
    subpath: str = ""
    """A path inside the volume or image."""
    idmap: bool = False
    """The container's user and the owner of the source take each other's place."""
    create: bool = False
    """A source that is missing is made."""
    options: list[str] = []
    """Of a tmpfs, as the kernel takes them."""


class Record(msgspec.Struct, omit_defaults=True):
    """The record of one container: what ``inspect`` prints is made from it, and so is its bundle at every start."""

    id: str
    name: str
    created: str
    """RFC 3339 with nanoseconds."""
    config: ContainerConfig
    host_config: HostConfig
    image: str = ""
    """The image's id, ``sha256:…``; empty with ``rootfs``."""
    rootfs: str | None = None
    """A directory of the host used as the root filesystem, copy-on-write."""
    snapshot: dict[str, Any] = {}
    """The section ``rootfs`` of the supervisor's document."""
    timeout_ms: int | None = None
    state: ContainerState = msgspec.field(default_factory=ContainerState)
    uid_map: list[tuple[int, int, int]] = []
    """``(container, host, size)`` of its user namespace; empty without one."""
    gid_map: list[tuple[int, int, int]] = []
    platform: str = "linux"
    app_armor_profile: str = ""
    process_label: str = ""
    mount_label: str = ""
    starter: Owner | None = None
    """While it is being started or runs: the process that started it; before, with ``--rm``, the one that is to."""
    owned: bool = False
    """It ends with the process that started it (``owner="process"``), and is removed then."""
    health_on_failure: str = "none"
    """What is done when it gets unhealthy: none, kill, stop, restart."""
    restart_count: int = 0
    has_been_manually_stopped: bool = False
    """Somebody has stopped or killed it since it was started: ``unless-stopped`` does not start it after a boot."""
    networks: dict[str, Wanted] = {}
    """What it is to have on each network, by name; none in the network of another container."""
    endpoints: dict[str, Endpoint] = {}
    """What it has on each network while it runs, by name, in the order of its interfaces."""
    step: Step | None = None
    """A build runs it for one of its steps: its surroundings are BuildKit's then, the same for every build."""
    mounts: list[Point] = []
    """Its volumes and other mounts, in the order in which they are made; ``--tmpfs`` is in ``host_config`` only."""
    usage: dict[str, Any] | None = None
    """What the last run used, as in the exit record."""
    version: int = VERSION

    @property
    def args(self) -> list[str]:
        """Entry point and command together."""
        return [*(self.config.entrypoint or ()), *(self.config.cmd or ())]


encode = msgspec.json.Encoder().encode


def decode(text: bytes) -> Record:
    """Return the record that ``text`` holds."""
    # Made here and not on import: it costs 1.5 ms, which a mere run does not need.
    return decoding.decode(text, Record)
