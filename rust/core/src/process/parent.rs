//! The parent's side of a start: has it planned, clones, answers, and waits for the `execve`.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, openat, unlinkat};
use rustix::process::{
    DumpableBehavior, Signal, WaitId, WaitIdOptions, pidfd_send_signal, set_dumpable_behavior,
    waitid,
};

use super::channel::{self, ChildEnd, Message};
use super::child;
use super::plan::{Plan, plan};
use super::{Failure, Hold, LaunchRequest, Launched, Seccomp, hooks, limits};
use crate::error::{Context, Error, Kind, Result};
use crate::mount::id_map;
use crate::namespace;
use crate::path::text;
use crate::rootfs::IdMap;
use crate::sys;

/// Starts PID 1 of a container and returns when it has executed its program, or is held.
///
/// The caller must be single-threaded. Nothing is left behind on failure.
///
/// Fails with exit code 125 for everything up to `execve`, 127 if the program does not exist, and 126 if it cannot be executed.
pub fn launch(mut request: LaunchRequest<'_>) -> std::result::Result<Launched, Failure> {
    // Nothing that shares a namespace with the child may look into it, or into this process (CVE-2016-9962).
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("make process non-dumpable", String::new)?;
    let mut warnings = Vec::new();
    let fifo = make_fifo(request.hold.as_ref())?;
    let done = plan(&mut request, fifo, &mut warnings)
        .map_err(Failure::from)
        .and_then(|plan| start(&mut request, &plan, &mut warnings));
    match done {
        Ok((pid, pidfd, console)) => Ok(Launched {
            pid,
            pidfd,
            console,
            warnings,
        }),
        Err(failure) => {
            if let Some(Hold::Fifo(path)) = &request.hold {
                let _ = std::fs::remove_file(path);
            }
            Err(failure)
        }
    }
}

