//! One entry of an archive, all its headers resolved.
use rustix::fs::Stat;

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file; content follows.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to [`Entry::link`].
    Symlink,
    /// Another name for [`Entry::link`].
    Hardlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

/// Part of a sparse file that has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

/// One entry of an archive.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it makes.
    pub kind: EntryKind,
    /// Where, as the archive writes it.
    pub path: Vec<u8>,
    /// The target of a link, as the archive writes it.
    pub link: Vec<u8>,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// User id.
    pub uid: u64,
    /// Group id.
    pub gid: u64,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Bytes of content in the archive.
    pub stored: u64,
    /// Bytes of the file, holes included.
    pub size: u64,
    /// Data regions in ascending order, their lengths adding up to `stored`; `None` when the file has no holes.
    pub sparse: Option<Vec<Region>>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes by full name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry of root without content, time, permissions.
    #[must_use]
    pub fn empty(kind: EntryKind, path: &[u8]) -> Self {
        Self {
            kind,
            path: path.to_vec(),
            link: Vec::new(),
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            stored: 0,
            size: 0,
            sparse: None,
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }

    /// What `stat` says of it, owners as they are; a link's target and attributes are the caller's to add.
    #[must_use]
    pub fn from_stat(kind: EntryKind, path: &[u8], stat: &Stat) -> Self {
        let size = if kind == EntryKind::File {
            stat.st_size.cast_unsigned()
        } else {
            0
        };
        Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid.into(),
            gid: stat.st_gid.into(),
            mtime: (
                stat.st_mtime,
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            stored: size,
            size,
            device: (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            ),
            ..Self::empty(kind, path)
        }
    }
}
