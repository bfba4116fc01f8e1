//! Cgroups: a group made, limited, joined and removed, and the files of each controller.
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use oci_spec::runtime::LinuxResources;

use super::{Context, Report, Status};
use crate::Result;
use crate::cgroup::resources::{Missing, Options};
use crate::cgroup::{Cgroup, Hierarchies};

/// What is tried on the group: the limit's option, its place in `linux.resources`, and what its lack means.
const LIMITS: &[(&str, &str, &str)] = &[
    (
        "--memory",
        r#"{"memory": {"limit": 67108864}}"#,
        "containers can use all memory",
    ),
    (
        "--memory-swap",
        r#"{"memory": {"limit": 67108864, "swap": 134217728}}"#,
        "swap is not limited with memory",
    ),
    (
        "--memory-reservation",
        r#"{"memory": {"reservation": 33554432}}"#,
        "it is dropped with a warning",
    ),
    (
        "--memory-swappiness",
        r#"{"memory": {"swappiness": 10}}"#,
        "it is dropped with a warning",
    ),
    (
        "--oom-kill-disable",
        r#"{"memory": {"disableOOMKiller": true}}"#,
        "it is dropped with a warning",
    ),
    (
        "--cpus, --cpu-quota",
        r#"{"cpu": {"quota": 50000, "period": 100000}}"#,
        "containers can use all CPU time",
    ),
    (
        "--cpu-shares",
        r#"{"cpu": {"shares": 512}}"#,
        "it is dropped with a warning",
    ),
    (
        "--cpuset-cpus",
        r#"{"cpu": {"cpus": "0"}}"#,
        "containers run on all CPUs",
    ),
    (
        "--cpuset-mems",
        r#"{"cpu": {"mems": "0"}}"#,
        "containers use the memory of all nodes",
    ),
    (
        "--pids-limit",
        r#"{"pids": {"limit": 100}}"#,
        "a fork bomb in a container reaches the host",
    ),
    (
        "--blkio-weight",
        r#"{"blockIO": {"weight": 500}}"#,
        "it is dropped with a warning",
    ),
    (
        "device rules",
        r#"{"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]}"#,
        "containers could make and open any device of the host",
    ),
];

pub(super) fn check(_: &Context, report: &mut Report) {
    let hierarchies = match Hierarchies::detect() {
        Ok(hierarchies) => hierarchies,
        Err(e) => {
            let advice = "mount cgroup2 on /sys/fs/cgroup; kernel option CONFIG_CGROUPS";
            return report.add(
                "hierarchies",
                Status::Fail,
                e.to_string(),
                "no container can be started",
                advice,
            );
        }
    };
    let found = hierarchies.capabilities();
    let mode = match found.mode {
        "v1" => "version 1",
        "v2" => "version 2",
        _ => "hybrid: version 1, and version 2 beside it",
    };
    report.ok("version", mode);
    for needed in ["memory", "cpu", "pids", "cpuset", "blkio"] {
        if !found.controllers.contains(&needed) {
            let advice = format!(
                "kernel option {}; no cgroup_disable={needed} on the kernel's command line; mounted or in cgroup.controllers",
                option(needed)
            );
            report.add(
                format!("{needed} controller"),
                Status::Warn,
                "missing",
                "its limits cannot be set",
                &advice,
            );
        }
    }
    report.ok("controllers", found.controllers.join(" "));
    let mut group = match Cgroup::new(
        &hierarchies,
        &format!("minidock-doctor-{}", std::process::id()),
    ) {
        Ok(group) => group,
        Err(e) => {
            return report.add(
                "groups",
                Status::Fail,
                e.to_string(),
                "no container can be started",
                "",
            );
        }
    };
    if let Err(e) = group.create() {
        let advice = "run as root; in a container, start that with --privileged";
        return report.add(
            "groups",
            Status::Fail,
            e.to_string(),
            "no container can be started",
            advice,
        );
    }
    report.ok("groups", "can be made in every hierarchy");
    for &(name, json, meaning) in LIMITS {
        match limit(&group, json) {
            Ok(()) => report.ok(name, "can be set"),
            Err(e) => {
                let status = if name == "device rules" {
                    Status::Fail
                } else {
                    Status::Warn
                };
                report.add(name, status, e.to_string(), meaning, "");
            }
        }
    }
    kill(&group, report);
    if let Err(e) = group.remove(Duration::from_secs(2)) {
        report.add(
            "removal",
            Status::Warn,
            e.to_string(),
            "groups stay behind",
            "",
        );
    }
}

/// Sets one limit, or says what is in the way.
fn limit(group: &Cgroup, json: &str) -> Result<()> {
    let resources: LinuxResources = serde_json::from_str(json)
        .map_err(|e| crate::Error::new(crate::Kind::Invalid, "read", json, e.to_string()))?;
    group
        .apply_with(
            &resources,
            Options {
                missing: Missing::Refuse,
                update: false,
            },
        )
        .map(|_| ())
}

/// A process put into the group, frozen, thawed, and killed with it.
fn kill(group: &Cgroup, report: &mut Report) {
    // It waits until its input ends, before and after it is moved.
    let child = Command::new("/proc/self/exe")
        .args(["probe", "--group", "helper:mount"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(e) => {
            return report.add(
                "joining",
                Status::Fail,
                e.to_string(),
                "no container can be started",
                "",
            );
        }
    };
    let moved = group.add_process(child.id());
    match &moved {
        Ok(()) => report.ok("joining", "a process can be moved into a group"),
        Err(e) => report.add(
            "joining",
            Status::Fail,
            e.to_string(),
            "no container can be started",
            "a running systemd or another manager may own this part of the tree",
        ),
    }
    if moved.is_ok() {
        match group
            .freeze(Duration::from_secs(1))
            .and_then(|()| group.thaw())
        {
            Ok(()) => report.ok("freezing", "works"),
            Err(e) => report.add(
                "freezing",
                Status::Warn,
                e.to_string(),
                "`pause` is not possible",
                "kernel option CONFIG_CGROUP_FREEZER, or cgroup version 2",
            ),
        }
    }
    if let Some(stdin) = child.stdin.as_mut() {
        let _ = stdin.flush();
    }
    let killed = std::thread::scope(|scope| {
        let killer = scope.spawn(|| group.kill_all(9, Duration::from_secs(2)));
        if moved.is_err() {
            let _ = child.kill();
        }
        let _ = child.wait();
        killer.join().unwrap_or(Ok(()))
    });
    match killed {
        Ok(()) => report.ok("killing", "a group's processes can be killed together"),
        Err(e) => report.add(
            "killing",
            Status::Fail,
            e.to_string(),
            "containers cannot be stopped reliably",
            "",
        ),
    }
}

fn option(controller: &str) -> &'static str {
    use crate::cgroup::{Controller, Version};
    Controller::from_name(controller, Version::V1)
        .map_or("CONFIG_CGROUPS", Controller::config_option)
}
