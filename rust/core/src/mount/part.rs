//! Part of a directory or of a mount that has no place, as a mount of its own.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat};
use rustix::io::{Errno, Result as RawResult};
use rustix::mount::{MountPropagationFlags, mount_change};

use super::child::made_in_child;
use super::{attach, clone_tree};
use crate::error::{Error, Kind, Result};
use crate::path::{open_below, text};
use crate::sys;

/// A detached copy of what `path` is below the directory `top`, in the words of `base` for errors. Links on the way are followed as
/// long as none is absolute or leads out of the directory.
///
/// `is_detached` says that `top` is the root of a mount without a place. For a process with one thread. Fails with `Invalid` for a
/// path that leaves the directory, and with `NotFound`.
pub fn part_of(
    top: BorrowedFd<'_>,
    base: &Path,
    path: &Path,
    recursive: bool,
    is_detached: bool,
) -> Result<OwnedFd> {
    let open = || open_below(top, path, OFlags::PATH, ResolveFlags::BENEATH);
    let failed = |errno: Errno| match errno {
        Errno::XDEV => Error {
            op: "path concatenation escapes the base directory,",
            subject: format!("base: {}, subpath: {}", text(base), text(path)),
            kind: Kind::Invalid,
            errno: None,
            source: None,
        },
        other => {
            let whole = text(&base.join(path));
            Error::errno("cannot access path", whole, other.raw_os_error())
        }
    };
    let found = open().map_err(failed)?;
    match clone_tree(found.as_fd(), recursive) {
        // Before Linux 6.15 only what has a place can be copied: it gets one where nobody sees it.
        Err(Errno::INVAL) if is_detached => {
            made_in_child("open bind source", &|| text(&base.join(path)), || {
                placed(top, &open, recursive)
            })
        }
        other => other.map_err(failed),
    }
}

/// Gives the mount a place in a new namespace, and copies the part that `open` finds.
fn placed(
    top: BorrowedFd<'_>,
    open: &dyn Fn() -> RawResult<OwnedFd>,
    recursive: bool,
) -> RawResult<OwnedFd> {
    sys::unshare(libc::CLONE_NEWNS)?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = openat(CWD, "/", flags, Mode::empty())?;
    attach(top, place.as_fd())?;
    clone_tree(open()?.as_fd(), recursive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::pseudo;
    use std::os::unix::fs::symlink;

    #[test]
    fn parts_stay_inside() {
        let dir = std::env::temp_dir().join(format!("minidock-part-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("base/a/b")).unwrap();
        std::fs::write(dir.join("base/a/file"), "x").unwrap();
        symlink("a/b", dir.join("base/good")).unwrap();
        symlink("/a", dir.join("base/absolute")).unwrap();
        symlink("../..", dir.join("base/up")).unwrap();
        symlink("/proc/self/root", dir.join("base/magic")).unwrap();
        let base = dir.join("base");
        let top = std::fs::File::open(&base).unwrap();
        let part = |path: &str| part_of(top.as_fd(), &base, Path::new(path), true, false);
        for path in ["..", "a/../..", "/a", "absolute/b", "up", "magic"] {
            let e = part(path).unwrap_err();
            assert_eq!(e.kind, Kind::Invalid, "{path}");
            assert!(e.to_string().contains("escapes the base directory"), "{e}");
        }
        assert_eq!(part("a/none").unwrap_err().kind, Kind::NotFound);
        // The rest needs root.
        if rustix::process::geteuid().is_root() {
            for path in ["a/b", "good", "a/../a/file", "."] {
                part(path).unwrap();
            }
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_mount_without_a_place_has_parts() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let top = pseudo("tmpfs", &[], 0).unwrap();
        rustix::fs::mkdirat(&top, "d", Mode::from_raw_mode(0o751)).unwrap();
        let mode = |fd: OwnedFd| rustix::fs::fstat(&fd).unwrap().st_mode & 0o777;
        let direct = part_of(top.as_fd(), Path::new("t"), Path::new("d"), true, true).unwrap();
        assert_eq!(mode(direct), 0o751);
        let open = || {
            open_below(
                top.as_fd(),
                Path::new("d"),
                OFlags::PATH,
                ResolveFlags::BENEATH,
            )
        };
        // The way of older kernels; the mount is used up by it.
        let named = || "t".to_owned();
        let copy = made_in_child("open bind source", &named, || {
            placed(top.as_fd(), &open, true)
        })
        .unwrap();
        assert_eq!(mode(copy), 0o751);
    }
}
