//! The supervisor's loop: one `poll` over PID 1, the control sockets, the owner and the streams.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use minidock_core::cgroup::Cgroup;
use minidock_core::log::{Logger, Stream};
use minidock_core::process::Launched;
use minidock_core::supervisor::Keys;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use rustix::termios::{Winsize, tcsetwinsize};
use rustix::time::{ClockId, clock_gettime};

use super::clients::{Clients, Interest, StreamName, Typed};
use super::control::{self, Request};
use super::events::Events;
use super::health::{Health, OnFailure};
use super::record::Exit;
use super::restart::Restarts;
use super::streams::{CHUNK, Got, Input, Output};

/// How much one turn moves at most: a busy stream must not starve the others or the control sockets.
const TURN: usize = 1 << 18;
/// What the streams of an ended container may still hold at most.
const REST: usize = 1 << 22;

/// A start needs more memory than what comes after it. A container that lives for so long is worth giving it back.
const SETTLED_MS: u64 = 1000;

/// Milliseconds of a clock that does not jump.
pub fn now_ms() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000
}

/// One run of PID 1.
pub struct Run {
    pub launched: Launched,
    pub input: Option<Input>,
    pub outputs: Vec<Output>,
    pub group: Option<Cgroup>,
    deadline: Option<u64>,
    kill_at: Option<u64>,
    timed_out: bool,
}

impl Run {
    /// A run without streams and limits.
    #[must_use]
    pub fn new(launched: Launched) -> Self {
        Self {
            launched,
            input: None,
            outputs: Vec::new(),
            group: None,
            deadline: None,
            kill_at: None,
            timed_out: false,
        }
    }

    /// Ends after so many milliseconds.
    pub fn set_time_limit(&mut self, milliseconds: Option<u64>) {
        self.deadline = milliseconds.map(|ms| now_ms().saturating_add(ms));
    }

    /// Whether the time limit has ended it.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// Any number that the kernel knows, real-time signals included.
    fn signal(&self, number: i32) {
        if (1..=64).contains(&number) {
            let _ = minidock_core::sys::pidfd_signal(self.launched.pidfd.as_fd(), number);
        }
        // A frozen process of cgroup v1 does not even die.
        if number == libc::SIGKILL
            && let Some(group) = &self.group
            && group.is_frozen()
        {
            let _ = group.thaw();
        }
    }

    /// Ends PID 1 at once; for a supervisor that cannot go on.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.launched.pidfd, Signal::KILL);
        if let Some(group) = &self.group {
            let _ = group.thaw();
        }
        let _ = waitid(
            WaitId::PidFd(self.launched.pidfd.as_fd()),
            WaitIdOptions::EXITED,
        );
    }

    fn reap(&self) -> Option<Exit> {
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
    pub stop_signal: i32,
    /// Other signals than that do not mean that it should stay stopped.
    pub stop_signal_chosen: bool,
    pub stop_timeout_ms: u64,
    pub run: Option<Run>,
    /// Nobody is to start it again.
    stopped: bool,
}

