//! Security modules, keyrings, user id ranges.
use super::{Context, Report, Status, read};
use crate::Kind;
use crate::security::{apparmor, selinux};

pub(super) fn check(_: &Context, report: &mut Report) {
    let host = apparmor::Host::default();
    let apparmor = host.is_enabled();
    let hidden = host.is_on() && !apparmor;
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
    if hidden {
        out_of_reach(report, &found);
    } else if found.is_empty() {
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
    if apparmor {
        check_profile(&host, report);
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

/// AppArmor is on, but securityfs is not there: whatever else was `found`, containers get no profile.
fn out_of_reach(report: &mut Report, found: &[String]) {
    let mut found = found.to_vec();
    found.push("AppArmor, but securityfs is not mounted".to_owned());
    report.add(
        "security modules",
        Status::Warn,
        found.join(", "),
        "containers run without AppArmor; --security-opt apparmor=PROFILE is refused",
        "mount -t securityfs securityfs /sys/kernel/security",
    );
}

/// Whether containers can come under the default profile; as for SELinux, only what is wrong is worth a line.
fn check_profile(host: &apparmor::Host, report: &mut Report) {
    let Err(error) = host.check_default() else {
        return;
    };
    let install = "install the host's package apparmor, which has apparmor_parser";
    let advice = match error.kind {
        Kind::Denied => format!("run as root; otherwise: {install}"),
        _ => install.to_owned(),
    };
    report.add(
        "AppArmor profile",
        Status::Fail,
        error.to_string(),
        "no container starts, unless it is privileged or has --security-opt apparmor=unconfined",
        &advice,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            group: "security",
            checks: Vec::new(),
        }
    }

    #[test]
    fn default_profile_that_nobody_can_load_is_a_failure() {
        let dir = std::env::temp_dir().join(format!("minidock-doctor-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut host = apparmor::Host {
            enabled: dir.join("enabled"),
            profiles: dir.join("profiles"),
            includes: dir.clone(),
            parsers: vec![dir.join("parser")],
        };
        std::fs::write(&host.profiles, "docker-default (enforce)\n").unwrap();
        let mut bad = report();
        check_profile(&host, &mut bad);
        let [check] = &bad.checks[..] else {
            panic!("{:?}", bad.checks);
        };
        assert_eq!(
            (check.name.as_str(), check.status),
            ("AppArmor profile", Status::Fail)
        );
        assert!(check.found.contains("has no apparmor_parser"), "{check:?}");
        assert!(
            check.meaning.starts_with("no container starts"),
            "{check:?}"
        );
        assert!(check.advice.starts_with("install"), "{check:?}");
        let mut good = report();
        std::fs::write(&host.profiles, "minidock-default (enforce)\n").unwrap();
        check_profile(&host, &mut good);
        std::fs::write(&host.profiles, "").unwrap();
        host.parsers.push("/bin/sh".into());
        check_profile(&host, &mut good);
        assert_eq!(good.checks, []);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn modules_out_of_reach_are_no_protection() {
        let mut made = report();
        out_of_reach(&mut made, &[]);
        assert_eq!(made.checks[0].status, Status::Warn);
        assert!(
            made.checks[0]
                .meaning
                .starts_with("containers run without AppArmor")
        );
    }
}
