//! The supervisor's loop: one `poll` over PID 1, the control sockets, the owner and the streams.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use minidock_core::log::{Logger, Stream};
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::attached::Typed;
use super::clients::{Clients, Interest};
use super::events::Events;
use super::health::Health;
use super::network::Network;
use super::record::Exit;
use super::restart::Restarts;
use super::run::Run;
use super::streams::{CHUNK, Got, Input};

/// How much one turn moves at most: a busy stream must not starve the others or the control sockets.
const TURN: usize = 1 << 18;
/// And how long it takes: a disk that others keep busy holds up every write to the log, and who asks waits for the turn.
const TURN_MS: u64 = 20;
/// What a log gets at once, about: short lines become forty times as long in it.
const LOGGED: usize = 48 << 10;
/// What a record has besides its line, about.
const RECORD: usize = 64;
/// What the streams of an ended container may still hold at most.
const REST: usize = 1 << 22;

/// A start needs more memory than what comes after it. A container that lives for so long is worth giving it back.
const SETTLED_MS: u64 = 1000;

/// Milliseconds of a clock that does not jump.
pub fn now_ms() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000
}

/// What a descriptor that is polled is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Pid,
    Listener,
    Owner,
    Signals,
    Output(usize),
    Input,
    Log,
    Health,
    Network,
    Client(Interest),
}

/// Everything that the supervisor looks after, over all runs.
pub struct Watch {
    pub listener: Option<OwnedFd>,
    pub clients: Clients,
    /// The process that the container must not outlive.
    pub owner: Option<OwnedFd>,
    /// SIGTERM and the like, sent to the supervisor itself.
    pub signals: Option<SignalFd>,
    pub restarts: Restarts,
    pub events: Events,
    pub log: Option<Logger>,
    /// The checks of this run.
    pub health: Option<Health>,
    pub network: Option<Network>,
    pub stop_signal: i32,
    /// Other signals than that do not mean that it should stay stopped.
    pub stop_signal_chosen: bool,
    pub stop_timeout_ms: u64,
    pub run: Option<Run>,
    /// Nobody is to start it again.
    pub(super) stopped: bool,
    /// How much is read at once; see [`LOGGED`].
    piece: usize,
}

impl Watch {
    /// Tells the host's events that the container has come to its networks, or left them.
    pub fn tell_networks(&self, action: &str) {
        for network in self.network.iter().flat_map(Network::joined) {
            self.events.add_network(action, network);
        }
    }

    /// A watch without connections, and nothing that runs yet.
    #[must_use]
    pub fn new(events: Events, restarts: Restarts) -> Self {
        Self {
            listener: None,
            clients: Clients::default(),
            owner: None,
            signals: None,
            restarts,
            events,
            log: None,
            health: None,
            network: None,
            stop_signal: libc::SIGTERM,
            stop_signal_chosen: false,
            stop_timeout_ms: 10_000,
            run: None,
            stopped: false,
            piece: 1 << 10,
        }
    }

    /// Closes all that a fork of the supervisor does not need.
    pub fn let_go(&mut self) {
        self.listener = None;
        self.clients = Clients::default();
        self.owner = None;
        self.signals = None;
        self.run = None;
    }

    /// Runs until PID 1 has ended and is reaped.
    pub fn run_to_end(&mut self) -> Exit {
        let mut settled = Some(now_ms() + SETTLED_MS);
        loop {
            if self.turn(settled)
                && let Some(exit) = self.run.as_ref().and_then(Run::reap)
            {
                return exit;
            }
            self.expire();
            if settled.is_some_and(|at| at <= now_ms()) {
                settled = None;
                minidock_core::sys::give_back();
            }
        }
    }

    /// Waits before the next start; false when it must not follow.
    pub fn wait(&mut self, time: Duration) -> bool {
        let until = now_ms() + u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        loop {
            if self.stopped {
                return false;
            }
            if now_ms() >= until {
                return true;
            }
            self.turn(Some(until));
        }
    }

    /// After the end of PID 1: takes in what the streams still hold. All other processes of its pid namespace have ended
    /// before it did, so what there is, is there now; a process elsewhere that holds a stream open is not waited for.
    #[inline(never)] // its buffer is not to be part of the frame below which the loop waits
    pub fn drain(&mut self) {
        let Some(run) = self.run.take() else {
            return;
        };
        let mut rest = REST;
        let mut buffer = [0; CHUNK];
        for output in &run.outputs {
            while !output.ended && rest > 0 {
                match output.read(&mut buffer) {
                    Got::Bytes(n) => {
                        rest = rest.saturating_sub(n);
                        self.take_output(output.stream, &buffer[..n]);
                    }
                    Got::Nothing | Got::End => break,
                }
            }
        }
        if let Some(log) = &mut self.log {
            log.finish(Stream::Stdout);
            log.finish(Stream::Stderr);
        }
        self.clients.drop_sources();
    }

