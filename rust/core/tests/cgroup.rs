//! Groups of the real hierarchies of this host; as root. Each test has a parent group of its own and removes it.
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use minidock_core::Kind;
use minidock_core::cgroup::{Cgroup, Hierarchies};

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
    let mut child = shell("f() { f & f & sleep 1; }; ulimit -u 300; f");
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
            .filter(|h| h.version == minidock_core::cgroup::Version::V1)
            .count()
    );
    assert_eq!(
        group.v2_dir().unwrap().is_some(),
        hierarchies.v2().is_some()
    );
}
