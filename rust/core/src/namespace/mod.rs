//! Namespaces of a container: which are new, which are joined, and what is set inside new ones.
mod idmap;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat, stat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::error::{Context, Error, Kind, Result};
use crate::path::text;
use crate::sys;

pub use idmap::{user_namespace, write_maps};

/// Which namespaces of a container are new, and which exist already.
#[derive(Debug, Default)]
pub struct Plan {
    /// `CLONE_NEW*` flags of the new ones.
    pub new: i32,
    /// Those to join: `CLONE_NEW*` flag and descriptor.
    pub join: Vec<(i32, OwnedFd)>,
}

impl Plan {
    /// Whether a namespace of this kind is made for the container.
    #[must_use]
    pub fn is_new(&self, flag: i32) -> bool {
        self.new & flag != 0
    }

    /// Whether the container has a namespace of this kind that is not the caller's.
    #[must_use]
    pub fn is_own(&self, flag: i32) -> bool {
        self.is_new(flag) || self.joined(flag).is_some()
    }

    /// The joined namespace of this kind.
    #[must_use]
    pub fn joined(&self, flag: i32) -> Option<&OwnedFd> {
        self.join.iter().find(|(f, _)| *f == flag).map(|(_, fd)| fd)
    }
}

/// The `CLONE_NEW*` flag of a kind.
#[must_use]
pub fn flag(kind: LinuxNamespaceType) -> i32 {
    match kind {
        LinuxNamespaceType::Mount => libc::CLONE_NEWNS,
        LinuxNamespaceType::Cgroup => libc::CLONE_NEWCGROUP,
        LinuxNamespaceType::Uts => libc::CLONE_NEWUTS,
        LinuxNamespaceType::Ipc => libc::CLONE_NEWIPC,
        LinuxNamespaceType::User => libc::CLONE_NEWUSER,
        LinuxNamespaceType::Pid => libc::CLONE_NEWPID,
        LinuxNamespaceType::Network => libc::CLONE_NEWNET,
        LinuxNamespaceType::Time => libc::CLONE_NEWTIME,
    }
}

/// Reads the document's list and opens the namespaces to join.
///
/// Fails with `Invalid` if a kind is listed twice, or a path is of another kind of namespace (the kernel's EINVAL, at
/// `setns`), and with `NotFound` if a path does not exist.
pub fn plan(spec: &Spec) -> Result<Plan> {
    let mut plan = Plan::default();
    let listed: &[LinuxNamespace] = spec
        .linux()
        .as_ref()
        .and_then(|l| l.namespaces().as_deref())
        .unwrap_or_default();
    for ns in listed {
        let flag = flag(ns.typ());
        if plan.is_own(flag) {
            return Err(Error::new(
                Kind::Invalid,
                "plan namespaces",
                format!("{:?}", ns.typ()).to_lowercase(),
                "listed twice",
            ));
        }
        match ns.path().as_deref().filter(|p| !p.as_os_str().is_empty()) {
            None => plan.new |= flag,
            Some(path) => {
                let fd = open(path)?;
                // The caller's own is the host's, as if it were not listed: nothing inside it may be changed.
                if !is_callers(&fd, ns.typ())? {
                    plan.join.push((flag, fd));
                }
            }
        }
    }
    // A user namespace first: it owns the others.
    plan.join
        .sort_by_key(|(flag, _)| *flag != libc::CLONE_NEWUSER);
    Ok(plan)
}

/// Whether the calling process is in this namespace.
fn is_callers(fd: &OwnedFd, kind: LinuxNamespaceType) -> Result<bool> {
    let name = match kind {
        LinuxNamespaceType::Mount => "mnt",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "net",
        LinuxNamespaceType::Time => "time",
    };
    let shown = || format!("/proc/self/ns/{name}");
    let (found, own) = (
        fstat(fd).context("stat namespace", shown)?,
        stat(shown().as_str()),
    );
    // A kernel without this kind has no file of it.
    Ok(own.is_ok_and(|own| (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino)))
}

fn open(path: &Path) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context("open namespace", || text(path))
}

/// Brings up the loopback interface of the current network namespace.
pub fn loopback_up() -> Result<()> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .context("make socket", String::new)?;
    sys::interface_up(socket.as_fd(), "lo").context("bring up network interface", || "lo")
}
