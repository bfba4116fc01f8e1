//! The supervisor's loop: one `poll` over PID 1, the control socket, the owner and the streams.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minidock_core::process::Launched;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use rustix::termios::{Winsize, tcsetwinsize};
use rustix::time::{ClockId, clock_gettime};

use super::control::{self, Received, Request};
use super::record::Exit;
use super::relay::{Relay, Want};

/// Milliseconds of a clock that does not jump.
fn now_ms() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000
}

/// Adds a descriptor to those that are polled; its place there.
fn add<'a>(
    fds: &mut Vec<PollFd<'a>>,
    fd: Option<BorrowedFd<'a>>,
    flags: PollFlags,
) -> Option<usize> {
    fds.push(PollFd::from_borrowed_fd(fd?, flags));
    Some(fds.len() - 1)
}

/// Everything that the supervisor looks after while PID 1 runs.
pub struct Watch {
    pub launched: Launched,
    pub control: Option<OwnedFd>,
    /// The process that the container must not outlive.
    pub owner: Option<OwnedFd>,
    /// SIGTERM and the like, sent to the supervisor itself.
    pub signals: Option<nix::sys::signalfd::SignalFd>,
    pub input: Option<Relay>,
    pub outputs: Vec<Relay>,
    pub stop_signal: i32,
    pub stop_timeout_ms: u64,
    deadline: Option<u64>,
    kill_at: Option<u64>,
    timed_out: bool,
}

impl Watch {
    /// A watch over a started container without streams.
    #[must_use]
    pub fn new(launched: Launched, stop_signal: i32, stop_timeout_ms: u64) -> Self {
        Self {
            launched,
            control: None,
            owner: None,
            signals: None,
            input: None,
            outputs: Vec::new(),
            stop_signal,
            stop_timeout_ms,
            deadline: None,
            kill_at: None,
            timed_out: false,
        }
    }

    /// Kills the container after so many milliseconds.
    pub fn set_time_limit(&mut self, milliseconds: Option<u64>) {
        self.deadline = milliseconds.map(|ms| now_ms().saturating_add(ms));
    }

    /// Whether the time limit has ended the container.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// Runs until PID 1 has ended and is reaped.
    pub fn run(&mut self) -> Exit {
        loop {
            let wants = self.turn_all();
            if self.wait(&wants)
                && let Some(exit) = self.reap()
            {
                return exit;
            }
            self.expire();
        }
    }

    /// After the end of PID 1: forwards what the streams still hold. All other processes of its pid namespace have ended
    /// before it did, so what there is, is there now; a process elsewhere that holds a stream open is not waited for.
    pub fn drain(&mut self) {
        self.input = None;
        loop {
            self.outputs.retain_mut(|relay| relay.turn() == Want::Write);
            if self.outputs.is_empty() {
                return;
            }
            let wants = vec![Want::Write; self.outputs.len()];
            self.wait(&wants);
        }
    }

    /// Lets every stream move; what each waits for, outputs first.
    fn turn_all(&mut self) -> Vec<Want> {
        let mut wants: Vec<Want> = self.outputs.iter_mut().map(Relay::turn).collect();
        // Ended outputs leave; their places in `wants` with them.
        let mut at = 0;
        self.outputs.retain(|_| {
            at += 1;
            wants[at - 1] != Want::Nothing
        });
        wants.retain(|w| *w != Want::Nothing);
        if let Some(input) = &mut self.input {
            match input.turn() {
                Want::Nothing => self.input = None,
                want => wants.push(want),
            }
        }
        wants
    }

