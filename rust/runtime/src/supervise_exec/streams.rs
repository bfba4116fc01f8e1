//! Descriptors 0 to 2 of an exec, and the supervisor's ends of them.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minidock_core::cgroup::stats::Usage;
use minidock_core::error::{Context, Result};
use minidock_core::process::Stdio;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::request::{self, Request};
use crate::supervise::relay::{Relay, Want};
use crate::supervise::streams::pipe;

/// What is kept of captured output, in bytes.
const KEPT: usize = 4096;
/// How much one turn reads at most.
const TURN: usize = 1 << 16;

/// The supervisor's ends.
pub struct Streams {
    stdin: bool,
    input: Option<OwnedFd>,
    outputs: Vec<(OwnedFd, i32)>,
    capture: Option<OwnedFd>,
}

/// Where output goes.
pub enum Output {
    /// To the client.
    Relay(Relay),
    /// Nowhere else.
    Capture(Capture),
}

/// The beginning of an output; the rest is thrown away.
pub struct Capture {
    from: Option<OwnedFd>,
    /// What is kept.
    pub kept: Vec<u8>,
    /// There was more.
    pub cut: bool,
}

impl Capture {
    fn turn(&mut self) -> Want {
        let mut buffer = [0u8; KEPT];
        let mut moved = 0;
        while let Some(from) = &self.from
            && moved < TURN
        {
            match rustix::io::read(from, &mut buffer[..]) {
                Ok(n) if n > 0 => {
                    moved += n;
                    let room = KEPT - self.kept.len();
                    self.kept.extend_from_slice(&buffer[..n.min(room)]);
                    self.cut |= n > room;
                }
                Err(Errno::AGAIN | Errno::INTR) => return Want::Read,
                Ok(_) | Err(_) => self.from = None,
            }
        }
        if self.from.is_some() {
            Want::Read
        } else {
            Want::Nothing
        }
    }
}

impl Output {
    /// Moves what can be moved without waiting.
    pub fn turn(&mut self) -> Want {
        match self {
            Self::Relay(relay) => relay.turn(),
            Self::Capture(capture) => capture.turn(),
        }
    }

    /// The source, while it is open.
    pub fn from(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Relay(relay) => relay.from(),
            Self::Capture(capture) => capture.from.as_ref().map(AsFd::as_fd),
        }
    }

    /// The target, if that can be waited for.
    pub fn to(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Relay(relay) => relay.to(),
            Self::Capture(_) => None,
        }
    }

    /// The client has gone: what comes is thrown away.
    pub fn abandon(&mut self) {
        if let Self::Relay(relay) = self {
            relay.abandon_target();
        }
    }
}

impl Streams {
    /// Makes the pipes; the second part is for the process. `label` is the SELinux label of the container's files.
    ///
    /// # Errors
    /// `limit` if no descriptor is left.
    pub fn make(request: &Request, label: Option<&str>) -> Result<(Self, Stdio)> {
        let mut own = Self {
            stdin: request.stdin,
            input: None,
            outputs: Vec::new(),
            capture: None,
        };
        if request.process.terminal() || request.stdio == request::Stdio::Inherit {
            return Ok((own, Stdio::Inherit));
        }
        if request.stdio == request::Stdio::Capture {
            let (read, write) = pipe(label)?;
            let twice = rustix::io::fcntl_dupfd_cloexec(&write, 3);
            let twice = twice.context("duplicate pipe", String::new)?;
            own.capture = Some(read);
            return Ok((own, Stdio::Fds([null(OFlags::RDONLY)?, write, twice])));
        }
        let stdin = if request.stdin {
            let (read, write) = pipe(label)?;
            own.input = Some(write);
            read
        } else {
            null(OFlags::RDONLY)?
        };
        let ((out_read, out), (err_read, err)) = (pipe(label)?, pipe(label)?);
        own.outputs = vec![(out_read, 1), (err_read, 2)];
        Ok((own, Stdio::Fds([stdin, out, err])))
    }

    /// What copies between them and the client's streams; with a terminal that is behind all of them.
    ///
    /// # Errors
    /// `limit` if no descriptor is left.
    pub fn connect(self, console: Option<&OwnedFd>) -> Result<(Option<Relay>, Vec<Output>)> {
        if let Some(from) = self.capture {
            let _ = rustix::io::ioctl_fionbio(&from, true);
            let capture = Capture {
                from: Some(from),
                kept: Vec::new(),
                cut: false,
            };
            return Ok((None, vec![Output::Capture(capture)]));
        }
        let Some(console) = console else {
            let outputs = self.outputs.into_iter();
            return Ok((
                self.input.map(|to| Relay::input(0, to)),
                outputs
                    .map(|(from, number)| Output::Relay(Relay::output(from, number)))
                    .collect(),
            ));
        };
        let duplicate = || {
            rustix::io::fcntl_dupfd_cloexec(console, 3).context("duplicate terminal", String::new)
        };
        let input = self.stdin.then(duplicate).transpose()?;
        Ok((
            input.map(|to| Relay::input(0, to)),
            vec![Output::Relay(Relay::output(duplicate()?, 1))],
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
