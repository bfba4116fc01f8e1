//! The text of the default profile.
use std::fmt::Write as _;

use super::UNCONFINED;

/// The text of a container's profile (SECURITY.md section 4), in the parser's language (apparmor.d(5)).
pub(super) fn profile(name: &str, with_base: bool) -> String {
    // The abstraction's rules name variables that the tunables define.
    let before = if with_base {
        "include <tunables/global>\n"
    } else {
        ""
    };
    let mut text =
        format!("{before}profile {name} flags=(attach_disconnected,mediate_deleted) {{\n");
    if with_base {
        text.push_str("  include <abstractions/base>\n");
    }
    text.push_str(
        "  network,\n  deny network alg,\n  capability,\n  file,\n  umount,\n  deny mount,\n",
    );
    // The engine and its helper are unconfined unless the host confines them under these names.
    for peer in [UNCONFINED, "minidock", "minidock-runtime"] {
        let _ = writeln!(text, "  signal (receive) peer={peer},");
    }
    let _ = writeln!(text, "  signal (send,receive) peer={name},");
    let _ = writeln!(text, "  ptrace (trace,read,tracedby,readby) peer={name},");
    text.push_str("  deny /proc/kcore rwklx,\n  deny /proc/sysrq-trigger rwklx,\n");
    // Writes below /proc: only in directories of processes and to sys/kernel/shm*.
    text.push_str("  deny /proc/* w,\n");
    for glob in outside("/proc/", "sys/kernel/shm", "0-9") {
        let _ = writeln!(text, "  deny {glob} w,");
    }
    for glob in outside("/sys/", "fs/cgroup/", "") {
        let _ = writeln!(text, "  deny {glob} wklx,");
    }
    for secret in [
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
        "/sys/kernel/security",
    ] {
        let _ = writeln!(text, "  deny {secret}/** rwklx,");
    }
    text.push_str("}\n");
    text
}

/// Globs that together match every path below `base` that does not begin with `base` + `prefix`, but for names whose first
/// character is in `but` (a range as in `[0-9]`). AppArmor has no "all but": they name the character where paths part.
fn outside(base: &str, prefix: &str, but: &str) -> Vec<String> {
    prefix
        .char_indices()
        .map(|(at, expected)| {
            let same = &prefix[..at];
            if at == 0 {
                return format!("{base}[^{but}{expected}]**");
            }
            // A class never matches a slash, so a directory with a shorter name needs its own alternative.
            match (expected, same.ends_with('/')) {
                ('/', _) => format!("{base}{same}[^/]**"),
                (_, true) => format!("{base}{same}[^{expected}]**"),
                (_, false) => format!("{base}{same}{{,/**,[^{expected}]**}}"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::DEFAULT;
    use super::*;

    /// Matches one of AppArmor's globs, those that `outside` and `profile` use.
    fn matches(glob: &str, path: &str) -> bool {
        if let Some(open) = glob.find('{') {
            let close = glob.find('}').expect("closed");
            return glob[open + 1..close].split(',').any(|part| {
                matches(
                    &format!("{}{part}{}", &glob[..open], &glob[close + 1..]),
                    path,
                )
            });
        }
        let Some(first) = glob.chars().next() else {
            return path.is_empty();
        };
        if let Some(rest) = glob.strip_prefix("**") {
            return (0..=path.len()).any(|n| path.is_char_boundary(n) && matches(rest, &path[n..]));
        }
        if first == '*' {
            let end = path.find('/').unwrap_or(path.len());
            return (0..=end).any(|n| matches(&glob[1..], &path[n..]));
        }
        let Some(c) = path.chars().next() else {
            return false;
        };
        if let Some(class) = glob.strip_prefix("[^") {
            let end = class.find(']').expect("closed");
            let held = class[..end].replace("0-9", "0123456789").contains(c) || c == '/';
            return !held && matches(&class[end + 1..], &path[1..]);
        }
        c == first && matches(&glob[1..], &path[1..])
    }

    /// Whether the profile's rules deny `right` on `path`.
    fn denied(path: &str, right: char) -> bool {
        profile(DEFAULT, true)
            .lines()
            .filter_map(|l| l.trim().strip_prefix("deny /"))
            .any(|rule| {
                let (glob, rights) = rule.trim_end_matches(',').rsplit_once(' ').expect("rights");
                rights.contains(right) && matches(&format!("/{glob}"), path)
            })
    }

    #[test]
    fn writes_in_proc_are_for_processes_and_shared_memory() {
        for path in [
            "/proc/1/attr/exec",
            "/proc/self/x",
            "/proc/42/task/42/comm",
            "/proc/sys/kernel/shmmax",
            "/proc/sys/kernel/shm_rmid_forced",
        ] {
            // A path through /proc/self reaches the kernel as that of the process.
            assert_eq!(denied(path, 'w'), path.starts_with("/proc/self"), "{path}");
        }
        for path in [
            "/proc/sysrq-trigger",
            "/proc/kcore",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/sh",
            "/proc/sys/kernel/s",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/vm/x",
            "/proc/sys/k/x",
            "/proc/sy/x",
            "/proc/scsi/scsi",
            "/proc/fs/x",
            "/proc/irq/1/smp_affinity",
            "/proc/acpi/x",
            "/proc/sys/fs/binfmt_misc/register",
            "/proc/sysvipc/x",
            "/proc/uptime",
        ] {
            assert!(denied(path, 'w'), "{path}");
        }
        assert!(!denied("/proc/sys/kernel/core_pattern", 'r'));
        assert!(denied("/proc/kcore", 'r') && denied("/proc/sysrq-trigger", 'r'));
    }

    #[test]
    fn writes_in_sys_are_for_cgroups() {
        assert!(!denied("/sys/fs/cgroup/pids/x/cgroup.procs", 'w'));
        for path in [
            "/sys/fs/cgroupx/y",
            "/sys/fs/cg/x",
            "/sys/fs/bpf/x",
            "/sys/f/x",
            "/sys/fsx",
            "/sys/kernel/uevent_helper",
            "/sys/power/state",
            "/sys/devices/system/cpu/cpu0/online",
            "/sys/module/x/parameters/y",
        ] {
            assert!(denied(path, 'w'), "{path}");
            assert!(!denied(path, 'r'), "{path}");
        }
        for path in [
            "/sys/firmware/efi/x",
            "/sys/devices/virtual/powercap/x/y",
            "/sys/kernel/security/apparmor/profiles",
        ] {
            assert!(denied(path, 'r') && denied(path, 'w'), "{path}");
        }
    }

    #[test]
    fn profile_holds_the_rules_of_section_4() {
        let text = profile(DEFAULT, false);
        for rule in [
            "network,",
            "deny network alg,",
            "capability,",
            "file,",
            "umount,",
            "deny mount,",
            "signal (receive) peer=unconfined,",
        ] {
            assert!(text.lines().any(|line| line.trim() == rule), "{rule}");
        }
        assert!(text.contains("ptrace (trace,read,tracedby,readby) peer=minidock-default,"));
        assert!(!text.contains("include"));
        let whole = profile(DEFAULT, true);
        assert!(whole.starts_with("include <tunables/global>\nprofile "));
        assert!(whole.contains("  include <abstractions/base>\n"));
    }
}
