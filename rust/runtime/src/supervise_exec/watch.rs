//! The loop of an exec: one `poll` over its process, the control socket and the streams.
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use minidock_core::process::Launched;
use minidock_core::sys::pidfd_signal;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::termios::{Winsize, tcsetwinsize};
use serde::Deserialize;

use super::group::Group;
use super::record::Record;
use super::streams::{Capture, Output};
use crate::supervise::record::Exit;
use crate::supervise::relay::{Relay, Want};

/// The end of a time limit, on a clock that does not jump.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Duration>);

impl Deadline {
    /// So many milliseconds from now; never without.
    #[must_use]
    pub fn after(milliseconds: Option<u64>) -> Self {
        Self(milliseconds.map(|ms| now().saturating_add(Duration::from_millis(ms))))
    }

    /// Whether it has passed.
    #[must_use]
    pub fn passed(self) -> bool {
        self.0.is_some_and(|at| at <= now())
    }

    /// What is left, for `poll`.
    #[must_use]
    pub fn left(self) -> Option<Timespec> {
        let left = self.0?.saturating_sub(now());
        Some(left.try_into().unwrap_or(Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        }))
    }
}

fn now() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(
        u64::try_from(t.tv_sec).unwrap_or(0),
        u32::try_from(t.tv_nsec).unwrap_or(0),
    )
}

/// A request of the client while the process runs.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
enum Op {
    Signal { signal: i32 },
    Resize { rows: u16, cols: u16 },
    CloseStdin,
    Release,
}

/// Everything that is looked after while an exec runs.
pub struct Watch<'a> {
    pub launched: Launched,
    pub group: &'a Group,
    pub record: &'a mut Record,
    pub control: Option<OwnedFd>,
    pub signals: &'a SignalFd,
    /// All of it dies when the client has gone.
    pub bound: bool,
    pub deadline: Deadline,
    pub input: Option<Relay>,
    pub outputs: Vec<Output>,
    /// The captured output, once it has ended.
    pub captured: Option<Capture>,
    pub timed_out: bool,
    /// The container was paused when the time limit came.
    pub frozen: bool,
}

