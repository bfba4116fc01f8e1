//! Hooks of the runtime-spec: programs that run at points of a container's life, with its state on their stdin.
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use serde::Serialize;

use crate::error::{Context, Error, Kind, Result};
use crate::path::text;
use crate::sys;

/// A moment of a container's life at which hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// `prestart` (old) and `createRuntime`: on the host, when the namespaces exist.
    CreateRuntime,
    /// In the container's namespaces, before its root is entered.
    CreateContainer,
    /// In the container, before its program is executed.
    StartContainer,
    /// On the host, after `start`.
    Poststart,
    /// On the host, after `delete`.
    Poststop,
}

/// The runtime-spec's state document.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// `ociVersion` of the container's document.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// `creating`, `created`, `running` or `stopped`.
    pub status: &'static str,
    /// PID 1, unless stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The bundle directory.
    pub bundle: PathBuf,
    /// The document's annotations.
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    pub annotations: HashMap<String, String>,
}

impl State {
    /// The state of the container of a document.
    #[must_use]
    pub fn new(
        spec: &Spec,
        id: &str,
        bundle: &Path,
        status: &'static str,
        pid: Option<i32>,
    ) -> Self {
        Self {
            oci_version: spec.version().clone(),
            id: id.to_owned(),
            status,
            pid,
            bundle: bundle.to_owned(),
            annotations: spec.annotations().clone().unwrap_or_default(),
        }
    }
}

/// The hooks of a moment, in order.
#[must_use]
pub fn of(spec: &Spec, when: When) -> Vec<Hook> {
    let Some(hooks) = spec.hooks() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    match when {
        When::CreateRuntime => {
            #[allow(deprecated)]
            all.extend(hooks.prestart().clone().unwrap_or_default());
            all.extend(hooks.create_runtime().clone().unwrap_or_default());
        }
        When::CreateContainer => all.extend(hooks.create_container().clone().unwrap_or_default()),
        When::StartContainer => all.extend(hooks.start_container().clone().unwrap_or_default()),
        When::Poststart => all.extend(hooks.poststart().clone().unwrap_or_default()),
        When::Poststop => all.extend(hooks.poststop().clone().unwrap_or_default()),
    }
    all
}

/// Runs hooks one after the other with `state` on their stdin; the first that fails ends the row.
///
/// Fails with `Timeout` if a hook runs longer than its limit (it is killed), with `System` if it ends otherwise than with 0.
pub fn run(hooks: &[Hook], state: &State) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let document = serde_json::to_vec(state).map_err(|e| {
        Error::new(
            Kind::Invalid,
            "write state for hook",
            state.id.as_str(),
            e.to_string(),
        )
    })?;
    hooks.iter().try_for_each(|h| run_one(h, &document))
}

/// What the child needs for the hooks that it runs itself.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub state: Option<State>,
}

impl Plan {
    pub(super) fn run_in_container(&self, when: When) -> Result<()> {
        let Some(state) = &self.state else {
            return Ok(());
        };
        let (hooks, status) = match when {
            When::StartContainer => (&self.start_container, "created"),
            _ => (&self.create_container, "creating"),
        };
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        run(
            hooks,
            &State {
                status,
                pid: Some(pid),
                ..state.clone()
            },
        )
    }
}

fn run_one(hook: &Hook, state: &[u8]) -> Result<()> {
    let name = || text(hook.path());
    let c_string = |s: &[u8]| {
        CString::new(s)
            .map_err(|_| Error::new(Kind::Invalid, "run hook", name(), "contains a NUL byte"))
    };
    if !hook.path().is_absolute() {
        return Err(Error::new(
            Kind::Invalid,
            "run hook",
            name(),
            "its path is not absolute",
        ));
    }
    let path = c_string(hook.path().as_os_str().as_bytes())?;
    let list = |l: &Option<Vec<String>>| {
        l.as_deref()
            .unwrap_or_default()
            .iter()
            .map(|s| c_string(s.as_bytes()))
            .collect::<Result<Vec<_>>>()
    };
    let (mut argv, envp) = (list(hook.args())?, list(hook.env())?);
    if argv.is_empty() {
        argv.push(path.clone());
    }
    let limit = match hook.timeout() {
        None => None,
        Some(seconds) if seconds > 0 => Some(seconds),
        Some(seconds) => {
            return Err(Error::new(
                Kind::Invalid,
                "run hook",
                name(),
                format!("a time limit of {seconds} s"),
            ));
        }
    };
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .context("make pipe", String::new)?;
    match sys::fork().context("run hook", name)? {
        None => {
            let _ = rustix::stdio::dup2_stdin(&read);
            let _ = sys::close_range_cloexec(3);
            sys::reset_signals();
            let _ = sys::execve(&path, &argv, &envp);
            sys::exit_now(127)
        }
        Some(pid) => {
            drop(read);
            let child = Pid::from_raw(pid);
            let opened = child.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            let pidfd = opened.ok_or_else(|| Error::errno("run hook", name(), libc::ESRCH))?;
            let ended = feed(write, state).and_then(|()| wait(pidfd.as_fd(), limit, name()));
            if ended.is_err() {
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            }
            ended
        }
    }
}

/// Writes the state. The pipe takes a document of usual size at once; a hook need not read it.
fn feed(pipe: std::os::fd::OwnedFd, mut state: &[u8]) -> Result<()> {
    rustix::io::ioctl_fionbio(&pipe, true).context("write state for hook", String::new)?;
    // Large annotations: as large a pipe as it takes, so that the writer never waits for the reader.
    if state.len() > 65536 {
        rustix::pipe::fcntl_setpipe_size(&pipe, state.len())
            .context("write state for hook", String::new)?;
    }
    while !state.is_empty() {
        match rustix::io::write(&pipe, state) {
            Ok(n) => state = &state[n..],
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::AGAIN) => return Ok(()),
            Err(e) => return Err(e).context("write state for hook", String::new),
        }
    }
    Ok(())
}

fn wait(pidfd: BorrowedFd<'_>, limit: Option<i64>, name: String) -> Result<()> {
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let limit = limit.map(|seconds| Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    });
    let ready = loop {
        match poll(&mut fds, limit.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.context("wait for hook", || name.as_str())?,
        }
    };
    if ready == 0 {
        return Err(Error::new(
            Kind::Timeout,
            "run hook",
            name,
            "it ran longer than its time limit",
        ));
    }
    let status = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)
        .context("wait for hook", || name.as_str())?;
    match status.and_then(|s| s.exit_status()) {
        Some(0) => Ok(()),
        Some(127) => Err(Error::new(
            Kind::NotFound,
            "run hook",
            name,
            "it cannot be executed, or ended with 127",
        )),
        Some(code) => Err(Error::new(
            Kind::System(libc::ECHILD),
            "run hook",
            name,
            format!("it ended with {code}"),
        )),
        None => Err(Error::new(
            Kind::System(libc::ECHILD),
            "run hook",
            name,
            "a signal ended it",
        )),
    }
}
