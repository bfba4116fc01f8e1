//! `minidock-runtime supervise-exec`: starts one more process in a running container, and looks after it.

mod captured;
mod group;
mod record;
mod request;
mod streams;
mod watch;

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use minidock_core::error::{Context, Error, Kind, Result};
use minidock_core::process::{self, ExecRequest, Failure, Launched, Seccomp};
use minidock_core::security::apparmor;
use minidock_core::security::seccomp::Program;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use oci_spec::runtime::Spec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;

use crate::oci::bundle;
use crate::shelter;
use crate::supervise::events::Events;
use crate::supervise::streams::mount_label;
use crate::supervise::{control, record as common};
pub use captured::{Captured, capture};
use group::Group;
use record::Record;
pub use request::{Command, Request};
use streams::Streams;
use watch::{Deadline, Watch};

/// How long the end of a process takes whose namespaces have gone.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Runs the verb; `args` are those after `supervise-exec`.
pub fn main(args: &[OsString]) -> ExitCode {
    let control = match shelter::begin("supervise-exec", shelter::fork) {
        Ok(control) => control,
        Err(code) => return code,
    };
    let outcome = directory(args)
        .and_then(|bundle| Ok((bundle, Request::receive(&control)?)))
        .map_err(Failure::from)
        .and_then(|(bundle, request)| match request {
            Some(request) => supervise(&bundle, &request, &control),
            None => Ok(()),
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            control::tell(Some(&control), &control::error(&failure));
            ExitCode::from(failure.exit_code)
        }
    }
}

fn directory(args: &[OsString]) -> Result<PathBuf> {
    match args {
        [option, dir] if option == "--bundle" => Ok(PathBuf::from(dir)),
        _ => {
            let usage = "usage: minidock-runtime supervise-exec --bundle DIR";
            Err(Error::new(Kind::Invalid, "supervise exec", "", usage))
        }
    }
}

fn supervise(
    bundle: &Path,
    request: &Request,
    control: &OwnedFd,
) -> std::result::Result<(), Failure> {
    let signals = own_signals()?;
    let deadline = Deadline::after(request.timeout_ms);
    let init = open_init(request)?;
    let mut record = Record::begin(request)?;
    let group = match Group::make(&request.cgroup, &request.group_name()) {
        Ok(group) => group,
        Err(error) => {
            record.close(true);
            return Err(explain(error.into(), request, &init));
        }
    };
    let mut starting = Starting {
        control: Some(control),
        signals: &signals,
        bound: request.bound,
        deadline,
        told: false,
    };
    let begun = common::Start::now();
    let started = start(bundle, request, &init, &group, &mut starting);
    let (launched, streams) = match started {
        Ok(started) => started,
        Err(failure) => {
            let failure = explain(failure, request, &init);
            record.ended(i32::from(failure.exit_code));
            group.dissolve();
            record.close(ended(&init));
            return if starting.told { Ok(()) } else { Err(failure) };
        }
    };
    record.running(launched.pid);
    let mut watch = Watch {
        launched,
        group: &group,
        record: &mut record,
        control: None,
        signals: &signals,
        bound: request.bound,
        deadline,
        input: None,
        outputs: Vec::new(),
        captured: None,
        timed_out: false,
        frozen: false,
    };
    if let Err(error) = connect(&mut watch, streams, control) {
        watch.kill();
        watch.run();
        drop(watch);
        group.dissolve();
        record.close(true);
        return Err(error.into());
    }
    let exit = watch.run();
    let timed_out = watch.timed_out;
    drop(watch);
    let facts = [
        ("execID", request.exec_id.clone()),
        ("exitCode", exit.code.to_string()),
    ];
    Events::new(&request.container, request.events.clone()).add("exec_die", &facts);
    let text = common::Ended::now(exit, timed_out, &begun, streams::usage()).to_json(true, 0);
    control::tell(Some(control), &text);
    group.dissolve();
    record.close(ended(&init));
    Ok(())
}

/// Starts the process.
fn start(
    bundle: &Path,
    request: &Request,
    init: &OwnedFd,
    group: &Group,
    starting: &mut Starting<'_>,
) -> std::result::Result<(Launched, Streams), Failure> {
    let spec = read_spec(bundle)?;
    let own = spec.process().clone().unwrap_or_default();
    let process = request.process.process(&own);
    if group.is_frozen() {
        let why = "the container is paused, unpause the container before exec";
        return Err(
            Error::new(Kind::Conflict, "exec in container", &request.container, why).into(),
        );
    }
    apparmor::reload(process.apparmor_profile().as_deref())?;
    let (streams, stdio) = Streams::make(request, mount_label(&spec))?;
    let seccomp = load_filter(bundle, &spec)?;
    let mut wait = |channel: BorrowedFd<'_>| starting.wait(channel, request);
    let launched = process::exec(ExecRequest {
        id: &request.container,
        init_pid: request.pid,
        init: Some(init.as_fd()),
        process: &process,
        spec: &spec,
        user: Some(request.process.user()),
        cgroup: group.entry(),
        seccomp,
        stdio,
        preserve_fds: 0,
        die_with_parent: true,
        wait: Some(&mut wait),
    })?;
    Ok((launched, streams))
}

