"""A pull with nothing new, answered before the engine is imported: that takes three times as long as the answer.

It only reads, knows the plain case (no configuration, one image of the name), and answers None in all others: then the
engine does the same at length.
"""

from __future__ import annotations

import os
import sqlite3

from minidock.images.platforms import Platform, host
from minidock.registry import quick
from minidock.store.schema import MIGRATIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.images.references import Reference


def digest(reference: Reference, data_root: str) -> str | None:
    """The digest that the registry has a tag under, if that is what the store has."""
    if reference.tag is None or reference.digest is not None:
        return None
    here = _target(reference.canonical, f"{data_root}/minidock.db")
    if here is None:
        return None
    head = quick.head(None, reference)
    return here if head is not None and head.digest == here else None


def _target(name: str, database: str) -> str | None:
    """What a name of one image stands for in registries."""
    if not os.path.exists(database):
        return None
    try:
        connection = sqlite3.connect(database, timeout=0.1, isolation_level=None)
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] != len(MIGRATIONS):
                return None
            rows = connection.execute(_IMAGES_OF_NAME, (name,)).fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return None
    if len(rows) != 1:
        return None
    target, operating_system, architecture, variant, whole = rows[0]
    here = Platform(operating_system or "linux", architecture or "", variant or "")
    return target if whole and host().rank(here) == 0 else None


# As in `current.find`: all of the image must be here, and it must be for this host: the tag may have a better one.
_IMAGES_OF_NAME = """
    SELECT target, json_extract(document, '$.os'), json_extract(document, '$.architecture'),
        json_extract(document, '$.variant'),
        (SELECT count(*) FROM blobs WHERE digest IN (id, manifest) AND kept) = 2
        AND EXISTS (SELECT 1 FROM blobs WHERE digest = target AND kept)
        AND NOT EXISTS (
            SELECT 1 FROM image_layers JOIN layers ON layers.id = layer_id
            WHERE image_layers.image_id = found.id AND diff_id LIKE 'lost:%')
    FROM (
        SELECT target, images.id AS id, manifest, CAST(config AS TEXT) AS document
        FROM tags JOIN tag_images USING (name) JOIN images ON images.id = tag_images.image_id
        WHERE name = ? AND NOT hidden) AS found
"""
