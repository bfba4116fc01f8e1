"""What a build is told besides its context: the options of ``engine.images.build``, checked and in one place."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from minidock.errors import InvalidArgument, Unsupported
from minidock.images import references, reproducible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minidock.build.exchange import Place
FIXED_DATE = 946_684_800
"""2000-01-01, which archives of any kind can hold: the time of all that a build makes, unless it is told another."""
NETWORKS = ("", "default", "bridge", "none", "host")


class Options(Struct, kw_only=True):
    """One build."""

    target: str = ""
    args: dict[str, str] = {}
    labels: dict[str, str] = {}
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
    ssh: dict[str, str] = {}
    contexts: dict[str, str] = {}
    cache_from: tuple[Place, ...] = ()
    cache_to: tuple[Place, ...] = ()
    verify: bool = False
    """Build twice, and compare."""
    namespace: str = ""
    """Of a build that shares no step and no cache mount with others: what it makes is not kept."""
    run: dict[str, Any] = {}
    """Options of ``containers.create`` for every RUN."""


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
        except OSError as error:
            raise InvalidArgument(f"secret {self.id}: {self.path}: {error.strerror}") from error
        if len(data) > _SECRET_SIZE:
            raise InvalidArgument(f"secret {self.id}: {self.path} is larger than {_SECRET_SIZE >> 10} KiB")
        return data


_SECRET_SIZE = 500 << 10
"""Docker's limit."""


def secret(spec: str) -> Secret:
    """Return what ``id=NAME[,src=PATH|,env=VARIABLE][,type=file|env]`` means, Docker's defaults included."""
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
    return Secret(name, path="" if env else os.path.abspath(source or name), env=env)


def agent(spec: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return what ``ID[=SOCKET]`` means: the id, and the socket of an agent. Raises InvalidArgument, Unsupported."""
    name, _, path = spec.partition("=")
    path = path or environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise InvalidArgument(f"invalid empty ssh agent socket: ssh {name}: SSH_AUTH_SOCK is not set")
    path = os.path.abspath(path)
    try:
        status = os.stat(path)
    except OSError as error:
        raise InvalidArgument(f"ssh {name}: {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(status.st_mode):
        raise Unsupported(f"ssh {name}: {path} is no socket; add the key to an agent (ssh-add), and give its socket")
    return name, path


def names(tags: str | Sequence[str]) -> list[str]:
    """Return canonical names for ``tags``. Raises InvalidArgument for one that is none, or has a digest."""
    found = []
    for tag in [tags] if isinstance(tags, str) else tags:
        reference = references.parse(tag)
        if reference.digest is not None:
            raise InvalidArgument(f"invalid tag {tag!r}: a name with a digest cannot be given to an image")
        found.append(reference.with_default_tag().canonical)
    return list(dict.fromkeys(found))


def epoch(timestamps: str) -> int | None:
    """Return the time of all that is made, for ``fixed`` or ``keep``. Raises InvalidArgument."""
    if timestamps == "keep":
        return None
    if timestamps != "fixed":
        raise InvalidArgument(f"timestamps {timestamps!r}: must be fixed or keep")
    given = reproducible.source_date_epoch()
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
