//! The processes of a group: listing, freezing, killing; and removal of its directories.
use std::ffi::{CStr, CString};
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

/// Names of the directories in the directory `dir`.
fn names(dir: BorrowedFd<'_>) -> RawResult<Vec<CString>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = match entry {
            Ok(entry) => entry,
            // It was removed meanwhile.
            Err(Errno::NOENT) => break,
            Err(e) => return Err(e),
        };
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// Visits each group below `dir` after those below it, as the directory that it is in and its name there.
///
/// What makes them may be hostile: names are any bytes, and the way down is longer than any path may be. One descriptor
/// goes down and up again by `..`, which is safe here: no group can be moved into another.
fn below(
    dir: BorrowedFd<'_>,
    mut visit: impl FnMut(BorrowedFd<'_>, &CStr) -> RawResult<()>,
) -> RawResult<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let enter = |at: BorrowedFd<'_>, name: &CStr| openat(at, name, flags, Mode::empty());
    let mut at = enter(dir, c".")?;
    let mut left = names(at.as_fd())?;
    let mut above: Vec<(CString, Vec<CString>)> = Vec::new();
    loop {
        if let Some(name) = left.pop() {
            match enter(at.as_fd(), &name) {
                Ok(fd) => {
                    at = fd;
                    let here = std::mem::replace(&mut left, names(at.as_fd())?);
                    above.push((name, here));
                }
                Err(Errno::NOENT) => {}
                Err(e) => return Err(e),
            }
        } else if let Some((name, rest)) = above.pop() {
            at = enter(at.as_fd(), c"..")?;
            left = rest;
            visit(at.as_fd(), &name)?;
        } else {
            return Ok(());
        }
    }
}

/// Ids in `cgroup.procs` of `dir` and every group below.
pub(super) fn processes(dir: BorrowedFd<'_>) -> RawResult<Vec<u32>> {
    let mut pids = Vec::new();
    let mut add = |dir: BorrowedFd<'_>, path: &[u8]| match file::read(dir, path) {
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
    add(dir, b"cgroup.procs")?;
    below(dir, |parent, name| {
        add(parent, &[name.to_bytes(), b"/cgroup.procs"].concat())
    })?;
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
    below(dir.as_fd(), |parent, name| {
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY) => Err(Errno::BUSY),
            Err(e) => Err(e),
        }
    })?;
    match unlinkat(CWD, full, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTEMPTY) => Err(Errno::BUSY),
        Err(e) => Err(e),
    }
}
