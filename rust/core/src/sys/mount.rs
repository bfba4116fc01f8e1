//! mount_setattr(2).
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Result;

use super::check;

/// For [`mount_setattr`]: the whole tree of mounts below, too.
pub const AT_RECURSIVE: u32 = 0x8000;

/// What [`mount_setattr`] changes: bits `MOUNT_ATTR_*` to set and clear, a propagation type, a map of ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct MountAttr<'a> {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear first.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE` or 0.
    pub propagation: u64,
    /// The user namespace whose map the mount shows ids through.
    pub idmap: Option<BorrowedFd<'a>>,
}

/// Changes the mount that `fd` lies on (the descriptor of a mount, or of the root of one).
pub fn mount_setattr(fd: BorrowedFd<'_>, flags: u32, attr: &MountAttr<'_>) -> Result<()> {
    let mut set = attr.set;
    let mut userns = 0;
    if let Some(fd) = attr.idmap {
        set |= libc::MOUNT_ATTR_IDMAP;
        userns = fd.as_raw_fd() as u64;
    }
    let raw: [u64; 4] = [set, attr.clear, attr.propagation, userns];
    let flags = flags | libc::AT_EMPTY_PATH as u32;
    // SAFETY: the path is an empty C string and `raw` has the layout of `struct mount_attr` (four u64), alive during the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            raw.as_ptr(),
            size_of_val(&raw),
        )
    })
    .map(drop)
}
