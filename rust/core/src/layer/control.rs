//! What a caller watches and stops a long operation by.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

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
