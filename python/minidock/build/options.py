"""What a build is told besides its context: the options of ``engine.images.build``, checked and in one place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from minidock.errors import InvalidArgument, Unsupported
from minidock.images import platforms, references, reproducible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from minidock.build.agents import Agent
    from minidock.build.annotating import Annotation
    from minidock.build.contexts import BuildContext
    from minidock.build.exchange import Place
    from minidock.images.platforms import Platform
    from minidock.spec.oci_image import ImageConfig
    from minidock.store.layers import LayerRow
    from minidock.store.workspace import Workspace

FIXED_DATE = 946_684_800
"""2000-01-01, which archives of any kind can hold: the time of all that a build makes, unless it is told another."""


if TYPE_CHECKING:

    class Asker(Protocol):
        """Whoever builds from elsewhere, and is asked for what the options do not have."""

        def secret(self, name: str) -> bytes | None: ...
        def agent(self, name: str) -> Agent | None: ...
        def login(self, host: str) -> Mapping[str, str] | None: ...
        def files(self, value: str) -> BuildContext | None:
            """A named context; None for a value that is no directory of theirs."""

        def layout(self, text: str, platform: Platform, work: Workspace) -> str:
            """What follows ``oci-layout://`` on this host for what follows it there."""

        def image(self, value: str, work: Workspace) -> tuple[ImageConfig, list[LayerRow]] | None:
            """The same for one that is an image, which ``work`` holds."""


class Options(Struct, kw_only=True):
    """One build."""

    target: str = ""
    args: dict[str, str] = {}
    labels: dict[str, str] = {}
    annotations: tuple[Annotation, ...] = ()
    tags: list[str] = []
    """Canonical names."""
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    pull: bool = False
    platform: str | None = None
    network: str = "default"
    epoch: int | None = FIXED_DATE
    """Seconds since 1970 of all that is made; None keeps the times that files have, as Docker does."""
    secrets: dict[str, Secret] = {}
    ssh: dict[str, Agent] = {}
    contexts: dict[str, str] = {}
    cache_from: tuple[Place, ...] = ()
    cache_to: tuple[Place, ...] = ()
    verify: bool = False
    """Build twice, and compare."""
    namespace: str = ""
    """Of a build that shares no step and no cache mount with others: what it makes is not kept."""
    asker: Asker | None = None
    run: dict[str, Any] = {}
    """Options of ``containers.create`` for every RUN."""

    def secret(self, name: str) -> Secret | None:
        """The secret of this name."""
        found = self.secrets.get(name)
        if found is None and self.asker is not None:
            value = self.asker.secret(name)
            found = None if value is None else Secret(name, value=value)
        return found

    def agent(self, name: str) -> Agent | None:
        """The agent of this name."""
        found = self.ssh.get(name)
        return self.asker.agent(name) if found is None and self.asker is not None else found


class Secret(Struct, frozen=True):
    """A value for ``RUN --mount=type=secret``: of a file or of a variable of this process."""

    id: str
    path: str = ""
    env: str = ""
    value: bytes | None = None

    def read(self) -> bytes:
        """Return the value. Raises InvalidArgument when there is none."""
        if self.value is not None:
            return self.value
        if self.env:
            text = os.environ.get(self.env)
            if text is None:
                raise InvalidArgument(f"secret {self.id}: the variable {self.env} is not set")
            return os.fsencode(text)
        try:
            with open(self.path, "rb") as file:
                data = file.read(_SECRET_SIZE + 1)
        except (OSError, ValueError) as error:
            raise InvalidArgument(f"secret {self.id}: {self.path}: {cause(error)}") from error
        if len(data) > _SECRET_SIZE:
            raise InvalidArgument(f"secret {self.id}: {self.path} is larger than {_SECRET_SIZE >> 10} KiB")
        return data


def cause(error: OSError | ValueError) -> str:
    """Why a file cannot be had; a ValueError is a name that none can have."""
    return error.strerror or str(error) if isinstance(error, OSError) else "no file can have this name"


_SECRET_SIZE = 500 << 10
"""Docker's limit."""


def secret(spec: str) -> Secret:
    """Return what ``id=NAME[,src=PATH|,env=VARIABLE][,type=file|env]`` means, Docker's defaults included.

    Raises InvalidArgument, also for a file that is not there: as with Docker, before anything is built.
    """
    fields: dict[str, str] = {}
    for part in spec.split(","):
        key, equals, value = part.partition("=")
        key = {"source": "src"}.get(key.strip().lower(), key.strip().lower())
        if not equals:
            raise InvalidArgument(f"secret {spec!r}: invalid field '{part}' must be a key=value pair")
        if key not in ("id", "src", "env", "type"):
            raise InvalidArgument(f"secret {spec!r}: unexpected key '{key}'")
        fields[key] = value
    name, kind = fields.get("id", ""), fields.get("type", "")
    if not name:
        raise InvalidArgument(f"secret {spec!r}: it has no id")
    if kind not in ("", "file", "env"):
        raise InvalidArgument(f"secret {spec!r}: unsupported secret type {kind!r}")
    source, env = fields.get("src", ""), fields.get("env", "")
    if kind == "env" and not env:
        env, source = source or name, ""
    if not env and not source and kind != "file":
        if name in os.environ:
            return Secret(name, env=name)
        source = name
    if env:
        return Secret(name, env=env)
    path = os.path.abspath(source or name)
    try:
        os.stat(path)
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"secret {name}: failed to stat {path}: {cause(error)}") from error
    return Secret(name, path=path)


def names(tags: str | Sequence[str]) -> list[str]:
    """Return canonical names for ``tags``. Raises InvalidArgument for one that is none, or has a digest."""
    found = []
    for tag in [tags] if isinstance(tags, str) else tags:
        reference = references.parse(tag)
        if reference.digest is not None:
            raise InvalidArgument(f"invalid tag {tag!r}: a name with a digest cannot be given to an image")
        found.append(reference.with_default_tag().canonical)
    return list(dict.fromkeys(found))


def platform(text: str | None) -> str | None:
    """Return the platform that a build is for, None for the host's. Raises InvalidArgument, Unsupported for several."""
    if not text or text == "local":
        return None
    if "," in text:
        raise Unsupported(
            f"multi-platform build is not supported: {text}: build for each platform, and make one name of the images "
            "with `minidock manifest create`"
        )
    return str(platforms.parse(text))


def epoch(timestamps: str, argument: str = "") -> int | None:
    """Return the time of all that is made, for ``fixed`` or ``keep``; a build's ``argument`` counts before the
    environment. Raises InvalidArgument."""
    if timestamps == "keep":
        return None
    if timestamps != "fixed":
        raise InvalidArgument(f"timestamps {timestamps!r}: must be fixed or keep")
    given = reproducible.source_date_epoch(argument)
    return FIXED_DATE if given is None else given


def pairs(values: Mapping[str, str | None] | Sequence[str], environ: Mapping[str, str]) -> dict[str, str | None]:
    """Return arguments or labels as a dictionary; one without a value has that of the environment, or None."""
    if isinstance(values, str):
        raise InvalidArgument(f"{values!r}: a mapping or a list of KEY=VALUE is needed")
    entries = values.items() if hasattr(values, "items") else (text.partition("=")[::2] for text in values)
    found: dict[str, str | None] = {}
    bare = () if hasattr(values, "items") else [text for text in values if "=" not in text]
    for key, value in entries:
        if not key:
            raise InvalidArgument(f"{key}={value}: a name is missing")
        found[key] = environ.get(key) if key in bare else value
    return found
