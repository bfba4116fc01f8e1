//! Waiting for a log to grow or to be rotated, and for the container's end.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

/// Where the host has no inotify instance left, things are looked at this often.
const INSTEAD: Duration = Duration::from_millis(50);

/// Watches directories; a pidfd besides.
#[derive(Debug)]
pub struct Watch {
    inotify: Option<OwnedFd>,
    process: Option<OwnedFd>,
}

impl Watch {
    /// Watches these directories. One that is not there, and a host that has no watch left, makes it look now and then.
    #[must_use]
    pub fn new(directories: &[&Path], process: Option<OwnedFd>) -> Self {
        let flags = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .ok()
            .filter(|fd| {
                directories
                    .iter()
                    .all(|path| inotify::add_watch(fd, *path, flags).is_ok())
            });
        Self { inotify, process }
    }

    /// Waits until something has happened, at most so long; false if a signal interrupted it.
    pub fn wait(&mut self, limit: Duration) -> bool {
        let limit = if self.inotify.is_some() {
            limit
        } else {
            limit.min(INSTEAD)
        };
        let fds: Vec<BorrowedFd<'_>> = [&self.inotify, &self.process]
            .into_iter()
            .flatten()
            .map(AsFd::as_fd)
            .collect();
        let mut fds: Vec<PollFd<'_>> = fds
            .iter()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        let limit = Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        let polled = poll(&mut fds, Some(&limit));
        let ended = self.process.is_some() && fds.last().is_some_and(|fd| !fd.revents().is_empty());
        if ended {
            // Once is enough: it stays readable.
            self.process = None;
        }
        self.clear();
        polled != Err(Errno::INTR)
    }

    /// Whether the process is known to be there still.
    #[must_use]
    pub fn has_process(&self) -> bool {
        self.process.is_some()
    }

    /// Forgets what has happened: everything is looked at after a wait anyway.
    fn clear(&self) {
        let mut buffer = [0; 4096];
        if let Some(inotify) = &self.inotify {
            while rustix::io::read(inotify, &mut buffer).is_ok_and(|n| n > 0) {}
        }
    }
}
