//! `minidock-runtime supervise`: starts one container and stays its parent (docs/supervisor.md).

mod control;
mod document;
mod foreign;
mod record;
mod relay;
mod watch;

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use minidock_core::cgroup::{Cgroup, Hierarchies};
use minidock_core::error::{Context, Error, Kind, Result};
use minidock_core::process::{self, CgroupEntry, Failure, LaunchRequest, Launched, Seccomp, Stdio};
use minidock_core::security::seccomp::Program;
use minidock_core::sys;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use oci_spec::runtime::Spec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::oci::bundle;
use document::{Document, Owner, StdioMode};
use record::{PidFile, Start};
use relay::Relay;
use watch::Watch;

/// How long the removal of cgroups may take after the container's end.
const REMOVAL: Duration = Duration::from_secs(10);

/// Runs the verb; `args` are those after `supervise`.
pub fn main(args: &[OsString]) -> ExitCode {
    // What the client itself had inherited is none of ours: a pipe among it would never see its end.
    let _ = sys::close_from(4);
    // The client's child ends here, so that no zombie is left for it however long it and the container live. Where no
    // process can be made, the supervisor is the child itself, and the client's next call reaps it.
    if let Ok(Some(_)) = sys::fork() {
        return ExitCode::SUCCESS;
    }
    let control = sys::take_fd(3).ok();
    if let Some(fd) = &control {
        let _ = rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC);
    }
    // Away from the terminal and process group of the client: its Ctrl-C is forwarded by the client, not by the kernel.
    let _ = rustix::process::setsid();
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

/// Everything that is gone when the container is.
struct Traces {
    cgroup: Option<Cgroup>,
    run_dir: PathBuf,
    /// The other runtime that has made the container.
    runtime: Option<foreign::Runtime>,
}

impl Traces {
    fn remove(mut self) {
        // Where a cgroup stays the pid file stays: by it the next engine finds what is left.
        if self.remove_container() {
            let _ = std::fs::remove_dir_all(&self.run_dir);
        }
    }

    /// Removes all but the run directory; whether nothing of it is left.
    fn remove_container(&mut self) -> bool {
        if let Some(runtime) = &self.runtime {
            runtime.delete();
            // It may have left processes, if it has failed.
            if let Some(group) = &self.cgroup {
                let _ = group.kill_all(libc::SIGKILL, REMOVAL);
            }
        }
        let group = self.cgroup.take();
        group.is_none_or(|mut group| group.remove(REMOVAL).is_ok())
    }
}

fn supervise(bundle: &Path, control: Option<&OwnedFd>) -> std::result::Result<(), Failure> {
    let mut document = Document::load(bundle)?;
    let mut traces = Traces {
        cgroup: None,
        run_dir: document.run_dir.clone(),
        runtime: None,
    };
    let started = start(bundle, &mut document, &mut traces, control);
    let (mut watch, start) = match started {
        Ok(started) => started,
        Err(failure) => {
            traces.remove();
            return Err(failure);
        }
    };
    let exit = watch.run();
    let usage = traces
        .cgroup
        .as_ref()
        .map(Cgroup::usage)
        .unwrap_or_default();
    let text = record::exited(exit, usage.oom_kills > 0, watch.timed_out(), &start, &usage);
    // Before anybody is told, and before a slow reader of the last output delays it.
    let recorded = record::write_renamed(&document.exit_file, &text);
    watch.drain();
    control::tell(control, &text);
    drop(watch);
    if let Err(error) = recorded {
        // The data root is full, perhaps by this very container: the run root, in memory, keeps the record instead.
        let kept = record::write_renamed(&traces.run_dir.join("exit.json"), &text);
        traces.remove_container();
        return kept.map_err(|_| error.into());
    }
    traces.remove();
    Ok(())
}

