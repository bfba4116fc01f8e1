"""Removal of images, by Docker's rules.

A name goes alone while the image has other names. With its last name the image goes, unless a container uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from minidock.errors import Conflict, ImageInUse, ImageNotFound
from minidock.images import references
from minidock.spec.docker_images import ImageDelete, ImagesPruned
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from minidock.images.collection import ImageCollection
    from minidock.store.images import Garbage, ImageRow
    from minidock.store.store import Store


def remove_image(
    collection: ImageCollection, store: Store, name: str, *, force: bool, is_running: Callable[[str], bool]
) -> list[ImageDelete]:
    """Remove a name, or an image by id; see :meth:`ImageCollection.remove`."""
    row, reference = collection.resolve(name)
    if row is None:
        raise ImageNotFound(f"no such image: {collection.shown(name)}")
    # Asked before the transaction: it looks at processes, and may record that a container has ended.
    running = {used.id: is_running(used.id) for used in store.containers.of_image(row.id)}
    with Workspace(store.paths, "rmi", repair=True) as trash:
        with store.database.transaction():
            current = store.images.by_id(row.id)
            if current is None or current.hidden:
                raise ImageNotFound(f"no such image: {collection.shown(name)}")
            removal = _Removal(store, current, running, force)
            garbage = removal.by_name(reference.canonical) if reference is not None else removal.by_id()
        if garbage is not None:
            store.images.discard(garbage, trash)
    return removal.done


def prune_images(store: Store, *, everything: bool) -> ImagesPruned:
    """Remove the images that no container uses: all, or those without a name."""
    from minidock.images.hello import built_in_id

    done: list[ImageDelete] = []
    reclaimed = 0
    with Workspace(store.paths, "prune", repair=True) as trash:
        collected: list[Garbage] = []
        with store.database.transaction():
            keep = built_in_id(store)
            for row in store.images.all():
                tags = store.images.tags(row.id)
                if row.id == keep or (tags and not everything) or store.containers.of_image(row.id):
                    continue
                reclaimed += store.images.unshared_size(row.id)
                removal = _Removal(store, row, {}, force=True)
                garbage = removal.delete()
                done += removal.done
                if garbage is not None:
                    collected.append(garbage)
        for garbage in collected:
            store.images.discard(garbage, trash)
    return ImagesPruned(done or None, reclaimed)


class _Removal:
    """One removal, inside a transaction."""

    def __init__(self, store: Store, row: ImageRow, running: dict[str, bool], force: bool) -> None:
        self.store = store
        self.row = row
        self.force = force
        self.done: list[ImageDelete] = []
        self.tags = [name for name, _, _ in store.images.tags(row.id)]
        self.users = [used.id for used in store.containers.of_image(row.id)]
        # A container that came since we asked is taken for running: it is about to be.
        self.running = [used for used in self.users if running.get(used, True)]

    def by_name(self, canonical: str) -> Garbage | None:
        """Remove one name, and the image if it was the last."""
        if len(self.tags) == 1:
            self._refuse_built_in()
            if self.users and not self.force:
                raise ImageInUse(
                    f'conflict: unable to remove repository reference "{_familiar(canonical)}" (must force) - '
                    f"container {self.users[0][:12]} is using its referenced image {references.short_id(self.row.id)}"
                )
        self._untag(canonical)
        if self.tags or self.running:
            # Docker, too, only untags what runs, and leaves the image without a name.
            return None
        return self.delete()

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
            if len(self.tags) > 1:
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
        """Remove the image and what is left of its names."""
        for tag in list(self.tags):
            self._untag(tag)
        diff_ids = self.store.images.layer_diff_ids(self.row.id)
        garbage = self.store.images.delete(self.row.id, keep_for_containers=True)
        self.done.append(ImageDelete(deleted=self.row.id))
        if garbage is not None:
            chains = dict(zip(diff_ids, chain_ids(diff_ids), strict=True))
            self.done += [ImageDelete(deleted=chains[diff_id]) for diff_id in garbage.diff_ids]
        return garbage

    def _untag(self, canonical: str) -> None:
        self.store.images.remove_tag(canonical)
        self.tags.remove(canonical)
        self.done.append(ImageDelete(untagged=_familiar(canonical)))

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
