//! Pipes that a container may use.
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fcntl_setfl, mknodat, openat};

use crate::mount::pseudo;
use crate::{Context, Result};

/// A pipe with a label of its own: reading and writing end.
///
/// A plain pipe has the label of who made it, which a container must not use: SELinux would put /dev/null in its place at the
/// execve, without a word. So it is a fifo on a file system that nobody sees and that has the label.
///
/// # Errors
/// `denied` if the policy forbids such a file system, `limit` if no descriptor is left.
pub fn pipe(label: &str) -> Result<(OwnedFd, OwnedFd)> {
    let fail = || format!("with SELinux label {label}");
    let context = format!("context={label}");
    let data = ["nr_blocks=1", "nr_inodes=2", "mode=700", context.as_str()];
    let place = pseudo("tmpfs", &data, 0).context("make pipe", fail)?;
    let mode = Mode::from_raw_mode(0o600);
    mknodat(&place, "pipe", FileType::Fifo, mode, 0).context("make pipe", fail)?;
    let open = |flags| {
        openat(
            place.as_fd(),
            "pipe",
            flags | OFlags::CLOEXEC,
            Mode::empty(),
        )
    };
    // Without waiting for the other end to be opened.
    let reader = open(OFlags::RDONLY | OFlags::NONBLOCK).context("make pipe", fail)?;
    let writer = open(OFlags::WRONLY).context("make pipe", fail)?;
    fcntl_setfl(&reader, OFlags::empty()).context("make pipe", fail)?;
    Ok((reader, writer))
}
