//! `minidock-runtime supervise`: starts one container and stays its parent (docs/supervisor.md).

mod attached;
mod clients;
pub mod control;
pub mod document;
pub mod events;
mod foreign;
mod health;
mod network;
pub mod record;
pub mod relay;
mod requests;
mod restart;
mod run;
pub mod sources;
mod start;
pub mod streams;
mod watch;

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use minidock_core::error::{Context, Error, Kind, Result};
use minidock_core::log::Logger;
use minidock_core::process::Failure;
use minidock_core::supervisor::Keys;
use minidock_core::sys;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};

use clients::{Client, StreamName, serve_slow};
use document::{Document, Owner};
use events::Events;
use health::{Health, Target};
use network::Network;
use record::{Ended, Exit, PidFile, Start};
use restart::Restarts;
use run::Run;
use start::{Started, Traces};
use watch::Watch;

use crate::shelter;

/// Runs the verb; `args` are those after `supervise`.
pub fn main(args: &[OsString]) -> ExitCode {
    // What the client itself had inherited is none of ours: a pipe among it would never see its end.
    let _ = sys::close_from(4);
    // The client's child ends here, so that no zombie is left for it however long it and the container live. Where no
    // process can be made, the supervisor is the child itself, and the client's next call reaps it.
    if let Ok(Some(_)) = shelter::fork() {
        return ExitCode::SUCCESS;
    }
    let control = sys::take_fd(3).ok();
    if let Some(fd) = &control {
        let _ = rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC);
    }
    // Away from the terminal and process group of the client: its Ctrl-C is forwarded by the client, not by the kernel.
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    let outcome = bundle(args)
        .map_err(Failure::from)
        .and_then(|bundle| supervise(&bundle, control.as_ref()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if control.is_some() {
                control::tell(control.as_ref(), &control::error(&failure));
            } else {
                eprintln!("minidock-runtime: {failure}");
            }
            ExitCode::from(failure.exit_code)
        }
    }
}

fn bundle(args: &[OsString]) -> Result<PathBuf> {
    match args {
        [option, dir] if option == "--bundle" => Ok(PathBuf::from(dir)),
        _ => Err(Error::new(
            Kind::Invalid,
            "supervise",
            "",
            "usage: minidock-runtime supervise --bundle DIR",
        )),
    }
}

/// One container, over all of its runs.
struct Life {
    bundle: PathBuf,
    run_dir: PathBuf,
    exit_file: PathBuf,
    pid_file: PidFile,
    watch: Watch,
    traces: Traces,
}

fn supervise(bundle: &Path, control: Option<&OwnedFd>) -> std::result::Result<(), Failure> {
    let mut document = Document::load(bundle)?;
    let cgroup = start::cgroup_path(bundle)?;
    shelter::join_scope(&cgroup)?;
    let announced = start::announce(&document, &cgroup);
    let (pid_file, listener) = announced.inspect_err(|_| {
        let _ = std::fs::remove_dir_all(&document.run_dir);
    })?;
    let events = Events::new(&document.id, document.events.take());
    let mut watch = Watch::new(events, Restarts::new(document.restart));
    watch.listener = Some(listener);
    let log = document.log.as_ref().map(Logger::open).transpose();
    watch.log = log.inspect_err(|_| {
        let _ = std::fs::remove_dir_all(&document.run_dir);
    })?;
    watch.stop_signal = document.stop_signal;
    watch.stop_signal_chosen = document.stop_signal_chosen;
    watch.stop_timeout_ms = document.stop_timeout_ms;
    let mut life = Life {
        bundle: bundle.to_owned(),
        run_dir: document.run_dir.clone(),
        exit_file: document.exit_file.clone(),
        pid_file,
        watch,
        traces: Traces::default(),
    };
    let begun = match life.first_start(&mut document, control) {
        Ok(begun) => begun,
        Err(failure) => {
            life.remove();
            if let Some(mut network) = life.watch.network.take() {
                network.close();
                network.clean();
            }
            return Err(failure);
        }
    };
    let command = std::mem::take(&mut document.exit_command);
    let foreground = !document.attached.is_empty();
    drop(document);
    let lived = life.live(begun);
    // A client in the foreground sees the end, and does what is to be done.
    let attended = foreground && life.watch.clients.iter().any(|client| client.first);
    let network = life.watch.network.take();
    drop(life);
    if !attended && lived.is_ok() {
        start::call(&command);
    }
    if let Some(network) = network {
        network.clean();
    }
    lived
}

