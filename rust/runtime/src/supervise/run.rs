//! One run of PID 1: its process, streams and deadlines.
use std::os::fd::AsFd;

use minidock_core::cgroup::Cgroup;
use minidock_core::process::Launched;
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::record::Exit;
use super::streams::{Input, Output};
use super::watch::now_ms;

/// One run of PID 1.
pub struct Run {
    pub launched: Launched,
    pub input: Option<Input>,
    pub outputs: Vec<Output>,
    pub group: Option<Cgroup>,
    pub deadline: Option<u64>,
    pub kill_at: Option<u64>,
    /// The time limit has ended it.
    pub timed_out: bool,
}

impl Run {
    /// A run without streams and limits.
    #[must_use]
    pub fn new(launched: Launched) -> Self {
        Self {
            launched,
            input: None,
            outputs: Vec::new(),
            group: None,
            deadline: None,
            kill_at: None,
            timed_out: false,
        }
    }

    /// Ends after so many milliseconds.
    pub fn set_time_limit(&mut self, milliseconds: Option<u64>) {
        self.deadline = milliseconds.map(|ms| now_ms().saturating_add(ms));
    }

    /// Any number that the kernel knows, real-time signals included.
    pub fn signal(&self, number: i32) {
        if (1..=64).contains(&number) {
            let _ = minidock_core::sys::pidfd_signal(self.launched.pidfd.as_fd(), number);
        }
        // A frozen process of cgroup v1 does not even die.
        if number == libc::SIGKILL
            && let Some(group) = &self.group
            && group.is_frozen()
        {
            let _ = group.thaw();
        }
    }

    /// Ends PID 1 at once; for a supervisor that cannot go on.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.launched.pidfd, Signal::KILL);
        if let Some(group) = &self.group {
            let _ = group.thaw();
        }
        let _ = waitid(
            WaitId::PidFd(self.launched.pidfd.as_fd()),
            WaitIdOptions::EXITED,
        );
    }

    /// How it has ended, once it has.
    pub fn reap(&self) -> Option<Exit> {
        match waitid(
            WaitId::PidFd(self.launched.pidfd.as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        ) {
            Ok(Some(status)) => Some(Exit::from_status(&status)),
            Ok(None) | Err(Errno::INTR) => None,
            // Reaped by nobody else; but a supervisor that spins would be worse than a guess.
            Err(_) => Some(Exit {
                code: 137,
                signal: Some(libc::SIGKILL),
            }),
        }
    }
}
