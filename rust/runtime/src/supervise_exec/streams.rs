//! Descriptors 0 to 2 of an exec, and the supervisor's ends of them.
use std::os::fd::OwnedFd;

use minidock_core::cgroup::stats::Usage;
use minidock_core::error::{Context, Result};
use minidock_core::process::Stdio;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pipe::{PipeFlags, pipe_with};

use super::request::{self, Request};
use crate::supervise::relay::Relay;

/// The supervisor's ends.
pub struct Streams {
    stdin: bool,
    input: Option<OwnedFd>,
    outputs: Vec<(OwnedFd, i32)>,
}

impl Streams {
    /// Makes the pipes; the second part is for the process.
    ///
    /// # Errors
    /// `limit` if no descriptor is left.
    pub fn make(request: &Request) -> Result<(Self, Stdio)> {
        let mut own = Self {
            stdin: request.stdin,
            input: None,
            outputs: Vec::new(),
        };
        if request.process.terminal() || request.stdio == request::Stdio::Inherit {
            return Ok((own, Stdio::Inherit));
        }
        let pipe = || pipe_with(PipeFlags::CLOEXEC).context("make pipe", String::new);
        let stdin = if request.stdin {
            let (read, write) = pipe()?;
            own.input = Some(write);
            read
        } else {
            null(OFlags::RDONLY)?
        };
        let ((out_read, out), (err_read, err)) = (pipe()?, pipe()?);
        own.outputs = vec![(out_read, 1), (err_read, 2)];
        Ok((own, Stdio::Fds([stdin, out, err])))
    }

    /// What copies between them and the client's streams; with a terminal that is behind all of them.
    ///
    /// # Errors
    /// `limit` if no descriptor is left.
    pub fn connect(self, console: Option<&OwnedFd>) -> Result<(Option<Relay>, Vec<Relay>)> {
        let Some(console) = console else {
            let outputs = self.outputs.into_iter();
            return Ok((
                self.input.map(|to| Relay::input(0, to)),
                outputs
                    .map(|(from, number)| Relay::output(from, number))
                    .collect(),
            ));
        };
        let duplicate = || {
            rustix::io::fcntl_dupfd_cloexec(console, 3).context("duplicate terminal", String::new)
        };
        let input = self.stdin.then(duplicate).transpose()?;
        Ok((
            input.map(|to| Relay::input(0, to)),
            vec![Relay::output(duplicate()?, 1)],
        ))
    }
}

fn null(access: OFlags) -> Result<OwnedFd> {
    let flags = access | OFlags::CLOEXEC;
    openat(CWD, "/dev/null", flags, Mode::empty()).context("open", || "/dev/null")
}

/// Gives up the client's streams: it sees their end when the process (or a relay) closes them.
///
/// # Errors
/// `limit` if no descriptor is left.
pub fn close_standard() -> Result<()> {
    let null = null(OFlags::RDWR)?;
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .context("close streams", String::new)
}

/// What the ended process and those that it has waited for have used; the peak is that of the largest of them.
pub fn usage() -> Usage {
    let Ok(used) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Usage::default();
    };
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    let time = used.user_time().num_microseconds() + used.system_time().num_microseconds();
    Usage {
        cpu_ns: count(time) * 1000,
        memory_peak: count(used.max_rss()) * 1024,
        read_bytes: count(used.block_reads()) * 512,
        write_bytes: count(used.block_writes()) * 512,
        ..Usage::default()
    }
}
