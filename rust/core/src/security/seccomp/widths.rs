//! How many bits of an argument the kernel looks at.
//!
//! A program can set the upper half of a register whose lower half the kernel takes as an `int`. A filter that compares
//! all 64 bits then decides on another value than the kernel (CVE-2019-10063: `socket(38 + 2^32, …)`).

/// Bits of an argument that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Width {
    /// `umode_t`.
    W16,
    /// `int`, `unsigned int` and types of their size.
    W32,
    /// `long`, `size_t`, pointers.
    W64,
}

impl Width {
    pub(super) fn mask(self) -> u64 {
        match self {
            Self::W16 => 0xffff,
            Self::W32 => 0xffff_ffff,
            Self::W64 => u64::MAX,
        }
    }

    /// A profile's value as the kernel sees it: as it is if it fits, its low half if it is a negative `int` that was
    /// sign-extended; `None` if no argument of this width can have it.
    pub(super) fn cut(self, value: u64) -> Option<u64> {
        if value & !self.mask() == 0 {
            return Some(value);
        }
        let negative = self == Self::W32 && value >= 0xffff_ffff_8000_0000;
        negative.then_some(value & self.mask())
    }
}

/// Arguments that are not 64 bits wide, from the kernel's declarations (include/linux/syscalls.h): name, those of 32
/// bits, those of 16. A call that is not here is compared in full.
#[rustfmt::skip]
static NARROW: &[(&str, &[u8], &[u8])] = &[
    ("accept", &[0], &[]),
    ("accept4", &[0, 3], &[]),
    ("access", &[1], &[]),
    ("arch_prctl", &[0], &[]),
    ("bind", &[0, 2], &[]),
    ("bpf", &[0, 2], &[]),
    ("chmod", &[], &[1]),
    ("chown", &[1, 2], &[]),
    ("clock_adjtime", &[0], &[]),
    ("clock_getres", &[0], &[]),
    ("clock_gettime", &[0], &[]),
    ("clock_nanosleep", &[0, 1], &[]),
    ("clock_settime", &[0], &[]),
    ("close", &[0], &[]),
    ("close_range", &[0, 1, 2], &[]),
    ("connect", &[0, 2], &[]),
    ("copy_file_range", &[0, 2, 5], &[]),
    ("creat", &[], &[1]),
    ("dup", &[0], &[]),
    ("dup2", &[0, 1], &[]),
    ("dup3", &[0, 1, 2], &[]),
    ("epoll_create", &[0], &[]),
    ("epoll_create1", &[0], &[]),
    ("epoll_ctl", &[0, 1, 2], &[]),
    ("eventfd", &[0], &[]),
    ("eventfd2", &[0, 1], &[]),
    ("execveat", &[0, 4], &[]),
    ("exit", &[0], &[]),
    ("exit_group", &[0], &[]),
    ("faccessat", &[0, 2], &[]),
    ("faccessat2", &[0, 2, 3], &[]),
    ("fadvise64", &[0, 3], &[]),
    ("fallocate", &[0, 1], &[]),
    ("fanotify_init", &[0, 1], &[]),
    ("fanotify_mark", &[0, 1, 3], &[]),
    ("fchdir", &[0], &[]),
    ("fchmod", &[0], &[1]),
    ("fchmodat", &[0], &[2]),
    ("fchmodat2", &[0, 3], &[2]),
    ("fchown", &[0, 1, 2], &[]),
    ("fchownat", &[0, 2, 3, 4], &[]),
    ("fcntl", &[0, 1], &[]),
    ("fcntl64", &[0, 1], &[]),
    ("file_getattr", &[0, 4], &[]),
    ("file_setattr", &[0, 4], &[]),
    ("finit_module", &[0, 2], &[]),
    ("flock", &[0, 1], &[]),
    ("fsconfig", &[0, 1, 4], &[]),
    ("fsmount", &[0, 1, 2], &[]),
    ("fsopen", &[1], &[]),
    ("fspick", &[0, 2], &[]),
    ("ftruncate", &[0], &[]),
    ("futex", &[1, 2, 5], &[]),
    ("get_mempolicy", &[], &[]),
    ("getpriority", &[0, 1], &[]),
    ("getrandom", &[2], &[]),
    ("getrlimit", &[0], &[]),
    ("getrusage", &[0], &[]),
    ("getsockopt", &[0, 1, 2], &[]),
    ("inotify_add_watch", &[0, 2], &[]),
    ("inotify_init1", &[0], &[]),
    ("io_uring_enter", &[0, 1, 2, 3], &[]),
    ("io_uring_register", &[0, 1, 3], &[]),
    ("io_uring_setup", &[0], &[]),
    ("ioctl", &[0, 1], &[]),
    ("ioperm", &[2], &[]),
    ("iopl", &[0], &[]),
    ("ioprio_get", &[0, 1], &[]),
    ("ioprio_set", &[0, 1, 2], &[]),
    ("ipc", &[0, 1], &[]),
    ("kcmp", &[0, 1, 2], &[]),
    ("keyctl", &[0], &[]),
    ("kill", &[0, 1], &[]),
    ("landlock_add_rule", &[0, 1, 3], &[]),
    ("landlock_create_ruleset", &[2], &[]),
    ("landlock_restrict_self", &[0, 1], &[]),
    ("lchown", &[1, 2], &[]),
    ("linkat", &[0, 2, 4], &[]),
    ("listen", &[0, 1], &[]),
    ("listmount", &[3], &[]),
    ("lseek", &[0, 2], &[]),
    ("lsm_get_self_attr", &[0, 3], &[]),
    ("lsm_list_modules", &[2], &[]),
    ("lsm_set_self_attr", &[0, 2, 3], &[]),
    ("madvise", &[2], &[]),
    ("map_shadow_stack", &[2], &[]),
    ("membarrier", &[0, 1, 2], &[]),
    ("memfd_create", &[1], &[]),
    ("memfd_secret", &[0], &[]),
    ("mkdir", &[], &[1]),
    ("mkdirat", &[0], &[2]),
    ("mknod", &[2], &[1]),
    ("mknodat", &[0, 3], &[2]),
    ("mlock2", &[2], &[]),
    ("mlockall", &[0], &[]),
    ("modify_ldt", &[0], &[]),
    ("mount_setattr", &[0, 2], &[]),
    ("move_mount", &[0, 2, 4], &[]),
    ("mq_open", &[1], &[2]),
    ("msgctl", &[0, 1], &[]),
    ("msgget", &[0, 1], &[]),
    ("msgrcv", &[0, 4], &[]),
    ("msgsnd", &[0, 3], &[]),
    ("msync", &[2], &[]),
    ("name_to_handle_at", &[0, 4], &[]),
    ("newfstatat", &[0, 3], &[]),
    ("open", &[1], &[2]),
    ("open_by_handle_at", &[0, 2], &[]),
    ("open_tree", &[0, 2], &[]),
    ("open_tree_attr", &[0, 2], &[]),
    ("openat", &[0, 2], &[3]),
    ("openat2", &[0], &[]),
    ("perf_event_open", &[1, 2, 3], &[]),
    ("personality", &[0], &[]),
    ("pidfd_getfd", &[0, 1, 2], &[]),
    ("pidfd_open", &[0, 1], &[]),
    ("pidfd_send_signal", &[0, 1, 3], &[]),
    ("pipe2", &[1], &[]),
    ("pkey_free", &[0], &[]),
    ("pkey_mprotect", &[3], &[]),
    ("prctl", &[0], &[]),
    ("pread64", &[0], &[]),
    ("prlimit64", &[0, 1], &[]),
    ("process_madvise", &[0, 3, 4], &[]),
    ("process_mrelease", &[0, 1], &[]),
    ("process_vm_readv", &[0], &[]),
    ("process_vm_writev", &[0], &[]),
    ("pwrite64", &[0], &[]),
    ("quotactl", &[0, 2], &[]),
    ("quotactl_fd", &[0, 1, 2], &[]),
    ("read", &[0], &[]),
    ("readahead", &[0], &[]),
    ("readlink", &[2], &[]),
    ("readlinkat", &[0, 3], &[]),
    ("reboot", &[0, 1, 2], &[]),
    ("recv", &[0, 3], &[]),
    ("recvfrom", &[0, 3], &[]),
    ("recvmmsg", &[0, 2, 3], &[]),
    ("recvmsg", &[0, 2], &[]),
    ("renameat", &[0, 2], &[]),
    ("renameat2", &[0, 2, 4], &[]),
    ("rseq", &[1, 2, 3], &[]),
    ("rt_sigaction", &[0], &[]),
    ("rt_sigprocmask", &[0], &[]),
    ("rt_sigqueueinfo", &[0, 1], &[]),
    ("rt_tgsigqueueinfo", &[0, 1, 2], &[]),
    ("sched_getaffinity", &[0, 1], &[]),
    ("sched_setaffinity", &[0, 1], &[]),
    ("sched_setattr", &[0, 2], &[]),
    ("sched_setparam", &[0], &[]),
    ("sched_setscheduler", &[0, 1], &[]),
    ("seccomp", &[0, 1], &[]),
    ("semctl", &[0, 1, 2], &[]),
    ("semget", &[0, 1, 2], &[]),
    ("semop", &[0, 2], &[]),
    ("semtimedop", &[0, 2], &[]),
    ("send", &[0, 3], &[]),
    ("sendmmsg", &[0, 2, 3], &[]),
    ("sendmsg", &[0, 2], &[]),
    ("sendto", &[0, 3, 5], &[]),
    ("setfsgid", &[0], &[]),
    ("setfsuid", &[0], &[]),
    ("setgid", &[0], &[]),
    ("setgroups", &[0], &[]),
    ("sethostname", &[1], &[]),
    ("setns", &[0, 1], &[]),
    ("setpgid", &[0, 1], &[]),
    ("setpriority", &[0, 1, 2], &[]),
    ("setregid", &[0, 1], &[]),
    ("setresgid", &[0, 1, 2], &[]),
    ("setresuid", &[0, 1, 2], &[]),
    ("setreuid", &[0, 1], &[]),
    ("setrlimit", &[0], &[]),
    ("setsockopt", &[0, 1, 2, 4], &[]),
    ("setuid", &[0], &[]),
    ("setxattr", &[4], &[]),
    ("shmat", &[0, 2], &[]),
    ("shmctl", &[0, 1], &[]),
    ("shmget", &[0, 2], &[]),
    ("shutdown", &[0, 1], &[]),
    ("signalfd4", &[0, 3], &[]),
    ("socket", &[0, 1, 2], &[]),
    ("socketcall", &[0], &[]),
    ("socketpair", &[0, 1, 2], &[]),
    ("splice", &[0, 2, 5], &[]),
    ("statmount", &[3], &[]),
    ("statx", &[0, 2, 3], &[]),
    ("swapon", &[1], &[]),
    ("symlinkat", &[1], &[]),
    ("sync_file_range", &[0, 3], &[]),
    ("syslog", &[0, 2], &[]),
    ("tee", &[0, 1, 3], &[]),
    ("tgkill", &[0, 1, 2], &[]),
    ("timer_create", &[0], &[]),
    ("timerfd_create", &[0, 1], &[]),
    ("timerfd_settime", &[0, 1], &[]),
    ("tkill", &[0, 1], &[]),
    ("umask", &[0], &[]),
    ("umount", &[1], &[]),
    ("umount2", &[1], &[]),
    ("unlinkat", &[0, 2], &[]),
    ("userfaultfd", &[0], &[]),
    ("utimensat", &[0, 3], &[]),
    ("vmsplice", &[0, 3], &[]),
    ("wait4", &[0, 2], &[]),
    ("waitid", &[0, 1, 3], &[]),
    ("write", &[0], &[]),
];

