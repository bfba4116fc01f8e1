//! The built-in init (`--init`): stays PID 1, starts the command as its child, forwards signals, reaps.
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};

use super::Failure;
use super::channel::ChildEnd;
use super::child::{apparmor_profile, confine, load_seccomp};
use super::plan::Plan;
use crate::error::{Context, Result};
use crate::security::apparmor;
use crate::sys;

/// Docker's exit code for what is the engine's own failure.
const FAILED: i32 = 125;

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
    sys::block_signals().context("block signals", String::new)?;
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
            // It executes nothing, but who is under a profile may not signal whoever is not. It may send the command none
            // itself until that is under the profile, too: by then the container has not been said to run.
            if let Some(name) = apparmor_profile(plan).filter(|name| *name != apparmor::UNCONFINED)
            {
                apparmor::confine_now(proc.as_fd(), name)?;
            }
            // Nothing of the host stays open in the process that the container can look at.
            // The command's copy of the channel closes at its `execve`, which is what the parent waits for.
            sys::close_from(3).context("close descriptors", String::new)?;
            // From here on nothing can be told, and nothing dropped: the descriptors' owners do not know.
            sys::exit_now(serve(pid).unwrap_or(FAILED))
        }
    }
}

/// Forwards signals until the command ends; its exit code.
fn serve(command: i32) -> Result<i32> {
    loop {
        match sys::wait_signal() {
            Ok(libc::SIGCHLD) => {
                if let Some(code) = reap(command)? {
                    return Ok(code);
                }
            }
            // The terminal's own signals reach the command's group by themselves.
            Ok(libc::SIGTTIN | libc::SIGTTOU) => {}
            Ok(signal) => {
                // ESRCH: it has just ended; its SIGCHLD is next.
                let _ = sys::kill(command, signal);
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e).context("wait for signals", String::new),
        }
    }
}

/// Reaps all that have ended; the command's exit code if it is among them.
fn reap(command: i32) -> Result<Option<i32>> {
    let mut code = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == command => {
                let killed = || status.terminating_signal().map(|signal| 128 + signal);
                code = status.exit_status().or_else(killed).or(code);
            }
            Ok(None) | Err(Errno::CHILD) => return Ok(code),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e).context("wait for processes", String::new),
        }
    }
}
