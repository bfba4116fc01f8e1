"""``engine.manifests``: manifest lists put together from images that are in a registry already.

A list grows below the data root, ``manifests/LIST/IMAGE`` with SHA-256 of the names for names, until it is pushed. No
image of the store takes part.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from minidock.errors import Conflict, Corrupt, ImageNotFound, InvalidArgument, NotFound
from minidock.images import content, manifests, references
from minidock.spec import decoding
from minidock.spec.oci_image import DOCKER_INDEX, INDEX, MANIFEST, Descriptor, Index, Platform
from minidock.store.failures import translated
from minidock.store.paths import make_directory
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minidock.engine import Engine
    from minidock.images.references import Reference
    from minidock.registry.cancel import Cancel
    from minidock.registry.client import Client
    from minidock.registry.kinds import Manifest
    from minidock.registry.repository import Repository

_ARCHITECTURES = {
    "darwin": "386 amd64 arm arm64",
    "dragonfly": "amd64",
    "freebsd": "386 amd64 arm",
    "linux": "386 amd64 arm arm64 loong64 mips64 mips64le ppc64 ppc64le riscv64 s390x",
    "netbsd": "386 amd64 arm",
    "openbsd": "386 amd64 arm",
    "plan9": "386 amd64",
    "solaris": "amd64",
    "windows": "386 amd64 arm arm64",
}
_CHUNK = 1 << 20


class Entry(msgspec.Struct):
    """One image of a list: where it is, its manifest's type, digest, size and platform, and the manifest itself."""

    ref: str
    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    raw: bytes = b""


class Inspected(NamedTuple):
    """A manifest (one entry) or a list of them."""

    is_list: bool
    entries: list[Entry]


class PushedList(NamedTuple):
    """The digest of a pushed list, and the images that were put into its repository for it, as ``NAME@DIGEST``."""

    digest: str
    images: list[str]


