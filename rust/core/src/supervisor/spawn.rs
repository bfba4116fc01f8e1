//! Starting a supervisor by posix_spawn(3).
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno as NixErrno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::channel::Channel;
use super::client::{Pipes, Supervisor};
use super::helper::Helper;
use crate::error::{Context, Error, Kind, Result};

/// Descriptors up to here are given away by number; sources must lie above.
const FIRST_SAFE_FD: i32 = 10;
/// The control socket's number in the supervisor (docs/supervisor.md).
const CONTROL_FD: i32 = 3;

/// One of the descriptors 0 to 2 of a supervisor.
#[derive(Debug, Clone, Copy)]
pub enum Stream<'a> {
    /// `/dev/null`.
    Null,
    /// A descriptor of the caller, who keeps it.
    Fd(BorrowedFd<'a>),
    /// A new pipe; the client keeps its other end.
    Pipe,
}

/// What to start.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The program.
    pub helper: &'a Helper,
    /// The bundle directory, as an absolute path.
    pub bundle: &'a Path,
    /// stdin, stdout and stderr.
    pub streams: [Stream<'a>; 3],
}

/// First processes of supervisors that had not ended when their client went; see [`reap`].
static UNREAPED: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

impl Spawn<'_> {
    /// Starts the supervisor, in a session of its own, with nothing of the caller's environment and default signals.
    ///
    /// The helper forks at once and its first process ends: the supervisor itself is no child of the
    /// caller, who never has to wait for it.
    pub fn spawn(&self) -> Result<Supervisor> {
        self.spawn_verb(c"supervise")
    }

    /// Starts a process that does nothing until its client is dropped; its first word has its `pid`.
    pub fn spawn_holder(&self) -> Result<Supervisor> {
        self.spawn_verb(c"hold")
    }

    /// The same for a verb of the helper.
    pub(crate) fn spawn_verb(&self, verb: &CStr) -> Result<Supervisor> {
        let subject = || self.bundle.display().to_string();
        if !self.bundle.is_absolute() {
            return Err(Error::new(
                Kind::Invalid,
                "start supervisor",
                subject(),
                "the bundle's path is not absolute",
            ));
        }
        let bundle = CString::new(self.bundle.as_os_str().as_bytes()).map_err(|_| {
            Error::new(
                Kind::Invalid,
                "start supervisor",
                subject().replace('\0', "\\0"),
                "the bundle's path contains a NUL byte",
            )
        })?;
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .context("start supervisor", subject)?;
        let mut pipes = Pipes::default();
        let mut sources = Vec::with_capacity(4);
        for (number, stream) in self.streams.iter().enumerate() {
            let source = pipes
                .connect(number, *stream)
                .context("start supervisor", subject)?;
            sources.push(lift(source.as_fd()).context("start supervisor", subject)?);
        }
        sources.push(lift(theirs.as_fd()).context("start supervisor", subject)?);
        drop(theirs);
        let pid = execute(&self.helper.path(), verb, &bundle, &sources)
            .context("start supervisor", subject)?;
        reap_leftovers();
        let first = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Supervisor::new(Channel::new(ours, subject()), pipes, first))
    }
}

impl Pipes {
    /// The supervisor's end of stream `number`; a new pipe's other end is kept.
    fn connect(&mut self, number: usize, stream: Stream<'_>) -> rustix::io::Result<OwnedFd> {
        match stream {
            Stream::Fd(fd) => fcntl_dupfd_cloexec(fd, FIRST_SAFE_FD),
            Stream::Null => open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()),
            Stream::Pipe => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
                let (ours, theirs) = if number == 0 {
                    (write, read)
                } else {
                    (read, write)
                };
                // Only our end: the flag belongs to the open file, and a container's end must block.
                rustix::io::ioctl_fionbio(&ours, true)?;
                match number {
                    0 => self.stdin = Some(ours),
                    1 => self.stdout = Some(ours),
                    _ => self.stderr = Some(ours),
                }
                Ok(theirs)
            }
        }
    }
}

/// A duplicate out of the way of the numbers that are given away.
fn lift(fd: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    fcntl_dupfd_cloexec(fd, FIRST_SAFE_FD)
}

fn execute(
    program: &CString,
    verb: &CStr,
    bundle: &CString,
    sources: &[OwnedFd],
) -> nix::Result<i32> {
    let mut actions = PosixSpawnFileActions::init()?;
    for (source, number) in sources.iter().zip(0..=CONTROL_FD) {
        actions.add_dup2(source.as_raw_fd(), number)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    // POSIX_SPAWN_SETSID is younger than nix's list of flags. The supervisor survives its client's terminal.
    let flags = PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
        | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK
        | PosixSpawnFlags::from_bits_retain(libc::POSIX_SPAWN_SETSID.into());
    attributes.set_flags(flags)?;
    // Python ignores SIGPIPE and SIGXFSZ, a shell's background job SIGINT; ignored signals survive execve.
    attributes.set_sigdefault(&SigSet::all())?;
    attributes.set_sigmask(&SigSet::empty())?;
    let argv = [c"minidock-runtime", verb, c"--bundle", bundle.as_c_str()];
    // Free memory is not kept in caches, whose pieces would hold on to a page each for as long as the container lives.
    let environment = [c"GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"];
    match posix_spawn(
        program.as_c_str(),
        &actions,
        &attributes,
        &argv,
        &environment,
    ) {
        Ok(pid) => Ok(pid.as_raw()),
        // /proc/self/fd is the only way to execute a descriptor with this call.
        Err(NixErrno::ENOENT) if !Path::new("/proc/self/fd").exists() => Err(NixErrno::ENODEV),
        Err(error) => Err(error),
    }
}

/// Reaps the first process of a supervisor if it has ended; keeps it for later otherwise.
pub(super) fn reap(first: OwnedFd) {
    if !reaped(&first) {
        let mut list = UNREAPED.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(first);
    }
}

fn reap_leftovers() {
    let mut list = UNREAPED.lock().unwrap_or_else(PoisonError::into_inner);
    list.retain(|first| !reaped(first));
}

/// Whether the process is gone (somebody else, `os.wait` for one, may have been faster: ECHILD).
pub(super) fn reaped(first: &OwnedFd) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    !matches!(waitid(WaitId::PidFd(first.as_fd()), options), Ok(None))
}
