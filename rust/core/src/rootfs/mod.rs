//! The root filesystem of a container.
mod cgroups;
mod copy_up;
mod detached;
mod devices;
mod host;
mod masks;
mod offline;
mod overlay;
mod pivot;
mod prepare;
mod sources;
mod users;
pub mod view;

use std::path::PathBuf;

pub use detached::detached;
pub use offline::{OfflineMount, offline};
pub use overlay::MAX_LAYERS;
pub use prepare::{Prepared, open_proc, open_terminal, prepare, private_proc};
pub use sources::{BindSource, Origin};
pub use users::{User, home, resolve as resolve_user};

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

/// A path of `mountinfo`, whose blanks and backslashes are octal escapes.
pub(crate) fn unescape(field: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let octal = bytes
            .get(i + 1..i + 4)
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        if let (b'\\', Some(byte)) = (bytes[i], octal) {
            out.push(byte);
            i += 4;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}
