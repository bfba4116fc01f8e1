//! A started supervisor, from its client's side.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, write};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde_json::json;

use super::Interrupt;
use super::channel::Channel;
use super::spawn::{reap, reaped};
use crate::error::{Context, Error, Kind, Result};

/// The most that one `read` takes from a pipe.
const CHUNK: usize = 64 * 1024;
/// How long a supervisor may leave a connection, or a packet, waiting: a stopped one takes in none.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a container that is being killed may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// The client's ends of the pipes that [`Spawn`](super::Spawn) made; all are non-blocking.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// What a container wrote, and how it ended.
#[derive(Debug, Default)]
pub struct Captured {
    /// Everything it wrote to a captured stdout.
    pub stdout: Vec<u8>,
    /// Everything it wrote to a captured stderr.
    pub stderr: Vec<u8>,
    /// The `exited` packet; empty when the container did not start.
    pub exited: Vec<u8>,
}

/// A started supervisor. Dropping it lets the container live on, without its client.
#[derive(Debug)]
pub struct Supervisor {
    pub(super) channel: Channel,
    pipes: Mutex<Pipes>,
    /// The helper's first process, until it is reaped.
    first: Mutex<Option<OwnedFd>>,
}

impl Supervisor {
    /// Connects to the supervisor whose run directory this is. `NotFound`: there is none (any more); `Timeout`: it does not
    /// answer.
    pub fn connect(run_dir: &Path) -> Result<Self> {
        let shown = || run_dir.display().to_string();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open(run_dir, flags, Mode::empty()).context("connect to supervisor", shown)?;
        // A socket's path has at most 107 bytes; a run root's may have more.
        let path = format!("/proc/self/fd/{}/sock", dir.as_raw_fd());
        let address = SocketAddrUnix::new(path).context("connect to supervisor", shown)?;
        let kind = SocketType::SEQPACKET;
        let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
            .context("connect to supervisor", shown)?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))
            .context("connect to supervisor", shown)?;
        match connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::AGAIN) => {
                let why = "the supervisor does not answer";
                return Err(Error::new(
                    Kind::Timeout,
                    "connect to supervisor",
                    shown(),
                    why,
                ));
            }
            // Its socket outlives a supervisor that was killed.
            Err(Errno::CONNREFUSED | Errno::NOENT) => {
                let why = "it has no supervisor";
                return Err(Error::new(
                    Kind::NotFound,
                    "connect to supervisor",
                    shown(),
                    why,
                ));
            }
            Err(e) => return Err(e).context("connect to supervisor", shown),
        }
        Ok(Self::new(
            Channel::new(socket, shown()),
            Pipes::default(),
            None,
        ))
    }

    pub(super) fn new(channel: Channel, pipes: Pipes, first: Option<OwnedFd>) -> Self {
        Self {
            channel,
            pipes: Mutex::new(pipes),
            first: Mutex::new(first),
        }
    }

    /// The control socket, for `poll`: readable when a packet waits.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.channel.socket()
    }

    pub(super) fn pipes(&self) -> MutexGuard<'_, Pipes> {
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the `started` or `error` packet; None at `deadline`.
    pub fn wait_started(
        &self,
        deadline: Option<Instant>,
        interrupt: Interrupt<'_>,
    ) -> Result<Option<Vec<u8>>> {
        let packet = self
            .channel
            .wait(deadline, interrupt, |heard| heard.first.clone());
        self.reap_first();
        packet
    }

    /// Waits for the `exited` packet; None at `deadline`. `Conflict` when the container did not start.
    pub fn wait(
        &self,
        deadline: Option<Instant>,
        interrupt: Interrupt<'_>,
    ) -> Result<Option<Vec<u8>>> {
        self.channel
            .wait(deadline, interrupt, |heard| heard.exited.clone())
    }

    /// Waits for the `exited` packet, or until the user has typed the detach keys (an empty packet); None at `deadline`.
    pub fn wait_attached(
        &self,
        deadline: Option<Instant>,
        interrupt: Interrupt<'_>,
    ) -> Result<Option<Vec<u8>>> {
        self.channel.wait(deadline, interrupt, |heard| {
            let detached = heard.detached.then(Vec::new);
            heard.exited.clone().or(detached)
        })
    }

    /// Sends a request (docs/supervisor.md) with descriptors, and waits for the answer; None at `deadline`.
    ///
    /// For connected clients only: who started the supervisor gets no answers. `Conflict` with the supervisor's words
    /// when it refuses, and when it has ended.
    pub fn request(
        &self,
        request: &serde_json::Value,
        fds: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
        interrupt: Interrupt<'_>,
    ) -> Result<Option<()>> {
        self.channel.heard().answer = None;
        self.channel.send_with(request, fds)?;
        let answer = self
            .channel
            .wait(deadline, interrupt, |heard| heard.answer.clone())?;
        let Some(answer) = answer else {
            return Ok(None);
        };
        let said: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        if said["event"] == "done" {
            return Ok(Some(()));
        }
        let why = said["message"].as_str().unwrap_or("it refuses").to_owned();
        Err(Error::new(Kind::Conflict, "ask supervisor", "", why))
    }

    /// Sends a signal to PID 1.
    pub fn signal(&self, number: i32) -> Result<()> {
        self.channel
            .send(&json!({"op": "signal", "signal": number}))
    }

    /// Sends `signal` to PID 1, and kills the container if it still runs after `timeout`.
    pub fn stop(&self, signal: i32, timeout: Duration) -> Result<()> {
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.channel
            .send(&json!({"op": "stop", "signal": signal, "timeout_ms": timeout}))
    }

    /// Sets the size of the container's terminal.
    pub fn resize(&self, rows: u16, cols: u16) -> Result<()> {
        self.channel
            .send(&json!({"op": "resize", "rows": rows, "cols": cols}))
    }

    /// Ends the container's stdin.
    pub fn close_stdin(&self) -> Result<()> {
        if self.pipes().stdin.take().is_some() {
            return Ok(());
        }
        self.channel.send(&json!({"op": "close-stdin"}))
    }

    /// Ends the client: every wait in other threads fails, the container lives on.
    pub fn close(&self) {
        self.channel.shutdown();
        self.reap_first();
    }

    /// Writes `input` to a stdin pipe and reads stdout and stderr pipes until the container has exited.
    ///
    /// Fails with `Limit` as soon as a stream is longer than `limit` bytes, with `Timeout` at `deadline`, and as
    /// [`Supervisor::wait`]; the container then still runs, and its pipes are closed.
    pub fn communicate(
        &self,
        input: &[u8],
        deadline: Option<Instant>,
        limit: usize,
        interrupt: Interrupt<'_>,
    ) -> Result<Captured> {
        let mut pipes = std::mem::take(&mut *self.pipes());
        if input.is_empty() {
            pipes.stdin = None;
        }
        let mut rest = input;
        let mut captured = Captured::default();
        let mut buffer = vec![0; CHUNK];
        loop {
            // Looked at before the pipes are: what the container wrote before it ended is in them by now.
            let ended = {
                let mut heard = self.channel.heard();
                self.channel.receive(&mut heard)?;
                if let Some(packet) = &heard.exited {
                    captured.exited.clone_from(packet);
                } else if heard.closed {
                    return Err(self.channel.gone(&heard));
                }
                heard.exited.is_some()
            };
            drain(
                &mut pipes.stdout,
                &mut captured.stdout,
                limit,
                "stdout",
                &mut buffer,
            )?;
            drain(
                &mut pipes.stderr,
                &mut captured.stderr,
                limit,
                "stderr",
                &mut buffer,
            )?;
            if ended {
                return Ok(captured);
            }
            feed(&mut pipes.stdin, &mut rest)?;
            match self.poll(&pipes, deadline) {
                Ok(true) => {}
                Ok(false) | Err(Errno::INTR) => {
                    if interrupt() {
                        return Err(self.channel.interrupted());
                    }
                    if deadline.is_some_and(|d| d <= Instant::now()) {
                        return Err(Error::new(
                            Kind::Timeout,
                            "wait for container",
                            "",
                            "the deadline passed",
                        ));
                    }
                }
                Err(e) => return Err(Error::errno("wait for container", "", e.raw_os_error())),
            }
        }
    }

    /// [`Supervisor::wait_started`] and [`Supervisor::communicate`]; the container is killed when they fail.
    ///
    /// Returns the first packet too; after `error` the rest is empty.
    pub fn run_captured(
        &self,
        input: &[u8],
        deadline: Option<Instant>,
        limit: usize,
        interrupt: Interrupt<'_>,
    ) -> Result<(Vec<u8>, Captured)> {
        let result = self.run_to_end(input, deadline, limit, interrupt);
        if result.is_err() && self.signal(libc::SIGKILL).is_ok() {
            // A second Ctrl-C must not leave the container behind; the deadline bounds this wait.
            let _ = self.wait(Some(Instant::now() + KILL_TIMEOUT), &mut || false);
        }
        self.reap_first();
        result
    }

    fn run_to_end(
        &self,
        input: &[u8],
        deadline: Option<Instant>,
        limit: usize,
        interrupt: Interrupt<'_>,
    ) -> Result<(Vec<u8>, Captured)> {
        let Some(first) = self.wait_started(deadline, interrupt)? else {
            return Err(Error::new(
                Kind::Timeout,
                "start container",
                "",
                "the deadline passed",
            ));
        };
        if self.channel.heard().failed {
            return Ok((first, Captured::default()));
        }
        let captured = self.communicate(input, deadline, limit, interrupt)?;
        Ok((first, captured))
    }

    /// Waits for the control socket or a pipe, at most a second. False when nothing happened.
    fn poll(&self, pipes: &Pipes, deadline: Option<Instant>) -> rustix::io::Result<bool> {
        let socket = self.channel.socket();
        let mut fds = vec![PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        fds.extend(pipes.stdin.iter().map(|fd| PollFd::new(fd, PollFlags::OUT)));
        fds.extend(
            pipes
                .stdout
                .iter()
                .chain(&pipes.stderr)
                .map(|fd| PollFd::new(fd, PollFlags::IN)),
        );
        let slice = Duration::from_secs(1);
        let left = deadline.map_or(slice, |d| {
            d.saturating_duration_since(Instant::now()).min(slice)
        });
        let left = left.try_into().map_err(|_| Errno::INVAL)?;
        poll(&mut fds, Some(&left)).map(|n| n > 0)
    }

    fn reap_first(&self) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_some_and(reaped) {
            *first = None;
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(first) = self
            .first
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            reap(first);
        }
    }
}