/// Connects the streams, gives up those of the client, and tells it that the process runs.
fn connect(watch: &mut Watch<'_>, streams: Streams, control: &OwnedFd) -> Result<()> {
    (watch.input, watch.outputs) = streams.connect(watch.launched.console.as_ref())?;
    streams::close_standard()?;
    let own = rustix::io::fcntl_dupfd_cloexec(control, 3);
    watch.control = Some(own.context("duplicate control socket", String::new)?);
    let pid = watch.launched.pid;
    // It may have ended already: then it has no start time that anybody could compare.
    let start_time = common::start_time(pid).unwrap_or(0);
    let told = control::started(pid, start_time, &watch.launched.warnings, &[]);
    control::tell(Some(control), &told);
    Ok(())
}

/// What is looked at while the new process is on its way to its program.
struct Starting<'a> {
    control: Option<&'a OwnedFd>,
    signals: &'a SignalFd,
    bound: bool,
    deadline: Deadline,
    /// The client knows why the start was given up.
    told: bool,
}

impl Starting<'_> {
    /// Waits for the start-up channel; an error gives the start up. A container that is paused in between freezes the new
    /// process, which cannot even be killed then (version 1): so the client is told before.
    fn wait(&mut self, channel: BorrowedFd<'_>, request: &Request) -> Result<()> {
        let given_up =
            |kind, why: &str| Error::new(kind, "exec in container", &request.container, why);
        loop {
            let mut fds = vec![
                PollFd::from_borrowed_fd(channel, PollFlags::IN),
                PollFd::new(self.signals, PollFlags::IN),
            ];
            // Requests wait until the process is there; only the end of the client is of interest.
            if let Some(control) = self.control.filter(|_| self.bound) {
                fds.push(PollFd::new(control, PollFlags::empty()));
            }
            match poll(&mut fds, self.deadline.left().as_ref()) {
                Err(Errno::INTR) => continue,
                other => other.context("wait for start", String::new)?,
            };
            let happened = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
            if happened(0) {
                return Ok(());
            }
            if happened(1) {
                return Err(given_up(Kind::Conflict, "its supervisor was asked to end"));
            }
            if happened(2) {
                return Err(given_up(Kind::Conflict, "its client has ended"));
            }
            if self.deadline.passed() {
                let why = "it has not started in time; the container may be paused";
                let error = given_up(Kind::Timeout, why);
                control::tell(self.control, &control::error(&error.into()));
                self.told = true;
                return Err(given_up(Kind::Timeout, why));
            }
        }
    }
}

/// A descriptor of PID 1, if the process of that number still is it.
fn open_init(request: &Request) -> Result<OwnedFd> {
    let gone = || not_running(request);
    let pid = Pid::from_raw(request.pid).ok_or_else(gone)?;
    let fd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
    // Opened first: what is looked at now is what the descriptor stands for, or has ended.
    match common::start_time(request.pid) {
        Ok(start) if start == request.start_time && !ended(&fd) => Ok(fd),
        _ => Err(gone()),
    }
}

fn not_running(request: &Request) -> Error {
    let why = "the container is not running";
    Error::new(Kind::Conflict, "exec in container", &request.container, why)
}

fn ended(process: &OwnedFd) -> bool {
    ends_within(process, Duration::ZERO)
}

fn ends_within(process: &OwnedFd, time: Duration) -> bool {
    let time = Timespec::try_from(time).ok();
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    poll(&mut fds, time.as_ref()).is_ok_and(|n| n > 0)
}

/// The failure in better words: any step may fail because the container has ended; and Docker's exit code for a working
/// directory that is not there.
fn explain(failure: Failure, request: &Request, init: &OwnedFd) -> Failure {
    if failure.exit_code != 125 {
        return failure;
    }
    // A process that ends gives up its namespaces a moment before its descriptor tells.
    let op = failure.error.op;
    let nothing_to_join = op.contains("namespace") || op == "open container's root";
    if ended(init) || (nothing_to_join && ends_within(init, LAST_MOMENT)) {
        return not_running(request).into();
    }
    let absent = matches!(failure.error.errno, Some(libc::ENOENT | libc::ENOTDIR));
    if failure.error.op == "change directory" && absent {
        return Failure {
            exit_code: 127,
            ..failure
        };
    }
    failure
}

fn read_spec(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let shown = || path.display().to_string();
    let text = std::fs::read(&path).context("read", shown)?;
    serde_json::from_slice(&text)
        .map_err(|e| Error::new(Kind::Invalid, "read", shown(), e.to_string()))
}

/// What an exec needs of minidock.json.
#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    seccomp_bpf: Option<PathBuf>,
}

/// The container's filter.
fn load_filter(directory: &Path, spec: &Spec) -> Result<Option<Seccomp>> {
    let path = directory.join("minidock.json");
    let shown = || path.display().to_string();
    let text = std::fs::read(&path).context("read", shown)?;
    let document: Bundle = serde_json::from_slice(&text)
        .map_err(|e| Error::new(Kind::Invalid, "read", shown(), e.to_string()))?;
    let Some(path) = document.seccomp_bpf else {
        return bundle::seccomp(spec);
    };
    let shown = || path.display().to_string();
    let bytes = std::fs::read(&path).context("read seccomp filter", shown)?;
    Ok(Some(Seccomp {
        program: Program::from_bytes(&bytes)?,
        listener: None,
    }))
}

/// SIGTERM, SIGINT and SIGHUP to the supervisor end what it looks after.
fn own_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block().context("block signals", String::new)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("make signal descriptor", String::new)
}
