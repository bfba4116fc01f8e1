//! Small calls: descriptors, namespaces, names, seccomp, keyrings, scheduling.
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, Result};

use super::check;

/// Views a descriptor number that the process inherited.
#[must_use]
pub fn borrow_fd(number: RawFd) -> BorrowedFd<'static> {
    assert!(number >= 0, "a descriptor is not negative");
    // SAFETY: the number is not -1. A number that is not open gives EBADF from every call, not undefined behaviour.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Takes ownership of a descriptor number that the process inherited, if it is open.
pub fn take_fd(number: RawFd) -> Result<OwnedFd> {
    rustix::io::fcntl_getfd(borrow_fd(number))?;
    // SAFETY: open, as just seen; inherited descriptors have no owner inside this process.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from `first` upwards.
///
/// For a process about to end or to execute: owners of those descriptors must not be used or dropped afterwards.
pub fn close_from(first: RawFd) -> Result<()> {
    close_range(first as libc::c_uint, libc::c_uint::MAX)
}

/// Closes every descriptor from 3 upwards that is not among `kept`; as for [`close_from`].
pub fn close_all_but(kept: &mut [RawFd]) -> Result<()> {
    kept.sort_unstable();
    let mut first = 3;
    for number in kept.iter().map(|number| *number as libc::c_uint) {
        if number > first {
            close_range(first, number - 1)?;
        }
        first = first.max(number + 1);
    }
    close_range(first, libc::c_uint::MAX)
}

fn close_range(first: libc::c_uint, last: libc::c_uint) -> Result<()> {
    // SAFETY: takes integers only; the callers give up the owners.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Marks every descriptor from `first` upwards to be closed by `execve`.
pub fn close_range_cloexec(first: RawFd) -> Result<()> {
    // SAFETY: takes integers only; nothing is closed now.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
    .map(drop)
}

/// Ends the process without exit handlers or destructors: those belong to the process that it was cloned from.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: always safe; never returns.
    unsafe { libc::_exit(code) }
}

/// setns(2); `kind` is a `CLONE_NEW*` flag, or several for a pidfd.
pub fn setns(fd: BorrowedFd<'_>, kind: i32) -> Result<()> {
    // SAFETY: takes integers only.
    check(libc::c_long::from(unsafe {
        libc::setns(fd.as_raw_fd(), kind)
    }))
    .map(drop)
}

/// unshare(2).
pub fn unshare(flags: i32) -> Result<()> {
    // SAFETY: takes integers only. Descriptor tables (CLONE_FILES) are never unshared by our callers' flags.
    check(libc::c_long::from(unsafe {
        libc::unshare(flags & !libc::CLONE_FILES)
    }))
    .map(drop)
}

/// sethostname(2).
pub fn set_hostname(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length are of one live slice.
    check(libc::c_long::from(unsafe {
        libc::sethostname(name.as_ptr().cast(), name.len())
    }))
    .map(drop)
}

/// setdomainname(2).
pub fn set_domainname(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length are of one live slice.
    check(libc::c_long::from(unsafe {
        libc::setdomainname(name.as_ptr().cast(), name.len())
    }))
    .map(drop)
}

/// A new, empty, nameless session keyring (a name could join an existing one).
pub fn new_session_keyring() -> Result<()> {
    // SAFETY: a null name asks for an anonymous keyring.
    check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    })
    .map(drop)
}

/// setrlimit(2) by the kernel's resource number.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` lives across the call, and nothing is read back.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    })
    .map(drop)
}

/// personality(2).
pub fn personality(domain: u32) -> Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(domain)) }).map(drop)
}

/// ioprio_set(2) for the calling process.
pub fn ioprio_set(value: i32) -> Result<()> {
    // SAFETY: takes integers only (1 = IOPRIO_WHO_PROCESS, 0 = self).
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, value) }).map(drop)
}

/// `struct sched_attr`, first version (48 bytes).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SchedAttr {
    /// Filled in by [`sched_setattr`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

const _: () = assert!(size_of::<SchedAttr>() == 48);

/// sched_setattr(2) for the calling thread.
pub fn sched_setattr(mut attr: SchedAttr) -> Result<()> {
    attr.size = size_of::<SchedAttr>() as u32;
    // SAFETY: `attr` has the kernel's layout and size and lives across the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// set_mempolicy(2); `nodes` is a bit set of NUMA nodes.
pub fn set_mempolicy(mode: i32, nodes: &[u64]) -> Result<()> {
    let bits = nodes.len() * 64 + 1;
    let pointer = if nodes.is_empty() {
        std::ptr::null()
    } else {
        nodes.as_ptr()
    };
    // SAFETY: the kernel reads `bits - 1` bits at most from the live slice.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}

/// Default disposition for every signal, and none blocked: what an executed program expects.
pub fn reset_signals() {
    // The kernel's `struct sigaction` is four words on all our architectures; all zero is SIG_DFL without flags. (libc keeps
    // signals 32 and 33 for itself, and whoever has spawned us may have them ignored.)
    let default = [0u64; 4];
    for signal in 1..=64i64 {
        // SAFETY: the structure is alive during the call; SIG_DFL runs no code of ours; what cannot be changed gives EINVAL.
        let _ = check(unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                8,
            )
        });
    }
    let none = 0u64;
    // SAFETY: the kernel's signal set is 8 bytes, alive during the call. (libc's wrapper hides signals 32 and 33.)
    let _ = check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut::<u64>(),
            8,
        )
    });
}

/// The kernel's set of all signals, 32 and 33 included, which libc's own sets lack.
const ALL_SIGNALS: u64 = !0;

/// Blocks every signal that can be blocked.
pub fn block_signals() -> Result<()> {
    let all = ALL_SIGNALS;
    // SAFETY: the kernel's signal set is 8 bytes, alive during the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK,
            &raw const all,
            std::ptr::null_mut::<u64>(),
            8,
        )
    })
    .map(drop)
}

/// Waits for a signal, real-time ones included, and takes it; all must be blocked.
pub fn wait_signal() -> Result<i32> {
    let all = ALL_SIGNALS;
    let (info, limit) = (
        std::ptr::null_mut::<libc::siginfo_t>(),
        std::ptr::null::<libc::timespec>(),
    );
    // SAFETY: the kernel's signal set is 8 bytes, alive during the call; without a place for it no siginfo is written.
    let signal =
        check(unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &raw const all, info, limit, 8) })?;
    Ok(i32::try_from(signal).unwrap_or(0))
}

/// kill(2) by number, real-time signals included.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: takes integers only.
    check(libc::c_long::from(unsafe { libc::kill(pid, signal) })).map(drop)
}

/// Sets `IFF_UP` on a network interface of the current network namespace; `socket` is any socket made in it.
pub fn interface_up(socket: BorrowedFd<'_>, name: &str) -> Result<()> {
    // SAFETY: all-zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= libc::IFNAMSIZ {
        return Err(Errno::INVAL);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which lives across the call.
    check(libc::c_long::from(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    }))
    .map(drop)
}

/// pidfd_send_signal(2) by number, real-time signals included.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks for that of kill(2).
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            none,
            0,
        )
    })
    .map(drop)
}
