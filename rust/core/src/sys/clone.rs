//! clone3(2).
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Result;

use super::check;

/// `CLONE_INTO_CGROUP`; the constant of libc is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of a [`clone3`] this is.
#[derive(Debug)]
pub enum Forked {
    /// The new process.
    Child,
    /// The caller.
    Parent {
        /// The new process's id, in the caller's pid namespace.
        pid: i32,
        /// A descriptor of it.
        pidfd: OwnedFd,
    },
}

/// Makes a new process in new namespaces (`flags`: `CLONE_NEW*`, `CLONE_PARENT`) and, on v2, in a cgroup from birth.
///
/// Like `fork`, for single-threaded processes: locks that other threads hold stay locked in the child for ever.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all-zero is a valid `clone_args`.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    // With CLONE_PARENT the signal is that of the caller's own.
    if flags & libc::CLONE_PARENT as u64 == 0 {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM, so the child has its own copy of the memory and stack, and `args` lives across the call.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel has just opened this descriptor for us; nobody else knows its number.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Forked::Parent {
        pid: i32::try_from(pid).unwrap_or(-1),
        pidfd,
    })
}

/// Makes a new process by the old `clone`: default seccomp profiles let it through, unlike `clone3`, whose flags a
/// filter cannot see. The new process's id, or None in the new process itself.
///
/// Like `fork`, for single-threaded processes.
pub fn fork() -> Result<Option<i32>> {
    // SAFETY: no CLONE_VM, so the child has its own copy of the memory and of the stack (a null stack pointer).
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_ulong::from(libc::SIGCHLD.unsigned_abs()),
            0,
            0,
            0,
            0,
        )
    })?;
    Ok((pid != 0).then(|| i32::try_from(pid).unwrap_or(-1)))
}
