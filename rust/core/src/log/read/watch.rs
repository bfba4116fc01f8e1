//! Waiting for a log to grow or to be rotated, and for the container's end.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::stop::Stop;

/// Where the host has no inotify instance left, things are looked at this often.
const INSTEAD: Duration = Duration::from_millis(50);

/// Watches directories; a pidfd besides.
#[derive(Debug)]
pub struct Watch {
    inotify: Option<OwnedFd>,
    process: Option<OwnedFd>,
    stop: Option<Arc<Stop>>,
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
        Self {
            inotify,
            process,
            stop: None,
        }
    }

    /// What makes another thread's waits end at once.
    pub fn stop(&mut self) -> rustix::io::Result<Arc<Stop>> {
        let made = Arc::new(Stop::new()?);
        self.stop = Some(made.clone());
        Ok(made)
    }

    /// Waits until something has happened, at most so long; false if a signal interrupted it.
    pub fn wait(&mut self, limit: Duration) -> bool {
        let limit = if self.inotify.is_some() {
            limit
        } else {
            limit.min(INSTEAD)
        };
        let stop = self.stop.as_deref().map(AsFd::as_fd);
        let own = [&self.inotify, &self.process].into_iter().flatten();
        let fds: Vec<BorrowedFd<'_>> = stop.into_iter().chain(own.map(AsFd::as_fd)).collect();
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