    /// Waits for anything to happen and does what it calls for; true if PID 1 may have ended.
    fn turn(&mut self, until: Option<u64>) -> bool {
        let ready = self.poll(until);
        let mut ended = false;
        if let Some(network) = &mut self.network {
            network.turn(ready.contains(&Token::Network));
        }
        for token in ready {
            match token {
                Token::Pid => ended = true,
                Token::Listener => {
                    if let Some(listener) = &self.listener {
                        self.clients.accept(listener);
                    }
                }
                Token::Owner => {
                    self.owner = None;
                    self.stopped = true;
                    self.restarts.cancel();
                    self.signal(libc::SIGKILL);
                }
                Token::Signals => self.serve_own_signal(),
                Token::Output(at) => self.pump(at),
                Token::Input => self.with_input(Input::flush),
                // Looked at after every turn, and before.
                Token::Health | Token::Network => {}
                Token::Log => {
                    if let Some(log) = &mut self.log {
                        log.flush();
                    }
                }
                Token::Client(Interest::Socket(at)) => {
                    if let Some((request, fds)) = self.clients.receive(at) {
                        self.serve(at, request, &fds);
                    }
                }
                Token::Client(Interest::Writer(at, slot)) => self.clients.flush(at, slot),
                Token::Client(Interest::Source(at)) => self.take_input(at),
            }
        }
        let swept = self.clients.sweep();
        if swept.input {
            self.with_input(Input::client_ended);
        }
        if let Some(paused) = swept.held
            && !paused.exists()
            && let Some(group) = self.run.as_ref().and_then(|run| run.group.as_ref())
        {
            let _ = group.thaw();
        }
        if let Some(run) = &mut self.run {
            run.outputs.retain(|output| !output.ended);
        }
        ended
    }

