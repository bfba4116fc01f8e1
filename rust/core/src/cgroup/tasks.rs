//! The processes of a group: listing, freezing, killing; and removal of its directories.
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::{Errno, Result as RawResult};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::controller::{Controller, Version};
use super::file;
use super::group::Cgroup;
use crate::{Context, Error, Kind, Result};

/// Names of the groups below `dir`, deepest last, as paths relative to it.
fn subgroups(dir: BorrowedFd<'_>) -> RawResult<Vec<String>> {
    let mut found = Vec::new();
    let mut next = 0;
    let mut at = String::from(".");
    loop {
        match openat(
            dir,
            at.as_str(),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(fd) => {
                for entry in Dir::new(fd)? {
                    let entry = entry?;
                    let name = entry.file_name();
                    if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
                        let name = name.to_string_lossy();
                        found.push(if at == "." {
                            name.into_owned()
                        } else {
                            format!("{at}/{name}")
                        });
                    }
                }
            }
            // It was removed meanwhile.
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
        match found.get(next) {
            Some(path) => at.clone_from(path),
            None => return Ok(found),
        }
        next += 1;
    }
}

/// Ids in `cgroup.procs` of `dir` and every group below.
pub(super) fn processes(dir: BorrowedFd<'_>) -> RawResult<Vec<u32>> {
    let mut pids = Vec::new();
    let mut add = |path: &str| match file::read(dir, path) {
        Ok(text) => {
            // A process of another pid namespace shows as 0.
            pids.extend(
                text.lines()
                    .filter_map(|l| l.parse::<u32>().ok())
                    .filter(|&p| p != 0),
            );
            Ok(())
        }
        // ENODEV: the group was removed while its file was open. EOPNOTSUPP: a threaded group, counted in its parent.
        Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(()),
        Err(e) => Err(e),
    };
    add("cgroup.procs")?;
    for sub in subgroups(dir)? {
        add(&format!("{sub}/cgroup.procs"))?;
    }
    Ok(pids)
}

/// The freezer's file and the values that freeze and thaw.
fn freezer(group: &Cgroup) -> Option<(BorrowedFd<'_>, Version)> {
    group
        .dir(Controller::Freezer)
        .or_else(|| group.v2().map(|dir| (dir, Version::V2)))
}

fn no_freezer(group: &Cgroup) -> Error {
    let why = "no freezer is mounted; mount the freezer controller or cgroup2";
    Error::new(
        Kind::Unsupported,
        "freeze cgroup",
        group.path().as_str(),
        why,
    )
}

/// Freezes; false if that did not finish within `limit` (and is still under way).
pub(super) fn freeze(group: &Cgroup, limit: Duration) -> Result<bool> {
    let (dir, version) = freezer(group).ok_or_else(|| no_freezer(group))?;
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_micros(100);
    loop {
        // Version 1 needs the write again for processes that forked while it went through the group: freezer(7).
        let (name, value) = if version == Version::V1 {
            ("freezer.state", "FROZEN")
        } else {
            ("cgroup.freeze", "1")
        };
        file::write(dir, name, value).context("freeze cgroup", || group.path().as_str())?;
        if is_frozen(group) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

pub(super) fn thaw(group: &Cgroup) -> Result<()> {
    let (dir, version) = freezer(group).ok_or_else(|| no_freezer(group))?;
    let (name, value) = if version == Version::V1 {
        ("freezer.state", "THAWED")
    } else {
        ("cgroup.freeze", "0")
    };
    file::write(dir, name, value).context("thaw cgroup", || group.path().as_str())
}

/// The same for a group that may be removed by others meanwhile.
fn thaw_what_is_left(group: &Cgroup) -> Result<()> {
    match thaw(group) {
        Err(e) if matches!(e.errno, Some(libc::ENOENT | libc::ENODEV)) => Ok(()),
        other => other,
    }
}

pub(super) fn is_frozen(group: &Cgroup) -> bool {
    match freezer(group) {
        Some((dir, Version::V1)) => {
            file::read(dir, "freezer.state").is_ok_and(|t| t.trim() == "FROZEN")
        }
        Some((dir, Version::V2)) => {
            file::read(dir, "cgroup.events").is_ok_and(|t| t.lines().any(|l| l == "frozen 1"))
        }
        None => false,
    }
}

/// Sends a signal to each process listed now, by pidfd, and looks again whether the id is still the group's.
fn signal_listed(group: &Cgroup, signal: Signal) -> Result<usize> {
    let pids = group.processes()?;
    let held: Vec<_> = pids
        .iter()
        .filter_map(|&pid| {
            Some((
                pid,
                pidfd_open(
                    Pid::from_raw(i32::try_from(pid).ok()?)?,
                    PidfdFlags::empty(),
                )
                .ok()?,
            ))
        })
        .collect();
    // A pidfd pins its process; an id that is listed again was the group's when it was opened.
    let again = group.processes()?;
    let mut sent = 0;
    for (pid, fd) in &held {
        if again.contains(pid) {
            match pidfd_send_signal(fd, signal) {
                Ok(()) => sent += 1,
                Err(Errno::SRCH) => {}
                Err(e) => {
                    return Err(Error::errno(
                        "send signal to process",
                        pid.to_string(),
                        e.raw_os_error(),
                    ));
                }
            }
        }
    }
    Ok(sent)
}

pub(super) fn kill_all(group: &Cgroup, signal: i32, limit: Duration) -> Result<()> {
    let number = Signal::from_named_raw(signal).ok_or_else(|| {
        Error::new(
            Kind::Invalid,
            "send signal",
            signal.to_string(),
            "no such signal",
        )
    })?;
    if number != Signal::KILL {
        return signal_listed(group, number).map(|_| ());
    }
    let deadline = Instant::now() + limit;
    // One write kills all, forks under way included (Linux 5.14). A frozen group of version 1 must run to die.
    let at_once = group
        .v2()
        .is_some_and(|dir| file::write(dir, "cgroup.kill", "1").is_ok());
    let mut pause = Duration::from_micros(200);
    if group.dir(Controller::Freezer).is_some() && is_frozen(group) {
        thaw_what_is_left(group)?;
    }
    let mut round = 0;
    loop {
        let left = group.processes()?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let why = format!(
                "{} of its processes did not end in time (first: {})",
                left.len(),
                left[0]
            );
            return Err(Error::new(
                Kind::Timeout,
                "kill cgroup",
                group.path().as_str(),
                why,
            ));
        }
        // Processes that `cgroup.kill` missed (they left the version 2 group, or there is none): frozen, none can
        // fork away from the list. After a while, whatever holds the freezer up, without it.
        if !at_once || round > 3 {
            let frozen = round < 8
                && freezer(group).is_some()
                && freeze(group, Duration::from_millis(20)).unwrap_or(false);
            let sent = signal_listed(group, Signal::KILL);
            if frozen || freezer(group).is_some() {
                thaw_what_is_left(group)?;
            }
            sent?;
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
        round += 1;
    }
}

/// Removes a group's directory and those below it.
pub(super) fn remove_tree(full: &Path) -> RawResult<()> {
    match unlinkat(CWD, full, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::BUSY | Errno::NOTEMPTY) => {}
        Err(e) => return Err(e),
    }
    let dir = file::open_dir(CWD, full)?;
    for sub in subgroups(dir.as_fd())?.iter().rev() {
        match unlinkat(&dir, sub.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
    }
    match unlinkat(CWD, full, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTEMPTY) => Err(Errno::BUSY),
        Err(e) => Err(e),
    }
}
