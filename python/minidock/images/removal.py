"""Removal of images, by Docker's rules.

A name goes alone while the image has other names. With its last name the image goes, unless a container uses it.
Digests of a repository (``busybox@sha256:…``) are names too; they go with the last tag of their repository.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from minidock.errors import Conflict, ImageInUse, ImageNotFound
from minidock.images import references
from minidock.images.announcing import announce_prune, announce_removal
from minidock.spec.docker_images import ImageDelete, ImagesPruned
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from minidock.images.collection import ImageCollection
    from minidock.images.references import Reference
    from minidock.store.images import Garbage, ImageRow
    from minidock.store.store import Store


def remove_image(
    collection: ImageCollection,
    store: Store,
    name: str,
    *,
    force: bool,
    platforms: Sequence[str],
    is_running: Callable[[str], bool],
) -> list[ImageDelete]:
    """Remove a name, or an image by id; see :meth:`ImageCollection.remove`."""
    rows, reference = collection.resolve_all(name, platforms)
    # Asked before the transaction: it looks at processes, and may record that a container has ended.
    running = {used.id: is_running(used.id) for row in rows for used in store.containers.of_image(row.id)}
    done: list[ImageDelete] = []
    garbage: list[Garbage] = []
    removals: list[_Removal] = []
    with Workspace(store.paths, "rmi", repair=True) as trash:
        with store.database.transaction():
            for row in rows:
                current = store.images.by_id(row.id)
                if current is None or current.hidden:
                    raise ImageNotFound(f"no such image: {collection.shown(name)}")
                removal = _Removal(store, current, running, force)
                removals.append(removal)
                left = removal.by_name(reference) if reference is not None else removal.by_id()
                done += [step for step in removal.done if step not in done]
                if left is not None:
                    garbage.append(left)
        for removal in removals:
            removal.announce()
        for one in garbage:
            store.images.discard(one, trash)
    return done


def prune_images(store: Store, *, everything: bool, chosen: Callable[[ImageRow], bool]) -> ImagesPruned:
    """Remove the images that no container uses: all, or those without a tag; of these the ``chosen`` ones.

    What interrupted pulls left goes too.
    """
    from minidock.images.downloads import discard_idle
    from minidock.images.hello import built_in_id
    from minidock.images.mounting import mounted_on

    done: list[ImageDelete] = []
    with Workspace(store.paths, "prune", repair=True) as trash:
        collected: list[Garbage] = []
        removals: list[_Removal] = []
        with store.database.transaction():
            before = _space(store)
            keep = built_in_id(store)
            shown = store.containers.mounted_images()
            for row in store.images.all():
                tags = store.names.tags(row.id)
                if row.id == keep or (tags and not everything) or store.containers.of_image(row.id):
                    continue
                if row.id in shown:
                    continue
                if mounted_on(store, row.id) is not None:
                    continue
                if not chosen(row):
                    continue
                removal = _Removal(store, row, {}, force=True)
                garbage = removal.delete()
                removals.append(removal)
                done += removal.done
                if garbage is not None:
                    collected.append(garbage)
            reclaimed = before - _space(store)
        for removal in removals:
            removal.announce()
        for garbage in collected:
            store.images.discard(garbage, trash)
        reclaimed += discard_idle(store.paths, trash)
    announce_prune(store, reclaimed)
    return ImagesPruned(done or None, reclaimed)


def _space(store: Store) -> int:
    return sum(layer.size + layer.split_size for layer in store.layers.all()) + store.blobs.kept_size()


class _Removal:
    """One removal, inside a transaction."""

    def __init__(self, store: Store, row: ImageRow, running: dict[str, bool], force: bool) -> None:
        self.store = store
        self.row = row
        self.force = force
        self.done: list[ImageDelete] = []
        self.untagged = 0
        self.deleted = False
        self.tags = [tag.name for tag in store.names.tags(row.id)]
        self.digests = [(one.repository, one.digest) for one in store.names.digests(row.id)]
        self.users = [used.id for used in store.containers.of_image(row.id)]
        # A container that came since we asked is taken for running: it is about to be.
        self.running = [used for used in self.users if running.get(used, True)]
        mounting = store.containers.mounted_images().get(row.id, [])
        self.users += mounting
        # Its layers would go with it: unlike a container's own image it cannot be hidden.
        self.running += mounting

    def by_name(self, reference: Reference) -> Garbage | None:
        """Remove one name, and the image if it was the last."""
        if self._has_one_name():
            self._refuse_built_in()
            if self.users and not self.force:
                raise ImageInUse(
                    f'conflict: unable to remove repository reference "{reference.familiar}" (must force) - '
                    f"container {self.users[0][:12]} is using its referenced image {references.short_id(self.row.id)}"
                )
        self.untagged = 1  # as in Docker, digests that go with their tag are no events of their own
        if reference.digest is not None:
            self._forget_digests(reference.name, reference.digest)
        else:
            self._untag(reference.canonical)
            if not any(references.from_canonical(tag).name == reference.name for tag in self.tags):
                self._forget_digests(reference.name)
        if self.tags or self.digests or self.running:
            # Docker, too, only untags what runs, and leaves the image without a name.
            return None
        return self.delete()

    def _has_one_name(self) -> bool:
        """Whether all names go with one: digests of a repository are no more names beside a tag of it."""
        repositories = {references.from_canonical(tag).name for tag in self.tags} | {name for name, _ in self.digests}
        return len(self.tags) <= 1 and len(repositories) <= 1

    def by_id(self) -> Garbage | None:
        """Remove the image with all its names."""
        self._refuse_built_in()
        short = references.short_id(self.row.id)
        if self.running:
            raise ImageInUse(
                f"conflict: unable to delete {short} (cannot be forced) - image is being used by running container "
                f"{self.running[0][:12]}"
            )
        if not self.force:
            repositories = {references.from_canonical(tag).name for tag in self.tags}
            repositories |= {name for name, _ in self.digests}
            if len(self.tags) > 1 or len(repositories) > 1:
                raise ImageInUse(
                    f"conflict: unable to delete {short} (must be forced) - "
                    "image is referenced in multiple repositories"
                )
            if self.users:
                raise ImageInUse(
                    f"conflict: unable to delete {short} (must be forced) - image is being used by stopped container "
                    f"{self.users[0][:12]}"
                )
        return self.delete()

    def delete(self) -> Garbage | None:
        """Remove the image and what is left of its names. Raises ImageInUse while it is mounted."""
        from minidock.images.mounting import require_unmounted

        require_unmounted(self.store, self.row.id)
        self.untagged += len(self.tags) + len(self.digests)
        self.deleted = True
        for tag in list(self.tags):
            self._untag(tag)
        for repository, _ in list(self.digests):
            self._forget_digests(repository)
        diff_ids = self.store.images.layer_diff_ids(self.row.id)
        garbage = self.store.images.delete(self.row.id, keep_for_containers=True)
        self.done.append(ImageDelete(deleted=self.row.id))
        if garbage is not None:
            chains = dict(zip(diff_ids, chain_ids(diff_ids), strict=True))
            self.done += [ImageDelete(deleted=chains[diff_id]) for diff_id in garbage.diff_ids]
        return garbage

    def announce(self) -> None:
        """Tell what was done; after the transaction."""
        announce_removal(self.store, self.row, self.untagged, deleted=self.deleted)

    def _untag(self, canonical: str) -> None:
        self.store.names.remove_tag(canonical, self.row.id)
        self.tags.remove(canonical)
        self.done.append(ImageDelete(untagged=_familiar(canonical)))

    def _forget_digests(self, repository: str, digest: str | None = None) -> None:
        for gone in self.store.names.remove_digests(self.row.id, repository, digest):
            self.digests.remove((repository, gone))
            self.done.append(ImageDelete(untagged=f"{_familiar(repository)}@{gone}"))

    def _refuse_built_in(self) -> None:
        from minidock.images.hello import built_in_id

        if self.row.id == built_in_id(self.store):
            raise Conflict("unable to remove minidock/hello: the image is built in; it takes no space of its own")


def chain_ids(diff_ids: list[str]) -> list[str]:
    """The digest of each layer together with those below it (image-spec, config.md), lowest first."""
    from minidock.images.content import digest_of

    chain = ""
    chains = []
    for diff_id in diff_ids:
        chain = digest_of(f"{chain} {diff_id}".encode()) if chain else diff_id
        chains.append(chain)
    return chains


def _familiar(canonical: str) -> str:
    return references.from_canonical(canonical).familiar
