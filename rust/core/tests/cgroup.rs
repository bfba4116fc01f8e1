//! Groups of the real hierarchies of this host; as root. Each test has a parent group of its own and removes it.
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use minidock_core::Kind;
use minidock_core::cgroup::resources::{Missing, Options};
use minidock_core::cgroup::{Cgroup, Controller, Hierarchies, Version};
use oci_spec::runtime::LinuxResources;
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use serde_json::json;

const UPDATE: Options = Options {
    missing: Missing::Warn,
    update: true,
};
const LIMIT: Duration = Duration::from_secs(5);

/// A parent group removed, processes and all, when the test ends.
struct Parent(String);

impl Parent {
    fn new(test: &str) -> Option<(Self, Hierarchies)> {
        let hierarchies = Hierarchies::detect().ok()?;
        let parent = Self(format!("minidock-test-{}-{test}", std::process::id()));
        let probe = Cgroup::new(&hierarchies, &parent.0).unwrap().create();
        match probe {
            Err(e) if matches!(e.kind, Kind::Denied) || e.errno == Some(30) => {
                eprintln!("skipped: no cgroup can be made here ({e}); run as root");
                None
            }
            other => {
                other.unwrap();
                Some((parent, hierarchies))
            }
        }
    }

    fn group(&self, hierarchies: &Hierarchies, name: &str) -> Cgroup {
        let mut group = Cgroup::new(hierarchies, &format!("/{}/{name}", self.0)).unwrap();
        group.create().unwrap();
        group
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let hierarchies = Hierarchies::detect().unwrap();
        let mut group = Cgroup::open(&hierarchies, &self.0).unwrap();
        group.kill_all(9, LIMIT).unwrap();
        group.remove(LIMIT).unwrap();
    }
}

