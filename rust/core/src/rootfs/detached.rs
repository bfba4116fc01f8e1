//! Root filesystems that are one mount, made without a place.
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{Rootfs, host, overlay};
use crate::error::{Context, Error, Kind, Result};
use crate::mount;
use crate::path::text;
use crate::sys::{AT_RECURSIVE, MountAttr, mount_setattr};

/// Makes a root filesystem as a detached mount, for a runtime that wants to find it at a path; `label` is an SELinux
/// context for all of its files.
///
/// Fails with `Unsupported` for the host's own tree, which is many mounts, and as the mount does.
pub fn detached(rootfs: &Rootfs, label: Option<&str>) -> Result<OwnedFd> {
    match rootfs {
        Rootfs::Overlay(layers) => overlay::mount(layers, label),
        Rootfs::Directory(path) => directory(path),
        Rootfs::Host(host) => Err(Error::new(
            Kind::Unsupported,
            "mount root filesystem",
            text(&host.path),
            "a tree of the host can be used by minidock's own runtime only",
        )),
    }
}

/// Makes a root filesystem as detached mounts for a container that does not run: the top, and what is mounted below it with
/// its places, outer ones first. `label` is an SELinux context for all of its files.
///
/// Fails as the mount does.
pub(super) fn private(
    rootfs: &Rootfs,
    label: Option<&str>,
) -> Result<(OwnedFd, Vec<(PathBuf, OwnedFd)>)> {
    match rootfs {
        Rootfs::Overlay(layers) => Ok((overlay::mount(layers, label)?, Vec::new())),
        Rootfs::Directory(path) => Ok((mount::open_bind(path, false)?, Vec::new())),
        // What is missing or read-only then, is so in the container.
        Rootfs::Host(tree) => host::mount(tree, label, &mut Vec::new()),
    }
}

/// A directory with all mounts below it, cut off from the propagation of the host's.
pub(super) fn directory(path: &Path) -> Result<OwnedFd> {
    let fd = mount::open_bind(path, true)?;
    let private = MountAttr {
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    mount_setattr(fd.as_fd(), AT_RECURSIVE, &private)
        .context("open root filesystem", || text(path))?;
    Ok(fd)
}
