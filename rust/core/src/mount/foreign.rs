//! Binds whose source lies in the mount namespace of another container (`/proc/PID/root/…`): what is mounted there can be
//! copied only by a process inside that namespace.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::child::made_in_child;
use super::clone_tree;
use crate::error::{Context, Result};
use crate::path::{Root, text};
use crate::sys;

/// The process and the path inside its root, of a path of that form.
pub(super) fn parse(path: &Path) -> Option<(i32, PathBuf)> {
    let mut parts = path.strip_prefix("/proc").ok()?.components();
    let pid = parts.next()?.as_os_str().to_str()?.parse().ok()?;
    (parts.next()?.as_os_str() == "root").then(|| (pid, parts.as_path().to_path_buf()))
}

/// A detached copy of what the process `pid` has at `inside`, below its root. The other container decides about the links
/// on the way, so they are followed inside its root only.
pub(super) fn open(pid: i32, inside: &Path, recursive: bool) -> Result<OwnedFd> {
    let name = || format!("{} of process {pid}", text(inside));
    let namespace = format!("/proc/{pid}/ns/mnt");
    let namespace = openat(
        CWD,
        namespace.as_str(),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context("open namespace", || namespace.as_str())?;
    made_in_child("open bind source", &name, || {
        copy(namespace.as_fd(), inside, recursive)
    })
}

fn copy(
    namespace: BorrowedFd<'_>,
    inside: &Path,
    recursive: bool,
) -> std::result::Result<OwnedFd, Errno> {
    sys::setns(namespace, libc::CLONE_NEWNS)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, "/", flags, Mode::empty())?;
    let source = Root::new(root.as_fd()).open(inside, OFlags::PATH)?;
    clone_tree(source.as_fd(), recursive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_paths_of_other_processes() {
        let shm = parse(Path::new("/proc/42/root/dev/shm"));
        assert_eq!(shm, Some((42, PathBuf::from("dev/shm"))));
        for other in [
            "/proc/self/root/x",
            "/proc/42/cwd",
            "/x/proc/42/root/y",
            "/proc",
        ] {
            assert_eq!(parse(Path::new(other)), None, "{other}");
        }
    }
}
