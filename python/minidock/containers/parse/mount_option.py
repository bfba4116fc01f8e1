"""``--mount``: ``type=bind,source=/srv,target=/data,readonly`` → Docker's ``HostConfig.Mounts``. Pure text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.containers.parse.mounts import host_path
from minidock.containers.parse.sizes import size
from minidock.errors import InvalidArgument
from minidock.spec.docker import (
    BindOptions,
    ImageOptions,
    MountRequest,
    TmpfsOptions,
    VolumeDriver,
    VolumeOptions,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

TYPES = ("bind", "volume", "tmpfs", "image", "overlay")
_ALONE = frozenset(
    ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src", "idmap", "u")
)  # fmt: skip
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


def mount(text: str, directory: str | None = None) -> MountRequest:
    """Return what one ``--mount`` asks for; a bind's relative source starts at ``directory``, or where we are.

    Raises InvalidArgument in Docker's words.
    """
    return _Reader(directory).read(text)


class _Reader:
    """The keys of one mount."""

    def __init__(self, directory: str | None) -> None:
        self.made = MountRequest(type="volume")
        self.directory = directory
        self.recursive = ""
        self.idmap = False

    def read(self, text: str) -> MountRequest:
        made = self.made
        for field in fields(text):
            name, equals, value = field.partition("=")
            key = name.lower()
            if not equals:
                if key not in _ALONE:
                    raise InvalidArgument(f"invalid field '{field}' must be a key=value pair")
                value = "true"
            if not self._common(key, value) and not self._special(key, value):
                raise InvalidArgument(f"unexpected key '{name}' in '{field}'")
        if not made.target:
            raise InvalidArgument("target is required")
        for prefix, options in (
            ("volume", made.volume_options),
            ("bind", made.bind_options),
            ("tmpfs", made.tmpfs_options),
            ("image", made.image_options),
        ):
            if options is not None and made.type != prefix:
                raise InvalidArgument(f"cannot mix '{prefix}-*' options with mount type '{made.type}'")
        self._finish()
        return made

    def _common(self, key: str, value: str) -> bool:
        made = self.made
        if key == "type":
            made.type = value.lower()
        elif key in ("source", "src"):
            made.source = host_path(value, self.directory) if value == "." or value.startswith("./") else value
        elif key in ("target", "dst", "destination"):
            made.target = value
        elif key in ("readonly", "ro"):
            made.read_only = _flag(key, value)
        elif key == "consistency":
            made.consistency = value.lower()
        elif key in ("idmap", "u"):
            self.idmap = _flag(key, value)
        else:
            return False
        return True

    def _special(self, key: str, value: str) -> bool:
        if key.startswith("bind-"):
            return self._bind(key, value)
        if key.startswith("volume-"):
            return self._volume(key, value)
        if key.startswith("tmpfs-"):
            return self._tmpfs(key, value)
        if key == "image-subpath":
            self.made.image_options = ImageOptions(subpath=value)
            return True
        return False

    def _bind(self, key: str, value: str) -> bool:
        options = self.made.bind_options or BindOptions()
        if key == "bind-propagation":
            options.propagation = value.lower()
        elif key == "bind-nonrecursive":
            options.non_recursive = _flag(key, value)
        elif key == "bind-create-src":
            options.create_mountpoint = _flag(key, value)
        elif key == "bind-recursive":
            self.recursive = value
            if value == "enabled":
                return True
            if value == "disabled":
                options.non_recursive = True
            elif value == "writable":
                options.read_only_non_recursive = True
            elif value == "readonly":
                options.read_only_force_recursive = True
            else:
                raise InvalidArgument(
                    f'invalid value for bind-recursive: {value} (must be "enabled", "disabled", "writable", '
                    'or "readonly")'
                )
        else:
            return False
        self.made.bind_options = options
        return True

    def _volume(self, key: str, value: str) -> bool:
        options = self.made.volume_options or VolumeOptions(driver_config=VolumeDriver())
        driver = options.driver_config or VolumeDriver()
        if key == "volume-subpath":
            options.subpath = value
        elif key == "volume-nocopy":
            options.no_copy = _flag(key, value)
        elif key == "volume-label":
            name, _, text = value.partition("=")
            options.labels = {**(options.labels or {}), name: text}
        elif key == "volume-driver":
            driver.name = value
        elif key == "volume-opt":
            name, _, text = value.partition("=")
            driver.options = {**(driver.options or {}), name: text}
        else:
            return False
        self.made.volume_options = options
        return True

    def _tmpfs(self, key: str, value: str) -> bool:
        options = self.made.tmpfs_options or TmpfsOptions()
        if key == "tmpfs-size":
            try:
                options.size_bytes = size(value)
            except InvalidArgument as error:
                raise InvalidArgument(f"invalid value for {key}: {value}") from error
        elif key == "tmpfs-mode":
            if not value or set(value) - set("01234567") or len(value) > 11:
                raise InvalidArgument(f"invalid value for {key}: {value}")
            options.mode = int(value, 8)
        elif key == "tmpfs-opt":
            name, equals, text = value.partition("=")
            options.options = [*(options.options or ()), [name, text] if equals else [name]]
        else:
            return False
        self.made.tmpfs_options = options
        return True

    def _finish(self) -> None:
        made = self.made
        if self.idmap:
            if made.type == "bind":
                made.bind_options = made.bind_options or BindOptions()
                made.bind_options.idmap = True
            elif made.type == "volume":
                made.volume_options = made.volume_options or VolumeOptions()
                made.volume_options.idmap = True
            else:
                raise InvalidArgument(f"idmap is for mounts of type bind and volume, not '{made.type}'")
        if self.recursive not in ("writable", "readonly"):
            return
        if not made.read_only:
            raise InvalidArgument(
                f"option 'bind-recursive={self.recursive}' requires 'readonly' to be specified in conjunction"
            )
        if self.recursive == "readonly" and (made.bind_options or BindOptions()).propagation != "rprivate":
            raise InvalidArgument(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
            )


def _flag(key: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise InvalidArgument(f"invalid value for {key}: {value}")


def fields(text: str) -> Iterator[str]:
    """Yield the fields of a line of comma-separated values, by the rules and with the words of Go's reader."""
    if not text:
        raise InvalidArgument("EOF")
    position = 0
    while True:
        if text[position : position + 1] == '"':
            field, position = _quoted(text, position + 1)
        else:
            end = text.find(",", position)
            end = len(text) if end < 0 else end
            field = text[position:end]
            if '"' in field:
                column = len(text[: position + field.index('"')].encode()) + 1
                raise InvalidArgument(f'parse error on line 1, column {column}: bare " in non-quoted-field')
            if "\n" in field or "\r" in field:
                raise InvalidArgument(f"{text[:100]!a}: a line break needs quotes")
            position = end
        yield field
        if position == len(text):
            return
        position += 1


def _quoted(text: str, position: int) -> tuple[str, int]:
    """Return the field whose quote was before ``position``, and where it has ended."""
    parts = []
    while True:
        end = text.find('"', position)
        if end < 0:
            break
        parts.append(text[position:end])
        after = text[end + 1 : end + 2]
        if after in ("", ","):
            return "".join(parts), end + 1
        if after != '"':
            position = end + 1
            break
        parts.append('"')
        position = end + 2
    column = len(text[:position].encode() if end >= 0 else text.encode()) + (0 if end >= 0 else 1)
    raise InvalidArgument(f'parse error on line 1, column {column}: extraneous or missing " in quoted-field')
