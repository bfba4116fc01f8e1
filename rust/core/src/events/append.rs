//! Appending one line under the directory's lock.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, mkdir, open, openat, renameat};
use rustix::io::{Errno, pread, pwrite};
use rustix::time::{ClockId, clock_gettime};

use super::record::{STAMP_MAX, Stamp, finish, line, stamp};
use super::{CURRENT, Event, PREVIOUS, SEGMENT};
use crate::error::{Context, Error, Kind, Result};

/// How long the lock is waited for: who holds it needs microseconds, unless it was stopped just then.
const PATIENCE: Duration = Duration::from_secs(2);
/// How much of the end is looked through for a whole line after one that was torn.
const LOOK_BACK: u64 = 1 << 20;

/// Appends `event` to the events in `dir`, which is made if it is missing.
///
/// Kinds: timeout (a stopped process holds the lock), system (`ENOSPC`: the event is lost, the next one is not).
pub fn append(dir: &Path, event: &Event<'_>) -> Result<()> {
    append_at(dir, event, now)
}

/// Appends at the time of `clock`, or just after the last line if that is later.
pub(super) fn append_at(dir: &Path, event: &Event<'_>, clock: impl FnOnce() -> u64) -> Result<()> {
    let mut text = line(event);
    let name = || dir.display().to_string();
    let dir = directory(dir).context("open events", name)?;
    lock(dir.as_fd()).map_err(|errno| match errno {
        Errno::WOULDBLOCK => {
            let why = "another process has held it for 2 s; is it stopped?";
            Error::new(Kind::Timeout, "lock events", name(), why)
        }
        errno => Error::errno("lock events", name(), errno.raw_os_error()),
    })?;
    let file = segment(dir.as_fd(), CURRENT, OFlags::CREATE).context("open events", name)?;
    let size = size(file.as_fd()).context("open events", name)?;
    let (last, whole) = last(dir.as_fd(), file.as_fd(), size).context("read events", name)?;
    // Asked under the lock: who has seen a later time on the clock sees every earlier event.
    let now = clock();
    let next = last.map_or(Stamp { time: now, seq: 0 }, |last| Stamp {
        time: now.max(last.time.saturating_add(1)),
        seq: last.seq.saturating_add(1),
    });
    finish(&mut text, next);
    // A damaged file without a single event is put away like a full one.
    let full = size > 0 && (next.seq.is_multiple_of(SEGMENT) || last.is_none());
    let written = if full {
        renameat(&dir, CURRENT, &dir, PREVIOUS).context("switch events", name)?;
        let file = segment(dir.as_fd(), CURRENT, OFlags::CREATE).context("open events", name)?;
        pwrite(&file, text.as_bytes(), 0)
    } else {
        if !whole {
            // Ends the torn line; one write for both, so that nothing can come between.
            text.insert(0, '\n');
        }
        pwrite(&file, text.as_bytes(), size)
    };
    match written.context("append to events", name)? {
        n if n == text.len() => Ok(()),
        // What is there stays, invisible: only a disk that became full leaves a part.
        _ => Err(Error::errno("append to events", name(), libc::ENOSPC)),
    }
}

/// Nanoseconds since 1970, on the clock of the world.
pub(super) fn now() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

pub(super) fn directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => match mkdir(path, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => open(path, flags, Mode::empty()),
            Err(errno) => Err(errno),
        },
        opened => opened,
    }
}

pub(super) fn segment(
    dir: BorrowedFd<'_>,
    name: &str,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(dir, name, flags, Mode::from_raw_mode(0o600))
}

pub(super) fn size(file: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    Ok(u64::try_from(fstat(file)?.st_size).unwrap_or(0))
}

/// The lock is given back when the descriptor is closed.
fn lock(dir: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let (mut pause, mut until) = (Duration::from_micros(20), None);
    loop {
        match flock(dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                let until = *until.get_or_insert_with(|| Instant::now() + PATIENCE);
                if Instant::now() >= until {
                    return Err(Errno::WOULDBLOCK);
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(1));
            }
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// The last event's stamp, and whether the current file ends with a whole line.
fn last(
    dir: BorrowedFd<'_>,
    current: BorrowedFd<'_>,
    size: u64,
) -> rustix::io::Result<(Option<Stamp>, bool)> {
    if size > 0 {
        return last_in(current, size);
    }
    // Just made, or its first event did not get onto a full disk.
    match segment(dir, PREVIOUS, OFlags::empty()) {
        Ok(previous) => {
            let size = self::size(previous.as_fd())?;
            Ok((last_in(previous.as_fd(), size)?.0, true))
        }
        Err(Errno::NOENT) => Ok((None, true)),
        Err(errno) => Err(errno),
    }
}

/// The stamp of a file's last whole line, and whether the file ends with that.
pub(super) fn last_in(
    file: BorrowedFd<'_>,
    size: u64,
) -> rustix::io::Result<(Option<Stamp>, bool)> {
    let mut end = [0u8; STAMP_MAX];
    let from = size.saturating_sub(STAMP_MAX as u64);
    let read = pread(file, &mut end, from)?;
    if let Some(found) = stamp(&end[..read]) {
        return Ok((Some(found), true));
    }
    let whole = end[..read].ends_with(b"\n");
    let from = size.saturating_sub(LOOK_BACK);
    let mut text = vec![0u8; usize::try_from(size - from).unwrap_or(0)];
    let read = pread(file, &mut text[..], from)?;
    text.truncate(read);
    if !whole {
        // As the line will be when its end has been added: only that may be missing.
        text.push(b'\n');
    }
    let found = (0..text.len())
        .rev()
        .filter(|&at| text[at] == b'\n')
        .find_map(|at| stamp(&text[..=at]));
    Ok((found, whole))
}