/// A shell that waits for a line, so that it can be put into a group before it does anything.
fn shell(script: &str) -> Child {
    Command::new("sh")
        .args(["-c", &format!("read x; {script}")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

fn go(child: &mut Child) {
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
}

#[test]
fn create_join_kill_remove() {
    let Some((parent, hierarchies)) = Parent::new("life") else {
        return;
    };
    let mut group = parent.group(&hierarchies, "a");
    assert!(group.processes().unwrap().is_empty());
    let mut child = shell("sleep 100 & sleep 100 & wait");
    group.add_process(child.id()).unwrap();
    go(&mut child);
    let begin = Instant::now();
    while group.processes().unwrap().len() != 3 {
        assert!(begin.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(2));
    }
    let membership = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    for line in membership.lines() {
        assert!(
            line.ends_with(&format!("/{}/a", parent.0)) || line.contains("perf_event"),
            "{line}"
        );
    }
    // In use: neither made again nor removed.
    let error = Cgroup::new(&hierarchies, group.path().as_str())
        .unwrap()
        .create()
        .unwrap_err();
    assert_eq!(error.kind, Kind::Conflict);
    let error = Cgroup::new(&hierarchies, &parent.0)
        .unwrap()
        .create()
        .unwrap_err();
    assert_eq!(error.kind, Kind::Conflict, "a group below has processes");
    assert_eq!(
        group.remove(Duration::from_millis(5)).unwrap_err().kind,
        Kind::Busy
    );
    let mut group = Cgroup::open(&hierarchies, group.path().as_str()).unwrap();
    let killer = std::thread::spawn(move || child.wait().unwrap());
    group.kill_all(9, LIMIT).unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&killer.join().unwrap()),
        Some(9)
    );
    group.remove(LIMIT).unwrap();
    assert_eq!(
        Cgroup::open(&hierarchies, group.path().as_str())
            .unwrap_err()
            .kind,
        Kind::NotFound
    );
}

#[test]
fn frozen_processes_stand_still_and_can_be_killed() {
    let Some((parent, hierarchies)) = Parent::new("freeze") else {
        return;
    };
    let group = parent.group(&hierarchies, "a/b");
    let mut child = shell("while :; do sleep 100; done");
    group.add_process(child.id()).unwrap();
    go(&mut child);
    let above = Cgroup::open(&hierarchies, &format!("{}/a", parent.0)).unwrap();
    above.freeze(LIMIT).unwrap();
    assert!(above.is_frozen() && group.is_frozen());
    above.kill_all(15, LIMIT).unwrap();
    assert!(
        child.try_wait().unwrap().is_none(),
        "a frozen process cannot act on a signal"
    );
    above
        .kill_all(9, LIMIT)
        .unwrap_or_else(|e| assert_eq!(e.kind, Kind::Timeout, "only the zombie is left: {e}"));
    child.wait().unwrap();
}

#[test]
fn fork_bomb_dies() {
    let Some((parent, hierarchies)) = Parent::new("bomb") else {
        return;
    };
    let group = parent.group(&hierarchies, "a");
    let mut child = shell("f() { f & f & sleep 1; }; f 2>/dev/null");
    group.add_process(child.id()).unwrap();
    for at in hierarchies.list() {
        // Bounded, whatever happens.
        let _ = std::fs::write(
            at.mountpoint.join(group.path().as_str()).join("pids.max"),
            "200",
        );
    }
    go(&mut child);
    std::thread::sleep(Duration::from_millis(100));
    let waiter = std::thread::spawn(move || child.wait().unwrap());
    group.kill_all(9, LIMIT).unwrap();
    waiter.join().unwrap();
    assert!(group.processes().unwrap().is_empty());
}

#[test]
fn subgroups_go_too() {
    let Some((parent, hierarchies)) = Parent::new("sub") else {
        return;
    };
    let mut group = parent.group(&hierarchies, "a");
    for sub in ["a/b/c", "a/b/d", "a/e"] {
        parent.group(&hierarchies, sub);
    }
    group.remove(LIMIT).unwrap();
    assert_eq!(
        Cgroup::open(&hierarchies, group.path().as_str())
            .unwrap_err()
            .kind,
        Kind::NotFound
    );
    group.remove(LIMIT).unwrap();
}

/// Groups that a hostile container has made: 40 deep, with names that are no text and a way longer than a path may be.
#[test]
fn groups_below_that_no_path_reaches_go_too() {
    let Some((parent, hierarchies)) = Parent::new("deep") else {
        return;
    };
    let mut group = parent.group(&hierarchies, "a");
    let name = [b"\xff\xfe".as_slice(), &[b'x'; 200]].concat();
    let mut child = shell("exec sleep 100");
    for hierarchy in hierarchies.list() {
        let top = hierarchy.mountpoint.join(group.path().as_str());
        let mut at = std::fs::File::open(top).unwrap();
        for _ in 0..40 {
            mkdirat(&at, name.as_slice(), Mode::RWXU).unwrap();
            // A cpuset takes processes once it has processors and memory.
            for file in [b"cpuset.cpus", b"cpuset.mems"] {
                copy(&at, file, &[&name[..], b"/", file].concat());
            }
            at = openat(&at, name.as_slice(), OFlags::RDONLY, Mode::empty())
                .unwrap()
                .into();
        }
        let procs = openat(&at, "cgroup.procs", OFlags::WRONLY, Mode::empty()).unwrap();
        std::fs::File::from(procs)
            .write_all(child.id().to_string().as_bytes())
            .unwrap();
    }
    go(&mut child);
    assert_eq!(group.processes().unwrap(), [child.id()]);
    let waiter = std::thread::spawn(move || child.wait().unwrap());
    group.kill_all(9, LIMIT).unwrap();
    waiter.join().unwrap();
    group.remove(LIMIT).unwrap();
    let gone = Cgroup::open(&hierarchies, group.path().as_str()).unwrap_err();
    assert_eq!(gone.kind, Kind::NotFound);
}

/// Writes into one file what another one has, if there are such files.
fn copy(at: &std::fs::File, from: &[u8], to: &[u8]) {
    let open = |path, flags| openat(at, path, flags, Mode::empty()).map(std::fs::File::from);
    let (Ok(mut from), Ok(mut to)) = (open(from, OFlags::RDONLY), open(to, OFlags::WRONLY)) else {
        return;
    };
    let mut text = Vec::new();
    from.read_to_end(&mut text).unwrap();
    to.write_all(&text).unwrap();
}

#[test]
fn joined_by_the_child_itself() {
    let Some((parent, hierarchies)) = Parent::new("join") else {
        return;
    };
    let group = parent.group(&hierarchies, "a");
    let files = group.join_files().unwrap();
    let own = std::thread::spawn(move || {
        // One thread joins alone, as the single-threaded child of the launcher does.
        for file in &files {
            rustix::io::write(file, b"0").unwrap();
        }
        std::fs::read_to_string("/proc/thread-self/cgroup").unwrap()
    })
    .join()
    .unwrap();
    let joined = own.lines().filter(|l| l.ends_with("/a")).count();
    assert_eq!(
        joined,
        hierarchies
            .list()
            .iter()
            .filter(|h| h.version == Version::V1)
            .count()
    );
    assert_eq!(
        group.v2_dir().unwrap().is_some(),
        hierarchies.v2().is_some()
    );
}

/// Content of a group's file, trimmed.
fn content(
    hierarchies: &Hierarchies,
    group: &Cgroup,
    controller: Controller,
    file: &str,
) -> String {
    let mountpoint = &hierarchies.get(controller).unwrap().mountpoint;
    std::fs::read_to_string(mountpoint.join(group.path().as_str()).join(file))
        .unwrap()
        .trim()
        .to_owned()
}

fn resources(json: serde_json::Value) -> LinuxResources {
    serde_json::from_value(json).unwrap()
}

/// Docker's device rules, as the engine writes them.
fn docker_devices() -> serde_json::Value {
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    for kind in ["c", "b"] {
        rules.push(json!({"allow": true, "type": kind, "access": "m"}));
    }
    for (major, minor) in [
        (1, 3),
        (1, 5),
        (1, 7),
        (1, 8),
        (1, 9),
        (5, 0),
        (5, 1),
        (5, 2),
        (10, 200),
    ] {
        rules.push(
            json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"}),
        );
    }
    rules.push(json!({"allow": true, "type": "c", "major": 136, "minor": -1, "access": "rwm"}));
    rules.into()
}

#[test]
fn limits_reach_the_kernel() {
    let Some((parent, hierarchies)) = Parent::new("limits") else {
        return;
    };
    if hierarchies
        .get(Controller::Memory)
        .is_none_or(|h| h.version == Version::V2)
    {
        return eprintln!("skipped: memory is not in version 1 here");
    }
    let group = parent.group(&hierarchies, "a");
    let warnings = group
        .apply(&resources(json!({
            "devices": docker_devices(),
            "memory": {"limit": 67_108_864, "swap": 67_108_864, "reservation": 33_554_432, "swappiness": 10, "kernel": 1000},
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0"},
            "pids": {"limit": 50},
            "blockIO": {"weight": 300},
        })))
        .unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0]
            .to_string()
            .contains("memory.kmem.limit_in_bytes")
    );
    let is = |controller, file, value: &str| {
        assert_eq!(
            content(&hierarchies, &group, controller, file),
            value,
            "{file}"
        )
    };
    is(Controller::Memory, "memory.limit_in_bytes", "67108864");
    is(
        Controller::Memory,
        "memory.memsw.limit_in_bytes",
        "67108864",
    );
    is(Controller::Memory, "memory.swappiness", "10");
    is(Controller::Cpu, "cpu.shares", "512");
    is(Controller::Cpu, "cpu.cfs_quota_us", "50000");
    is(Controller::Cpuset, "cpuset.cpus", "0");
    is(Controller::Pids, "pids.max", "50");
    let devices = content(&hierarchies, &group, Controller::Devices, "devices.list");
    assert_eq!(devices.lines().count(), 12, "{devices}");
    assert!(devices.contains("c 136:* rwm") && !devices.contains("10:229"));

    // Raised, lowered, lifted; other limits stay.
    for (limit, swap) in [(200 << 20, 300 << 20), (50 << 20, 60 << 20), (-1, -1)] {
        group
            .apply_with(
                &resources(json!({"memory": {"limit": limit, "swap": swap}})),
                UPDATE,
            )
            .unwrap();
    }
    group
        .apply_with(
            &resources(json!({"cpu": {"quota": 2000, "period": 1000}, "pids": {"limit": -1}})),
            UPDATE,
        )
        .unwrap();
    is(Controller::Cpu, "cpu.cfs_period_us", "1000");
    is(Controller::Cpu, "cpu.shares", "512");
    is(Controller::Pids, "pids.max", "max");
    let fuse = json!({"devices": [{"allow": false}, {"allow": true, "type": "c", "major": 10, "minor": 229}]});
    group.apply_with(&resources(fuse), UPDATE).unwrap();
    is(Controller::Devices, "devices.list", "c 10:229 rwm");
}

