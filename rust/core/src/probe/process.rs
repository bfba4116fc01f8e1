//! Calls that start and watch processes, seccomp, resource limits.
use std::fs;

use rustix::process::{
    PidfdFlags, Resource, Rlimit, Signal, getpid, getrlimit, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal, setrlimit,
};

use super::{Context, Report, Status, Step, fail, read, text, warn};
use crate::security::seccomp::Insn;
use crate::sys::{probe, seccomp};

pub(super) fn check(_: &Context, report: &mut Report) {
    let clone = match probe::clone3_empty() {
        Err(rustix::io::Errno::INVAL) | Ok(()) => Ok("can be called".to_owned()),
        Err(e) => Err(text("clone3", e)),
    };
    let blame = fail(
        "no container can be started",
        "Linux 5.7 or later; an outer seccomp filter must allow clone3",
    );
    report.tried("clone3", clone, &blame);
    let pidfd = || -> Result<String, String> {
        let own = pidfd_open(getpid(), PidfdFlags::empty()).step("pidfd_open")?;
        pidfd_send_signal(&own, Signal::CONT).step("pidfd_send_signal")?;
        Ok("can be opened and signalled".to_owned())
    };
    report.tried(
        "pidfd",
        pidfd(),
        &fail("processes cannot be watched safely", "Linux 5.3 or later"),
    );
    let blame = fail(
        "descriptors of the host could reach a container",
        "Linux 5.9 or later; an outer seccomp filter must allow close_range",
    );
    report.tried(
        "close_range",
        probe::close_range_nothing()
            .step("close_range")
            .map(|()| "can be called".to_owned()),
        &blame,
    );
    let blame = fail(
        "a container would outlive its supervisor unnoticed",
        "an outer seccomp filter must allow prctl",
    );
    let death = set_parent_process_death_signal(Some(Signal::KILL))
        .step("prctl")
        .map(|()| "can be set".to_owned());
    report.tried("parent-death signal", death, &blame);
    let blame = warn(
        "a container's processes share the session keyring of minidock",
        "kernel option CONFIG_KEYS; sysctl kernel.keys.maxkeys",
    );
    report.tried(
        "keyrings",
        probe::join_keyring()
            .step("keyctl")
            .map(|()| "a new session keyring can be joined".to_owned()),
        &blame,
    );
    limits(report);
    filter(report);
}

fn limits(report: &mut Report) {
    let before = getrlimit(Resource::Nofile);
    let show = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
    let found = format!(
        "nofile soft {} hard {}",
        show(before.current),
        show(before.maximum)
    );
    let raised = before.maximum.is_none_or(|hard| {
        setrlimit(Resource::Nofile, Rlimit { current: before.current, maximum: Some(hard + 1) }).is_ok()
            // The system-wide ceiling (fs.nr_open) may be what is in the way; another limit has none.
            || getrlimit(Resource::Core).maximum.is_some_and(|core| setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(core + 1) }).is_ok())
            || (hard >= nr_open() && has_sys_resource())
    });
    let (meaning, advice) = (
        "--ulimit above a hard limit of minidock itself is an error, as in Docker",
        "CAP_SYS_RESOURCE, or higher limits for minidock (systemd: LimitNOFILE=)",
    );
    if raised {
        report.ok("hard rlimits", format!("can be raised ({found})"));
    } else {
        report.add(
            "hard rlimits",
            Status::Warn,
            format!("cannot be raised ({found})"),
            meaning,
            advice,
        );
    }
    let score = read("/proc/self/oom_score_adj")
        .and_then(|t| t.parse::<i32>().ok())
        .unwrap_or(0);
    let lower = (score - 1).max(-1000);
    let outcome = fs::write("/proc/self/oom_score_adj", lower.to_string())
        .step("write oom_score_adj")
        .map(|()| "can be lowered".to_owned());
    let blame = warn(
        "negative --oom-score-adj is an error, and supervisors are not protected from the OOM killer",
        "CAP_SYS_RESOURCE",
    );
    report.tried("oom_score_adj", outcome, &blame);
}

fn nr_open() -> u64 {
    read("/proc/sys/fs/nr_open")
        .and_then(|t| t.parse().ok())
        .unwrap_or(1 << 20)
}

fn has_sys_resource() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|c| {
        c.effective
            .contains(rustix::thread::CapabilitySet::SYS_RESOURCE)
    })
}

/// Actions of seccomp(2), and a filter installed for real: this process's own end.
fn filter(report: &mut Report) {
    let actions: [(&str, u32, Status); 8] = [
        ("allow", libc::SECCOMP_RET_ALLOW, Status::Fail),
        ("errno", libc::SECCOMP_RET_ERRNO, Status::Fail),
        ("kill_process", libc::SECCOMP_RET_KILL_PROCESS, Status::Fail),
        ("kill_thread", libc::SECCOMP_RET_KILL_THREAD, Status::Warn),
        ("trap", libc::SECCOMP_RET_TRAP, Status::Warn),
        ("trace", libc::SECCOMP_RET_TRACE, Status::Warn),
        ("log", libc::SECCOMP_RET_LOG, Status::Warn),
        ("user_notif", libc::SECCOMP_RET_USER_NOTIF, Status::Warn),
    ];
    let advice = "kernel options CONFIG_SECCOMP and CONFIG_SECCOMP_FILTER, Linux 5.0 or later";
    let mut known = Vec::new();
    for (name, action, status) in actions {
        match probe::seccomp_action(action) {
            Ok(()) => known.push(name),
            Err(e) => report.add(
                format!("seccomp action {name}"),
                status,
                text("seccomp", e),
                "profiles that use it cannot be loaded",
                advice,
            ),
        }
    }
    report.ok("seccomp actions", known.join(" "));
    // "return allow": nothing changes.
    let allow = [Insn {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    }];
    let outcome = seccomp::set_mode_filter(0, &allow)
        .step("seccomp")
        .map(|_| "can be installed".to_owned());
    let blame = fail(
        "containers run only with --security-opt seccomp=unconfined",
        advice,
    );
    report.tried("seccomp filter", outcome, &blame);
}