fn make_fifo(hold: Option<&Hold>) -> Result<Option<OwnedFd>> {
    let Some(Hold::Fifo(path)) = hold else {
        return Ok(None);
    };
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .context("make fifo", || text(path))?;
    // The container's user, whoever that is, writes to it; the caller's directory keeps others away. (Not by mknod: umask.)
    rustix::fs::chmod(path, Mode::from_raw_mode(0o622)).context("make fifo", || text(path))?;
    openat(
        CWD,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context("open fifo", || text(path))
    .map(Some)
}

/// Process id, its descriptor, the master of its terminal.
type Started = (i32, OwnedFd, Option<OwnedFd>);

/// Clones the child and talks with it until it runs or is held.
pub(super) fn start(
    request: &mut LaunchRequest<'_>,
    plan: &Plan<'_>,
    warnings: &mut Vec<String>,
) -> std::result::Result<Started, Failure> {
    let (ours, theirs) = channel::pair()?;
    let (pid, pidfd) = spawn(request, plan, &ours, theirs)?;
    let talked = talk(request, plan, ours.as_fd(), pid, warnings);
    match talked {
        Ok(console) => Ok((pid, pidfd, console)),
        Err(failure) => {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            // ECHILD if somebody else reaps our children.
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            Err(failure)
        }
    }
}

/// Clones the child into its namespaces. Those that only a later child of a process can enter are joined for the clone.
fn spawn(
    request: &LaunchRequest<'_>,
    plan: &Plan<'_>,
    ours: &OwnedFd,
    theirs: OwnedFd,
) -> Result<(i32, OwnedFd)> {
    // The time namespace is entered by the next child, the cgroup namespace shows the cgroup that one is in: see child.rs.
    let flags = (plan.namespaces.new & !(libc::CLONE_NEWCGROUP | libc::CLONE_NEWTIME)) as u32;
    let own_pid = match plan.namespaces.joined(libc::CLONE_NEWPID) {
        Some(target) => {
            let own = openat(
                CWD,
                "/proc/self/ns/pid",
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .context("open namespace", || "/proc/self/ns/pid")?;
            sys::setns(target.as_fd(), libc::CLONE_NEWPID).context("join namespace", || "pid")?;
            Some(own)
        }
        None => None,
    };
    let made = match plan.namespaces.joined(libc::CLONE_NEWUSER) {
        Some(user) => spawn_in_user_namespace(request, plan, user, flags, (ours, theirs)),
        None => match sys::clone3(u64::from(flags), request.cgroup.unified)
            .context("make process in new namespaces", String::new)?
        {
            sys::Forked::Child => {
                close(ours);
                child::run(plan, ChildEnd(theirs))
            }
            sys::Forked::Parent { pid, pidfd } => Ok((pid, pidfd)),
        },
    };
    if let Some(own) = own_pid {
        sys::setns(own.as_fd(), libc::CLONE_NEWPID).context("return to namespace", || "pid")?;
    }
    made
}

/// Closes the parent's end of the channel in the child: as long as that has it, it does not see that the parent has died.
fn close(ours: &OwnedFd) {
    drop(sys::take_fd(ours.as_raw_fd()));
}

/// An existing user namespace must own the new ones, so a process in between joins it and clones for us (`CLONE_PARENT`).
fn spawn_in_user_namespace(
    request: &LaunchRequest<'_>,
    plan: &Plan<'_>,
    user: &OwnedFd,
    flags: u32,
    (ours, theirs): (&OwnedFd, OwnedFd),
) -> Result<(i32, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .context("make pipe", String::new)?;
    match sys::clone3(0, None).context("make process", String::new)? {
        sys::Forked::Child => {
            drop(read);
            close(ours);
            let joined =
                sys::setns(user.as_fd(), libc::CLONE_NEWUSER).context("join namespace", || "user");
            let cloned = joined.and_then(|()| {
                sys::clone3(
                    u64::from(flags) | libc::CLONE_PARENT as u64,
                    request.cgroup.unified,
                )
                .context("make process in new namespaces", String::new)
            });
            match cloned {
                Ok(sys::Forked::Child) => {
                    drop(write);
                    child::run(plan, ChildEnd(theirs))
                }
                Ok(sys::Forked::Parent { pid, .. }) => {
                    let _ = rustix::io::write(&write, &pid.to_ne_bytes());
                    sys::exit_now(0)
                }
                Err(e) => {
                    ChildEnd(theirs).fail(&e.into());
                    sys::exit_now(125)
                }
            }
        }
        sys::Forked::Parent { pidfd: between, .. } => {
            drop((write, theirs));
            let mut raw = [0u8; 4];
            let n =
                rustix::io::read(&read, &mut raw[..]).context("read process id", String::new)?;
            let _ = waitid(WaitId::PidFd(between.as_fd()), WaitIdOptions::EXITED);
            if n != 4 {
                return Err(Error::new(
                    Kind::Denied,
                    "join namespace",
                    "user",
                    "the user namespace cannot be joined, or no process be made in it",
                ));
            }
            let pid = i32::from_ne_bytes(raw);
            let id = rustix::process::Pid::from_raw(pid).ok_or_else(|| {
                Error::new(Kind::Corrupt, "read process id", pid.to_string(), "not one")
            })?;
            // Not reaped yet, as it is our child: the number cannot be another's.
            let pidfd = rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty())
                .context("open process", || pid.to_string())?;
            Ok((pid, pidfd))
        }
    }
}

/// Reads the child's messages until it runs or is held.
fn talk(
    request: &mut LaunchRequest<'_>,
    plan: &Plan<'_>,
    channel: BorrowedFd<'_>,
    pid: i32,
    warnings: &mut Vec<String>,
) -> std::result::Result<Option<OwnedFd>, Failure> {
    let mut console = None;
    loop {
        if let Some(wait) = request.wait.as_mut() {
            wait(channel)?;
        }
        match channel::receive(channel)? {
            None => return Ok(console),
            Some(Message::Held) => return Ok(console),
            Some(Message::Failed(failure)) => return Err(failure),
            Some(Message::Warning(text)) => warnings.push(text),
            Some(Message::Console(fd)) => console = Some(fd),
            Some(Message::Listener(fd)) => send_listener(request, plan.seccomp.as_ref(), &fd, pid)?,
            Some(Message::Ready) => {
                if plan.namespaces.is_new(libc::CLONE_NEWUSER) {
                    set_up_user_namespace(plan, pid, warnings)?;
                }
                let state = hooks::State::new(
                    request.spec,
                    request.id,
                    &request.bundle,
                    "creating",
                    Some(pid),
                );
                hooks::run(&hooks::of(request.spec, hooks::When::CreateRuntime), &state)?;
                if let Some(call) = request.on_namespaces.as_mut() {
                    call(pid)?;
                }
                channel::go(channel)?;
            }
        }
    }
}

fn set_up_user_namespace(plan: &Plan<'_>, pid: i32, warnings: &mut Vec<String>) -> Result<()> {
    let linux = plan.spec.linux().as_ref();
    let map: IdMap = id_map(
        linux.and_then(|l| l.uid_mappings().as_deref()),
        linux.and_then(|l| l.gid_mappings().as_deref()),
    );
    namespace::write_maps(pid, &map)?;
    if let Some(score) = plan.process.oom_score_adj() {
        let proc = openat(
            CWD,
            "/proc",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .context("open", || "/proc")?;
        warnings.extend(limits::set_oom_score(proc.as_fd(), pid, score)?);
    }
    Ok(())
}

/// The runtime-spec's container process state, sent with the notify descriptor to the listener's socket.
pub(super) fn send_listener(
    request: &LaunchRequest<'_>,
    seccomp: Option<&Seccomp>,
    fd: &OwnedFd,
    pid: i32,
) -> Result<()> {
    let Some(listener) = seccomp.and_then(|s| s.listener.as_ref()) else {
        return Err(Error::new(
            Kind::Invalid,
            "pass seccomp descriptor",
            "",
            "the filter notifies, but no listenerPath is given",
        ));
    };
    let state = hooks::State::new(
        request.spec,
        request.id,
        &request.bundle,
        "creating",
        Some(pid),
    );
    let document = serde_json::json!({
        "ociVersion": request.spec.version(), "fds": ["seccompFd"], "pid": pid, "metadata": listener.metadata, "state": state,
    });
    channel::send_document(&listener.path, document.to_string().as_bytes(), fd.as_fd())
}

/// Lets a process that waits at [`Hold::Fifo`] go on, and removes the fifo (the runtime-spec's `start`).
///
/// Fails with `Conflict` when the process has ended, or nothing waits at `fifo`.
pub fn release(fifo: &Path, pidfd: BorrowedFd<'_>) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let conflict = |why: &str| Error::new(Kind::Conflict, "start container", text(fifo), why);
    let fd = match openat(
        CWD,
        fifo,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Err(rustix::io::Errno::NOENT) => return Err(conflict("it has been started already")),
        other => other.context("open fifo", || text(fifo))?,
    };
    let mut byte = [0u8; 1];
    loop {
        let mut fds = [
            PollFd::new(&fd, PollFlags::IN),
            PollFd::new(&pidfd, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.context("wait for container", || text(fifo))?,
        };
        let (data, ended) = (
            fds[0].revents().intersects(PollFlags::IN),
            !fds[1].revents().is_empty(),
        );
        if data && rustix::io::read(&fd, &mut byte[..]).is_ok_and(|n| n == 1) {
            break;
        }
        if ended {
            return Err(conflict("its process has ended"));
        }
    }
    unlinkat(CWD, fifo, rustix::fs::AtFlags::empty()).context("remove fifo", || text(fifo))
}
