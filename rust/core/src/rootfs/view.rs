//! Layers as one read-only tree, to look at or to copy from: no container is involved.
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount as umount2};

use super::{Overlay, overlay};
use crate::error::{Context, Error, Kind, Result};
use crate::mount;
use crate::path::text;
use crate::sys::{MountAttr, mount_setattr};

/// What nobody needs who only reads: layers are strangers' files.
const ATTRIBUTES: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// Mounts layers, the topmost first, at no place: the mount ends with its descriptor.
///
/// # Errors
/// `NotFound` for a layer that is no directory, `Limit` for more than [`overlay::MAX_LAYERS`], and the kernel's.
pub fn view(lower: Vec<PathBuf>) -> Result<OwnedFd> {
    let layers = Overlay {
        lower,
        ..Overlay::default()
    };
    self::layers(&layers, None)
}

/// [`view`] of layers with a map of owners, and an SELinux context for all files.
pub(super) fn layers(layers: &Overlay, label: Option<&str>) -> Result<OwnedFd> {
    let fd = match overlay::mount(layers, label) {
        // Linux before 6.15 takes no empty layer that is mounted nowhere, and no single layer: that one shows itself.
        Err(e)
            if e.errno == Some(libc::EINVAL)
                && layers.lower.len() == 1
                && layers.idmap.is_none() =>
        {
            match label {
                None => mount::open_bind(&layers.lower[0], false)?,
                Some(label) => overlay::mount_alone(layers, label)?,
            }
        }
        other => other?,
    };
    let attr = MountAttr {
        set: ATTRIBUTES,
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    mount_setattr(fd.as_fd(), 0, &attr).context("mount", || "layers read-only")?;
    Ok(fd)
}

/// Puts the mount on the directory `target` of the host.
///
/// # Errors
/// `NotFound`, `Invalid` for something that is no directory, a symbolic link among them.
pub fn attach(mount: &OwnedFd, target: &Path) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = match openat(CWD, target, flags, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let why = "not a directory; a symbolic link to one does not do";
            return Err(Error::new(Kind::Invalid, "mount on", text(target), why));
        }
        other => other.context("mount on", || text(target))?,
    };
    mount::attach(mount.as_fd(), place.as_fd()).context("mount on", || text(target))
}

/// Takes away what is mounted on `target`, which is no symbolic link.
///
/// # Errors
/// `Busy` while a process uses it, `NotFound` where nothing is mounted.
pub fn unmount(target: &Path) -> Result<()> {
    let fail = |kind, why: &str| Err(Error::new(kind, "unmount", text(target), why));
    match umount2(target, UnmountFlags::NOFOLLOW) {
        Err(Errno::BUSY) => fail(
            Kind::Busy,
            "in use: a process has a file of it open or works in it, or something is mounted inside",
        ),
        Err(Errno::INVAL) => fail(Kind::NotFound, "nothing is mounted there"),
        other => other.context("unmount", || text(target)),
    }
}
