"""OCI layouts of the client (``--build-context NAME=oci-layout://PATH``): what a build needs of one is fetched."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

import msgspec

from minidock.errors import Corrupt, InvalidArgument, LimitExceeded
from minidock.images import manifests
from minidock.server.buildkit import wire_pb2 as wire
from minidock.server.buildkit.sessions import translated
from minidock.spec import decoding, oci_image
from minidock.store.failures import translated as on_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.images.platforms import Platform
    from minidock.server.buildkit.sessions import Session
    from minidock.spec.oci_image import Descriptor

_NAME = re.compile(r"([A-Za-z0-9_.-]+)(?::([A-Za-z0-9_.-]+))?@(sha256:[0-9a-f]{64})")
_STORE = "buildkit-attachable-store-id"
_DEPTH = 3


class _Document(msgspec.Struct, rename="camel"):
    """What says of which kind a document is."""

    media_type: str = ""
    manifests: msgspec.Raw | None = None


class Store:
    """One layout, which is copied into the directory ``target`` as far as ``platform`` needs it."""

    def __init__(self, session: Session, text: str, platform: Platform, target: str) -> None:
        """``text`` is the client's name for it, with a digest. Raises InvalidArgument."""
        found = _NAME.fullmatch(text)
        if found is None:
            raise InvalidArgument(f"oci-layout://{text[:200]}: no layout of the client's with a digest")
        self._session = session
        self._metadata = [(_STORE, f"oci:{found[1]}")]
        self._digest = found[3]
        self._platform = platform
        self._target = target

    def fetch(self) -> str:
        """Fetch it, and return what follows ``oci-layout://`` to find it here.

        Raises NotFound, Corrupt for what is not what its digest says, LimitExceeded, SessionError, NoSpace.
        """
        with on_disk("make", self._target):
            os.makedirs(f"{self._target}/blobs/sha256", 0o700)
        media_type, size = self._document(self._digest, "", 0)
        top = oci_image.Descriptor(media_type, self._digest, size)
        index = msgspec.json.encode(oci_image.Index(2, [top], media_type=oci_image.INDEX))
        for name, data in (("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index)):
            with on_disk("write", self._target), open(f"{self._target}/{name}", "wb") as file:
                file.write(data)
        return f"{self._target}@{self._digest}"

    def _document(self, digest: str, media_type: str, depth: int) -> tuple[str, int]:
        """Fetch a manifest or an index, and what it leads to; returns its kind and its size."""
        if depth > _DEPTH:
            raise LimitExceeded(f"{digest}: indexes within indexes")
        self._blob(digest, manifests.MAX_DOCUMENT)
        with on_disk("read", self._place(digest)), open(self._place(digest), "rb") as file:
            data = file.read()
        try:
            found = decoding.decode(data, _Document)
        except msgspec.DecodeError as error:
            raise Corrupt(f"{digest}: {error}") from error
        is_index = found.manifests is not None
        media_type = media_type or found.media_type or (oci_image.INDEX if is_index else oci_image.MANIFEST)
        if is_index:
            for entry in manifests.parse_index(media_type, data).manifests:
                if self._is_wanted(entry):
                    self._document(entry.digest, entry.media_type, depth + 1)
        else:
            manifest = manifests.parse_manifest(media_type, data)
            for blob in (manifest.config, *manifest.layers):
                self._blob(blob.digest, blob.size)
        return media_type, len(data)

    def _is_wanted(self, entry: Descriptor) -> bool:
        from minidock.images.platforms import Platform

        if entry.platform is None:
            return True
        given = entry.platform
        return self._platform.rank(Platform(given.os, given.architecture, given.variant)) is not None

    def _place(self, digest: str) -> str:
        return f"{self._target}/blobs/sha256/{digest.removeprefix('sha256:')}"

    def _blob(self, digest: str, most: int) -> None:
        """Fetch one blob, unless it is here."""
        if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
            raise InvalidArgument(f"{digest[:100]}: no digest that minidock knows")
        place = self._place(digest)
        if os.path.exists(place):
            return
        hashed, size = hashlib.sha256(), 0
        with on_disk("write", place), open(f"{place}.new", "wb") as file:
            for data in self._pieces(digest):
                size += len(data)
                if size > most:
                    raise Corrupt(f"{digest}: the client has more of it than {most} bytes")
                hashed.update(data)
                file.write(data)
        if f"sha256:{hashed.hexdigest()}" != digest:
            raise Corrupt(f"{digest}: the client has something else under this digest")
        os.rename(f"{place}.new", place)

    def _pieces(self, digest: str) -> Iterator[bytes]:
        call = self._session.stream("containerd.services.content.v1.Content", "Read", self._metadata)
        try:
            with translated():
                call.send(wire.ContentRequest(digest=digest).SerializeToString())
                call.end()
                for message in call:
                    yield wire.ContentResponse.FromString(message).data
        finally:
            call.cancel()
