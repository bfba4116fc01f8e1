"""``HostConfig.Binds`` and ``HostConfig.Mounts`` → :class:`~minidock.containers.record.Point`. Pure, but for new names.

The words of errors are Docker's.
"""

from __future__ import annotations

from minidock.containers.parse import mounts as parse
from minidock.containers.parse import tmpfs
from minidock.containers.parse.mount_option import TYPES
from minidock.containers.record import Point
from minidock.errors import InvalidArgument
from minidock.spec.docker import BindOptions, ImageOptions, MountRequest, TmpfsOptions, VolumeDriver, VolumeOptions
from minidock.volumes.making import new_name
from minidock.volumes.options import check_name

_OPTIONS = (
    ("bind", "BindOptions"),
    ("volume", "VolumeOptions"),
    ("tmpfs", "TmpfsOptions"),
    ("image", "ImageOptions"),
)


def bind(text: str) -> Point:
    """Return what an entry of ``HostConfig.Binds`` means; a volume's driver is left open. Raises InvalidArgument."""
    spec = parse.split(text)
    if not spec.source or (not spec.mode and _is_mode(spec.destination)):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    mode = parse.mode(spec.mode)
    is_bind = spec.source.startswith("/")
    request = MountRequest(
        type="bind" if is_bind else "volume",
        source=spec.source,
        target=spec.destination,
        read_only=mode.read_only,
    )
    if mode.propagation:
        request.bind_options = BindOptions(propagation=mode.propagation)
    if mode.no_copy:
        request.volume_options = VolumeOptions(no_copy=True)
    if not is_bind:
        check_name(spec.source)
    try:
        made = point(request)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid volume specification: '{text}': {error}") from error
    made.mode = spec.mode or made.mode
    made.idmap = mode.idmap
    made.create = is_bind
    made.driver = ""
    return made


def _is_mode(text: str) -> bool:
    try:
        parse.mode(text)
    except InvalidArgument:
        return False
    return True


def point(request: MountRequest) -> Point:
    """Return what an entry of ``HostConfig.Mounts`` means. Raises InvalidArgument."""
    try:
        return _point(request)
    except InvalidArgument as error:
        if str(error).startswith("create "):
            raise
        raise InvalidArgument(f'invalid mount config for type "{request.type}": {error}') from error


def _point(request: MountRequest) -> Point:
    kind = request.type
    if kind not in TYPES:
        raise InvalidArgument("mount type unknown")
    if not request.target:
        raise InvalidArgument("field Target must not be empty")
    made = Point(type=kind, destination=parse.destination(request.target), rw=not request.read_only)
    parse.check_proc(made.destination, bind=kind == "bind")
    given = (request.bind_options, request.volume_options, request.tmpfs_options, request.image_options)
    for (name, field), options in zip(_OPTIONS, given, strict=True):
        if options is not None and name != kind:
            raise InvalidArgument(f"field {field} must not be specified")
    if kind in ("bind", "overlay", "image") and not request.source:
        raise InvalidArgument("field Source must not be empty")
    if kind == "bind":
        _bind(made, request)
    elif kind == "volume":
        _volume(made, request)
    elif kind == "tmpfs":
        _tmpfs(made, request)
    elif kind == "image":
        made.name, made.rw, made.propagation = request.source, False, "rprivate"
        made.subpath = _subpath((request.image_options or ImageOptions()).subpath, "image")
    else:
        _path(made, request.source)
        made.propagation = "rprivate"
    return made


def _path(made: Point, source: str) -> None:
    if not source.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{source}' mount path must be absolute")
    made.source = parse.clean(source)


def _bind(made: Point, request: MountRequest) -> None:
    options = request.bind_options or BindOptions()
    if options.propagation and options.propagation not in parse.PROPAGATIONS:
        raise InvalidArgument(f"invalid propagation mode: {options.propagation}")
    if options.read_only_non_recursive and options.read_only_force_recursive:
        raise InvalidArgument("mount options conflict: ReadOnlyNonRecursive and ReadOnlyForceRecursive")
    if not request.read_only and (options.read_only_non_recursive or options.read_only_force_recursive):
        raise InvalidArgument("mount options conflict: !ReadOnly but a recursive read-only mode is specified")
    _path(made, request.source)
    made.propagation = options.propagation
    made.recursive = not options.non_recursive
    made.read_only = "top" if request.read_only and options.read_only_non_recursive else ""
    made.create = options.create_mountpoint
    made.idmap = options.idmap


def _volume(made: Point, request: MountRequest) -> None:
    options = request.volume_options or VolumeOptions()
    made.mode = "z"
    made.driver = (options.driver_config or VolumeDriver()).name or "local"
    made.copy = not options.no_copy
    made.idmap = options.idmap
    made.subpath = _subpath(options.subpath, "volume")
    if request.source:
        check_name(request.source)
        made.name = request.source
    else:
        if request.read_only:
            raise InvalidArgument("must not set ReadOnly mode when using anonymous volumes")
        if made.subpath:
            raise InvalidArgument("must not set Subpath when using anonymous volumes")
        made.name, made.anonymous = new_name(), True
    if made.subpath:
        made.copy = False  # the image's files belong to the volume's top


def _subpath(text: str, what: str) -> str:
    if not text:
        return ""
    found = parse.subpath(text, what)
    return "" if found == "." else found


def _tmpfs(made: Point, request: MountRequest) -> None:
    if request.source:
        raise InvalidArgument("field Source must not be specified")
    options = request.tmpfs_options or TmpfsOptions()
    words = ["ro"] if request.read_only else []
    if options.mode:
        words.append(f"mode={options.mode:o}")
    if options.size_bytes:
        words.append(f"size={options.size_bytes}")
    for parts in options.options or ():
        if len(parts) not in (1, 2):
            raise InvalidArgument("invalid option array length")
        words.append("=".join(parts))
    made.options = tmpfs.options(",".join(words))


def anonymous(destination: str, driver: str = "") -> Point:
    """Return a new volume without a name at ``destination``, which is clean."""
    return Point(
        type="volume",
        destination=destination,
        name=new_name(),
        driver=driver or "local",
        anonymous=True,
        copy=True,
    )
