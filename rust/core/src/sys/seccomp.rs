//! seccomp(2).
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::security::seccomp::Insn;

/// `SECCOMP_FILTER_FLAG_TSYNC`.
pub const FLAG_TSYNC: u32 = 1;
/// `SECCOMP_FILTER_FLAG_LOG`.
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`.
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_TSYNC_ESRCH`: with it a failed TSYNC is an errno, so that a listener can be returned too.
pub const FLAG_TSYNC_ESRCH: u32 = 1 << 4;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`.
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

const SET_MODE_FILTER: libc::c_uint = 1;

/// `struct sock_fprog`.
#[repr(C)]
struct Fprog {
    len: u16,
    filter: *const Insn,
}

/// `SECCOMP_SET_MODE_FILTER` on the calling thread; with `FLAG_NEW_LISTENER` the listener is returned.
///
/// # Errors
/// Those of seccomp(2); `InvalidInput` for a filter of more than 65535 instructions.
pub fn set_mode_filter(flags: u32, filter: &[Insn]) -> io::Result<Option<OwnedFd>> {
    let len =
        u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = Fprog {
        len,
        filter: filter.as_ptr(),
    };
    let flags = if flags & FLAG_TSYNC != 0 {
        flags | FLAG_TSYNC_ESRCH
    } else {
        flags
    };
    // SAFETY: `program` describes `filter`, which lives across the call; Insn has the layout of struct sock_filter; the
    // kernel copies both and keeps no pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    let fd = i32::try_from(result).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    // SAFETY: with NEW_LISTENER a result that is no error is a new descriptor (CLOEXEC) that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}
