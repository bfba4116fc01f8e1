//! Calls that `doctor` tries in a scratch process.
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};

fn check(result: libc::c_long) -> Result<()> {
    if result >= 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// Whether clone3(2) can be called: EINVAL for the empty argument, ENOSYS or EPERM otherwise.
pub fn clone3_empty() -> Result<()> {
    // SAFETY: a null pointer with size 0 is refused before it is read; nothing is cloned.
    check(unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0usize) })
}

/// close_range(2) on a range in which no descriptor can be.
pub fn close_range_nothing() -> Result<()> {
    // SAFETY: takes integers only; descriptor numbers are below i32::MAX, so none is closed.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            libc::c_uint::MAX,
            libc::c_uint::MAX,
            0,
        )
    })
}

/// Makes a detached mount idmapped by the user namespace; mount_setattr(2).
pub fn idmap_mount(mount: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace.as_raw_fd().cast_unsigned().into(),
    };
    // SAFETY: path and attributes live across the call, and the size is that of the attributes.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
}

/// Makes the whole tree of a detached mount read-only; mount_setattr(2).
pub fn read_only_mount(mount: BorrowedFd<'_>) -> Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: path and attributes live across the call, and the size is that of the attributes.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
}

/// Whether the kernel knows a seccomp action; `SECCOMP_GET_ACTION_AVAIL`.
pub fn seccomp_action(action: u32) -> Result<()> {
    const GET_ACTION_AVAIL: libc::c_uint = 2;
    // SAFETY: the action lives across the call, which only reads it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) })
}

/// Joins a new session keyring; keyctl(2).
pub fn join_keyring() -> Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            JOIN_SESSION_KEYRING,
            std::ptr::null::<u8>(),
        )
    })
}
