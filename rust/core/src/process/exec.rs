//! One more process in a running container (SECURITY.md R3).
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat, stat};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, pidfd_open, set_dumpable_behavior};

use super::parent::start;
use super::plan::{Plan, identify, plan_capabilities};
use super::program::Program;
use super::{ExecRequest, Failure, LaunchRequest, Launched, Stdio, hooks};
use crate::error::{Context, Error, Kind, Result};
use crate::namespace;
use crate::path::{Root, text};
use crate::rootfs::Rootfs;

/// Starts one more process in a running container and returns when it has executed its program.
///
/// The caller must be single-threaded. The process joins all namespaces of PID 1 that are not the caller's, is invisible to
/// ptrace until `execve` (non-dumpable), and carries no descriptor of the caller into it.
///
/// Fails with `Conflict` if PID 1 has ended, with exit code 127 or 126 if the program cannot be found or executed, 125
/// for all else.
pub fn exec(mut request: ExecRequest<'_>) -> std::result::Result<Launched, Failure> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("make process non-dumpable", String::new)?;
    let mut warnings = Vec::new();
    let plan = plan(&mut request, &mut warnings)?;
    let nowhere = Rootfs::Directory(PathBuf::new());
    let mut caller = LaunchRequest::new(request.id, request.spec, PathBuf::new(), nowhere);
    caller.cgroup = request.cgroup;
    caller.wait = request.wait.take();
    let (pid, pidfd, console) = start(&mut caller, &plan, &mut warnings)?;
    Ok(Launched {
        pid,
        pidfd,
        console,
        warnings,
    })
}

/// The namespaces that can be entered, with their names in `/proc/PID/ns`.
const KINDS: [(i32, &str); 8] = [
    (libc::CLONE_NEWUSER, "user"),
    (libc::CLONE_NEWNS, "mnt"),
    (libc::CLONE_NEWPID, "pid"),
    (libc::CLONE_NEWNET, "net"),
    (libc::CLONE_NEWIPC, "ipc"),
    (libc::CLONE_NEWUTS, "uts"),
    (libc::CLONE_NEWCGROUP, "cgroup"),
    (libc::CLONE_NEWTIME, "time"),
];

fn plan<'a>(request: &mut ExecRequest<'a>, warnings: &mut Vec<String>) -> Result<Plan<'a>> {
    let process = request.process;
    let pid = request.init_pid;
    let ended = || {
        let why = "the container's first process has ended";
        Error::new(Kind::Conflict, "exec in container", request.id, why)
    };
    let id = Pid::from_raw(pid).ok_or_else(ended)?;
    let pidfd = match request.init {
        Some(held) => held
            .try_clone_to_owned()
            .context("duplicate descriptor of process", || pid.to_string())?,
        None => match pidfd_open(id, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Err(ended()),
            other => other.context("open process", || pid.to_string())?,
        },
    };
    let flags = foreign(pid)?;
    let mut namespaces = namespace::Plan::default();
    // Of a pid namespace one becomes a member by birth only; all others are entered by the new process.
    if flags & libc::CLONE_NEWPID != 0 {
        let path = format!("/proc/{pid}/ns/pid");
        let read = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = openat(CWD, path.as_str(), read, Mode::empty())
            .context("open namespace", || path.as_str())?;
        namespaces.join.push((libc::CLONE_NEWPID, fd));
    }
    let root = container_root(pid)?;
    // Everything above was opened by number: it was the container's if PID 1 still lives.
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if poll(&mut fds, Some(&now)).context("look for process", || pid.to_string())? != 0 {
        return Err(ended());
    }
    let mut program = Program::new(
        process.args().as_deref().unwrap_or_default(),
        process.env().as_deref().unwrap_or_default(),
    )?;
    let names = request.user.as_ref();
    let inside = Root::new(root.as_fd());
    let identity = identify(Some(&inside), process.user(), names, &mut program)?;
    let in_user_namespace = flags & libc::CLONE_NEWUSER != 0;
    let capabilities = plan_capabilities(process, in_user_namespace, warnings)?;
    Ok(Plan {
        spec: request.spec,
        process,
        namespaces,
        rootfs: None,
        container: Some((pidfd, flags & !libc::CLONE_NEWPID)),
        program,
        identity,
        capabilities,
        sysctls: Vec::new(),
        seccomp: request.seccomp.take(),
        tasks: request.cgroup.tasks,
        stdio: match std::mem::replace(&mut request.stdio, Stdio::Inherit) {
            Stdio::Inherit => None,
            Stdio::Fds(fds) => Some(fds),
        },
        terminal: process.terminal().unwrap_or(false),
        hold: None,
        hooks: hooks::Plan::default(),
        handshake: false,
        init: false,
        die_with_parent: request.die_with_parent,
        preserve_fds: request.preserve_fds,
    })
}

/// Flags of the namespaces of a process that are not the caller's (entering one's own user namespace is an error).
fn foreign(pid: i32) -> Result<i32> {
    let mut flags = 0;
    for (flag, name) in KINDS {
        let (own, other) = (
            format!("/proc/self/ns/{name}"),
            format!("/proc/{pid}/ns/{name}"),
        );
        let own = match stat(own.as_str()) {
            // This kernel has no such kind.
            Err(Errno::NOENT) => continue,
            found => found.context("look at namespace", || own.as_str())?,
        };
        let other = stat(other.as_str()).context("look at namespace", || other.as_str())?;
        if (own.st_dev, own.st_ino) != (other.st_dev, other.st_ino) {
            flags |= flag;
        }
    }
    Ok(flags)
}

/// The container's root directory, for its passwd file.
fn container_root(pid: i32) -> Result<OwnedFd> {
    let path = PathBuf::from(format!("/proc/{pid}/root"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, &path, flags, Mode::empty()).context("open container's root", || text(&path))
}