class ManifestLists:
    """The manifest lists that are being put together on an engine's data root, and those of registries."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._folder = f"{engine.data_root}/manifests"

    def inspect(
        self,
        name: str,
        image: str | None = None,
        *,
        manifests: bool = False,
        insecure: bool = False,
        cancel: Cancel | None = None,
    ) -> Inspected:
        """A list that is being put together here, or what a registry has under a name; or one ``image`` of a list here.

        With ``manifests`` the manifests of a registry's list are fetched too. ``insecure`` allows a registry without
        valid TLS. Raises ImageNotFound, and the errors of registries.
        """
        if image is not None:
            reference = references.parse(image).with_default_tag()
            found = self._read(references.parse(name).with_default_tag(), reference)
            if found is None:
                raise ImageNotFound(f"no such manifest: {reference.familiar}")
            return Inspected(is_list=False, entries=[found])
        reference = references.parse(name).with_default_tag()
        entries = self._entries(reference)
        if entries:
            return Inspected(is_list=True, entries=entries)
        with self._client(reference, insecure) as client:
            return _fetch(client.repository(reference, cancel=cancel), reference, manifests, cancel)

    def create(
        self,
        name: str,
        images: Sequence[str],
        *,
        amend: bool = False,
        insecure: bool = False,
        cancel: Cancel | None = None,
    ) -> str:
        """Begin a list of ``images`` that registries have, or with ``amend`` add to one; returns its whole name.

        Raises Conflict when the list exists and ``amend`` is not set, InvalidArgument for an image that is a list
        itself, ImageNotFound, and the errors of registries. Nothing is kept when an image fails.
        """
        target = references.parse_repository(name).with_default_tag()
        if self._entries(target) and not amend:
            raise Conflict(f"{target.familiar}: refusing to amend an existing manifest list with no --amend flag")
        made = []
        for image in images:
            reference = references.parse(image).with_default_tag()
            entry = self._read(target, reference)
            if entry is None:
                with self._client(reference, insecure) as client:
                    found = _fetch(client.repository(reference, cancel=cancel), reference, False, cancel)
                if found.is_list:
                    raise InvalidArgument(f"{reference.familiar} is a manifest list")
                entry = found.entries[0]
            made.append(entry)
        for entry in made:
            self._write(target, entry)
        return target.canonical

    def annotate(
        self,
        name: str,
        image: str,
        *,
        os: str = "",
        architecture: str = "",
        variant: str = "",
        os_version: str = "",
        os_features: Sequence[str] = (),
    ) -> None:
        """Say what an image of a list is for; what is left out stays. Raises ImageNotFound, InvalidArgument."""
        target = references.parse(name).with_default_tag()
        reference = references.parse(image).with_default_tag()
        entry = self._read(target, reference)
        if entry is None:
            raise ImageNotFound(f"manifest for image {image} does not exist in {name}")
        platform = entry.platform = entry.platform or Platform()
        platform.os = os or platform.os
        platform.architecture = architecture or platform.architecture
        platform.variant = variant or platform.variant
        platform.os_version = os_version or platform.os_version
        platform.os_features = [*platform.os_features, *os_features]
        if platform.architecture not in _ARCHITECTURES.get(platform.os, "").split():
            raise InvalidArgument(
                f"manifest entry for image has unsupported os/arch combination: {platform.os}/{platform.architecture}"
            )
        self._write(target, entry)

    def push(
        self, name: str, *, purge: bool = False, insecure: bool = False, cancel: Cancel | None = None
    ) -> PushedList:
        """Push a list, and into its repository the images that are in others of the registry; ``purge`` forgets it.

        Raises ImageNotFound, InvalidArgument for images of another registry or without a platform, and the errors of
        registries.
        """
        target = references.parse_repository(name).with_default_tag()
        entries = self._entries(target)
        if not entries:
            raise ImageNotFound(f"no such manifest: {target.familiar}")
        for entry in entries:
            source = references.parse(entry.ref)
            if source.domain != target.domain:
                raise InvalidArgument(
                    f"cannot use source images from a different registry than the target image: {source.domain} != "
                    f"{target.domain}"
                )
            if entry.platform is None or not entry.platform.os or not entry.platform.architecture:
                raise InvalidArgument(
                    f"manifest {entry.ref} must have an OS and Architecture to be pushed to a registry"
                )
        pushed = []
        with self._client(target, insecure) as client:
            repository = client.repository(target, push=True, cancel=cancel)
            for entry in entries:
                source = references.parse(entry.ref)
                if source.path != target.path:
                    for blob in _blobs(entry):
                        self._move(blob, client, source, repository, cancel)
                    repository.put_manifest(entry.digest, entry.media_type, entry.raw, cancel=cancel)
                    pushed.append(f"{target.familiar_name}@{entry.digest}")
            data = document(entries)
            digest = repository.put_manifest(target.tag or "", _media_type(entries), data, cancel=cancel)
        if digest != content.digest_of(data):
            raise Corrupt(f"push {target.familiar}: the registry calls {content.digest_of(data)} {digest[:100]!r}")
        if purge:
            self.remove(name)
        return PushedList(digest, pushed)

    def remove(self, name: str) -> None:
        """Forget a list that is being put together here. Raises ImageNotFound."""
        target = references.parse(name).with_default_tag()
        folder = self._of(target)
        if not os.path.isdir(folder):
            raise ImageNotFound(f"no such manifest: {target.familiar}")
        from minidock.store.trees import remove_tree

        remove_tree(folder)

    def names(self) -> list[str]:
        """The names of the lists that are being put together here."""
        found = []
        for folder in _names(self._folder):
            path = f"{self._folder}/{folder}/name"
            with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
                found.append(references.from_canonical(file.read()).familiar)
        return sorted(found)

    @contextlib.contextmanager
    def _client(self, reference: Reference, insecure: bool) -> Iterator[Client]:
        if not insecure:
            yield self._engine.registry
            return
        from minidock.registry.client import Client

        config = self._engine.config
        allowed = (*config.insecure_registries, reference.domain)
        with Client(msgspec.structs.replace(config, insecure_registries=allowed)) as client:
            yield client

    def _of(self, target: Reference) -> str:
        return f"{self._folder}/{_hashed(target)}"

    def _entries(self, target: Reference) -> list[Entry]:
        """The images of a list, in Docker's order: that of the names of its files."""
        folder = self._of(target)
        loaded = [self._load(f"{folder}/{name}") for name in _names(folder) if name != "name"]
        found = [entry for entry in loaded if entry is not None]
        return sorted(found, key=lambda entry: entry.ref.replace(":", "-").replace("/", "_"))

    def _read(self, target: Reference, image: Reference) -> Entry | None:
        return self._load(f"{self._of(target)}/{_hashed(image)}")

    def _load(self, path: str) -> Entry | None:
        try:
            with open(path, "rb") as file:
                return decoding.decode(file.read(), Entry)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Corrupt(f"read {path}: {error}") from error

    def _write(self, target: Reference, entry: Entry) -> None:
        paths = self._engine.store.paths
        _ = self._engine.store.database  # makes the data root
        folder = self._of(target)
        with translated("write", folder), Workspace(paths, "manifest") as work:
            make_directory(self._folder)
            make_directory(folder)
            for name, data in (
                ("name", target.canonical.encode()),
                (_hashed(references.parse(entry.ref)), msgspec.json.encode(entry)),
            ):
                with open(work.join(name), "wb") as file:
                    file.write(data)
                os.rename(work.join(name), f"{folder}/{name}")

    def _move(
        self, blob: Descriptor, client: Client, source: Reference, target: Repository, cancel: Cancel | None
    ) -> None:
        """Let the target repository have a blob of another one: by a mount, else by download and upload."""
        if target.has_blob(blob.digest, cancel=cancel) is not None:
            return
        if target.mount(blob.digest, source.path, cancel=cancel):
            return
        _ = self._engine.store.database
        origin = client.repository(source, cancel=cancel)
        with Workspace(self._engine.store.paths, "manifest") as work, translated("write", work.path):
            fd = os.open(work.join("blob"), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                _download(origin, blob, fd, cancel)
                target.upload(blob.digest, blob.size, fd, cancel=cancel)
            finally:
                os.close(fd)


def _fetch(repository: Repository, reference: Reference, raw: bool, cancel: Cancel | None) -> Inspected:
    """What a registry has under a name."""
    try:
        top = repository.manifest(reference.digest or reference.tag or "", cancel=cancel)
    except NotFound:
        raise ImageNotFound(f"no such manifest: {reference.familiar}") from None
    return fetched(repository, reference, top, raw=raw, cancel=cancel)


def fetched(
    repository: Repository, reference: Reference, top: Manifest, *, raw: bool, cancel: Cancel | None
) -> Inspected:
    """What is known of a manifest or index that has been fetched; ``raw`` fetches the manifests of an index, too."""
    parsed = manifests.parse(top.media_type, top.data)
    if not isinstance(parsed, Index):
        entry = Entry(reference.canonical, top.media_type, top.digest, len(top.data), None, top.data)
        config = manifests.parse_config(_small(repository, parsed.config, cancel))
        entry.platform = Platform(
            config.architecture, config.os, config.os_version, list(config.os_features), config.variant
        )
        return Inspected(is_list=False, entries=[entry])
    entries = []
    for one in parsed.manifests:
        entry = Entry(f"{reference.canonical}@{one.digest}", one.media_type, one.digest, one.size, one.platform)
        if raw:
            entry.raw = repository.manifest(one.digest, cancel=cancel).data
        entries.append(entry)
    return Inspected(is_list=True, entries=entries)


def _small(repository: Repository, blob: Descriptor, cancel: Cancel | None) -> bytes:
    """A blob that fits into memory, checked."""
    data = bytearray(blob.size)
    view, done = memoryview(data), 0
    with repository.blob(blob.digest, size=blob.size, cancel=cancel) as reader:
        while done < len(data) and (count := reader.readinto(view[done:])):
            done += count
    text = bytes(data[:done])
    if done != blob.size or content.digest_of(text) != blob.digest:
        raise Corrupt(f"blob {blob.digest}: the registry sent {done} bytes with another digest")
    return text


def _download(repository: Repository, blob: Descriptor, fd: int, cancel: Cancel | None) -> None:
    """Write a blob into a file, checked."""
    hashed, done = hashlib.sha256(), 0
    view = memoryview(bytearray(_CHUNK))
    with repository.blob(blob.digest, size=blob.size, cancel=cancel) as reader:
        while count := reader.readinto(view):
            hashed.update(view[:count])
            os.pwrite(fd, view[:count], done)
            done += count
    if done != blob.size or f"sha256:{hashed.hexdigest()}" != blob.digest:
        raise Corrupt(f"blob {blob.digest}: the registry sent {done} bytes with another digest")


def _blobs(entry: Entry) -> list[Descriptor]:
    manifest = manifests.parse_manifest(entry.media_type, entry.raw)
    return list({blob.digest: blob for blob in (manifest.config, *manifest.layers)}.values())


def _media_type(entries: Sequence[Entry]) -> str:
    """Docker goes by the first image."""
    return INDEX if entries and entries[0].media_type == MANIFEST else DOCKER_INDEX


def document(entries: Sequence[Entry]) -> bytes:
    """The list as it is pushed and shown, in Docker's bytes."""
    listed = []
    for entry in entries:
        one: dict[str, Any] = {"mediaType": entry.media_type, "size": entry.size, "digest": entry.digest}
        if entry.platform is not None:
            one["platform"] = platform_of(entry)
        listed.append(one)
    whole = {"schemaVersion": 2, "mediaType": _media_type(entries), "manifests": listed}
    return go_json(whole, "   ").encode()


def go_json(value: Any, indent: str) -> str:
    """Indented JSON as Go writes it: what HTML would understand is escaped. So is what would steer a terminal."""
    import json

    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isascii() and not any(char in text for char in "<>&\x7f"):
        return text
    return "".join(
        f"\\u{ord(char):04x}" if char in "<>&\u2028\u2029" or "\x7f" <= char <= "\x9f" else char for char in text
    )


def platform_of(entry: Entry) -> dict[str, Any]:
    """The platform as JSON; architecture and operating system are always there."""
    found: dict[str, Any] = {"architecture": "", "os": ""}
    if entry.platform is not None:
        found |= msgspec.to_builtins(entry.platform)
    return found


def _hashed(reference: Reference) -> str:
    return hashlib.sha256(reference.canonical.encode()).hexdigest()


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