    /// What is ready; nothing when `until`, or a deadline of the run, has come.
    fn poll(&self, until: Option<u64>) -> Vec<Token> {
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(8);
        let mut tokens = Vec::with_capacity(8);
        let mut add = |token: Token, fd: BorrowedFd<'_>, flags: PollFlags| {
            // The borrows end with this call; the vector's type only needs to know that they are long enough.
            fds.push(PollFd::from_borrowed_fd(
                minidock_core::sys::borrow_fd(std::os::fd::AsRawFd::as_raw_fd(&fd)),
                flags,
            ));
            tokens.push(token);
        };
        let read = PollFlags::IN;
        let mut input_ready = false;
        let mut held = false;
        if let Some(wait) = self.log.as_ref().and_then(Logger::waits) {
            held = wait.pause;
            add(
                Token::Log,
                wait.fd,
                if wait.write { PollFlags::OUT } else { read },
            );
        }
        if let Some(run) = &self.run {
            add(Token::Pid, run.launched.pidfd.as_fd(), read);
            for (at, output) in run.outputs.iter().enumerate() {
                // A full reader holds the container back, as a pipe does.
                if !held && !self.clients.is_blocked(output.stream) {
                    add(Token::Output(at), output.fd(), read);
                }
            }
            if let Some(input) = &run.input {
                input_ready = input.is_ready();
                if input.is_pending() {
                    add(Token::Input, input.fd(), PollFlags::OUT);
                }
            }
        }
        if let Some(listener) = self.listener.as_ref().filter(|_| !self.clients.is_full()) {
            add(Token::Listener, listener.as_fd(), read);
        }
        if let Some(fd) = self.health.as_ref().and_then(Health::fd) {
            add(Token::Health, fd, read);
        }
        if let Some(network) = &self.network {
            for fd in network.fds() {
                add(Token::Network, fd, read);
            }
        }
        if let Some(owner) = &self.owner {
            add(Token::Owner, owner.as_fd(), read);
        }
        if let Some(signals) = &self.signals {
            add(Token::Signals, signals.as_fd(), read);
        }
        for (interest, fd) in self.clients.interests(input_ready) {
            let flags = match interest {
                Interest::Writer(..) => PollFlags::OUT,
                _ => read,
            };
            add(Token::Client(interest), fd, flags);
        }
        let timeout = self
            .next_deadline()
            .into_iter()
            .chain(until)
            .min()
            .map(|at| {
                let left = at.saturating_sub(now_ms());
                Timespec {
                    tv_sec: (left / 1000) as i64,
                    tv_nsec: (left % 1000) as i64 * 1_000_000,
                }
            });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Vec::new(),
            // ENOMEM: the kernel will have memory again.
            Err(_) => {
                std::thread::sleep(Duration::from_millis(10));
                return Vec::new();
            }
        }
        let ready = fds.iter().zip(tokens);
        ready
            .filter(|(fd, _)| !fd.revents().is_empty())
            .map(|(_, token)| token)
            .collect()
    }

    fn next_deadline(&self) -> Option<u64> {
        let network = self.network.as_ref().and_then(Network::deadline_ms);
        let Some(run) = &self.run else { return network };
        let check = self.health.as_ref().and_then(Health::deadline_ms);
        let deadlines = run.deadline.into_iter().chain(run.kill_at);
        deadlines.chain(check).chain(network).min()
    }

    fn expire(&mut self) {
        let now = now_ms();
        let change = self.health.as_mut().and_then(|health| health.turn(now));
        if let Some(change) = change {
            let action = format!("health_status: {}", change.status.word());
            self.events.add(&action, &[]);
            self.act(change.action);
        }
        let Some(run) = &mut self.run else { return };
        let mut kill = false;
        if run.deadline.is_some_and(|at| at <= now) {
            run.deadline = None;
            run.timed_out = true;
            kill = true;
            self.restarts.cancel();
        }
        if run.kill_at.is_some_and(|at| at <= now) {
            run.kill_at = None;
            kill = true;
        }
        if kill {
            let signal = libc::SIGKILL.to_string();
            self.events.add("kill", &[("signal", signal)]);
            self.signal(libc::SIGKILL);
        }
    }

    /// Moves output that is there.
    #[inline(never)] // as for `drain`
    fn pump(&mut self, at: usize) {
        let mut buffer = [0; CHUNK];
        let end = now_ms() + TURN_MS;
        let mut moved = 0;
        while moved < TURN && now_ms() <= end {
            let Some(output) = self.run.as_ref().and_then(|run| run.outputs.get(at)) else {
                return;
            };
            let stream = output.stream;
            if self.clients.is_blocked(stream) || self.is_log_full() {
                return;
            }
            let keep = match output.read(&mut buffer[..self.piece]) {
                Got::Bytes(n) => {
                    moved += n;
                    self.piece = match &self.log {
                        Some(_) => piece_after(&buffer[..n]),
                        None => CHUNK,
                    };
                    self.take_output(stream, &buffer[..n])
                }
                Got::Nothing => return,
                Got::End => false,
            };
            if !keep && let Some(output) = self.run.as_mut().and_then(|run| run.outputs.get_mut(at))
            {
                output.ended = true;
                return;
            }
        }
    }

    /// Output goes to whoever reads it. False: the container is to meet a broken pipe, as in `yes | head`.
    fn take_output(&mut self, stream: usize, data: &[u8]) -> bool {
        if let Some(log) = &mut self.log {
            let which = [Stream::Stdout, Stream::Stderr][stream];
            log.write(which, data);
        }
        if self.clients.push(stream, data) {
            return true;
        }
        // A terminal has other users than the client's stream: it is read on.
        let outputs = self.run.as_ref().map(|run| &run.outputs[..]);
        !outputs
            .unwrap_or_default()
            .iter()
            .any(|o| o.stream == stream && o.is_pipe())
    }

    fn is_log_full(&self) -> bool {
        let wait = self.log.as_ref().and_then(Logger::waits);
        wait.is_some_and(|wait| wait.pause)
    }

    #[inline(never)] // as for `drain`
    fn take_input(&mut self, at: usize) {
        if !self.input().is_some_and(|input| input.is_ready()) {
            return;
        }
        let mut buffer = [0; CHUNK];
        match self.clients.read(at, &mut buffer) {
            Typed::Bytes(bytes) => self.with_input(|input| input.push(&bytes)),
            Typed::Detached(bytes) => {
                self.with_input(|input| input.push(&bytes));
                self.events.add("detach", &[]);
            }
            Typed::End => self.with_input(Input::client_ended),
            Typed::Nothing => {}
        }
    }

    pub(super) fn input(&mut self) -> Option<&mut Input> {
        self.run.as_mut()?.input.as_mut()
    }

    /// Does something with the container's input, which ends when that gives false.
    pub(super) fn with_input(&mut self, action: impl FnOnce(&mut Input) -> bool) {
        let Some(run) = &mut self.run else { return };
        let Some(input) = &mut run.input else { return };
        if !action(input) {
            run.input = None;
            self.clients.drop_sources();
        }
    }

    pub(super) fn signal(&self, number: i32) {
        if let Some(run) = &self.run {
            run.signal(number);
        }
    }

    fn serve_own_signal(&mut self) {
        let received = self
            .signals
            .as_ref()
            .and_then(|s| s.read_signal().ok().flatten());
        if received.is_some() {
            self.stop(self.stop_signal, self.stop_timeout_ms);
        }
    }
}

/// How much to read after `data`, if what follows has lines of the same length.
fn piece_after(data: &[u8]) -> usize {
    let lines = memchr::memchr_iter(b'\n', data).count();
    let logged = data.len() + lines * RECORD;
    (data.len() * LOGGED / logged.max(1)).clamp(512, CHUNK)
}
