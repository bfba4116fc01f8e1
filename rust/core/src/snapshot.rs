//! Whether overlayfs works with given directories: a real attempt, which leaves no mount behind.
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::mount::{FsOpenFlags, fsconfig_create, fsconfig_set_string, fsopen};

use crate::error::{Context, Result};

/// Makes an overlay of three directories of one file system, and drops it unmounted.
///
/// Fails as the mount of a container would: with `Unsupported` when the kernel has no overlayfs or no `fsopen` (Linux 5.2),
/// with the kernel's errno when the file system of `upper` cannot be one.
pub fn probe_overlay(lower: &Path, upper: &Path, work: &Path) -> Result<()> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .context("open filesystem", || "overlay (CONFIG_OVERLAY_FS)")?;
    let fs = context.as_fd();
    set(fs, "lowerdir", lower)?;
    set(fs, "upperdir", upper)?;
    set(fs, "workdir", work)?;
    // The superblock exists from here on, and goes when the context is closed.
    fsconfig_create(fs).context("mount overlay", || upper.display().to_string())
}

fn set(fs: BorrowedFd<'_>, key: &str, path: &Path) -> Result<()> {
    fsconfig_set_string(fs, key, path)
        .context("set overlay directory", || path.display().to_string())
}
