//! The built-in init (`--init`): stays PID 1, starts the command as its child, forwards signals, reaps.
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Failure;
use super::channel::ChildEnd;
use super::child::{confine, load_seccomp};
use super::plan::Plan;
use crate::error::{Context, Error, Kind, Result};
use crate::sys;

/// What [`run`] returns when it returns at all.
type Outcome<T> = std::result::Result<T, Failure>;

/// Forks the command and becomes init; ends with the command's exit code.
pub(super) fn run<T>(
    plan: &Plan<'_>,
    end: &ChildEnd,
    proc: &OwnedFd,
    path: &Path,
    load_filter: bool,
) -> Outcome<T> {
    // Before the fork: no signal may be lost between it and the first wait.
    let all = SigSet::all();
    all.thread_block().context("block signals", String::new)?;
    if load_filter {
        load_seccomp(plan, end)?;
    }
    match sys::fork().context("start command", String::new)? {
        None => {
            // Its own process group, in the foreground of the terminal, as a shell would have it.
            let _ = rustix::process::setpgid(None, None);
            if plan.terminal {
                let _ = rustix::termios::tcsetpgrp(sys::borrow_fd(0), rustix::process::getpid());
            }
            confine(plan, proc)?;
            sys::reset_signals();
            Err(plan.program.execute(path))
        }
        Some(pid) => {
            // Nothing of the host stays open in the process that the container can look at.
            // The command's copy of the channel closes at its `execve`, which is what the parent waits for.
            sys::close_from(3).context("close descriptors", String::new)?;
            let code = serve(Pid::from_raw(pid), &all)?;
            sys::exit_now(code)
        }
    }
}

fn serve(command: Pid, all: &SigSet) -> Result<i32> {
    loop {
        match all.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = reap(command)? {
                    return Ok(code);
                }
            }
            // The terminal's own signals reach the command's group by themselves.
            Ok(Signal::SIGTTIN | Signal::SIGTTOU) => {}
            Ok(signal) => {
                // ESRCH: it has just ended; its SIGCHLD is next.
                let _ = nix::sys::signal::kill(command, signal);
            }
            // A real-time signal, which nix cannot name.
            Err(nix::Error::EINVAL | nix::Error::EINTR) => {}
            Err(e) => {
                return Err(Error::errno("wait for signals", "", e as i32)
                    .with_kind(Kind::System(e as i32)));
            }
        }
    }
}

/// Reaps all that have ended; the command's exit code if it is among them.
fn reap(command: Pid) -> Result<Option<i32>> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == command => code = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => {
                code = Some(128 + signal as i32)
            }
            Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => return Ok(code),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => return Err(Error::errno("wait for processes", "", e as i32)),
        }
    }
}
