//! Security modules, keyrings, user id ranges.
use std::path::Path;

use super::{Context, Report, Status, read};
use crate::security::selinux;

pub(super) fn check(_: &Context, report: &mut Report) {
    let apparmor =
        read("/sys/module/apparmor/parameters/enabled").is_some_and(|t| t.starts_with('Y'));
    let selinux = read("/sys/fs/selinux/enforce");
    let listed = read("/sys/kernel/security/lsm");
    let policy = selinux.is_some().then(selinux::Host::default);
    let unable = policy.as_ref().and_then(|host| host.check_policy().err());
    let found = [
        apparmor.then(|| "AppArmor".to_owned()),
        selinux.map(|enforce| {
            let mode = if enforce == "1" {
                "enforcing"
            } else {
                "permissive"
            };
            let name = policy.map(|host| host.policy()).unwrap_or_default();
            format!("SELinux ({mode}, policy {name})")
        }),
    ];
    let found: Vec<_> = found.into_iter().flatten().collect();
    if found.is_empty() {
        let meaning = "containers are confined by namespaces, capabilities and seccomp only; --security-opt apparmor= and label= have no effect";
        let advice = "kernel option CONFIG_SECURITY_APPARMOR or CONFIG_SECURITY_SELINUX, and lsm= on the kernel's command line";
        let found = listed.map_or_else(
            || "neither AppArmor nor SELinux".to_owned(),
            |l| format!("neither AppArmor nor SELinux (active: {l})"),
        );
        report.add("security modules", Status::Warn, found, meaning, advice);
    } else {
        report.ok("security modules", found.join(", "));
    }
    if let Some(error) = unable {
        let meaning = "no container starts, unless it is to have no SELinux label";
        let advice = "install the policy's module for containers (container-selinux), or set selinux-enabled to false";
        report.add(
            "SELinux policy",
            Status::Fail,
            error.to_string(),
            meaning,
            advice,
        );
    }
    if apparmor && !Path::new("/sys/kernel/security/apparmor/profiles").exists() {
        let meaning = "AppArmor profiles cannot be loaded";
        report.add(
            "securityfs",
            Status::Warn,
            "not mounted",
            meaning,
            "mount -t securityfs securityfs /sys/kernel/security",
        );
    }
    for (file, what) in [("/etc/subuid", "user"), ("/etc/subgid", "group")] {
        let entries = read(file).unwrap_or_default();
        let owners: Vec<_> = entries
            .lines()
            .filter(|l| !l.trim_start().starts_with('#'))
            .filter_map(|l| l.split_once(':').map(|p| p.0))
            .collect();
        if owners.is_empty() {
            let meaning = format!("userns-remap needs a range of subordinate {what} ids");
            let advice = format!("echo dockremap:100000:65536 >> {file}");
            report.add(file, Status::Warn, "no entry", &meaning, &advice);
        } else {
            report.ok(file, format!("ranges for {}", owners.join(", ")));
        }
    }
}