impl Life {
    /// The first start, with the caller's streams, and what holds for all of them.
    fn first_start(
        &mut self,
        document: &mut Document,
        control: Option<&OwnedFd>,
    ) -> std::result::Result<Start, Failure> {
        // A client that died before the pid file was there has been taken for dead, and the container with it.
        if control.is_some_and(hung_up) {
            let id = document.id.as_str();
            let why = "its client has ended";
            return Err(Error::new(Kind::Conflict, "start container", id, why).into());
        }
        let input = document
            .attached
            .contains(&StreamName::Stdin)
            .then(|| rustix::io::fcntl_dupfd_cloexec(sys::borrow_fd(0), 3).ok())
            .flatten();
        if let Some(section) = document.network.take() {
            let network = Network::new(section, &document.id, &self.run_dir)?;
            self.watch.network = Some(network);
        }
        let (traces, network) = (&mut self.traces, self.watch.network.as_mut());
        let started = start::start(&self.bundle, document, traces, network, input.as_ref())?;
        let warnings = started.warnings.clone();
        let (begun, pid, start_time) = self.run(document, started)?;
        if let Err(error) = self.connect(document, control) {
            self.kill();
            return Err(error.into());
        }
        start::protect(true);
        self.watch.tell_networks("connect");
        self.watch.events.add("start", &[]);
        let ports = self.watch.network.as_ref().map_or(&[][..], Network::ports);
        control::tell(
            control,
            &control::started(pid, start_time, &warnings, ports),
        );
        if let Some(network) = &self.watch.network {
            network.redirect_strays();
        }
        Ok(begun)
    }

    /// Connects the first client, its streams and the owner.
    fn connect(&mut self, document: &Document, control: Option<&OwnedFd>) -> Result<()> {
        if let Some(control) = control {
            let socket = rustix::io::fcntl_dupfd_cloexec(control, 3);
            let mut client = Client::new(
                socket.context("duplicate control socket", String::new)?,
                true,
            );
            let names = &document.attached;
            let fds: Vec<BorrowedFd<'_>> =
                names.iter().map(|n| sys::borrow_fd(number(*n))).collect();
            let keys = document
                .detach_keys
                .as_deref()
                .map(Keys::parse)
                .transpose()?;
            client.attach(names, &fds, keys);
            self.watch.clients.add(client);
        }
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let null =
            openat(CWD, "/dev/null", flags, Mode::empty()).context("open", || "/dev/null")?;
        // The client sees the end of its streams when the container closes them, not when the supervisor ends.
        rustix::stdio::dup2_stdin(&null)
            .and_then(|()| rustix::stdio::dup2_stdout(&null))
            .and_then(|()| rustix::stdio::dup2_stderr(&null))
            .context("close streams", String::new)?;
        self.watch.signals = Some(own_signals()?);
        if let Some(owner) = document.owner {
            let id = document.id.as_str();
            let ended = || Error::new(Kind::Conflict, "start container", id, "its owner has ended");
            self.watch.owner = Some(open_owner(owner).ok_or_else(ended)?);
        }
        Ok(())
    }

    /// Looks after a container whose PID 1 runs.
    fn run(
        &mut self,
        document: &Document,
        started: Started,
    ) -> std::result::Result<(Start, i32, u64), Failure> {
        let pid = started.launched.pid;
        let mut run = Run::new(started.launched);
        run.group = self.traces.cgroup.take();
        run.set_time_limit(document.timeout_ms);
        let ends = started.ends.open(document, run.launched.console.as_ref());
        self.watch.run = Some(run);
        let restarts = self.watch.restarts.count;
        let settled = ends.and_then(|(input, outputs)| {
            if let Some(run) = &mut self.watch.run {
                (run.input, run.outputs) = (input, outputs);
            }
            self.pid_file.running(pid, &started.begun, restarts)
        });
        match settled {
            Ok(start_time) => {
                self.check_health(document, pid, start_time);
                Ok((started.begun, pid, start_time))
            }
            Err(error) => {
                self.kill();
                Err(error.into())
            }
        }
    }

    /// Begins with the health checks of a run.
    fn check_health(&mut self, document: &Document, pid: i32, start_time: u64) {
        let group = self.watch.run.as_ref().and_then(|run| run.group.as_ref());
        if let (Some(health), Some(group)) = (&document.health, group) {
            let target = Target {
                id: document.id.clone(),
                bundle: self.bundle.clone(),
                run_dir: self.run_dir.clone(),
                cgroup: group.path().as_str().to_owned(),
                pid,
                start_time,
            };
            self.watch.health = Some(Health::begin(health.clone(), target, watch::now_ms()));
        }
    }

    fn kill(&mut self) {
        if let Some(mut run) = self.watch.run.take() {
            run.kill();
            self.traces.cgroup = run.group.take();
        }
    }

    /// From the first start to the last end.
    fn live(&mut self, mut begun: Start) -> std::result::Result<(), Failure> {
        loop {
            let exit = self.watch.run_to_end();
            let ended = self.end(exit, &begun);
            let Some(pause) = self.watch.restarts.next(ended.exit.code, ended.lasted) else {
                return self.finish(&ended, true);
            };
            let restarts = self.watch.restarts.count;
            let text = ended.to_json(false, restarts);
            // Without it (a full disk) an end of this supervisor would be taken for that of the container.
            let _ = record::write_renamed(&self.exit_file, &text);
            self.report(&ended);
            self.tell(&text);
            self.traces.remove();
            let said = self.pid_file.restarting(&ended, restarts);
            if said.is_err() || !self.watch.wait(pause) {
                return self.finish(&ended, false);
            }
            match self.start_again() {
                Ok(again) => begun = again,
                Err(failure) => {
                    self.kill();
                    let error = Some(failure.to_string());
                    let code = i32::from(failure.exit_code);
                    let exit = Exit { code, signal: None };
                    let ended = Ended {
                        exit,
                        error,
                        ..ended
                    };
                    return self.finish(&ended, true);
                }
            }
        }
    }