/// Starts the container and tells the client.
fn start(
    bundle: &Path,
    document: &mut Document,
    traces: &mut Traces,
    control: Option<&OwnedFd>,
) -> std::result::Result<(Watch, Start), Failure> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).context("read", || path.display().to_string())?;
    if document.runtime.is_some() {
        return foreign::start(bundle, document, &text, traces, control);
    }
    let spec: Spec = serde_json::from_slice(&text).map_err(|e| {
        Error::new(
            Kind::Invalid,
            "read",
            path.display().to_string(),
            e.to_string(),
        )
    })?;
    drop(text);
    let mut warnings = Vec::new();
    let pid_file = announce(document, &cgroup_path(&spec), control)?;
    traces.cgroup = make_cgroup(&spec, &mut warnings)?;
    let seccomp = load_filter(document, &spec)?;
    let (v2, tasks) = match &traces.cgroup {
        Some(group) => (group.v2_dir()?, group.join_files()?),
        None => (None, Vec::new()),
    };
    let terminal = spec
        .process()
        .as_ref()
        .and_then(oci_spec::runtime::Process::terminal)
        .unwrap_or(false);
    let streams = Streams::make(document, terminal)?;
    let (rootfs, user) = (document.take_rootfs(), document.take_user());
    let mut request = LaunchRequest::new(&document.id, &spec, bundle.to_owned(), rootfs);
    request.user = user;
    request.cgroup = CgroupEntry {
        unified: v2.as_ref().map(AsFd::as_fd),
        tasks: &tasks,
    };
    request.seccomp = seccomp;
    request.init = document.init;
    let (stdio, ends) = streams.split();
    request.stdio = stdio;
    let begun = Start::now();
    let mut launched = process::launch(request)?;
    warnings.append(&mut launched.warnings);
    let watch = watch_over(launched, document, ends, control, &pid_file, &warnings)?;
    Ok((watch, begun))
}

/// Writes the pid file, by which engines find this supervisor and what it leaves.
fn announce(document: &Document, cgroup: &str, control: Option<&OwnedFd>) -> Result<PidFile> {
    let pid_file = PidFile::write(&document.run_dir, cgroup)?;
    // A client that died before the pid file was there has been taken for dead, and the container with it.
    if control.is_some_and(hung_up) {
        return Err(Error::new(
            Kind::Conflict,
            "start container",
            document.id.as_str(),
            "its client has ended",
        ));
    }
    Ok(pid_file)
}

/// Looks after a container whose PID 1 runs, and tells the client.
fn watch_over(
    launched: Launched,
    document: &Document,
    ends: Ends,
    control: Option<&OwnedFd>,
    pid_file: &PidFile,
    warnings: &[String],
) -> std::result::Result<Watch, Failure> {
    let pid = launched.pid;
    let mut watch = Watch::new(launched, document.stop_signal, document.stop_timeout_ms);
    match settle(&mut watch, document, ends, control, pid_file) {
        Ok(start_time) => {
            control::tell(control, &control::started(pid, start_time, warnings));
            Ok(watch)
        }
        Err(error) => {
            watch.kill();
            Err(error.into())
        }
    }
}