#[test]
fn impossible_limits_are_one_line_errors() {
    let Some((parent, hierarchies)) = Parent::new("bad") else {
        return;
    };
    let group = parent.group(&hierarchies, "a");
    let bad = [
        (json!({"cpu": {"cpus": "0-4294967295"}}), "8191"),
        (json!({"cpu": {"cpus": "0-8000"}}), "available are 0"),
        (json!({"cpu": {"quota": 1}}), "1000"),
        (json!({"cpu": {"period": 5}}), "1000"),
        (
            json!({"blockIO": {"throttleReadBpsDevice": [{"major": 250, "minor": 250, "rate": 1}]}}),
            "no such disk",
        ),
    ];
    for (json, part) in bad {
        let error = group.apply(&resources(json.clone())).unwrap_err();
        assert!(error.to_string().contains(part), "{json}: {error}");
        assert!(
            !error.to_string().contains('\n') && error.kind == Kind::Invalid,
            "{error:?}"
        );
    }
}

#[test]
fn limits_hold() {
    let Some((parent, hierarchies)) = Parent::new("hold") else {
        return;
    };
    let group = parent.group(&hierarchies, "a");
    let limits = json!({"memory": {"limit": 20 << 20, "swap": 20 << 20}, "pids": {"limit": 10}, "devices": docker_devices()});
    group.apply(&resources(limits)).unwrap();
    // tail keeps all of a file without newlines in memory.
    let mut child = shell(
        "head -c 1 /dev/kmsg && exit 7; head -c 100 /dev/zero | tail >/dev/null || exit 8; tail /dev/zero",
    );
    group.add_process(child.id()).unwrap();
    go(&mut child);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(137), "{status:?}");
    let stats = group.stats();
    assert_eq!(group.oom_kill_count(), Some(1));
    let memory = stats.memory.unwrap();
    assert_eq!(memory.limit, Some(20 << 20));
    assert!(
        memory.peak.unwrap() > 15 << 20 && memory.peak.unwrap() <= 20 << 20,
        "{memory:?}"
    );
    assert!(stats.cpu.unwrap().usage_ns > 0);
    assert_eq!(stats.pids.unwrap().limit, Some(10));
}

