//! Kernel version, rights of this process.
use rustix::thread::CapabilitySet;

use super::{Context, Report, Status, read};

/// What a container runtime needs, and what fails without it.
const NEEDED: &[(CapabilitySet, &str, Status, &str)] = &[
    (
        CapabilitySet::SYS_ADMIN,
        "CAP_SYS_ADMIN",
        Status::Fail,
        "no namespaces, no mounts",
    ),
    (
        CapabilitySet::SYS_CHROOT,
        "CAP_SYS_CHROOT",
        Status::Fail,
        "no change of the root directory",
    ),
    (
        CapabilitySet::SETUID,
        "CAP_SETUID",
        Status::Fail,
        "no change of user",
    ),
    (
        CapabilitySet::SETGID,
        "CAP_SETGID",
        Status::Fail,
        "no change of group",
    ),
    (
        CapabilitySet::CHOWN,
        "CAP_CHOWN",
        Status::Fail,
        "files of images keep the wrong owner",
    ),
    (
        CapabilitySet::DAC_OVERRIDE,
        "CAP_DAC_OVERRIDE",
        Status::Fail,
        "files of images cannot be written",
    ),
    (
        CapabilitySet::FOWNER,
        "CAP_FOWNER",
        Status::Fail,
        "modes of files of images cannot be set",
    ),
    (
        CapabilitySet::MKNOD,
        "CAP_MKNOD",
        Status::Fail,
        "no devices, no whiteouts",
    ),
    (
        CapabilitySet::SETPCAP,
        "CAP_SETPCAP",
        Status::Fail,
        "capabilities cannot be dropped from the bounding set",
    ),
    (
        CapabilitySet::SETFCAP,
        "CAP_SETFCAP",
        Status::Warn,
        "file capabilities of images are lost",
    ),
    (
        CapabilitySet::NET_ADMIN,
        "CAP_NET_ADMIN",
        Status::Warn,
        "no networks but none and host",
    ),
    (
        CapabilitySet::KILL,
        "CAP_KILL",
        Status::Warn,
        "processes of other users cannot be signalled",
    ),
    (
        CapabilitySet::SYS_RESOURCE,
        "CAP_SYS_RESOURCE",
        Status::Warn,
        "hard rlimits cannot be raised, nor oom_score_adj lowered",
    ),
    (
        CapabilitySet::SYS_PTRACE,
        "CAP_SYS_PTRACE",
        Status::Warn,
        "namespaces of other users' processes cannot be joined",
    ),
];

pub(super) fn check(_: &Context, report: &mut Report) {
    version(report);
    if rustix::process::geteuid().is_root() {
        report.ok("user", "root");
    } else {
        let meaning = "containers cannot be started (rootless mode is not part of this version)";
        report.add(
            "user",
            Status::Fail,
            format!("uid {}", rustix::process::geteuid()),
            meaning,
            "run as root, for example with sudo",
        );
    }
    capabilities(report);
    let status = read("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .map(str::trim)
            .unwrap_or_default()
            .to_owned()
    };
    if field("NoNewPrivs:") == "1" {
        let meaning = "set-user-id programs and file capabilities have no effect in containers";
        report.add(
            "no_new_privs",
            Status::Warn,
            "set for this process",
            meaning,
            "start minidock from a process without no_new_privs",
        );
    }
    if matches!(field("Seccomp:").as_str(), "1" | "2") {
        let meaning = "a seccomp filter of the surroundings (a container?) restricts minidock too";
        report.add(
            "outer seccomp filter",
            Status::Warn,
            format!("mode {}", field("Seccomp:")),
            meaning,
            "if calls below fail, start the surrounding container with --privileged",
        );
    }
}

fn version(report: &mut Report) {
    let uname = rustix::system::uname();
    let (release, machine) = (
        uname.release().to_string_lossy(),
        uname.machine().to_string_lossy(),
    );
    let found = format!("{release} {machine}");
    let mut numbers = release
        .split(['.', '-'])
        .map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (status, meaning, advice) = match version {
        v if v < (5, 12) => (
            Status::Fail,
            "openat2, mount_setattr and others are missing",
            "use Linux 5.12 or later; minidock is tested with 6.1 and later",
        ),
        v if v < (6, 8) => (
            Status::Warn,
            "overlay options are limited to one page (about 100 layers), and newer mount calls are missing",
            "",
        ),
        _ => (Status::Ok, "", ""),
    };
    report.add("version", status, found, meaning, advice);
    if !matches!(machine.as_ref(), "x86_64" | "aarch64") {
        report.add(
            "architecture",
            Status::Fail,
            machine,
            "minidock knows x86_64 and aarch64 only",
            "",
        );
    }
}

fn capabilities(report: &mut Report) {
    let sets = match rustix::thread::capabilities(None) {
        Ok(sets) => sets,
        Err(e) => {
            return report.add(
                "capabilities",
                Status::Fail,
                super::text("capget", e),
                "nothing is known about capabilities",
                "",
            );
        }
    };
    let mut complete = true;
    for &(capability, name, status, meaning) in NEEDED {
        if !sets.effective.contains(capability) {
            complete = false;
            let advice = "start minidock with this capability (systemd: CapabilityBoundingSet=; container: --cap-add or --privileged)";
            report.add(name, status, "missing", meaning, advice);
        }
    }
    if complete {
        report.ok("capabilities", "all that containers need");
    }
}
