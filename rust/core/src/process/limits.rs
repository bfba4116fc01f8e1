//! Limits and kernel settings of the process itself: rlimits, scheduling, memory policy, personality, OOM score, sysctls.
use oci_spec::runtime::{
    IOPriorityClass, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    MemoryPolicyFlagType, MemoryPolicyModeType, PosixRlimitType, Process, Spec,
};
use rustix::fs::OFlags;
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::{Context, Error, Kind, Result};
use crate::rootfs::open_proc;
use crate::sys::{self, SchedAttr};

/// Sets the document's resource limits.
pub fn set_rlimits(process: &Process) -> Result<()> {
    for limit in process.rlimits().as_deref().unwrap_or_default() {
        let name = || format!("{}", limit.typ());
        if limit.soft() > limit.hard() {
            return Err(Error::new(
                Kind::Invalid,
                "set resource limit",
                name(),
                "the soft limit is above the hard limit",
            ));
        }
        sys::set_rlimit(resource(limit.typ()), limit.soft(), limit.hard())
            .context("set resource limit", name)?;
    }
    Ok(())
}

fn resource(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

/// Scheduler, I/O priority and execution domain.
pub fn set_scheduling(process: &Process, spec: &Spec) -> Result<()> {
    if let Some(s) = process.scheduler() {
        let policy = match s.policy() {
            LinuxSchedulerPolicy::SchedOther => libc::SCHED_OTHER,
            LinuxSchedulerPolicy::SchedFifo => libc::SCHED_FIFO,
            LinuxSchedulerPolicy::SchedRr => libc::SCHED_RR,
            LinuxSchedulerPolicy::SchedBatch => libc::SCHED_BATCH,
            // Reserved by the kernel, never implemented.
            LinuxSchedulerPolicy::SchedIso => {
                return Err(Error::new(
                    Kind::Unsupported,
                    "set scheduler",
                    "SCHED_ISO",
                    "the kernel has no such policy",
                ));
            }
            LinuxSchedulerPolicy::SchedIdle => libc::SCHED_IDLE,
            LinuxSchedulerPolicy::SchedDeadline => libc::SCHED_DEADLINE,
        };
        let flags = s
            .flags()
            .as_deref()
            .unwrap_or_default()
            .iter()
            .fold(0, |all, f| {
                all | match f {
                    LinuxSchedulerFlag::SchedResetOnFork => 0x01,
                    LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
                    LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
                    LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
                    LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
                    LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
                    LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
                }
            });
        let priority = u32::try_from(s.priority().unwrap_or(0))
            .map_err(|_| Error::new(Kind::Invalid, "set scheduler", "priority", "negative"))?;
        let attr = SchedAttr {
            size: 0,
            policy: policy as u32,
            flags,
            nice: s.nice().unwrap_or(0),
            priority,
            runtime: s.runtime().unwrap_or(0),
            deadline: s.deadline().unwrap_or(0),
            period: s.period().unwrap_or(0),
        };
        sys::sched_setattr(attr).context("set scheduler", || format!("{:?}", s.policy()))?;
    }
    if let Some(io) = process.io_priority() {
        let class = match io.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        let level = i32::try_from(io.priority())
            .ok()
            .filter(|p| (0..8).contains(p));
        let level = level.ok_or_else(|| {
            Error::new(
                Kind::Invalid,
                "set I/O priority",
                io.priority().to_string(),
                "it is 0 to 7",
            )
        })?;
        sys::ioprio_set(class << 13 | level)
            .context("set I/O priority", || format!("{class}:{level}"))?;
    }
    let linux = spec.linux().as_ref();
    if let Some(p) = linux.and_then(|l| l.personality().as_ref()) {
        if p.flags().as_ref().is_some_and(|f| !f.is_empty()) {
            return Err(Error::new(
                Kind::Unsupported,
                "set personality",
                "flags",
                "the runtime-spec defines none yet",
            ));
        }
        // PER_LINUX, PER_LINUX32
        let domain = match p.domain() {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => 8,
        };
        sys::personality(domain).context("set personality", || domain.to_string())?;
    }
    if let Some(policy) = linux.and_then(|l| l.memory_policy().as_ref()) {
        let mode = match policy.mode() {
            MemoryPolicyModeType::MpolDefault => 0,
            MemoryPolicyModeType::MpolPreferred => 1,
            MemoryPolicyModeType::MpolBind => 2,
            MemoryPolicyModeType::MpolInterleave => 3,
            MemoryPolicyModeType::MpolLocal => 4,
            MemoryPolicyModeType::MpolPreferredMany => 5,
            MemoryPolicyModeType::MpolWeightedInterleave => 6,
        };
        let flags = policy
            .flags()
            .as_deref()
            .unwrap_or_default()
            .iter()
            .fold(0, |all, f| {
                all | match f {
                    MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
                    MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
                    MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
                }
            });
        let nodes = node_set(policy.nodes().as_deref().unwrap_or_default())?;
        sys::set_mempolicy(mode | flags, &nodes)
            .context("set memory policy", || format!("{:?}", policy.mode()))?;
    }
    Ok(())
}

/// `0-2,5` as a bit set.
fn node_set(list: &str) -> Result<Vec<u64>> {
    let bad = || {
        Error::new(
            Kind::Invalid,
            "set memory policy",
            list,
            "not a list of nodes such as 0-1,3 (0 to 1023)",
        )
    };
    let mut bits = Vec::new();
    for part in list.split(',').filter(|p| !p.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let number = |n: &str| {
            n.trim()
                .parse::<usize>()
                .ok()
                .filter(|n| *n < 1024)
                .ok_or_else(bad)
        };
        for node in number(from)?..=number(to)? {
            if bits.len() <= node / 64 {
                bits.resize(node / 64 + 1, 0u64);
            }
            bits[node / 64] |= 1 << (node % 64);
        }
    }
    Ok(bits)
}

/// Writes `oom_score_adj` of a process of this procfs. Lowering needs CAP_SYS_RESOURCE: without it a warning comes back.
pub fn set_oom_score(proc: BorrowedFd<'_>, pid: i32, score: i32) -> Result<Option<String>> {
    let path = format!("{pid}/oom_score_adj");
    let fd = open_proc(proc, &path, OFlags::RDWR).context("open", || path.as_str())?;
    let mut now = [0u8; 16];
    let n = rustix::io::read(&fd, &mut now[..]).context("read", || path.as_str())?;
    let now = std::str::from_utf8(&now[..n])
        .ok()
        .and_then(|t| t.trim().parse::<i32>().ok());
    if now == Some(score) {
        return Ok(None);
    }
    match rustix::io::pwrite(&fd, score.to_string().as_bytes(), 0) {
        Ok(_) => Ok(None),
        Err(rustix::io::Errno::ACCESS) => Ok(Some(format!(
            "oom_score_adj stays {}: lowering it to {score} needs CAP_SYS_RESOURCE",
            now.unwrap_or_default()
        ))),
        Err(e) => Err(e).context("set oom_score_adj", || score.to_string()),
    }
}

/// Checks a sysctl's name and value, and that it belongs to a namespace of the container (SECURITY.md §4).
///
/// `own` tells whether the container has its own namespace of a `CLONE_NEW*` kind.
pub fn check_sysctl(name: &str, value: &str, own: &dyn Fn(i32) -> bool) -> Result<String> {
    let denied = |why: &str| Error::new(Kind::Denied, "set sysctl", name, why);
    // Names are written with dots or with slashes; the first separator tells which. Dots within one name part (as in
    // net.ipv4.conf.eth0/1.x) are slashes in the other form.
    let slash_first = name
        .find('/')
        .is_some_and(|s| name.find('.').is_none_or(|d| s < d));
    let path: String = if slash_first {
        name.to_owned()
    } else {
        name.chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect()
    };
    let good = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.@:".contains(&b))
    };
    if !path.split('/').all(good) {
        return Err(denied("not a name of a kernel setting"));
    }
    if value.contains(['\0', '\n']) {
        return Err(denied("its value has a line break or NUL byte"));
    }
    const IPC: [&str; 8] = [
        "msgmax",
        "msgmnb",
        "msgmni",
        "sem",
        "shmall",
        "shmmax",
        "shmmni",
        "shm_rmid_forced",
    ];
    let (first, rest) = path.split_once('/').unwrap_or((&path, ""));
    let needs = match first {
        "net" => (libc::CLONE_NEWNET, "network"),
        "user" => (libc::CLONE_NEWUSER, "user"),
        "fs" if rest.starts_with("mqueue/") => (libc::CLONE_NEWIPC, "ipc"),
        "kernel" if IPC.contains(&rest) => (libc::CLONE_NEWIPC, "ipc"),
        "kernel" if rest == "domainname" => (libc::CLONE_NEWUTS, "uts"),
        "kernel" if rest == "hostname" => return Err(denied("use the hostname of the container")),
        _ => {
            return Err(denied(
                "it would change the host: it belongs to no namespace of a container",
            ));
        }
    };
    if !own(needs.0) {
        return Err(denied(&format!(
            "the container shares the host's {} namespace",
            needs.1
        )));
    }
    Ok(path)
}

