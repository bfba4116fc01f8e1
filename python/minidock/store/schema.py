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
    """
    -- Bytes of the uncompressed tar (null: not known), and of the record that rebuilds it.
    ALTER TABLE layers ADD COLUMN tar_size INTEGER;
    ALTER TABLE layers ADD COLUMN split_size INTEGER NOT NULL DEFAULT 0;

    -- Layers that work in progress relies on, by the name of its workspace in tmp/. Void when nobody holds that.
    CREATE TABLE leases (
        owner TEXT NOT NULL,
        layer_id INTEGER NOT NULL REFERENCES layers (id) ON DELETE CASCADE,
        PRIMARY KEY (owner, layer_id)
    ) WITHOUT ROWID;
    CREATE INDEX leases_layer ON leases (layer_id);

    -- What images are made of, by digest: configurations, manifests, indexes, layers as they travel.
    -- kept: content/sha256/HEX exists. A layer's blob that is not kept is only known by name.
    CREATE TABLE blobs (
        digest TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        media_type TEXT NOT NULL,
        diff_id TEXT,                   -- of a layer
        kept INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX blobs_diff_id ON blobs (diff_id);

    CREATE TABLE image_blobs (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        digest TEXT NOT NULL REFERENCES blobs (digest),
        PRIMARY KEY (image_id, digest)
    ) WITHOUT ROWID;
    CREATE INDEX image_blobs_digest ON image_blobs (digest);

    -- Where a registry has been seen to have a blob, for mounts between its repositories.
    CREATE TABLE blob_repositories (
        digest TEXT NOT NULL REFERENCES blobs (digest) ON DELETE CASCADE,
        repository TEXT NOT NULL,       -- registry.example/team/app
        PRIMARY KEY (digest, repository)
    ) WITHOUT ROWID;

    -- The manifest or index that a name stands for in registries and archives. Null: the image's own manifest.
    ALTER TABLE tags ADD COLUMN target TEXT;

    -- All images of a name, one a platform. tags.image_id is the one that the bare name means.
    CREATE TABLE tag_images (
        name TEXT NOT NULL REFERENCES tags (name) ON DELETE CASCADE,
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        PRIMARY KEY (name, image_id)
    ) WITHOUT ROWID;
    CREATE INDEX tag_images_image ON tag_images (image_id);

    -- docker.io/library/busybox and the digest that a registry gave to a manifest or index of the image.
    CREATE TABLE digests (
        repository TEXT NOT NULL,
        digest TEXT NOT NULL,
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        PRIMARY KEY (repository, digest, image_id)
    ) WITHOUT ROWID;
    CREATE INDEX digests_image ON digests (image_id);

    INSERT INTO blobs SELECT id, length(config), 'application/vnd.oci.image.config.v1+json', NULL, 1 FROM images;
    INSERT OR IGNORE INTO blobs SELECT manifest, 0, 'application/vnd.oci.image.manifest.v1+json', NULL, 1
        FROM images WHERE manifest IS NOT NULL;
    INSERT INTO image_blobs SELECT id, id FROM images;
    INSERT OR IGNORE INTO image_blobs SELECT id, manifest FROM images WHERE manifest IS NOT NULL;
    INSERT INTO tag_images SELECT name, image_id FROM tags;

    -- A repair finds out what is not known here: the manifests' sizes.
    DELETE FROM meta WHERE key = 'boot_id';
    """,
    """
    -- Images that are mounted on directories of the host.
    CREATE TABLE mounts (
        path TEXT PRIMARY KEY,          -- the directory, links resolved
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        boot_id TEXT NOT NULL,          -- of the boot in which it was mounted
        mount_id INTEGER NOT NULL,      -- the kernel's, 0 until it is mounted
        uses INTEGER NOT NULL           -- how often it was asked for
    ) WITHOUT ROWID;
    CREATE INDEX mounts_image ON mounts (image_id);
    """,
    """
    -- Containers by a rowid. Without one a record of 3 KB lies in two pages beside its row's: a change writes 7.
    CREATE TABLE containers_by_row (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        image_id TEXT REFERENCES images (id),
        created INTEGER NOT NULL,       -- nanoseconds since 1970
        state TEXT NOT NULL,
        record BLOB NOT NULL
    );
    INSERT INTO containers_by_row SELECT id, name, image_id, created, state, record FROM containers;
    DROP TABLE containers;
    ALTER TABLE containers_by_row RENAME TO containers;
    CREATE INDEX containers_image ON containers (image_id);
    """,
    """
    -- cursor4, cursor6: the address given last. The search begins behind it: one that was given back is used last.
    -- reused: what comes next may have been used before.
    CREATE TABLE networks (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL,       -- nanoseconds since 1970
        record BLOB NOT NULL,
        cursor4 INTEGER NOT NULL DEFAULT 0,
        cursor6 BLOB NOT NULL DEFAULT x'00',
        reused INTEGER NOT NULL DEFAULT 0
    );

    -- Which addresses networks have: 4 or 16 bytes each. (Keys first, or SQLite 3.40 finds faults that are none.)
    CREATE TABLE network_subnets (
        first BLOB NOT NULL,
        network_id TEXT NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
        last BLOB NOT NULL,
        PRIMARY KEY (first, network_id)
    ) WITHOUT ROWID;
    CREATE INDEX network_subnets_network ON network_subnets (network_id);

    -- Containers on networks, which is who has which address.
    CREATE TABLE endpoints (
        container_id TEXT NOT NULL,
        network_id TEXT NOT NULL REFERENCES networks (id),
        id TEXT NOT NULL,               -- Docker's EndpointID
        ipv4 INTEGER,
        ipv6 BLOB,
        mac TEXT NOT NULL,
        record BLOB NOT NULL,
        PRIMARY KEY (container_id, network_id)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX endpoints_ipv4 ON endpoints (network_id, ipv4);
    CREATE UNIQUE INDEX endpoints_ipv6 ON endpoints (network_id, ipv6) WHERE ipv6 IS NOT NULL;
    CREATE TRIGGER containers_endpoints AFTER DELETE ON containers BEGIN
        DELETE FROM endpoints WHERE container_id = OLD.id;
    END;
    """,
    """
    -- Named places for data. The directory has the record too, and brings a row back that was lost.
    CREATE TABLE volumes (
        name TEXT PRIMARY KEY,
        created INTEGER NOT NULL,       -- nanoseconds since 1970
        anonymous INTEGER NOT NULL,
        record BLOB NOT NULL
    );

    -- Which containers have which volumes, running or not.
    CREATE TABLE volume_uses (
        volume TEXT NOT NULL REFERENCES volumes (name),
        container_id TEXT NOT NULL,
        PRIMARY KEY (volume, container_id)
    ) WITHOUT ROWID;
    CREATE INDEX volume_uses_container ON volume_uses (container_id);
    CREATE TRIGGER containers_volume_uses AFTER DELETE ON containers BEGIN
        DELETE FROM volume_uses WHERE container_id = OLD.id;
    END;

    -- Who needs the file system of a volume with driver options mounted: containers, and workspaces in tmp/.
    CREATE TABLE volume_mounts (
        volume TEXT NOT NULL REFERENCES volumes (name) ON DELETE CASCADE,
        holder TEXT NOT NULL,
        boot_id TEXT NOT NULL,          -- of the boot in which it was mounted
        mount_id INTEGER NOT NULL,      -- the kernel's, 0 until it is mounted
        PRIMARY KEY (volume, holder)
    ) WITHOUT ROWID;
    CREATE INDEX volume_mounts_holder ON volume_mounts (holder);
    """,
    """
    -- Steps of builds, by the digest of all that they depend on. Layers are kept by leases of the owner 'build-cache'.
    CREATE TABLE build_cache (
        key TEXT PRIMARY KEY,
        kind TEXT NOT NULL,             -- exec, copy, workdir
        description TEXT NOT NULL,
        layer_id INTEGER REFERENCES layers (id) ON DELETE CASCADE,
        created INTEGER NOT NULL,       -- seconds since 1970
        used INTEGER NOT NULL,          -- seconds since 1970
        uses INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE INDEX build_cache_layer ON build_cache (layer_id);

    -- Digests of the files of a build context, by device and inode of its directory.
    CREATE TABLE build_contexts (
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        used INTEGER NOT NULL,          -- seconds since 1970
        digests BLOB NOT NULL,
        PRIMARY KEY (device, inode)
    );

    -- Directories of RUN --mount=type=cache.
    CREATE TABLE build_mounts (
        name TEXT PRIMARY KEY,          -- its directory
        id TEXT NOT NULL,               -- what the Dockerfile calls it
        created INTEGER NOT NULL,       -- seconds since 1970
        used INTEGER NOT NULL           -- seconds since 1970
    ) WITHOUT ROWID;
    """,
)
