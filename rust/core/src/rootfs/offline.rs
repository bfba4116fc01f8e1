//! The files of a container that does not run, mounted in a namespace of the caller's own.
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};

use super::{Rootfs, detached, pivot};
use crate::error::{Context, Kind, Result};
use crate::mount;
use crate::path::{Root, text};
use crate::sys::{self, AT_RECURSIVE, MountAttr, mount_setattr};

/// What nobody needs who only copies files.
const ATTRIBUTES: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

/// Moves to a new mount namespace and mounts `rootfs` there, and on its files and directories the binds, each a source of
/// the host and a target, where there is one. Returns the top; the mounts last as long as the namespace.
///
/// For a process with one thread. Fails as the mounts do.
pub fn offline(
    rootfs: &Rootfs,
    binds: &[(PathBuf, PathBuf)],
    label: Option<&str>,
) -> Result<OwnedFd> {
    sys::unshare(libc::CLONE_NEWNS).context("create mount namespace", String::new)?;
    pivot::isolate()?;
    let (root, below) = detached::private(rootfs, label)?;
    let attr = MountAttr {
        set: ATTRIBUTES,
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    let fail = || "container's root filesystem";
    mount_setattr(root.as_fd(), 0, &attr).context("mount", fail)?;
    pivot::attach_root(root.as_fd())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = openat(&root, ".", flags, Mode::empty()).context("open", fail)?;
    let attach = |target: &Path, source: &OwnedFd| -> Result<()> {
        // What is not there is made when the container starts.
        let Ok(at) = Root::new(top.as_fd()).open(target, OFlags::PATH) else {
            return Ok(());
        };
        mount_setattr(source.as_fd(), AT_RECURSIVE, &attr).context("mount", || text(target))?;
        mount::attach(source.as_fd(), at.as_fd()).context("mount", || text(target))
    };
    for (target, source) in &below {
        attach(target, source)?;
    }
    for (source, target) in binds {
        match mount::open_bind(source, true) {
            Ok(fd) => attach(target, &fd)?,
            Err(e) if e.kind == Kind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(top)
}
