//! Waiting until something happens in the directory of events.
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::stop::Stop;

/// How often it is looked where the host has no inotify instance left.
const LOOK: Duration = Duration::from_millis(50);
/// How long one wait for a time of day may be: the clock may be set meanwhile.
const CLOCK: Duration = Duration::from_secs(1);

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// There may be something new.
    Changed,
    /// The deadline passed, or a look at the clock is due.
    Time,
    /// [`Stop::stop`].
    Stopped,
    /// A signal came.
    Signal,
}

/// A watch on one directory.
#[derive(Debug)]
pub(super) struct Watch {
    /// None: the host has no instance left.
    inotify: Option<OwnedFd>,
}

impl Watch {
    pub fn new(dir: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        let inotify = match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => return Ok(Self { inotify: None }),
            made => made?,
        };
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&dir));
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE;
        match inotify::add_watch(&inotify, path, flags) {
            Err(Errno::NOSPC) => Ok(Self { inotify: None }),
            Err(errno) => Err(errno),
            Ok(_) => Ok(Self {
                inotify: Some(inotify),
            }),
        }
    }

    /// Forgets what has happened so far; to be called before one looks.
    pub fn clear(&self) {
        let Some(inotify) = &self.inotify else {
            return;
        };
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(inotify.as_fd(), &mut space);
        while reader.next().is_ok() {}
    }

    /// Waits for a change, `stop`, a signal, or `until`; `clock`: the caller waits for a time of day too.
    pub fn wait(
        &self,
        stop: &Stop,
        until: Option<Instant>,
        clock: Option<Duration>,
    ) -> rustix::io::Result<Woken> {
        let mut limit = until.map(|until| until.saturating_duration_since(Instant::now()));
        let mut shorten = |by: Duration| limit = Some(limit.map_or(by, |limit| limit.min(by)));
        if let Some(clock) = clock {
            shorten(clock.min(CLOCK));
        }
        if self.inotify.is_none() {
            shorten(LOOK);
        }
        let timeout = limit.map(|limit| rustix::time::Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
        if let Some(inotify) = &self.inotify {
            fds.push(PollFd::new(inotify, PollFlags::IN));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Err(Errno::INTR) => Ok(Woken::Signal),
            Err(errno) => Err(errno),
            Ok(_) if !fds[0].revents().is_empty() => Ok(Woken::Stopped),
            Ok(0) if self.inotify.is_some() => Ok(Woken::Time),
            Ok(_) => Ok(Woken::Changed),
        }
    }
}

#[cfg(test)]
pub(super) fn without_inotify() -> Watch {
    Watch { inotify: None }
}
