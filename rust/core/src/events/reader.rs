//! Reading what happened, and what happens, without a lock.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, OFlags, Stat, fstat, statat};
use rustix::io::{Errno, pread};

use super::append::{directory, last_in, now, segment, size};
use super::record::{LINE_MAX, STAMP_MAX, stamp};
use super::watch::{Watch, Woken};
use super::{CURRENT, PREVIOUS};
use crate::error::{Context, Error, Kind, Result};
use crate::stop::Stop;
use crate::supervisor::Interrupt;

/// How much is read at once; many lines.
const CHUNK: usize = 16 * LINE_MAX;
/// How every line begins, and no part of one: a quote inside a text has a backslash.
const BEGIN: &[u8] = br#"{"Type":""#;

/// Which events a [`Reader`] gives; times in ns since 1970, both included.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    /// From then on; None: all that are kept or, when they are followed, from now on.
    pub since: Option<u64>,
    /// Until then.
    pub until: Option<u64>,
    /// Wait for more, until `until`.
    pub follow: bool,
}

/// What [`Reader::next`] came back with.
#[derive(Debug, PartialEq, Eq)]
pub enum Batch {
    /// Whole lines, at least one.
    Lines(Vec<u8>),
    /// The caller's deadline passed.
    Late,
    /// There is nothing more.
    End,
}

/// A place among the events of a directory.
#[derive(Debug)]
pub struct Reader {
    dir: OwnedFd,
    name: String,
    file: Option<OwnedFd>,
    offset: u64,
    since: u64,
    /// The last time that counts.
    until: u64,
    /// None: what comes after the making of this reader does not matter.
    watch: Option<Watch>,
    ended: bool,
}

impl Reader {
    /// A reader of the events in `dir` (made if it is missing), placed now.
    pub fn new(dir: &Path, range: Range) -> Result<Self> {
        let name = dir.display().to_string();
        Self::place(dir, name.clone(), range).context("open events", || name)
    }

    #[cfg(test)]
    pub(super) fn poll_only(&mut self) {
        self.watch = Some(super::watch::without_inotify());
    }

    fn place(path: &Path, name: String, range: Range) -> rustix::io::Result<Self> {
        let dir = directory(path)?;
        let watch = range.follow.then(|| Watch::new(dir.as_fd())).transpose()?;
        let (previous, current) = segments(dir.as_fd())?;
        let last = |file: &Option<OwnedFd>| -> rustix::io::Result<Option<u64>> {
            let Some(file) = file else {
                return Ok(None);
            };
            let size = size(file.as_fd())?;
            Ok(last_in(file.as_fd(), size)?.0.map(|last| last.time))
        };
        let (since, until) = (range.since.unwrap_or(0), range.until.unwrap_or(u64::MAX));
        let mut reader = Self {
            dir,
            name,
            file: None,
            offset: 0,
            since,
            until,
            watch,
            ended: false,
        };
        let older = last(&previous)?;
        if range.follow && range.since.is_none() {
            reader.offset = current.as_ref().map_or(Ok(0), |file| size(file.as_fd()))?;
            // Without a current file the next one comes after the previous.
            if current.is_none()
                && let Some(previous) = &previous
            {
                reader.offset = size(previous.as_fd())?;
            }
            reader.file = current.or(previous);
            return Ok(reader);
        }
        if !range.follow {
            // Others may append for ever: what is there now is all.
            match last(&current)?.or(older) {
                Some(newest) => reader.until = until.min(newest),
                None => reader.ended = true,
            }
        }
        reader.file = match older {
            Some(time) if time >= since => previous,
            _ => current,
        };
        Ok(reader)
    }