impl Watch<'_> {
    /// Runs until the process is reaped and its streams have ended: what it has left in the background may still write.
    pub fn run(&mut self) -> Exit {
        let mut exit = None;
        loop {
            let wants = self.turn_all();
            if let Some(exit) = exit
                && self.outputs.is_empty()
            {
                return exit;
            }
            if self.wait(exit.is_none(), &wants)
                && let Some(ended) = self.reap()
            {
                self.record.ended(ended.code);
                self.input = None;
                exit = Some(ended);
            }
            if self.deadline.passed() {
                self.deadline = Deadline::after(None);
                self.timed_out = true;
                self.frozen = self.group.is_frozen();
                self.kill();
            }
        }
    }

    /// Lets every stream move; what each waits for, outputs first.
    fn turn_all(&mut self) -> Vec<Want> {
        // What was asked for before the input was written happens before the process reads it: a terminal's new size. And
        // before all else: a client that goes changes what the outputs wait for.
        while self.input.is_some() && self.answer() {}
        let mut wants = Vec::with_capacity(3);
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for mut output in std::mem::take(&mut self.outputs) {
            match (output.turn(), output) {
                (Want::Nothing, Output::Capture(capture)) => self.captured = Some(capture),
                (Want::Nothing, Output::Relay(_)) => {}
                (want, output) => {
                    wants.push(want);
                    outputs.push(output);
                }
            }
        }
        self.outputs = outputs;
        if let Some(input) = &mut self.input {
            match input.turn() {
                Want::Nothing => self.input = None,
                want => wants.push(want),
            }
        }
        wants
    }

    /// Waits for anything to happen and answers the control socket; true if the process may have ended.
    fn wait(&mut self, running: bool, wants: &[Want]) -> bool {
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(6);
        fds.push(PollFd::new(self.signals, PollFlags::IN));
        let process = running.then(|| {
            fds.push(PollFd::new(&self.launched.pidfd, PollFlags::IN));
            fds.len() - 1
        });
        let control = self.control.as_ref().map(|control| {
            fds.push(PollFd::new(control, PollFlags::IN));
            fds.len() - 1
        });
        let outputs = self.outputs.iter().map(|o| (o.from(), o.to()));
        let input = self.input.iter().map(|i| (i.from(), i.to()));
        for ((from, to), want) in outputs.chain(input).zip(wants) {
            let (fd, flags) = match want {
                Want::Read => (from, PollFlags::IN),
                Want::Write => (to, PollFlags::OUT),
                Want::Nothing => (None, PollFlags::empty()),
            };
            fds.extend(fd.map(|fd| PollFd::from_borrowed_fd(fd, flags)));
        }
        match poll(&mut fds, self.deadline.left().as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return false,
            // ENOMEM: the kernel will have memory again.
            Err(_) => {
                std::thread::sleep(Duration::from_millis(10));
                return false;
            }
        }
        let happened = |at: Option<usize>| at.is_some_and(|i| !fds[i].revents().is_empty());
        let (signals, ended, control) = (happened(Some(0)), happened(process), happened(control));
        if signals && self.signals.read_signal().is_ok_and(|s| s.is_some()) {
            self.kill();
        }
        if control {
            self.answer();
        }
        ended
    }

    fn reap(&mut self) -> Option<Exit> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::PidFd(self.launched.pidfd.as_fd()), options) {
            Ok(Some(status)) => Some(Exit::from_status(&status)),
            Ok(None) | Err(Errno::INTR) => None,
            // Reaped by nobody else; but a supervisor that spins would be worse than a guess.
            Err(_) => Some(Exit {
                code: 137,
                signal: Some(libc::SIGKILL),
            }),
        }
    }

    /// Ends all of it at once.
    pub fn kill(&self) {
        let _ = pidfd_signal(self.launched.pidfd.as_fd(), libc::SIGKILL);
        self.group.kill();
    }

    /// Serves one request of the client's; false if there is none.
    fn answer(&mut self) -> bool {
        let Some(socket) = &self.control else {
            return false;
        };
        let mut packet = [0u8; 1024];
        match recv(socket, &mut packet[..], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => return false,
            Ok((0, _)) | Err(_) => self.client_gone(),
            Ok((length, _)) => {
                if let Ok(op) = serde_json::from_slice(&packet[..length]) {
                    self.serve(op);
                }
            }
        }
        true
    }

    fn serve(&mut self, op: Op) {
        match op {
            // Nobody wants a part of it to outlive that.
            Op::Signal {
                signal: libc::SIGKILL,
            } => self.kill(),
            Op::Signal { signal } if (1..=64).contains(&signal) => {
                let _ = pidfd_signal(self.launched.pidfd.as_fd(), signal);
            }
            Op::Signal { .. } => {}
            Op::Resize { rows, cols } => {
                if let Some(console) = &self.launched.console {
                    let size = Winsize {
                        ws_row: rows,
                        ws_col: cols,
                        ws_xpixel: 0,
                        ws_ypixel: 0,
                    };
                    let _ = tcsetwinsize(console, size);
                }
            }
            Op::CloseStdin => {
                // A terminal's input ends by its end-of-file character; a pipe's by closing.
                if let Some(console) = &self.launched.console {
                    let _ = rustix::io::write(console, &[4]);
                }
                if let Some(input) = &mut self.input {
                    input.end();
                }
                self.input = self.input.take().filter(|input| input.to().is_some());
            }
            Op::Release => {
                self.bound = false;
                self.record.keep();
            }
        }
    }

    fn client_gone(&mut self) {
        self.control = None;
        self.input = None;
        self.outputs.iter_mut().for_each(Output::abandon);
        if self.bound {
            self.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_once_and_never_without() {
        assert!(!Deadline::after(None).passed());
        assert!(Deadline::after(None).left().is_none());
        assert!(Deadline::after(Some(0)).passed());
        let far = Deadline::after(Some(u64::MAX));
        assert!(!far.passed() && far.left().is_some());
    }

    #[test]
    fn requests() {
        let parse = |text: &str| serde_json::from_str::<Op>(text).ok();
        assert_eq!(parse(r#"{"op":"release"}"#), Some(Op::Release));
        assert_eq!(
            parse(r#"{"op":"signal","signal":9}"#),
            Some(Op::Signal { signal: 9 })
        );
        assert_eq!(parse(r#"{"op":"resize","rows":-1,"cols":2}"#), None);
        assert_eq!(parse("garbage"), None);
    }
}
