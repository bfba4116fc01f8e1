//! pivot_root(2): the container's root becomes the root of its mount namespace, and the host's tree goes away.
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::CWD;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use crate::error::{Context, Result};

/// Cuts the new mount namespace off from the host's: nothing mounted here appears there, and back.
pub fn isolate() -> Result<()> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .context("make mounts private", || "/")
}

/// Puts the detached root on top of the host's, where every later path of ours still finds the host: lookups of `/` start
/// below it until [`enter`].
pub fn attach_root(root: BorrowedFd<'_>) -> Result<()> {
    move_mount(root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .context("attach root filesystem", String::new)
}

/// Makes the attached root the only one. With `pivot_root(".", ".")` the old root ends up on top of the new one, from
/// where it is unmounted as a whole: no directory for it is needed.
pub fn enter(root: BorrowedFd<'_>) -> Result<()> {
    fchdir(root.as_fd()).context("change to root filesystem", String::new)?;
    pivot_root(".", ".").context("change the root", || "pivot_root")?;
    unmount(".", UnmountFlags::DETACH).context("unmount the host's root", String::new)?;
    chdir("/").context("change directory", || "/")
}
