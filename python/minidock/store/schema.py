"""The database schema, as the list of steps from each version to the next. Steps are never edited, only added."""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    -- One unpacked layer. AUTOINCREMENT, because a directory name is never used twice.
    CREATE TABLE layers (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        diff_id TEXT NOT NULL UNIQUE,
        size INTEGER NOT NULL,          -- bytes of the files' contents
        created INTEGER NOT NULL        -- seconds since 1970
    );

    -- An image by the digest of its configuration.
    -- hidden: removed by force while containers use it, goes with the last of them.
    CREATE TABLE images (
        id TEXT PRIMARY KEY,
        config BLOB NOT NULL,
        manifest TEXT,                  -- digest of its manifest in the content store
        size INTEGER NOT NULL,
        created INTEGER NOT NULL,       -- seconds since 1970, from the configuration
        hidden INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;

    CREATE TABLE image_layers (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,      -- 0 is the lowest
        layer_id INTEGER NOT NULL REFERENCES layers (id),
        PRIMARY KEY (image_id, position)
    ) WITHOUT ROWID;
    CREATE INDEX image_layers_layer ON image_layers (layer_id);

    CREATE TABLE tags (
        name TEXT PRIMARY KEY,          -- docker.io/library/busybox:latest
        image_id TEXT NOT NULL REFERENCES images (id),
        tagged INTEGER NOT NULL         -- nanoseconds since 1970
    ) WITHOUT ROWID;
    CREATE INDEX tags_image ON tags (image_id);

    CREATE TABLE containers (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        image_id TEXT REFERENCES images (id),
        created INTEGER NOT NULL,       -- nanoseconds since 1970
        state TEXT NOT NULL,
        record BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX containers_image ON containers (image_id);
    """,
)
