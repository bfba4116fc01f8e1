"""The built-in image ``minidock/hello``: one static program, the helper itself under another name.

It is made from the shipped helper when somebody first looks for it, and again when it is gone or the helper is of
another version. Its file is a hard link of the helper in the data root, so that both share pages and space. A container
cannot write to it: its root is an overlay, where writing copies, or a copy.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from minidock import helper
from minidock.images import references

if TYPE_CHECKING:
    from minidock.store.store import Store

NAME = "docker.io/minidock/hello:latest"
_KEY = "hello"
_PROGRAM = "hello"


def built_in_id(store: Store) -> str | None:
    """The id of the built-in image, if it has been made."""
    row = store.database.row("SELECT value FROM meta WHERE key = ?", (_KEY,))
    return None if row is None else row[0].partition(" ")[2]


def ensure(store: Store) -> None:
    """Make the image unless it is there, of this helper. A user's own image of that name is left alone."""
    path = helper.installed(_opened(store).paths)
    digest = helper.digest(path)
    made = store.database.row("SELECT value FROM meta WHERE key = ?", (_KEY,))
    current, _, image_id = made[0].partition(" ") if made is not None else ("", "", "")
    tagged = store.images.by_tag(NAME)
    if tagged is not None and (current == digest or tagged.id != image_id):
        return
    _make(store, path, digest, image_id)


def _opened(store: Store) -> Store:
    _ = store.database
    return store


def _make(store: Store, path: str, digest: str, old: str) -> None:
    import time

    from minidock.images.importing import add_image
    from minidock.images.layers import unpack
    from minidock.images.sources import opened
    from minidock.spec import oci_image
    from minidock.store.workspace import Workspace

    built = int(os.stat(path).st_mtime)
    with Workspace(store.paths, "hello") as work:
        layer = work.join("layer")
        with opened(_tar(path, built)) as stream:
            unpacked = unpack(stream.fd, layer)
            stream.check()
        program = f"{layer}/fs/{_PROGRAM}"
        link = work.join(_PROGRAM)
        os.link(path, link)
        os.rename(link, program)
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(built))
        image = oci_image.ImageConfig(
            architecture=_architecture(),
            os="linux",
            created=created,
            config=oci_image.ExecutionConfig(
                env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], cmd=[f"/{_PROGRAM}"]
            ),
            rootfs=oci_image.RootFS("layers", [unpacked.diff_id]),
            history=[oci_image.History(created=created, created_by="minidock", comment="built in")],
        )
        with store.database.transaction():
            row = add_image(
                store,
                work,
                image,
                [(unpacked, layer)],
                target=references.from_canonical(NAME),
                now=built * 10**9,
            )
            store.database.execute(
                "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (_KEY, f"{digest} {row.id}"),
            )
            garbage = None
            if old and old != row.id and not store.names.tags(old) and store.images.by_id(old) is not None:
                garbage = store.images.delete(old, keep_for_containers=True)
        if garbage is not None:
            store.images.discard(garbage, work)


def _architecture() -> str:
    from minidock.images import platforms

    return platforms.host().architecture


def _tar(path: str, mtime: int) -> bytes:
    """A tar with the program alone, the same bytes for the same helper."""
    import tarfile

    out = io.BytesIO()
    with open(path, "rb") as program, tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(_PROGRAM)
        entry.size = os.fstat(program.fileno()).st_size
        entry.mode = 0o755
        entry.mtime = mtime
        archive.addfile(entry, program)
    return out.getvalue()