    /// Waits for anything to happen and answers the control socket; true if PID 1 may have ended.
    fn wait(&mut self, wants: &[Want]) -> bool {
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(8);
        fds.push(PollFd::new(&self.launched.pidfd, PollFlags::IN));
        let control = add(
            &mut fds,
            self.control.as_ref().map(AsFd::as_fd),
            PollFlags::IN,
        );
        let owner = add(
            &mut fds,
            self.owner.as_ref().map(AsFd::as_fd),
            PollFlags::IN,
        );
        let signals = add(
            &mut fds,
            self.signals.as_ref().map(AsFd::as_fd),
            PollFlags::IN,
        );
        for (relay, want) in self.outputs.iter().chain(&self.input).zip(wants) {
            match want {
                Want::Read => add(&mut fds, relay.from(), PollFlags::IN),
                Want::Write => add(&mut fds, relay.to(), PollFlags::OUT),
                Want::Nothing => None,
            };
        }
        let timeout = self.next_deadline().map(|at| {
            let left = at.saturating_sub(now_ms());
            Timespec {
                tv_sec: (left / 1000) as i64,
                tv_nsec: (left % 1000) as i64 * 1_000_000,
            }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return false,
            // ENOMEM: the kernel will have memory again.
            Err(_) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
                return false;
            }
        }
        let happened = |at: Option<usize>| at.is_some_and(|i| !fds[i].revents().is_empty());
        let (ended, control, owner, signals) = (
            happened(Some(0)),
            happened(control),
            happened(owner),
            happened(signals),
        );
        if control {
            self.answer();
        }
        if owner {
            self.owner = None;
            self.signal(libc::SIGKILL);
        }
        if signals {
            self.forward_own_signal();
        }
        ended
    }

    fn next_deadline(&self) -> Option<u64> {
        self.deadline.into_iter().chain(self.kill_at).min()
    }

    fn expire(&mut self) {
        let now = now_ms();
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            self.timed_out = true;
            self.signal(libc::SIGKILL);
        }
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = None;
            self.signal(libc::SIGKILL);
        }
    }

    fn reap(&mut self) -> Option<Exit> {
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

    fn answer(&mut self) {
        let Some(socket) = &self.control else { return };
        match control::receive(socket) {
            Received::Request(request) => self.serve(request),
            Received::Nonsense | Received::Nothing => {}
            Received::Closed => self.client_gone(),
        }
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Signal { signal } => self.signal(signal),
            Request::Stop { signal, timeout_ms } => self.stop(
                signal.unwrap_or(self.stop_signal),
                timeout_ms.unwrap_or(self.stop_timeout_ms),
            ),
            Request::Resize { rows, cols } => {
                if let Some(console) = &self.launched.console {
                    let _ = tcsetwinsize(
                        console,
                        Winsize {
                            ws_row: rows,
                            ws_col: cols,
                            ws_xpixel: 0,
                            ws_ypixel: 0,
                        },
                    );
                }
            }
            Request::CloseStdin => {
                // A terminal's input ends by its end-of-file character; a pipe's by closing.
                if let Some(console) = &self.launched.console {
                    let _ = rustix::io::write(console, &[4]);
                }
                if let Some(input) = &mut self.input {
                    input.end();
                }
                self.input = self.input.take().filter(|i| i.to().is_some());
            }
        }
    }

    fn stop(&mut self, signal: i32, timeout_ms: u64) {
        self.signal(signal);
        let at = now_ms().saturating_add(timeout_ms);
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Any number that the kernel knows, real-time signals included.
    fn signal(&self, number: i32) {
        if (1..=64).contains(&number) {
            let _ = minidock_core::sys::pidfd_signal(self.launched.pidfd.as_fd(), number);
        }
    }

    /// The container lives on without its client; its output is read and thrown away.
    fn client_gone(&mut self) {
        self.control = None;
        self.input = None;
        self.outputs.iter_mut().for_each(Relay::abandon_target);
    }

    fn forward_own_signal(&mut self) {
        let received = self
            .signals
            .as_ref()
            .and_then(|s| s.read_signal().ok().flatten());
        if received.is_some() {
            self.stop(self.stop_signal, self.stop_timeout_ms);
        }
    }

    /// Ends PID 1 at once; for a supervisor that cannot go on.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.launched.pidfd, Signal::KILL);
        let _ = waitid(
            WaitId::PidFd(self.launched.pidfd.as_fd()),
            WaitIdOptions::EXITED,
        );
    }
}