/// Writes checked sysctls through a private procfs.
pub fn write_sysctls(proc: BorrowedFd<'_>, list: &[(String, String)]) -> Result<()> {
    for (path, value) in list {
        let full = format!("sys/{path}");
        let fd = open_proc(proc.as_fd(), &full, OFlags::WRONLY)
            .context("open sysctl", || path.as_str())?;
        rustix::io::write(&fd, value.as_bytes())
            .context("set sysctl", || format!("{path}={value}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctls_belong_to_a_namespace() {
        let all = |_| true;
        let only = |flag: i32| move |f: i32| f == flag;
        assert_eq!(
            check_sysctl("net.ipv4.ip_forward", "1", &all).unwrap(),
            "net/ipv4/ip_forward"
        );
        assert_eq!(
            check_sysctl("net/ipv4/conf/eth0.1/forwarding", "1", &all).unwrap(),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            check_sysctl("net.ipv4.conf.eth0/1.forwarding", "1", &all).unwrap(),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert!(check_sysctl("net.ipv4.ip_forward", "1", &only(libc::CLONE_NEWIPC)).is_err());
        assert!(check_sysctl("kernel.shmmax", "1", &only(libc::CLONE_NEWIPC)).is_ok());
        assert!(check_sysctl("fs.mqueue.queues_max", "1", &only(libc::CLONE_NEWIPC)).is_ok());
        for bad in [
            "kernel.core_pattern",
            "vm.swappiness",
            "kernel.shm_rmid_forced=1+kernel.core_pattern",
            "net.../x",
            "net/../kernel/core_pattern",
            "",
            "kernel.hostname",
        ] {
            assert_eq!(
                check_sysctl(bad, "1", &all).unwrap_err().kind,
                Kind::Denied,
                "{bad}"
            );
        }
        assert!(check_sysctl("kernel.sem", "1\n2", &all).is_err());
    }

    #[test]
    fn node_lists() {
        assert_eq!(node_set("0-2,65").unwrap(), [7, 2]);
        assert!(node_set("").unwrap().is_empty());
        for bad in ["x", "3-", "1024"] {
            assert!(node_set(bad).is_err(), "{bad}");
        }
    }
}