/// Everything between the start of PID 1 and telling so; its start time.
fn settle(
    watch: &mut Watch,
    document: &Document,
    ends: Ends,
    control: Option<&OwnedFd>,
    pid_file: &PidFile,
) -> Result<u64> {
    watch.set_time_limit(document.timeout_ms);
    ends.connect(watch, document)?;
    let null = openat(
        CWD,
        "/dev/null",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context("open", || "/dev/null")?;
    // The client sees the end of its streams when the container (or a relay) closes them, not when the supervisor ends.
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .context("close streams", String::new)?;
    watch.control = control
        .map(|c| rustix::io::fcntl_dupfd_cloexec(c, 3))
        .transpose()
        .context("duplicate control socket", String::new)?;
    watch.signals = Some(own_signals()?);
    let start_time = pid_file.add(watch.launched.pid)?;
    if let Some(owner) = document.owner {
        match open_owner(owner) {
            Some(fd) => watch.owner = Some(fd),
            None => {
                return Err(Error::new(
                    Kind::Conflict,
                    "start container",
                    document.id.as_str(),
                    "its owner has ended",
                ));
            }
        }
    }
    Ok(start_time)
}

/// The path of the container's cgroups, as the document has it.
fn cgroup_path(spec: &Spec) -> String {
    let path = spec
        .linux()
        .as_ref()
        .and_then(|l| l.cgroups_path().as_ref());
    path.map(|p| p.to_string_lossy().into_owned())
        .unwrap_or_default()
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

/// The container's cgroups with their limits.
fn make_cgroup(spec: &Spec, warnings: &mut Vec<String>) -> Result<Option<Cgroup>> {
    let Some(linux) = spec.linux() else {
        return Ok(None);
    };
    let Some(path) = linux.cgroups_path() else {
        return Ok(None);
    };
    let mut group = Cgroup::new(&Hierarchies::detect()?, &path.to_string_lossy())?;
    group.create()?;
    if let Some(resources) = linux.resources() {
        match group.apply(resources) {
            Ok(list) => warnings.extend(list.iter().map(ToString::to_string)),
            Err(e) => {
                let _ = group.remove(REMOVAL);
                return Err(e);
            }
        }
    }
    Ok(Some(group))
}

/// The compiled filter, or one compiled from the document.
fn load_filter(document: &Document, spec: &Spec) -> Result<Option<Seccomp>> {
    let Some(path) = &document.seccomp_bpf else {
        return bundle::seccomp(spec);
    };
    let bytes =
        std::fs::read(path).context("read seccomp filter", || path.display().to_string())?;
    Ok(Some(Seccomp {
        program: Program::from_bytes(&bytes)?,
        listener: None,
    }))
}

/// The container's descriptors 0 to 2, and the supervisor's ends of them.
struct Streams {
    container: Option<[OwnedFd; 3]>,
    ends: Ends,
}

#[derive(Default)]
struct Ends {
    input: Option<OwnedFd>,
    outputs: Vec<(OwnedFd, i32)>,
}

impl Streams {
    fn make(document: &Document, terminal: bool) -> Result<Self> {
        if terminal || document.stdio == StdioMode::Inherit {
            return Ok(Self {
                container: None,
                ends: Ends::default(),
            });
        }
        let pipe = || {
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                .context("make pipe", String::new)
        };
        let (input, stdin) = if document.stdin {
            let (read, write) = pipe()?;
            (Some(write), read)
        } else {
            (
                None,
                openat(
                    CWD,
                    "/dev/null",
                    OFlags::RDONLY | OFlags::CLOEXEC,
                    Mode::empty(),
                )
                .context("open", || "/dev/null")?,
            )
        };
        let ((out_read, out), (err_read, err)) = (pipe()?, pipe()?);
        Ok(Self {
            container: Some([stdin, out, err]),
            ends: Ends {
                input,
                outputs: vec![(out_read, 1), (err_read, 2)],
            },
        })
    }

    fn split(self) -> (Stdio, Ends) {
        (self.container.map_or(Stdio::Inherit, Stdio::Fds), self.ends)
    }
}

impl Ends {
    /// Makes the relays.
    fn connect(self, watch: &mut Watch, document: &Document) -> Result<()> {
        if let Some(console) = &watch.launched.console {
            let duplicate = || {
                rustix::io::fcntl_dupfd_cloexec(console, 3)
                    .context("duplicate terminal", String::new)
            };
            if document.stdin {
                watch.input = Some(Relay::input(0, duplicate()?));
            }
            watch.outputs.push(Relay::output(duplicate()?, 1));
            return Ok(());
        }
        watch.input = self.input.map(|to| Relay::input(0, to));
        watch.outputs = self
            .outputs
            .into_iter()
            .map(|(from, number)| Relay::output(from, number))
            .collect();
        Ok(())
    }
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
    let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
    // Opened first: what is looked at now is what the descriptor stands for, or has ended.
    debug_assert!(fd.as_raw_fd() >= 0);
    (record::start_time(owner.pid).ok()? == owner.start_time).then_some(fd)
}
