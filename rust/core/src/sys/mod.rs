//! The only unsafe code: one wrapper per system call that rustix and nix lack.
#![allow(unsafe_code)]

pub mod bpf;
mod clone;
mod exec;
mod memory;
mod misc;
mod mount;
pub mod probe;
pub mod quota;
pub mod seccomp;
mod time;

pub use clone::{Forked, clone3, fork};
pub use exec::execve;
pub use memory::{give_back, share_heap};
pub use misc::{
    SchedAttr, block_signals, borrow_fd, close_all_but, close_from, close_range_cloexec, exit_now,
    interface_up, ioprio_set, kill, new_session_keyring, personality, pidfd_signal, reset_signals,
    sched_setattr, set_domainname, set_hostname, set_mempolicy, set_rlimit, setns, take_fd,
    unshare, wait_signal,
};
pub use mount::{AT_RECURSIVE, MountAttr, mount_setattr};
pub use time::utc_offset;

use rustix::io::{Errno, Result};

/// The result of a raw system call as `Result`.
fn check(ret: libc::c_long) -> Result<libc::c_long> {
    if ret < 0 {
        // SAFETY: errno is a thread-local integer that libc always provides.
        return Err(Errno::from_raw_os_error(unsafe {
            *libc::__errno_location()
        }));
    }
    Ok(ret)
}
