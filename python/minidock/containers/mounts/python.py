"""Mounts as Python callers say them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from minidock.containers.parse.mount_option import mount
from minidock.containers.parse.mounts import host_path
from minidock.containers.parse.sizes import size
from minidock.errors import InvalidArgument
from minidock.spec import decoding
from minidock.spec.docker import (
    BindOptions,
    ImageOptions,
    MountRequest,
    TmpfsOptions,
    VolumeDriver,
    VolumeOptions,
)

_RECURSIVE = ("enabled", "disabled", "writable", "readonly")


class Mount(msgspec.Struct, kw_only=True, frozen=True):
    """One mount of a container, for the option ``mounts``; the flag ``--mount`` has the same words.

    A mount of another type does not have the options of one; what is left out has Docker's default.
    """

    target: str
    """Where the container sees it, absolute."""
    source: str | os.PathLike[str] | None = None
    """``bind``, ``overlay``: a path of the host; ``volume``: its name, None for a new one without; ``image``."""
    type: str = "volume"
    """``bind``, ``volume``, ``tmpfs``, ``image``, or ``overlay``: a directory of the host, copy-on-write."""
    read_only: bool = False
    consistency: str = ""
    """No difference on Linux."""
    propagation: str = ""
    """``bind``: ``rprivate`` (the default), ``private``, ``rslave``, ``slave``, ``rshared``, ``shared``."""
    recursive: str = "enabled"
    """``bind``: ``disabled`` leaves what is mounted below the source out; with ``read_only``, ``writable`` leaves that
    writable, and ``readonly`` insists that it is not."""
    create_source: bool = False
    """``bind``: a source that is missing becomes a directory."""
    idmap: bool = False
    """``bind``, ``volume``: the container's user and the owner of the source take each other's place."""
    no_copy: bool = False
    """``volume``: one that is empty stays so, whatever the image has at the target."""
    labels: Mapping[str, str] | None = None
    """``volume``: of one that is made."""
    driver: str = ""
    driver_opts: Mapping[str, str] | None = None
    subpath: str = ""
    """``volume``, ``image``: a path inside it, and not all of it."""
    tmpfs_size: int | str = 0
    """``tmpfs``: bytes, or text such as ``64m``; 0 is half of the memory."""
    tmpfs_mode: int | None = None
    """``tmpfs``: ``0o1777`` by default."""
    tmpfs_options: tuple[str, ...] = ()
    """``tmpfs``: further ones, such as ``exec`` and ``uid=1000``."""

    def request(self) -> MountRequest:
        """Return Docker's form. Raises InvalidArgument for an option that its type does not have."""
        if self.recursive not in _RECURSIVE:
            raise InvalidArgument(f'recursive: "{self.recursive}" is none of {", ".join(_RECURSIVE)}')
        source = "" if self.source is None else os.fspath(self.source)
        made = MountRequest(
            type=self.type,
            source=host_path(source) if self.type in ("bind", "overlay") and source.startswith(".") else source,
            target=self.target,
            read_only=self.read_only,
            consistency=self.consistency,
        )
        if self.propagation or self.recursive != "enabled" or self.create_source or (self.idmap and self._is("bind")):
            made.bind_options = BindOptions(
                propagation=self.propagation,
                non_recursive=self.recursive == "disabled",
                create_mountpoint=self.create_source,
                read_only_non_recursive=self.recursive == "writable",
                read_only_force_recursive=self.recursive == "readonly",
                idmap=self.idmap,
            )
        self._put_others(made)
        return made

    def _is(self, kind: str) -> bool:
        return self.type == kind

    def _put_others(self, made: MountRequest) -> None:
        subpath = "" if self._is("image") else self.subpath
        idmap = self.idmap and not self._is("bind")
        if self.no_copy or self.labels or self.driver or self.driver_opts or subpath or idmap:
            driver = None
            if self.driver or self.driver_opts:
                driver = VolumeDriver(self.driver, dict(self.driver_opts) if self.driver_opts else None)
            labels = dict(self.labels) if self.labels else None
            made.volume_options = VolumeOptions(self.no_copy, labels, driver, subpath, idmap)
        if self.subpath and self._is("image"):
            made.image_options = ImageOptions(self.subpath)
        if self.tmpfs_size or self.tmpfs_mode is not None or self.tmpfs_options:
            words = [option.split("=", 1) for option in self.tmpfs_options]
            made.tmpfs_options = TmpfsOptions(size(self.tmpfs_size), self.tmpfs_mode or 0, words or None)


def request(value: Any) -> MountRequest:
    """Return what a :class:`Mount`, a text of ``--mount`` or Docker's own form asks for. Raises InvalidArgument."""
    if isinstance(value, Mount):
        return value.request()
    if isinstance(value, MountRequest):
        return value
    if isinstance(value, str):
        return mount(value)
    if not isinstance(value, Mapping):
        raise TypeError
    try:
        return decoding.convert(dict(value), MountRequest)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"a mount: {error}") from error


def volume_texts(value: Any) -> Iterator[str]:
    """Yield the ``-v`` texts that a list, or docker-py's mapping, means."""
    if isinstance(value, (str, bytes)):
        raise TypeError
    if not isinstance(value, Mapping):
        yield from map(os.fspath, value)
        return
    for key, settings in value.items():
        source = os.fspath(key)
        if settings is None or settings == {}:
            yield source
        elif isinstance(settings, (str, os.PathLike)):
            yield f"{source}:{os.fspath(settings)}:rw"
        else:
            words = [settings.get("mode") or ("ro" if settings.get("ro") else "rw")]
            if settings.get("propagation"):
                words.append(settings["propagation"])
            unknown = settings.keys() - {"bind", "mode", "ro", "propagation"}
            if unknown or "bind" not in settings:
                raise InvalidArgument(f"{source}: bind and mode are needed, not {', '.join(map(str, settings))}")
            yield f"{source}:{os.fspath(settings['bind'])}:{','.join(words)}"
