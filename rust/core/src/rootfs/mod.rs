//! The root filesystem of a container.
use std::path::PathBuf;

/// Where a root filesystem comes from.
#[derive(Debug, Clone)]
pub enum Rootfs {
    /// Layers, stacked by overlayfs inside the container's own mount namespace.
    Overlay(Overlay),
    /// A directory of the host, used as it is, with all mounts below it.
    Directory(PathBuf),
    /// The host's own files, copy-on-write: every mount below `path` gets an overlay of its own.
    Host(Host),
}

/// The layers of one overlay mount.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// Read-only layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// The writable layer and its work directory; none gives a read-only root.
    pub upper: Option<(PathBuf, PathBuf)>,
    /// No sync of the writable layer, ever.
    pub volatile: bool,
    /// All layers are seen through this map.
    pub idmap: Option<IdMap>,
}

/// The host's tree as a root filesystem.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// The tree's top.
    pub path: PathBuf,
    /// Directories of the host that the container sees empty.
    pub mask: Vec<PathBuf>,
    /// Where changes go, where overlayfs allows it; otherwise they go to a tmpfs that ends with the container.
    pub upper: Option<(PathBuf, PathBuf)>,
}

/// A map of user and group ids: `(container, host, size)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMap {
    /// Of users.
    pub uid: Vec<(u32, u32, u32)>,
    /// Of groups.
    pub gid: Vec<(u32, u32, u32)>,
}
