"""Mounts of a RUN that is written in Python."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from minidock.build.dockerfile import instructions as kinds
from minidock.build.dockerfile import mounts as parsing
from minidock.build.python.words import word
from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from minidock.build.python.image import Image

_Words = tuple[tuple[str, str], ...]


class Mount(Struct, frozen=True, kw_only=True):
    """What a command sees besides its image; make one with :meth:`cache`, :meth:`bind` and the others."""

    words: _Words
    """Keys and values as in ``RUN --mount``."""
    from_: Image | str | None = None
    context: str | None = None
    """A directory or URL whose files a bind shows."""

    @staticmethod
    def cache(
        target: str,
        *,
        id: str | None = None,
        sharing: str | None = None,
        from_: Image | str | None = None,
        source: str | None = None,
        read_only: bool = False,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> Mount:
        """A directory that stays from build to build, by ``id`` or else the target.

        ``sharing`` is ``shared``, ``private`` or ``locked``.
        """
        words = _words(
            "cache",
            target=target,
            id=id,
            sharing=sharing,
            source=source,
            readonly=read_only,
            mode=mode,
            uid=uid,
            gid=gid,
        )
        return Mount(words=words, from_=from_)

    @staticmethod
    def bind(
        target: str,
        source: str | None = None,
        *,
        from_: Image | str | None = None,
        context: str | os.PathLike[str] | None = None,
        read_only: bool = True,
    ) -> Mount:
        """Files of an image, or of a context (the working directory unless it is said); what is written is lost."""
        words = _words("bind", target=target, source=source, readonly=read_only)
        return Mount(words=words, from_=from_, context=None if context is None else os.fspath(context))

    @staticmethod
    def tmpfs(target: str, *, size: int | str | None = None) -> Mount:
        """A file system in memory; ``size`` in bytes or as ``64m``."""
        return Mount(words=_words("tmpfs", target=target, size=size))

    @staticmethod
    def secret(
        id: str,
        *,
        target: str | None = None,
        env: str | None = None,
        required: bool = False,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> Mount:
        """One of the ``secrets`` of the build: a file at ``target`` (``/run/secrets/ID``), or the variable ``env``."""
        words = _words("secret", id=id, target=target, env=env, required=required, mode=mode, uid=uid, gid=gid)
        return Mount(words=words)

    @staticmethod
    def ssh(id: str = "default", *, target: str | None = None, required: bool = False) -> Mount:
        """One of the agents (``ssh``) of the build."""
        return Mount(words=_words("ssh", id=id, target=target, required=required))

    @property
    def shows_context(self) -> bool:
        """Whether its files are those of a context."""
        kind = {key.lower(): value for key, value in self.words}.get("type", "bind")
        return kind.lower() == "bind" and self.from_ is None

    def instruction(self, from_: str) -> kinds.Mount:
        """The mount as one of a Dockerfile, whose files are those of ``from_``, if it has any of another place."""
        source = (("from", from_),) if from_ else ()
        return kinds.Mount(from_=from_, words=(*self.words, *source))


def _words(kind: str, **values: Any) -> _Words:
    found = [("type", kind)]
    for key, value in values.items():
        if value is None or value is False:
            if key == "readonly" and kind == "bind":
                found.append(("readonly", "false"))
            continue
        text = "true" if value is True else f"{value:o}" if key == "mode" else str(value)
        found.append((key, word(text)))
    return tuple(found)


def read(given: Mount | str) -> Mount:
    """Return a mount as it is, or what ``type=cache,target=/x`` means. Raises InvalidArgument."""
    if isinstance(given, Mount):
        mount = given
    elif isinstance(given, str):
        try:
            parsed = parsing.parse(given)
        except parsing.MountError as error:
            raise InvalidArgument(f"mount {given!r}: {error}") from None
        words = tuple((key, value) for key, value in parsed.words if key.lower() != "from")
        mount = Mount(words=words, from_=parsed.from_ or None)
    else:
        raise InvalidArgument(f"mount {given!r}: a text as for RUN --mount, or a minidock.build.Mount is needed")
    if mount.from_ is not None and mount.context is not None:
        raise InvalidArgument("a mount has files of an image (from_) or of a context, not of both")
    if any("$" in value for _, value in mount.words):
        return mount
    try:
        parsing.expand(replace(mount, from_=None).instruction(""), _plain)
    except parsing.MountError as error:
        raise InvalidArgument(f"mount {given!r}: {error}") from None
    return mount


def _plain(text: str) -> str:
    return text.replace("\\", "")
