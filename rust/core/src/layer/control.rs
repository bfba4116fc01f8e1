//! What a caller watches and stops a long operation by.
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;

use crate::{Error, Kind, Result};

/// Counters of one operation, the request to stop it, and its deadline. Shared between threads.
#[derive(Debug, Default)]
pub struct Control {
    cancelled: AtomicBool,
    /// Bytes taken from the source, as they came (compressed).
    pub read: AtomicU64,
    /// Bytes of the uncompressed stream.
    pub size: AtomicU64,
    /// Entries done.
    pub entries: AtomicU64,
}

impl Control {
    /// Asks the operation to stop; it fails soon after with "interrupted".
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    /// Fails once [`Control::cancel`] was called.
    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Relaxed) {
            return Err(Error::errno("read", "layer", libc::EINTR));
        }
        Ok(())
    }
}

/// Whether reading or writing `fd` may block for ever: pipes, sockets, terminals; not files and block devices.
pub fn may_wait(fd: BorrowedFd<'_>) -> bool {
    !rustix::fs::fstat(fd).is_ok_and(|stat| {
        let kind = FileType::from_raw_mode(stat.st_mode);
        kind.is_file() || kind.is_block_device()
    })
}

/// Waits until `fd` is ready for `flags`; `check` is asked ten times a second whether to give up.
pub fn wait(fd: impl AsFd, flags: PollFlags, check: impl Fn() -> Result<()>) -> Result<()> {
    loop {
        check()?;
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        match poll(&mut [PollFd::new(&fd, flags)], Some(&tick)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(e) => return Err(Error::errno("wait for", "layer", e.raw_os_error())),
        }
    }
}

/// The moment after which an operation fails.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<(Instant, Duration)>);

impl Deadline {
    /// Now plus `limit`; never, without one.
    #[must_use]
    pub fn after(limit: Option<Duration>) -> Self {
        Self(limit.and_then(|limit| Some((Instant::now().checked_add(limit)?, limit))))
    }

    /// Fails when the moment is past.
    pub fn check(self) -> Result<()> {
        match self.0 {
            Some((at, limit)) if Instant::now() > at => Err(Error::new(
                Kind::Timeout,
                "unpack",
                "layer",
                format!("not done after {} s", limit.as_secs()),
            )),
            _ => Ok(()),
        }
    }
}
