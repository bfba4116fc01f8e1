"""What the store keeps of a volume, as JSON, in its row and in its directory."""

from __future__ import annotations

import msgspec

from minidock.containers.status import rfc3339
from minidock.spec import decoding
from minidock.spec.docker_volume import VolumeInspect
from minidock.store.volumes import VolumeRow

VERSION = 1
DRIVER = "local"
ANONYMOUS = "com.docker.volume.anonymous"
"""The label of volumes that got no name from anybody."""


class Record(msgspec.Struct, omit_defaults=True):
    """The record of one volume."""

    name: str
    created: int
    """Nanoseconds since 1970."""
    driver: str = DRIVER
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None
    anonymous: bool = False
    version: int = VERSION

    @property
    def is_mounted(self) -> bool:
        """Whether its files are on a file system of their own, which the driver options name."""
        options = self.options or {}
        return bool(options.get("type") or options.get("device"))

    def row(self) -> VolumeRow:
        """The row that holds it."""
        return VolumeRow(self.name, self.created, self.anonymous, encode(self))


encode = msgspec.json.Encoder().encode


def decode(text: bytes) -> Record:
    """Return the record that ``text`` holds."""
    return decoding.decode(text, Record)


def inspect(record: Record, mountpoint: str) -> VolumeInspect:
    """The document of ``GET /volumes/{name}``."""
    return VolumeInspect(
        created_at=rfc3339(record.created // 10**9 * 10**9),
        driver=record.driver,
        labels=record.labels,
        mountpoint=mountpoint,
        name=record.name,
        options=record.options,
    )
