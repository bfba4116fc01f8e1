"""A pull with nothing new, answered before the engine is imported: that takes three times as long as the answer.

It only reads, knows the plain case (no configuration, one image of the name), and answers None in all others: then the
engine does the same at length.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from minidock.registry import quick
from minidock.store.schema import MIGRATIONS

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
            rows = connection.execute(
                "SELECT target FROM tags JOIN tag_images USING (name) JOIN images ON images.id = tag_images.image_id"
                " WHERE name = ? AND NOT hidden",
                (name,),
            ).fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return None
    target: str | None = rows[0][0] if len(rows) == 1 else None
    return target
