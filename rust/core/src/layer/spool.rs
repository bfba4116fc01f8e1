//! A file that one thread fills while others read it: a download that is unpacked as it comes.
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::{Context, Error, Kind, Result};

/// How often a reader that waits looks whether it was told to stop.
const TICK: Duration = Duration::from_millis(100);

/// A regular file that grows; all bytes below [`Spool::size`] are there and stay as they are.
#[derive(Debug)]
pub struct Spool {
    file: OwnedFd,
    /// Held through a write, so that two of them come one after the other.
    writer: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy)]
struct State {
    size: u64,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Finished,
    Failed,
}

impl Spool {
    /// Fills `file` after its first `size` bytes; what it has beyond them is cut off.
    ///
    /// # Errors
    /// `Invalid` unless it is a regular file, open for reading and writing, of at least `size` bytes.
    pub fn new(file: OwnedFd, size: u64) -> Result<Self> {
        let invalid = |why: String| Err(Error::new(Kind::Invalid, "spool", "layer", why));
        let stat = rustix::fs::fstat(&file).context("look at", || "spool file")?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return invalid("a spool is a regular file".to_owned());
        }
        let flags = rustix::fs::fcntl_getfl(&file).context("look at", || "spool file")?;
        if !flags.contains(OFlags::RDWR) || flags.contains(OFlags::APPEND) {
            return invalid("its file is not open for reading and writing (O_RDWR)".to_owned());
        }
        let has = stat.st_size.cast_unsigned();
        if has < size {
            return invalid(format!("its file has {has} bytes, not {size}"));
        }
        if has > size {
            rustix::fs::ftruncate(&file, size).context("shorten", || "spool file")?;
        }
        Ok(Self {
            file,
            writer: Mutex::new(()),
            state: Mutex::new(State {
                size,
                end: End::Open,
            }),
            changed: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that are there.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.state().size
    }

    /// Appends all of `data`, or nothing.
    ///
    /// # Errors
    /// `Conflict` after [`Spool::finish`] and [`Spool::fail`], and those of the file system (`ENOSPC`, …).
    pub fn write(&self, data: &[u8]) -> Result<()> {
        let _one = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let State { size, end } = *self.state();
        if end != End::Open {
            let why = "the spool has ended";
            return Err(Error::new(Kind::Conflict, "write", "layer", why));
        }
        let (mut rest, mut offset) = (data, size);
        while !rest.is_empty() {
            let n = match rustix::io::pwrite(&self.file, rest, offset) {
                Err(Errno::INTR) => continue,
                other => other.context("write", || "layer")?,
            };
            rest = &rest[n..];
            offset += n as u64;
        }
        self.state().size = offset;
        self.changed.notify_all();
        Ok(())
    }

    /// No more comes: readers find the end. Nothing happens when it has ended before.
    pub fn finish(&self) {
        self.end(End::Finished);
    }

    /// Readers fail with `ECANCELED`. Nothing happens when it has ended before.
    pub fn fail(&self) {
        self.end(End::Failed);
    }

    fn end(&self, end: End) {
        let mut state = self.state();
        if state.end == End::Open {
            state.end = end;
        }
        self.changed.notify_all();
    }

    /// Reads from `offset`, at least one byte; waits for it, and asks `check` ten times a second whether to give up.
    /// 0 is the end.
    ///
    /// # Errors
    /// `ECANCELED` after [`Spool::fail`], `Busy` when somebody else shortened the file, and those of `check`.
    pub fn read_at(
        &self,
        buf: &mut [u8],
        offset: u64,
        check: impl Fn() -> Result<()>,
    ) -> Result<usize> {
        let mut state = self.state();
        let available = loop {
            check()?;
            if state.end == End::Failed {
                let mut error = Error::errno("read", "layer", libc::ECANCELED);
                error.source = Some("its download failed".into());
                return Err(error);
            }
            match state.size.saturating_sub(offset) {
                0 if state.end == End::Finished => return Ok(0),
                0 => {}
                available => break available,
            }
            let (woken, _) = self
                .changed
                .wait_timeout(state, TICK)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
        };
        drop(state);
        let len = buf
            .len()
            .min(usize::try_from(available).unwrap_or(usize::MAX));
        let n = rustix::io::retry_on_intr(|| {
            rustix::io::pread(self.file.as_fd(), &mut buf[..len], offset)
        })
        .context("read", || "layer")?;
        if n == 0 && len > 0 {
            let why = "its file was shortened meanwhile";
            return Err(Error::new(Kind::Busy, "read", "layer", why));
        }
        Ok(n)
    }
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
