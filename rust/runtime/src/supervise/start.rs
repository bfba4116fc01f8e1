//! Starting PID 1, for the first time or again.
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use minidock_core::cgroup::{Cgroup, Hierarchies};
use minidock_core::error::{Context, Error, Kind, Result};
use minidock_core::process::{self, CgroupEntry, Failure, LaunchRequest, Launched, Seccomp};
use minidock_core::security::apparmor;
use minidock_core::security::seccomp::Program;
use oci_spec::runtime::{Process, Spec};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use super::document::Document;
use super::foreign;
use super::network::Network;
use super::record::{PidFile, Start};
use super::streams::{Ends, Streams, mount_label};
use crate::oci::bundle;

/// How long the removal of cgroups may take after the container's end.
const REMOVAL: Duration = Duration::from_secs(10);

/// Everything that is gone when a run is.
#[derive(Default)]
pub struct Traces {
    pub cgroup: Option<Cgroup>,
    /// The other runtime that has made the container.
    pub runtime: Option<foreign::Runtime>,
}

impl Traces {
    /// Removes them; whether nothing is left.
    pub fn remove(&mut self) -> bool {
        if let Some(runtime) = self.runtime.take() {
            runtime.delete();
        }
        // In the host's pid namespace others outlive PID 1, and what another runtime has failed to start may do so, too.
        if let Some(group) = &self.cgroup {
            let _ = group.kill_all(libc::SIGKILL, REMOVAL);
        }
        let group = self.cgroup.take();
        group.is_none_or(|mut group| group.remove(REMOVAL).is_ok())
    }
}

/// A started PID 1.
pub struct Started {
    pub launched: Launched,
    pub ends: Ends,
    pub begun: Start,
    pub warnings: Vec<String>,
}

/// Starts PID 1. What is left behind on failure is in `traces`.
pub fn start(
    bundle: &Path,
    document: &mut Document,
    traces: &mut Traces,
    network: Option<&mut Network>,
    size: Option<&OwnedFd>,
) -> std::result::Result<Started, Failure> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).context("read", || path.display().to_string())?;
    if document.runtime.is_some() {
        return foreign::start(bundle, document, &text, traces, network);
    }
    let mut spec: Spec = parse(&path, &text)?;
    drop(text);
    if let Some(size) = size {
        crate::terminal::fit(&mut spec, size);
    }
    let mut warnings = Vec::new();
    traces.cgroup = make_cgroup(&spec, &mut warnings)?;
    let seccomp = load_filter(document, &spec)?;
    let (v2, tasks) = match &traces.cgroup {
        Some(group) => (group.v2_dir()?, group.join_files()?),
        None => (None, Vec::new()),
    };
    let process = spec.process().as_ref();
    apparmor::reload(process.and_then(|p| p.apparmor_profile().as_deref()))?;
    let terminal = process.and_then(Process::terminal).unwrap_or(false);
    let streams = Streams::make(document, terminal, mount_label(&spec))?;
    let (rootfs, user) = (document.take_rootfs(), document.take_user());
    let sources = document.take_sources();
    let mut request = LaunchRequest::new(&document.id, &spec, bundle.to_owned(), rootfs);
    request.sources = sources;
    request.user = user;
    request.cgroup = CgroupEntry {
        unified: v2.as_ref().map(AsFd::as_fd),
        tasks: &tasks,
    };
    request.seccomp = seccomp;
    request.init = document.init;
    let mut connect = network.map(|network| move |pid| network.set_up(pid));
    if let Some(connect) = &mut connect {
        request.on_namespaces = Some(connect);
    }
    let (stdio, ends) = streams.split();
    request.stdio = stdio;
    let begun = Start::now();
    let mut launched = process::launch(request)?;
    warnings.append(&mut launched.warnings);
    Ok(Started {
        launched,
        ends,
        begun,
        warnings,
    })
}

fn parse(path: &Path, text: &[u8]) -> Result<Spec> {
    serde_json::from_slice(text).map_err(|e| {
        let why = e.to_string();
        Error::new(Kind::Invalid, "read", path.display().to_string(), why)
    })
}

/// The path of the container's cgroups, as its `config.json` has it; empty without one.
pub fn cgroup_path(bundle: &Path) -> Result<String> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).context("read", || path.display().to_string())?;
    let document: serde_json::Value = serde_json::from_slice(&text).map_err(|e| {
        let why = e.to_string();
        Error::new(Kind::Invalid, "read", path.display().to_string(), why)
    })?;
    let path = document["linux"]["cgroupsPath"].as_str();
    Ok(path.unwrap_or_default().to_owned())
}

/// Writes the pid file, by which engines find this supervisor and what it leaves, and opens the control socket.
pub fn announce(document: &Document, cgroup: &str) -> Result<(PidFile, OwnedFd)> {
    let pid_file = PidFile::write(&document.run_dir, cgroup)?;
    let listener = listen_in(&document.run_dir)?;
    Ok((pid_file, listener))
}

/// The socket `sock` in the run directory, for this user only.
fn listen_in(run_dir: &Path) -> Result<OwnedFd> {
    let shown = || run_dir.join("sock").display().to_string();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, run_dir, flags, Mode::empty()).context("open", shown)?;
    // A socket's path has at most 107 bytes; a run root's may have more.
    let path = PathBuf::from(format!("/proc/self/fd/{}/sock", dir.as_raw_fd()));
    let _ = std::fs::remove_file(&path);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .context("make control socket", shown)?;
    let address = SocketAddrUnix::new(&path).context("make control socket", shown)?;
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = bind(&socket, &address);
    rustix::process::umask(before);
    bound.context("make control socket", shown)?;
    listen(&socket, 64).context("make control socket", shown)?;
    Ok(socket)
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

/// Starts the exit command; nobody waits for it.
pub fn call(command: &[String]) {
    let Some((program, arguments)) = command.split_first() else {
        return;
    };
    protect(false);
    let _ = std::process::Command::new(program)
        .args(arguments)
        .current_dir("/")
        .env_clear()
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
}

/// Lets the kernel take others first when memory is short, where this may be done (CAP_SYS_RESOURCE).
///
/// Children inherit it, so it is set back before one is made.
pub fn protect(protected: bool) {
    let _ = std::fs::write(
        "/proc/self/oom_score_adj",
        if protected { "-500" } else { "0" },
    );
}
