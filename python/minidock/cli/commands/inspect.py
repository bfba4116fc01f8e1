"""``inspect``, and that of containers, images, networks and volumes."""

from __future__ import annotations

from minidock.cli.flags import Command, Flag
from minidock.cli.listing import show_documents
from minidock.cli.output import complain
from minidock.cli.surface import NO_PLUGINS, NO_SWARM
from minidock.cli.words import UsageError
from minidock.errors import MinidockError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minidock.cli.flags import Values
    from minidock.cli.session import Session

_ABSENT = {
    "plugin": NO_PLUGINS,
    "config": NO_SWARM,
    "node": NO_SWARM,
    "secret": NO_SWARM,
    "service": NO_SWARM,
    "task": NO_SWARM,
}


def _container(session: Session, name: str, values: Values) -> dict[str, Any]:
    import msgspec

    document: dict[str, Any] = msgspec.to_builtins(session.engine.containers.get(name).inspect(size=values["size"]))
    return document


def _image(session: Session, name: str, values: Values) -> dict[str, Any]:
    return session.engine.images.get(name).attrs


def _image_for(session: Session, name: str, values: Values) -> dict[str, Any]:
    return session.engine.images.get(name, platform=values["platform"]).attrs


def _network(session: Session, name: str, values: Values) -> dict[str, Any]:
    return session.engine.networks.get(name).attrs


def _volume(session: Session, name: str, values: Values) -> dict[str, Any]:
    return session.engine.volumes.get(name).attrs


def _any(session: Session, name: str, values: Values) -> dict[str, Any]:
    try:
        return _container(session, name, values)
    except NotFound:
        pass
    try:
        return _image(session, name, values)
    except MinidockError:
        pass
    try:
        return _network(session, name, values)
    except MinidockError:
        pass
    try:
        return _volume(session, name, values)
    except MinidockError:
        raise NotFound(f"no such object: {name}") from None


def _show(
    read: Callable[[Session, str, Values], dict[str, Any]],
) -> Callable[[Session, Values, list[str]], int]:
    def show(session: Session, values: Values, arguments: list[str]) -> int:
        return _inspect(session, values, arguments, read)

    return show


def _inspect(
    session: Session, values: Values, arguments: list[str], read: Callable[[Session, str, Values], dict[str, Any]]
) -> int:
    """Print what was found, then complain about the rest."""
    if values["format"] and values["format"] != "json":
        _check_template(values["format"])
    documents: list[dict[str, Any]] = []
    complaints: list[str] = []
    for name in arguments:
        try:
            documents.append(read(session, name, values))
        except MinidockError as error:
            complaints.append(str(error))
    if documents or not values["format"]:
        show_documents(documents, values["format"])
    for complaint in complaints:
        complain(f"minidock: {complaint}")
    return 1 if complaints else 0


def _check_template(text: str) -> None:
    """A malformed template is reported before anything is looked up."""
    from minidock.cli.gotemplate import TemplateError, parse

    try:
        parse(text)
    except TemplateError as error:
        raise TemplateError(f"template parsing error: {error}") from None


def _by_type(session: Session, values: Values, arguments: list[str]) -> int:
    kind = values["type"]
    if kind in _ABSENT:
        raise UsageError(_ABSENT[kind].sentence(f"--type {kind}"))
    kinds = {"container": _container, "image": _image, "network": _network, "volume": _volume}
    if kind and kind not in kinds:
        words = ", ".join(f'"{word}"' for word in sorted((*_ABSENT, *kinds)))
        raise UsageError(f'unknown type: "{kind}": must be one of {words}', 1)
    return _inspect(session, values, arguments, kinds[kind] if kind else _any)


_FORMAT = Flag("format", "string", "'json', or a Go template", short="f")
_SIZE = Flag("size", "bool", "Show sizes of containers", short="s")

CONTAINER = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Show all details of containers as JSON.",
    [_FORMAT, _SIZE],
    _show(_container),
    minimum=1,
    complete="containers",
)
IMAGE = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    "Show all details of images as JSON.",
    [_FORMAT, Flag("platform", "string", "Platform of the image, OS[/ARCH[/VARIANT]]")],
    _show(_image_for),
    minimum=1,
    complete="images",
)
NETWORK = Command(
    "[OPTIONS] NETWORK [NETWORK...]",
    "Show all details of networks as JSON, with the running containers that are on them.",
    [_FORMAT, Flag("verbose", "bool", "Show what a swarm knows of them too, which is nothing here", short="v")],
    _show(_network),
    minimum=1,
    complete="networks",
)
VOLUME = Command(
    "[OPTIONS] VOLUME [VOLUME...]",
    "Show all details of volumes as JSON.",
    [_FORMAT],
    _show(_volume),
    minimum=1,
    complete="volumes",
)
ANY = Command(
    "[OPTIONS] NAME|ID [NAME|ID...]",
    "Show all details of containers, images, networks or volumes as JSON.",
    [_FORMAT, _SIZE, Flag("type", "string", "Look only for a container, an image, a network or a volume")],
    _by_type,
    minimum=1,
    complete="any",
)