#[test]
fn many_at_once_below_a_new_parent() {
    let Some((parent, hierarchies)) = Parent::new("many") else {
        return;
    };
    std::thread::scope(|scope| {
        for n in 0..50 {
            let (parent, hierarchies) = (&parent, &hierarchies);
            scope.spawn(move || {
                let mut group = parent.group(hierarchies, &format!("new/{n}"));
                if hierarchies
                    .get(Controller::Cpuset)
                    .is_some_and(|h| h.version == Version::V1)
                {
                    assert!(
                        !content(hierarchies, &group, Controller::Cpuset, "cpuset.cpus").is_empty()
                    );
                    assert!(
                        !content(hierarchies, &group, Controller::Cpuset, "cpuset.mems").is_empty()
                    );
                }
                group
                    .apply(&resources(json!({"pids": {"limit": 5}})))
                    .unwrap();
                group.remove(LIMIT).unwrap();
            });
        }
    });
}

#[test]
fn a_disk_without_bfq_drops_its_weight() {
    let Some((parent, hierarchies)) = Parent::new("weight") else {
        return;
    };
    let disk = std::fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten()
        .find(|d| {
            std::fs::read_to_string(d.path().join("queue/scheduler"))
                .is_ok_and(|s| !s.contains("[bfq]"))
                && std::fs::read_to_string(d.path().join("size")).is_ok_and(|s| s.trim() != "0")
        });
    let number = disk.and_then(|d| std::fs::read_to_string(d.path().join("dev")).ok());
    let Some((major, minor)) = number.as_deref().and_then(|n| n.trim().split_once(':')) else {
        return eprintln!("skipped: no disk without bfq here");
    };
    let (major, minor): (i64, i64) = (major.parse().unwrap(), minor.parse().unwrap());
    let group = parent.group(&hierarchies, "a");
    let limits = resources(
        json!({"blockIO": {"weightDevice": [{"major": major, "minor": minor, "weight": 300}]}}),
    );
    let warnings = group.apply(&limits).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let strict = Options {
        missing: Missing::Refuse,
        update: false,
    };
    assert_eq!(
        group.apply_with(&limits, strict).unwrap_err().kind,
        Kind::Unsupported
    );
    let rate = json!({"blockIO": {"throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 1 << 20}]}});
    assert_eq!(group.apply(&resources(rate)).unwrap(), []);
}
