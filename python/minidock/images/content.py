"""Blobs by digest. What is read is checked against its digest before anybody sees it."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from minidock.errors import Corrupt, InvalidArgument, NotFound
from minidock.images.references import is_digest
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from minidock.config import Config
    from minidock.store.paths import Paths
    from minidock.store.workspace import Workspace

MAX_DOCUMENT = 4 << 20
"""Largest manifest, index or configuration that is read, in bytes (R6)."""


def keeps_blobs(config: Config) -> bool:
    """Whether layers are kept as they travelled too (``storage-opts``: ``keep-blobs=true``, the default).

    Then a push or save sends the very same bytes, so that digests stay, and compresses nothing.
    """
    return "keep-blobs=false" not in config.storage_opts


def digest_of(data: bytes) -> str:
    """The digest of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def stage(workspace: Workspace, data: bytes) -> tuple[str, str]:
    """Write a blob into a workspace; returns its digest and its path, for :meth:`ImageTable.add`."""
    digest = digest_of(data)
    path = workspace.join("blob-" + digest.removeprefix("sha256:"))
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
    except OSError as error:
        raise from_os(error, "write", path) from error
    return digest, path


def read(paths: Paths, digest: str) -> bytes:
    """The bytes of a small blob (a manifest, index or configuration).

    Raises NotFound when it is not in the store, and Corrupt when it is too large or does not have that digest.
    """
    if not is_digest(digest) or not digest.startswith("sha256:"):
        raise InvalidArgument(f"digest {digest[:80]!r}: only sha256 is stored")
    path = paths.blob(digest)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise NotFound(f"no such blob: {digest}") from error
    except OSError as error:
        raise from_os(error, "open", path) from error
    try:
        with os.fdopen(fd, "rb") as file:
            data = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise from_os(error, "read", path) from error
    if len(data) > MAX_DOCUMENT:
        raise Corrupt(f"read {path}: larger than {MAX_DOCUMENT} bytes")
    found = digest_of(data)
    if found != digest:
        raise Corrupt(f"read {path}: its digest is {found}; import or pull the image again")
    return data
