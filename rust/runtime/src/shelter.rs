//! Where supervisors live on a host with systemd: outside the unit of whoever started them.
//!
//! A session's end, or a service's stop, kills whatever is in the unit's cgroup; a container is none of that.
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use minidock_core::cgroup::place::{Place, systemd_runs};
use minidock_core::error::Result;
use minidock_core::sys::{self, Forked};

/// The group of supervisors; it has no limits and no controllers of its own.
const SUPERVISORS: &str = "minidock/supervisors";
/// Beside a container's group in a scope of systemd's; it is what keeps the scope.
const KEEPER: &str = "supervisor";

/// Forks; the child, which gets None, lives in the group of supervisors.
///
/// Where that cannot be (no systemd, no right to), it stays in the caller's cgroup.
pub fn fork() -> rustix::io::Result<Option<i32>> {
    let place = systemd_runs()
        .then(|| Place::make(SUPERVISORS).ok())
        .flatten();
    let Some(place) = place else {
        return sys::fork();
    };
    if let Some(dir) = place.birth() {
        match sys::clone3(0, Some(dir)) {
            Ok(Forked::Child) => return Ok(None),
            Ok(Forked::Parent { pid, .. }) => return Ok(Some(pid)),
            Err(_) => {}
        }
    }
    let forked = sys::fork()?;
    if forked.is_none() {
        let _ = place.enter(0);
    }
    Ok(forked)
}

/// The beginning of a verb that serves a client: nothing inherited, no child of the client, away from its terminal.
/// The client's socket, or how the process ends that is not to go on.
pub fn begin(
    verb: &str,
    fork: impl FnOnce() -> rustix::io::Result<Option<i32>>,
) -> std::result::Result<OwnedFd, ExitCode> {
    let _ = sys::close_from(4);
    if let Ok(Some(_)) = fork() {
        return Err(ExitCode::SUCCESS);
    }
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    let Ok(client) = sys::take_fd(3) else {
        eprintln!("minidock-runtime: {verb} is for minidock itself: descriptor 3 is not open");
        return Err(ExitCode::from(125));
    };
    let _ = rustix::io::fcntl_setfd(&client, rustix::io::FdFlags::CLOEXEC);
    Ok(client)
}

/// The group for who keeps a scope, if a container's group is in one: `/a.slice/minidock-ID.scope/container`.
fn keeper(cgroup: &str) -> Option<String> {
    let parent = Path::new(cgroup).parent()?;
    let scope = parent.extension()? == "scope";
    (scope && systemd_runs()).then(|| format!("{}/{KEEPER}", parent.display()))
}

/// Moves the caller, a supervisor, into the scope that its container's group is in, if it is in one.
pub fn join_scope(cgroup: &str) -> Result<()> {
    match keeper(cgroup) {
        Some(path) => Place::make(&path)?.enter(0),
        None => Ok(()),
    }
}
