//! What a caller asks for, and what it gets: the vocabulary of [`launch`](super::launch) and [`exec`](super::exec).
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::{Process, Spec};

use crate::error::{Error, Result};
use crate::rootfs::{BindSource, Rootfs};
use crate::security::seccomp::Program;

/// Everything that [`launch`](super::launch) needs to start PID 1 of one container.
pub struct LaunchRequest<'a> {
    /// The container's id, as hooks see it.
    pub id: &'a str,
    /// The runtime-spec document: namespaces, mounts, devices, process and the rest.
    pub spec: &'a Spec,
    /// The bundle directory: relative paths of `spec` start there.
    pub bundle: PathBuf,
    /// Where the root filesystem comes from. `spec.root.path` is not looked at; `spec.root.readonly` is.
    pub rootfs: Rootfs,
    /// What binds of `spec` show instead of the path of the host that they name.
    pub sources: Vec<BindSource>,
    /// User and group names to resolve inside the root filesystem; replaces the numbers of `spec.process.user`.
    pub user: Option<UserNames>,
    /// The cgroups that PID 1 is born into.
    pub cgroup: CgroupEntry<'a>,
    /// The compiled seccomp filter. `spec.linux.seccomp` is not looked at: compile it before.
    pub seccomp: Option<Seccomp>,
    /// Descriptors 0, 1 and 2 of PID 1. Ignored where `spec.process.terminal` is true: a pty is made then.
    pub stdio: Stdio,
    /// Wait between set-up and `execve` (the runtime-spec's `create`).
    pub hold: Option<Hold>,
    /// Our own init as PID 1; the command is its child.
    pub init: bool,
    /// PID 1 is killed when the calling process ends.
    pub die_with_parent: bool,
    /// How many descriptors from 3 upwards PID 1 inherits.
    pub preserve_fds: u32,
    /// Called in the parent when the namespaces exist and before any mount is made, with the process id of PID 1.
    #[allow(clippy::type_complexity)]
    pub on_namespaces: Option<&'a mut dyn FnMut(i32) -> Result<()>>,
    /// Called before each wait for the new process; see [`Wait`].
    pub wait: Option<Wait<'a>>,
}

/// Waits until the descriptor of the start-up channel can be read; an error gives the start up.
pub type Wait<'a> = &'a mut dyn FnMut(BorrowedFd<'_>) -> Result<()>;

impl<'a> LaunchRequest<'a> {
    /// A request with the plainest choices: inherited streams, no cgroup, no filter, no init, dies with its parent.
    #[must_use]
    pub fn new(id: &'a str, spec: &'a Spec, bundle: PathBuf, rootfs: Rootfs) -> Self {
        Self {
            id,
            spec,
            bundle,
            rootfs,
            sources: Vec::new(),
            user: None,
            cgroup: CgroupEntry::default(),
            seccomp: None,
            stdio: Stdio::Inherit,
            hold: None,
            init: false,
            die_with_parent: true,
            preserve_fds: 0,
            on_namespaces: None,
            wait: None,
        }
    }
}

/// What [`exec`](super::exec) needs to start one more process in a running container.
pub struct ExecRequest<'a> {
    /// The container's id.
    pub id: &'a str,
    /// PID 1 of the container, whose namespaces are joined.
    pub init_pid: i32,
    /// A descriptor that is known to be of that process, for callers that have one: the number alone may be another's by now.
    pub init: Option<BorrowedFd<'a>>,
    /// The process to start.
    pub process: &'a Process,
    /// The container's document, for what `process` inherits from it (rootfs propagation, personality).
    pub spec: &'a Spec,
    /// User and group names to resolve inside the container; replaces the numbers of `process.user`.
    pub user: Option<UserNames>,
    /// The cgroups that the process is born into.
    pub cgroup: CgroupEntry<'a>,
    /// The compiled seccomp filter.
    pub seccomp: Option<Seccomp>,
    /// Descriptors 0, 1 and 2. Ignored where `process.terminal` is true: a pty is made in the container then.
    pub stdio: Stdio,
    /// How many descriptors from 3 upwards the process inherits.
    pub preserve_fds: u32,
    /// The process is killed when the calling process ends.
    pub die_with_parent: bool,
    /// Called before each wait for the new process, which is frozen with a container that is paused meanwhile.
    pub wait: Option<Wait<'a>>,
}

/// A user as Docker writes it, resolved by the passwd and group files of the image (SECURITY.md R7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserNames {
    /// `name-or-uid[:group-or-gid]`; empty means root.
    pub user: String,
    /// Names or numbers of more groups.
    pub group_add: Vec<String>,
}

/// Descriptors 0 to 2 of the started process.
#[derive(Debug)]
pub enum Stdio {
    /// Those of the caller.
    Inherit,
    /// These; they are closed in the caller when `launch` returns.
    Fds([OwnedFd; 3]),
}

/// The cgroups that a process is born into.
///
/// On v2 the kernel places it during `clone3`. On v1 the new process writes `0` to each `tasks` file: unlike a write
/// of a pid to `cgroup.procs` that needs no `cgroup_threadgroup_rwsem`, which can cost milliseconds of RCU.
#[derive(Debug, Default, Clone, Copy)]
pub struct CgroupEntry<'a> {
    /// The directory of the v2 cgroup.
    pub unified: Option<BorrowedFd<'a>>,
    /// The `tasks` files of the v1 cgroups, open for writing.
    pub tasks: &'a [OwnedFd],
}

/// A compiled seccomp filter, and who answers its notifications.
#[derive(Debug, Clone)]
pub struct Seccomp {
    /// The filter.
    pub program: Program,
    /// Socket that gets the notify descriptor (`listenerPath`), with the state document of the runtime-spec.
    pub listener: Option<Listener>,
}

/// Where the notify descriptor of a seccomp filter goes.
#[derive(Debug, Clone)]
pub struct Listener {
    /// A listening unix socket on the host.
    pub path: PathBuf,
    /// `listenerMetadata`.
    pub metadata: String,
}

/// How PID 1 waits for the runtime-spec's `start`.
#[derive(Debug, Clone)]
pub enum Hold {
    /// A fifo is made at this path on the host; PID 1 waits in `open` for its reader ([`release`](super::release)).
    Fifo(PathBuf),
}

/// A started (or held) process.
#[derive(Debug)]
pub struct Launched {
    /// Its process id in the caller's pid namespace. It is the caller's child: wait for it.
    pub pid: i32,
    /// A descriptor of the process.
    pub pidfd: OwnedFd,
    /// The master side of its terminal, when `terminal` was set.
    pub console: Option<OwnedFd>,
    /// What could not be done and does not stop the container; one line each.
    pub warnings: Vec<String>,
}

/// Why no process was started.
#[derive(Debug)]
pub struct Failure {
    /// The cause.
    pub error: Error,
    /// What Docker's command line ends with: 125 set-up, 126 cannot be executed, 127 not found.
    pub exit_code: u8,
}

impl Failure {
    /// The class of a failed `execve` or of the search for its program.
    #[must_use]
    pub fn execute(error: Error) -> Self {
        let exit_code = match error.errno {
            Some(libc::ENOENT | libc::ENOTDIR) => 127,
            _ => 126,
        };
        Self { error, exit_code }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            exit_code: 125,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
