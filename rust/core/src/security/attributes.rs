//! Security attributes of the calling thread: `/proc/thread-self/attr` (proc_pid_attr(5)).
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::{Context, Error, Kind, Result};

/// Inode of the root of every procfs (`PROC_ROOT_INO`).
const PROC_ROOT_INO: u64 = 1;

/// Writes an attribute in one write, through the root of a private procfs (SECURITY.md R2).
///
/// The procfs is checked to be one, by its root; nothing on the way may be a mount or a magic link. So a container's
/// mounts over `/proc` cannot send the label elsewhere (CVE-2019-16884, CVE-2025-52881). The first of `names` that
/// exists is written.
///
/// # Errors
/// `denied` if it is no procfs, `not-found` if the kernel has none of the attributes, else what the write failed with;
/// all mean that the process must not go on.
pub(super) fn write(procfs: BorrowedFd<'_>, names: &[&str], value: &str) -> Result<()> {
    check(procfs)?;
    let mut missing = None;
    for name in names {
        let path = PathBuf::from("thread-self/attr").join(name);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match fs::openat2(procfs, &path, flags, Mode::empty(), resolve) {
            Ok(file) => file,
            Err(Errno::NOENT) => {
                missing = Some(path);
                continue;
            }
            Err(e) => {
                return Err(Error::errno(
                    "open security attribute",
                    show(&path),
                    e.raw_os_error(),
                ));
            }
        };
        let written = rustix::io::write(&file, value.as_bytes())
            .context("write security attribute", || show(&path))?;
        if written != value.len() {
            return Err(Error::new(
                Kind::Denied,
                "write security attribute",
                show(&path),
                "it was written in part",
            ));
        }
        return Ok(());
    }
    let path = missing.unwrap_or_default();
    Err(Error::errno(
        "open security attribute",
        show(&path),
        libc::ENOENT,
    ))
}

fn check(procfs: BorrowedFd<'_>) -> Result<()> {
    let kind = fs::fstatfs(procfs).context("check procfs", || "")?.f_type;
    let inode = fs::fstat(procfs).context("check procfs", || "")?.st_ino;
    if kind != fs::PROC_SUPER_MAGIC || inode != PROC_ROOT_INO {
        return Err(Error::new(
            Kind::Denied,
            "check procfs",
            "",
            "it is not the root of a procfs",
        ));
    }
    Ok(())
}

fn show(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn only_the_root_of_a_procfs_will_do() {
        for path in ["/", "/sys", "/proc/self", "/tmp"] {
            let directory = std::fs::File::open(path).unwrap();
            assert_eq!(
                write(directory.as_fd(), &["exec"], "x").unwrap_err().kind,
                Kind::Denied,
                "{path}"
            );
        }
    }

    #[test]
    fn missing_attribute_is_not_found() {
        let procfs = std::fs::File::open("/proc").unwrap();
        let error = write(procfs.as_fd(), &["no-such-lsm/exec", "no-such"], "x").unwrap_err();
        assert_eq!(error.kind, Kind::NotFound);
        assert_eq!(
            error.to_string(),
            "open security attribute thread-self/attr/no-such: no such file or directory"
        );
    }
}
