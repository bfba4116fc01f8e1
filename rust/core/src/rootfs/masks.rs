//! Masked and read-only paths (runtime-spec `maskedPaths`, `readonlyPaths`).
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags, ResolveFlags, fstat};
use rustix::io::{Errno, Result as RawResult};

use crate::error::{Context, Result};
use crate::mount::{attach, clone_tree, pseudo};
use crate::path::{Root, clean, open_below, text};
use crate::sys::{AT_RECURSIVE, MountAttr, mount_setattr};

/// Where masks are put: below the container's root, and below its procfs by the descriptor of that very mount.
pub struct Places<'a> {
    /// The container's root.
    pub root: Root<'a>,
    /// The procfs that is mounted on `/proc`, if one is.
    pub proc: Option<BorrowedFd<'a>>,
}

impl Places<'_> {
    /// Opens a path; `None` if there is none.
    fn find(&self, path: &Path) -> RawResult<Option<OwnedFd>> {
        let path = clean(path);
        let found = match (self.proc, path.strip_prefix("/proc")) {
            // Nothing that was mounted elsewhere can stand in for the real thing.
            (Some(proc), Ok(below)) if !below.as_os_str().is_empty() => {
                open_below(proc, below, OFlags::PATH, ResolveFlags::BENEATH)
            }
            _ => self.root.open(&path, OFlags::PATH),
        };
        match found {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Covers each path that exists: files with `null`, directories with one empty, read-only tmpfs.
pub fn mask<S: AsRef<str>>(
    places: &Places<'_>,
    paths: &[S],
    null: &OwnedFd,
    label: Option<&str>,
) -> Result<()> {
    // All masked directories show one empty filesystem: it can never be written. Only what is attached can be cloned
    // (before Linux 6.15), so the first directory gets the mount itself and the others copies of it.
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let path = Path::new(path.as_ref());
        let fail = || text(path);
        let Some(target) = places.find(path).context("mask", fail)? else {
            continue;
        };
        let stat = fstat(&target).context("mask", fail)?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match (directory, &empty) {
            (true, None) => {
                let fd = empty_directory(label).context("make empty filesystem", String::new)?;
                attach(fd.as_fd(), target.as_fd()).context("mask", fail)?;
                empty = Some(fd);
            }
            (true, Some(source)) => cover(source, &target).context("mask", fail)?,
            (false, _) => cover(null, &target).context("mask", fail)?,
        }
    }
    Ok(())
}

fn cover(source: &OwnedFd, target: &OwnedFd) -> RawResult<()> {
    attach(clone_tree(source.as_fd(), false)?.as_fd(), target.as_fd())
}

/// An empty, read-only tmpfs.
pub fn empty_directory(label: Option<&str>) -> RawResult<OwnedFd> {
    let context = label.map(|l| format!("context={l}"));
    let mut data = vec!["nr_blocks=1", "nr_inodes=1", "mode=755"];
    data.extend(context.as_deref());
    let attributes = libc::MOUNT_ATTR_RDONLY
        | libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC;
    pseudo("tmpfs", &data, attributes)
}

/// Makes each path that exists read-only, with all mounts below.
pub fn read_only<S: AsRef<str>>(places: &Places<'_>, paths: &[S]) -> Result<()> {
    for path in paths {
        let path = Path::new(path.as_ref());
        let fail = || text(path);
        let Some(target) = places.find(path).context("make read-only", fail)? else {
            continue;
        };
        let copy = clone_tree(target.as_fd(), true).context("make read-only", fail)?;
        let attr = MountAttr {
            set: libc::MOUNT_ATTR_RDONLY,
            ..MountAttr::default()
        };
        mount_setattr(copy.as_fd(), AT_RECURSIVE, &attr).context("make read-only", fail)?;
        attach(copy.as_fd(), target.as_fd()).context("make read-only", fail)?;
    }
    Ok(())
}
