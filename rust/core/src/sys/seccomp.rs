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

/// Real filters in threads of the test binary: a filter is a thread's, so the other tests go on without it.
#[cfg(test)]
mod tests {
    use crate::security::seccomp::{Target, compile_json, load};

    /// The errno of a call with six 64-bit arguments; 0 if it succeeds.
    fn errno_of(number: libc::c_long, args: [u64; 6]) -> i32 {
        let [a, b, c, d, e, f] = args;
        // SAFETY: the tests pass numbers and arguments of calls that touch no memory, or null pointers.
        let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
        if result < 0 {
            std::io::Error::last_os_error().raw_os_error().unwrap_or(-1)
        } else {
            0
        }
    }

    fn under(json: serde_json::Value, test: impl FnOnce() + Send + 'static) {
        let target = Target::host().expect("a known machine");
        let program = compile_json(json.to_string().as_bytes(), target).expect("compiles");
        let thread = std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).expect("no_new_privs");
            assert!(load(&program).expect("loads").is_none());
            test();
        });
        thread.join().expect("the thread's test");
    }

    #[test]
    fn kernel_decides_as_the_profile_says() {
        let profile = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_EQ"}]},
            {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7,
             "args": [{"index": 0, "value": 0xffff_ffff_u32, "op": "SCMP_CMP_NE"}]},
            {"names": ["kcmp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 33,
             "args": [{"index": 3, "value": 0x1_0000_0005_u64, "op": "SCMP_CMP_GE"}]}
        ]});
        under(profile, || {
            assert_eq!(errno_of(libc::SYS_getppid, [0; 6]), 95);
            assert_eq!(errno_of(libc::SYS_getpid, [0; 6]), 0);
            for upper in [0, 1 << 32, 0xffff_ffff_0000_0000] {
                assert_eq!(
                    errno_of(libc::SYS_socket, [upper + 38, 5, 0, 0, 0, 0]),
                    libc::EPERM
                );
                assert_eq!(
                    errno_of(libc::SYS_personality, [upper + 0xffff_ffff, 0, 0, 0, 0, 0]),
                    0
                );
                assert_eq!(errno_of(libc::SYS_personality, [upper, 0, 0, 0, 0, 0]), 7);
            }
            let kcmp = |index| errno_of(libc::SYS_kcmp, [u64::MAX, u64::MAX, 99, index, 0, 0]);
            assert_eq!(kcmp(0x1_0000_0005), 33);
            assert_ne!(kcmp(0x1_0000_0004), 33);
            assert_eq!(kcmp(0x2_0000_0000), 33);
        });
    }

    #[test]
    fn newer_calls_fail_with_enosys_others_with_eperm() {
        let allowed = [
            "write",
            "futex",
            "munmap",
            "madvise",
            "exit",
            "sigaltstack",
            "rt_sigprocmask",
            "mmap",
            "gettid",
            "rseq",
        ];
        let profile = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": allowed, "action": "SCMP_ACT_ALLOW"}, {"names": ["landlock_restrict_self"], "action": "SCMP_ACT_ALLOW"}]});
        under(profile, || {
            assert_eq!(errno_of(libc::SYS_getppid, [0; 6]), libc::EPERM);
            assert_eq!(errno_of(libc::SYS_gettid, [0; 6]), 0);
            assert_eq!(errno_of(447, [0; 6]), libc::ENOSYS);
            assert_eq!(errno_of(5000, [0; 6]), libc::ENOSYS);
            assert_eq!(errno_of(-1, [0; 6]), libc::ENOSYS);
        });
    }

    #[test]
    fn loading_needs_no_new_privs_or_a_privilege() {
        let program = compile_json(
            br#"{"defaultAction":"SCMP_ACT_ALLOW"}"#,
            Target::host().expect("known"),
        )
        .expect("compiles");
        std::thread::spawn(move || {
            crate::security::capabilities::Sets::default()
                .apply()
                .expect("drops everything");
            let error = load(&program).expect_err("without privilege");
            assert_eq!(error.errno, Some(libc::EACCES));
        })
        .join()
        .expect("the thread's test");
    }
}
