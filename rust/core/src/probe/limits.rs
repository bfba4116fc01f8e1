//! Numbers of the host that containers share, and tools that single features need.
use std::path::Path;

use super::{Context, Report, Status, read};

/// Sysctls with the value below which something is known to fail, and what.
const SYSCTLS: &[(&str, u64, &str)] = &[
    (
        "fs.inotify.max_user_instances",
        128,
        "programs in many containers cannot watch files",
    ),
    (
        "fs.inotify.max_user_watches",
        8192,
        "programs in many containers cannot watch files",
    ),
    (
        "fs.file-max",
        65_536,
        "many containers run out of open files",
    ),
    (
        "kernel.pid_max",
        32_768,
        "many containers run out of process ids",
    ),
    (
        "kernel.threads-max",
        4096,
        "many containers run out of threads",
    ),
    (
        "kernel.keys.maxkeys",
        200,
        "each container needs a key of root's quota",
    ),
    (
        "vm.max_map_count",
        65_530,
        "databases in containers cannot map enough files",
    ),
    (
        "user.max_user_namespaces",
        1,
        "userns-remap is not possible",
    ),
    (
        "user.max_net_namespaces",
        100,
        "few containers can have a network",
    ),
];

const TOOLS: &[(&str, &str)] = &[
    (
        "git",
        "builds from git contexts are not possible; install git",
    ),
    (
        "apt-get",
        "images from Debian packages are not possible; install apt",
    ),
    (
        "gpgv",
        "signatures of Debian packages cannot be checked; install gpgv",
    ),
];

pub(super) fn check(_: &Context, report: &mut Report) {
    for &(name, least, meaning) in SYSCTLS {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        // Kernels without a feature have no such file; the feature's own check says so.
        let Some(value) = read(&path).and_then(|t| t.parse::<u64>().ok()) else {
            continue;
        };
        if value < least {
            report.add(
                name,
                Status::Warn,
                value.to_string(),
                meaning,
                &format!("sysctl -w {name}={}", least.max(value * 4)),
            );
        } else {
            report.ok(name, value.to_string());
        }
    }
    memory(report);
    for (device, option, meaning) in [
        (
            "/dev/fuse",
            "CONFIG_FUSE_FS",
            "containers given --device /dev/fuse cannot mount",
        ),
        (
            "/dev/net/tun",
            "CONFIG_TUN",
            "containers given --device /dev/net/tun cannot make tunnels",
        ),
    ] {
        if Path::new(device).exists() {
            report.ok(device, "exists");
        } else {
            report.add(
                device,
                Status::Warn,
                "missing",
                meaning,
                &format!("kernel option {option}, or modprobe of its module"),
            );
        }
    }
    let path = std::env::var("PATH").unwrap_or_default();
    for &(tool, advice) in TOOLS {
        match path
            .split(':')
            .map(|dir| Path::new(dir).join(tool))
            .find(|p| p.is_file())
        {
            Some(found) => report.ok(tool, found.display().to_string()),
            None => {
                let (meaning, advice) = advice.split_once("; ").unwrap_or((advice, ""));
                report.add(tool, Status::Warn, "not found (optional)", meaning, advice);
            }
        }
    }
}

fn memory(report: &mut Report) {
    let text = read("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim()
            .trim_end_matches(" kB")
            .trim()
            .parse::<u64>()
            .ok()
    };
    let (Some(total), Some(available)) = (field("MemTotal:"), field("MemAvailable:")) else {
        return;
    };
    let found = format!("{} MiB of {} MiB available", available / 1024, total / 1024);
    if available < 128 * 1024 {
        report.add(
            "memory",
            Status::Warn,
            found,
            "containers may be killed for lack of memory",
            "end other programs, or add memory or swap",
        );
    } else {
        report.ok("memory", found);
    }
}
