//! Waiting for a process as its only caller: forwards signals, serves its terminal, gives its exit code.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minidock_core::{Context, Error, Result, sys};
use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read, write};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

const CHUNK: usize = 16 * 1024;

/// Signals that are not passed on: about this process itself, or impossible to catch.
const OWN: [NixSignal; 10] = [
    NixSignal::SIGCHLD,
    NixSignal::SIGKILL,
    NixSignal::SIGSTOP,
    NixSignal::SIGPIPE,
    NixSignal::SIGSEGV,
    NixSignal::SIGBUS,
    NixSignal::SIGFPE,
    NixSignal::SIGILL,
    NixSignal::SIGTRAP,
    NixSignal::SIGABRT,
];

/// Signals on their way, from before the process exists: none is lost, none ends this process and leaves the container.
pub struct Signals(SignalFd);

impl Signals {
    /// Holds signals back from here on.
    pub fn catch() -> Result<Self> {
        let mut set = SigSet::all();
        OWN.into_iter().for_each(|signal| set.remove(signal));
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set), None)
            .context("hold signals", String::new)?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        fd.context("hold signals", String::new).map(Self)
    }

    /// Those that have arrived.
    fn arrived(&self) -> Vec<i32> {
        let mut all = Vec::new();
        while let Ok(Some(info)) = self.0.read_signal() {
            all.push(i32::try_from(info.ssi_signo).unwrap_or_default());
        }
        all
    }
}

/// The caller's terminal in raw mode; restored when dropped.
struct Raw(Termios);

impl Raw {
    /// None where stdin is no terminal.
    fn set() -> Option<Self> {
        let saved = tcgetattr(stdin()).ok()?;
        let mut raw = saved.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(saved))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Waits for a child of this process; gives its exit code, or 128 and the number of the signal that ended it.
pub fn wait(signals: &Signals, pidfd: BorrowedFd<'_>, console: Option<&OwnedFd>) -> Result<u8> {
    let raw = console.and_then(|master| {
        resize(master);
        Raw::set()
    });
    let mut input = console.is_some();
    let mut output = console;
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(signals.0.as_fd(), PollFlags::IN),
        ];
        if let Some(master) = output {
            fds.push(PollFd::from_borrowed_fd(master.as_fd(), PollFlags::IN));
            if input {
                fds.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
            }
        }
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other.context("wait for process", String::new)?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        for number in if ready[1] {
            signals.arrived()
        } else {
            Vec::new()
        } {
            match (console, number) {
                (Some(master), libc::SIGWINCH) => resize(master),
                // ESRCH: it has just ended.
                _ => drop(sys::pidfd_signal(pidfd, number)),
            }
        }
        if ready.get(3) == Some(&true)
            && let Some(master) = output
        {
            input = pass(stdin(), master.as_fd());
        }
        if ready.get(2) == Some(&true)
            && let Some(master) = output
            && !pass(master.as_fd(), stdout())
        {
            output = None;
        }
        if ready[0] {
            // What it wrote last is in the terminal's buffer.
            while output.is_some_and(|master| is_readable(master) && pass(master.as_fd(), stdout()))
            {
            }
            drop(raw);
            return exit_code(pidfd);
        }
    }
}

fn resize(master: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(stdin()) {
        let _ = tcsetwinsize(master, size);
    }
}

fn is_readable(fd: &OwnedFd) -> bool {
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&now)), Ok(n) if n > 0)
}

/// Copies one chunk; false at the end (EIO: no process has the terminal open any more).
fn pass(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; CHUNK];
    let n = match read(from, &mut buffer[..]) {
        Ok(0) => return false,
        Ok(n) => n,
        Err(Errno::INTR | Errno::AGAIN) => return true,
        Err(_) => return false,
    };
    let mut rest = &buffer[..n];
    while !rest.is_empty() {
        match write(to, rest) {
            Ok(n) => rest = &rest[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None);
            }
            Err(_) => return false,
        }
    }
    true
}

fn exit_code(pidfd: BorrowedFd<'_>) -> Result<u8> {
    let status = loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            other => break other.context("wait for process", String::new)?,
        }
    };
    let code = status.and_then(|s| {
        s.exit_status()
            .or_else(|| s.terminating_signal().map(|n| 128 + n))
    });
    code.and_then(|code| u8::try_from(code).ok())
        .ok_or_else(|| Error::errno("wait for process", "", libc::ECHILD))
}