impl Watch {
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
            stop_signal: libc::SIGTERM,
            stop_signal_chosen: false,
            stop_timeout_ms: 10_000,
            run: None,
            stopped: false,
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
                // Looked at after every turn.
                Token::Health => {}
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
        let run = self.run.as_ref()?;
        let check = self.health.as_ref().and_then(Health::deadline_ms);
        let deadlines = run.deadline.into_iter().chain(run.kill_at);
        deadlines.chain(check).min()
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
        let mut moved = 0;
        while moved < TURN {
            let Some(output) = self.run.as_ref().and_then(|run| run.outputs.get(at)) else {
                return;
            };
            let stream = output.stream;
            if self.clients.is_blocked(stream) || self.is_log_full() {
                return;
            }
            let keep = match output.read(&mut buffer) {
                Got::Bytes(n) => {
                    moved += n;
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

    fn input(&mut self) -> Option<&mut Input> {
        self.run.as_mut()?.input.as_mut()
    }

    /// Does something with the container's input, which ends when that gives false.
    fn with_input(&mut self, action: impl FnOnce(&mut Input) -> bool) {
        let Some(run) = &mut self.run else { return };
        let Some(input) = &mut run.input else { return };
        if !action(input) {
            run.input = None;
            self.clients.drop_sources();
        }
    }

    fn serve(&mut self, at: usize, request: Request, fds: &[OwnedFd]) {
        let answer = self.carry_out(at, request, fds);
        let Some(client) = self.clients.get(at) else {
            return;
        };
        if !client.first {
            match answer {
                Ok(()) => client.tell(control::DONE),
                Err(why) => client.tell(&control::refused(why)),
            }
        }
    }

    fn carry_out(
        &mut self,
        at: usize,
        request: Request,
        fds: &[OwnedFd],
    ) -> Result<(), &'static str> {
        match request {
            Request::Ping => {}
            Request::Hold { unless } => {
                if self.run.is_none() {
                    return Err("the container is not running");
                }
                if let Some(client) = self.clients.get(at) {
                    client.holds = Some(unless);
                }
            }
            Request::Signal { signal } => {
                let stops =
                    !self.stop_signal_chosen || [self.stop_signal, libc::SIGKILL].contains(&signal);
                if stops {
                    self.restarts.cancel();
                }
                if self.run.is_none() {
                    // Between two runs it is enough that no other follows.
                    self.stopped |= stops;
                    return Ok(());
                }
                self.events.add("kill", &[("signal", signal.to_string())]);
                self.signal(signal);
            }
            Request::Stop { signal, timeout_ms } => self.stop(
                signal.unwrap_or(self.stop_signal),
                timeout_ms.unwrap_or(self.stop_timeout_ms),
            ),
            Request::Resize { rows, cols } => {
                let Some(console) = self.run.as_ref().and_then(|r| r.launched.console.as_ref())
                else {
                    return Err("the container has no terminal, or is not running");
                };
                let size = Winsize {
                    ws_row: rows,
                    ws_col: cols,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                };
                let _ = tcsetwinsize(console, size);
            }
            Request::CloseStdin => {
                // A terminal's input ends by its end-of-file character; a pipe's by closing.
                let console = self.run.as_ref().and_then(|r| r.launched.console.as_ref());
                if let Some(console) = console {
                    let _ = rustix::io::write(console, &[4]);
                } else {
                    self.with_input(Input::end);
                }
            }
            Request::Attach {
                streams,
                detach_keys,
            } => return self.attach(at, &streams, fds, detach_keys.as_deref()),
            Request::Update { restart, name } => {
                if let Some(policy) = restart {
                    self.restarts.set_policy(policy);
                    self.stopped |= self.run.is_none() && policy.is_none();
                }
                if let Some(name) = name {
                    self.events.rename(name);
                }
            }
        }
        Ok(())
    }

    fn attach(
        &mut self,
        at: usize,
        streams: &[StreamName],
        fds: &[OwnedFd],
        keys: Option<&str>,
    ) -> Result<(), &'static str> {
        let Some(run) = &self.run else {
            return Err("the container is not running");
        };
        if streams.len() != fds.len() {
            return Err("as many descriptors as names are needed");
        }
        let keys = keys
            .map(Keys::parse)
            .transpose()
            .map_err(|_| "the detach keys make no sense")?;
        let input = run.input.is_some();
        let Some(client) = self.clients.get(at) else {
            return Ok(());
        };
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        client.attach(streams, &fds, keys);
        if !input {
            client.source = None;
        }
        Ok(())
    }

    /// What is done about a container that has got unhealthy.
    fn act(&mut self, action: OnFailure) {
        match action {
            OnFailure::None => {}
            OnFailure::Kill => self.signal(libc::SIGKILL),
            OnFailure::Stop => self.stop(self.stop_signal, self.stop_timeout_ms),
            OnFailure::Restart => {
                self.restarts.force();
                self.ask_to_end(self.stop_signal, self.stop_timeout_ms);
            }
        }
    }

    fn stop(&mut self, signal: i32, timeout_ms: u64) {
        self.stopped = true;
        self.restarts.cancel();
        self.ask_to_end(signal, timeout_ms);
    }

    /// A signal, and SIGKILL later.
    fn ask_to_end(&mut self, signal: i32, timeout_ms: u64) {
        let Some(run) = &mut self.run else { return };
        let at = now_ms().saturating_add(timeout_ms);
        run.kill_at = match run.kill_at {
            // Nothing comes after this one.
            _ if signal == libc::SIGKILL => None,
            Some(earlier) => Some(earlier.min(at)),
            None => Some(at),
        };
        self.events.add("kill", &[("signal", signal.to_string())]);
        self.signal(signal);
        if let Some(group) = self.run.as_ref().and_then(|run| run.group.as_ref())
            && group.is_frozen()
        {
            let _ = group.thaw();
        }
    }

    fn signal(&self, number: i32) {
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