    /// After the end of PID 1: its last output, and what the run has used.
    fn end(&mut self, exit: Exit, begun: &Start) -> Ended {
        if let Some(health) = self.watch.health.take() {
            health.end();
        }
        if let Some(network) = &mut self.watch.network {
            network.run_ended();
        }
        let mut run = self.watch.run.take();
        let (mut timed_out, mut usage) = (false, None);
        if let Some(run) = &mut run {
            timed_out = run.timed_out;
            self.traces.cgroup = run.group.take();
            usage = self.traces.cgroup.as_ref().map(|group| group.usage());
        }
        self.watch.run = run;
        let ended = Ended::now(exit, timed_out, begun, usage.unwrap_or_default());
        // Before there is a record: who finds one finds the whole log.
        self.watch.drain();
        ended
    }

    /// Tells the host's events how it ended.
    fn report(&self, ended: &Ended) {
        let events = &self.watch.events;
        if ended.oom_killed {
            events.add("oom", &[]);
        }
        let lasted = ended.lasted.as_secs().to_string();
        let code = ended.exit.code.to_string();
        self.watch.tell_networks("disconnect");
        events.add("die", &[("execDuration", lasted), ("exitCode", code)]);
    }

    /// Sends what is left and `text` to everybody; who reads slowly gets it from a process of its own.
    fn tell(&mut self, text: &str) {
        let slow = self.watch.clients.finish(text);
        if slow.is_empty() {
            return;
        }
        match sys::fork() {
            Ok(Some(first)) => reap(first),
            Ok(None) => {
                // Forked again, and so nobody's zombie; the others' sockets are not to be held open here.
                if !matches!(sys::fork(), Ok(Some(_))) {
                    self.watch.let_go();
                    serve_slow(slow, text);
                }
                sys::exit_now(0);
            }
            Err(_) => serve_slow(slow, text),
        }
    }

    /// The end of all, which is news unless it was reported when a start was to follow.
    fn finish(&mut self, ended: &Ended, news: bool) -> std::result::Result<(), Failure> {
        let text = ended.to_json(true, self.watch.restarts.count);
        let recorded = record::write_renamed(&self.exit_file, &text);
        // The data root is full, perhaps by this very container: the run root, in memory, keeps the record instead.
        let kept = recorded.map_err(|error| {
            record::write_renamed(&self.run_dir.join("exit.json"), &text).map_err(|_| error)
        });
        if news {
            self.report(ended);
        }
        // Nobody is to come any more, and who looks sees that all is told.
        self.watch.listener = None;
        let _ = std::fs::remove_file(self.run_dir.join("sock"));
        if let Some(network) = &mut self.watch.network {
            network.close();
        }
        self.tell(&text);
        if let Err(kept) = kept {
            self.traces.remove();
            return kept.map_err(Into::into);
        }
        self.remove();
        Ok(())
    }

    fn start_again(&mut self) -> std::result::Result<Start, Failure> {
        let _ = std::fs::remove_file(&self.exit_file);
        start::protect(false);
        let mut document = Document::load(&self.bundle)?;
        let (traces, network) = (&mut self.traces, self.watch.network.as_mut());
        let started = start::start(&self.bundle, &mut document, traces, network, None)?;
        let (begun, ..) = self.run(&document, started)?;
        start::protect(true);
        self.watch.tell_networks("connect");
        self.watch.events.add("start", &[]);
        Ok(begun)
    }

    /// Removes all that is left. Where a cgroup stays the pid file stays: by it the next engine finds what is left.
    fn remove(&mut self) {
        if self.traces.remove() {
            let _ = std::fs::remove_dir_all(&self.run_dir);
        }
    }
}

/// Waits for a child that ends at once.
fn reap(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid);
    let options = rustix::process::WaitOptions::empty();
    while matches!(
        rustix::process::waitpid(pid, options),
        Err(rustix::io::Errno::INTR)
    ) {}
}

/// The number of a client's stream among its descriptors.
fn number(name: StreamName) -> i32 {
    match name {
        StreamName::Stdin => 0,
        StreamName::Stdout | StreamName::Framed => 1,
        StreamName::Stderr => 2,
    }
}

/// Whether nobody holds the other end of the control socket any more.
fn hung_up(control: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(control, PollFlags::empty())];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

/// SIGTERM, SIGINT and SIGHUP to the supervisor stop the container.
fn own_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block().context("block signals", String::new)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("make signal descriptor", String::new)
}

/// A descriptor of the owner, if the process of that number still is it.
fn open_owner(owner: Owner) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(owner.pid)?;
    // Opened first: what is looked at now is what the descriptor stands for, or has ended.
    let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
    (record::start_time(owner.pid).ok()? == owner.start_time).then_some(fd)
}