/// The width of a call's argument.
pub(super) fn of(name: &str, index: usize) -> Width {
    let Ok(row) = NARROW.binary_search_by_key(&name, |(n, _, _)| n) else {
        return Width::W64;
    };
    let (_, words, halves) = NARROW[row];
    let holds = |list: &[u8]| list.iter().any(|i| usize::from(*i) == index);
    match (holds(words), holds(halves)) {
        (true, _) => Width::W32,
        (_, true) => Width::W16,
        _ => Width::W64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_names_real_calls() {
        assert!(NARROW.windows(2).all(|w| w[0].0 < w[1].0));
        for (name, _, _) in NARROW {
            let row = super::super::syscalls::SYSCALLS.binary_search_by_key(name, |(n, _)| n);
            assert!(row.is_ok() || matches!(*name, "recv" | "send"), "{name}");
        }
    }

    #[test]
    fn width_of_the_default_profiles_arguments() {
        assert_eq!(of("socket", 0), Width::W32);
        assert_eq!(of("personality", 0), Width::W32);
        assert_eq!(of("clone", 0), Width::W64);
        assert_eq!(of("chmod", 1), Width::W16);
        assert_eq!(of("ioctl", 1), Width::W32);
        assert_eq!(of("ioctl", 2), Width::W64);
    }

    #[test]
    fn values_are_cut_as_the_kernel_cuts_arguments() {
        assert_eq!(Width::W32.cut(38), Some(38));
        assert_eq!(Width::W32.cut(u64::MAX), Some(0xffff_ffff));
        assert_eq!(Width::W32.cut(38 + (1 << 32)), None);
        assert_eq!(Width::W16.cut(0x1_0000), None);
        assert_eq!(Width::W64.cut(u64::MAX), Some(u64::MAX));
    }
}
