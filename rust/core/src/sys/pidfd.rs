//! pidfd_send_signal(2) for every signal: those without a name (real-time) too.
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};

/// Sends signal `number` (0: only looks whether the process exists) to the process of `pidfd`.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, number: i32) -> Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: takes integers and a null pointer, for which the kernel fills in the information itself.
    let ret = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number, no_info, 0) };
    if ret < 0 {
        // SAFETY: errno is a thread-local integer that libc always provides.
        return Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }));
    }
    Ok(())
}