    /// The next lines; waits until `deadline`, a [`Stop`] (which is an end), or the end of the range.
    ///
    /// An interrupted wait is an error when `interrupt` says so. Kinds: not-found (the directory was removed).
    pub fn next(
        &mut self,
        stop: &Stop,
        deadline: Option<Instant>,
        interrupt: Interrupt<'_>,
    ) -> Result<Batch> {
        let name = self.name.clone();
        loop {
            if let Some(watch) = &self.watch {
                watch.clear();
            }
            let clock = now();
            if let Some(lines) = self.look().context("read events", || name.clone())? {
                return Ok(Batch::Lines(lines));
            }
            if self.ended || self.watch.is_none() || clock > self.until {
                return Ok(Batch::End);
            }
            if fstat(&self.dir)
                .context("read events", || name.clone())?
                .st_nlink
                == 0
            {
                let why = "their directory was removed";
                return Err(Error::new(Kind::NotFound, "follow events", name, why));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Batch::Late);
            }
            let rest = (self.until != u64::MAX)
                .then(|| Duration::from_nanos(self.until.saturating_sub(clock).saturating_add(1)));
            let Some(watch) = &self.watch else {
                return Ok(Batch::End);
            };
            match watch
                .wait(stop, deadline, rest)
                .context("wait for events", || name.clone())?
            {
                Woken::Changed | Woken::Time => {}
                Woken::Stopped => return Ok(Batch::End),
                Woken::Signal => {
                    if interrupt() {
                        return Err(Error::errno("wait for events", name, libc::EINTR));
                    }
                }
            }
        }
    }

    /// The lines that are there, passing from file to file; None: no more.
    fn look(&mut self) -> rustix::io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(lines) = self.lines()? {
                return Ok(Some(lines));
            }
            if self.ended {
                return Ok(None);
            }
            let Some(next) = self.successor()? else {
                return Ok(None);
            };
            // Only now is it certain that nothing will be added to the old file.
            if let Some(lines) = self.lines()? {
                return Ok(Some(lines));
            }
            (self.file, self.offset) = (Some(next), 0);
        }
    }

    /// The lines of the file from here on that are in the range.
    fn lines(&mut self) -> rustix::io::Result<Option<Vec<u8>>> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let mut chunk = vec![0u8; CHUNK];
        loop {
            if self.ended {
                return Ok(None);
            }
            let read = match pread(file, &mut chunk[..], self.offset) {
                Err(Errno::INTR) => continue,
                read => read?,
            };
            let Some(last) = chunk[..read].iter().rposition(|&byte| byte == b'\n') else {
                // No line is as long as that: damage.
                if read == CHUNK {
                    self.offset += CHUNK as u64;
                    continue;
                }
                return Ok(None);
            };
            self.offset += last as u64 + 1;
            let mut lines = Vec::with_capacity(last + 1);
            for line in chunk[..=last].split_inclusive(|&byte| byte == b'\n') {
                let Some(stamp) = stamp(&line[line.len().saturating_sub(STAMP_MAX)..]) else {
                    continue;
                };
                if !line.starts_with(BEGIN) || stamp.time < self.since {
                    continue;
                }
                if stamp.time > self.until {
                    self.ended = true;
                    break;
                }
                lines.extend_from_slice(line);
            }
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
    }

    /// The file after this one; None: this is the newest, or the newest is just being made.
    fn successor(&self) -> rustix::io::Result<Option<OwnedFd>> {
        let own = self.file.as_ref().map(fstat).transpose()?;
        let is_own = |other: &Option<OwnedFd>| -> rustix::io::Result<bool> {
            match (&own, other) {
                (Some(own), Some(other)) => Ok(same(own, &fstat(other)?)),
                _ => Ok(false),
            }
        };
        if let (Some(own), Ok(status)) =
            (&own, statat(&self.dir, CURRENT, AtFlags::SYMLINK_NOFOLLOW))
            && same(own, &status)
        {
            return Ok(None);
        }
        let (previous, current) = segments(self.dir.as_fd())?;
        if is_own(&current)? {
            return Ok(None);
        }
        // This one is older than both where more than a whole file came while nobody looked.
        Ok(if is_own(&previous)? {
            current
        } else {
            previous.or(current)
        })
    }
}

fn same(one: &Stat, other: &Stat) -> bool {
    one.st_dev == other.st_dev && one.st_ino == other.st_ino
}

/// Both files, as they are between two switches.
fn segments(dir: BorrowedFd<'_>) -> rustix::io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    loop {
        let previous = opened(dir, PREVIOUS)?;
        let current = opened(dir, CURRENT)?;
        let unchanged = match (&previous, statat(dir, PREVIOUS, AtFlags::SYMLINK_NOFOLLOW)) {
            (Some(opened), Ok(there)) => same(&fstat(opened)?, &there),
            (None, Err(Errno::NOENT)) => true,
            (_, Ok(_) | Err(Errno::NOENT)) => false,
            (_, Err(errno)) => return Err(errno),
        };
        if unchanged {
            return Ok((previous, current));
        }
    }
}

fn opened(dir: BorrowedFd<'_>, name: &str) -> rustix::io::Result<Option<OwnedFd>> {
    match segment(dir, name, OFlags::empty()) {
        Ok(file) if FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::RegularFile => {
            Ok(Some(file))
        }
        Ok(_) => Err(Errno::INVAL),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