/// Reads what is in a pipe; closes it at its end.
fn drain(
    pipe: &mut Option<OwnedFd>,
    into: &mut Vec<u8>,
    limit: usize,
    name: &str,
    buffer: &mut [u8],
) -> Result<()> {
    while let Some(fd) = pipe {
        match read(fd.as_fd(), &mut *buffer) {
            Ok(0) => *pipe = None,
            Ok(n) if n > limit.saturating_sub(into.len()) => {
                return Err(Error::new(
                    Kind::Limit,
                    "capture",
                    name,
                    format!(
                        "longer than {limit} bytes; raise the limit or let the container write to a file"
                    ),
                ));
            }
            Ok(n) => into.extend_from_slice(&buffer[..n]),
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::errno("read", name, e.raw_os_error())),
        }
    }
    Ok(())
}

/// Writes what fits into the stdin pipe; closes it when all is written or nobody reads any more.
fn feed(pipe: &mut Option<OwnedFd>, rest: &mut &[u8]) -> Result<()> {
    while let Some(fd) = pipe {
        if rest.is_empty() {
            *pipe = None;
            break;
        }
        match write(fd.as_fd(), rest) {
            Ok(n) => *rest = &rest[n..],
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(Errno::PIPE) => *pipe = None,
            Err(e) => return Err(Error::errno("write", "stdin", e.raw_os_error())),
        }
    }
    Ok(())
}
