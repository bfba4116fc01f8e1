//! mount_setattr(2) on a detached mount.
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};

/// Sets `MOUNT_ATTR_*` bits on the mount whose root `tree` is (as `open_tree` with `OPEN_TREE_CLONE` returns it).
pub fn set_mount_attributes(tree: BorrowedFd<'_>, set: u64) -> Result<()> {
    // `struct mount_attr`: attr_set, attr_clr, propagation, userns_fd.
    let attributes: [u64; 4] = [set, 0, 0, 0];
    // SAFETY: the path is an empty C string and `attributes` has the layout of `struct mount_attr`, both alive
    // during the call, which only reads them.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if ret < 0 {
        // SAFETY: errno is a thread-local integer that libc always provides.
        return Err(Errno::from_raw_os_error(unsafe {
            *libc::__errno_location()
        }));
    }
    Ok(())
}
