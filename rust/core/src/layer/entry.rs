//! One entry of an archive, all its headers resolved.

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
