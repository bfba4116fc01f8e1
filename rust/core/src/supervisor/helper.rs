//! The helper's executable, opened so that nothing can write to it (SECURITY.md R4, CVE-2019-5736).
use std::ffi::CString;
use std::fs::File;
use std::io::copy;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fstat, fstatvfs,
    memfd_create, open, openat,
};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::error::{Context, Error, Kind, Result};
use crate::sys::{MountAttr, mount_setattr};

/// Descriptors below this are overwritten in the spawned process (its streams and the control socket).
const FIRST_SAFE_FD: i32 = 10;

/// The helper's executable, ready to be spawned by its descriptor.
///
/// Its `/proc/PID/exe` leads to a read-only mount that no mount namespace contains, or to a sealed memfd: a process
/// that reaches it, even as root, cannot change the file that the next container starts from.
#[derive(Debug)]
pub struct Helper {
    file: OwnedFd,
}

impl Helper {
    /// Opens the executable at `path`.
    ///
    /// Through a detached, read-only clone of the mount that its directory lies on, whose pages all supervisors share;
    /// where the kernel refuses that (before Linux 5.12, a locked mount, no `CAP_SYS_ADMIN`) as a sealed copy in memory.
    /// Errors: `NotFound`; `Invalid` for what is not an executable file; `Denied` on a `noexec` file system.
    pub fn open(path: &Path) -> Result<Self> {
        let subject = || path.display().to_string();
        let plain = open(
            path,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK,
            Mode::empty(),
        )
        .context("open helper", subject)?;
        let stat = fstat(&plain).context("open helper", subject)?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG || stat.st_mode & 0o111 == 0 {
            return Err(Error::new(
                Kind::Invalid,
                "open helper",
                subject(),
                "not an executable file",
            ));
        }
        let flags = fstatvfs(&plain).context("open helper", subject)?.f_flag;
        if flags.contains(StatVfsMountFlags::NOEXEC) {
            return Err(Error::new(
                Kind::Denied,
                "open helper",
                subject(),
                "its file system is mounted noexec; choose another data root or remount it with exec",
            ));
        }
        let file = match read_only_mount(path, (stat.st_dev, stat.st_ino)) {
            Ok(file) => file,
            Err(_) => sealed_copy(plain).context("copy helper into memory", subject)?,
        };
        let file = fcntl_dupfd_cloexec(&file, FIRST_SAFE_FD).context("open helper", subject)?;
        Ok(Self { file })
    }

    /// A path that leads to it, in this process and in one just cloned from it.
    pub(super) fn path(&self) -> CString {
        let text = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        CString::new(text).unwrap_or_default()
    }
}

impl AsFd for Helper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The same file (`identity`: device and inode) on a detached, read-only clone of its directory's mount.
fn read_only_mount(path: &Path, identity: (u64, u64)) -> rustix::io::Result<OwnedFd> {
    let path = std::fs::canonicalize(path).map_err(|_| Errno::NOENT)?;
    let (directory, name) = (
        path.parent().ok_or(Errno::INVAL)?,
        path.file_name().ok_or(Errno::INVAL)?,
    );
    let tree = open_tree(
        CWD,
        directory,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    let read_only = MountAttr {
        set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV,
        ..MountAttr::default()
    };
    mount_setattr(tree.as_fd(), 0, &read_only)?;
    let file = openat(
        &tree,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK,
        Mode::empty(),
    )?;
    let stat = fstat(&file)?;
    if (stat.st_dev, stat.st_ino) != identity {
        return Err(Errno::STALE);
    }
    Ok(file)
}

/// A copy in memory that nothing can change any more.
fn sealed_copy(file: OwnedFd) -> std::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Where vm.memfd_noexec is 1, MFD_EXEC must be asked for; before Linux 6.3 it is unknown.
    let memory = memfd_create(c"minidock-runtime", flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create(c"minidock-runtime", flags))?;
    let mut memory = File::from(memory);
    copy(&mut File::from(file), &mut memory)?;
    let mode = Mode::RUSR | Mode::XUSR;
    rustix::fs::fchmod(&memory, mode)?;
    fcntl_add_seals(
        &memory,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    // Read-only from here on: a descriptor open for writing makes execve fail with ETXTBSY.
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    Ok(open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(name: &str, mode: u32) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("minidock-{name}-{}", std::process::id()));
        std::fs::write(&path, b"#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_file_that_cannot_be_executed_is_refused() {
        let path = script("plain", 0o644);
        let error = Helper::open(&path).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(error.kind, Kind::Invalid);
        assert_eq!(
            Helper::open(Path::new("/")).unwrap_err().kind,
            Kind::Invalid
        );
        assert_eq!(Helper::open(&path).unwrap_err().kind, Kind::NotFound);
    }

    #[test]
    fn neither_form_can_be_opened_for_writing() {
        let path = script("exec", 0o755);
        let helper = Helper::open(&path).unwrap();
        let sealed = sealed_copy(File::open(&path).unwrap().into()).unwrap();
        let by_descriptor = |fd: i32| {
            open(format!("/proc/self/fd/{fd}"), OFlags::WRONLY, Mode::empty())
                .and_then(|fd| rustix::io::write(&fd, b"x"))
        };
        assert!(by_descriptor(helper.as_fd().as_raw_fd()).is_err());
        assert_eq!(by_descriptor(sealed.as_raw_fd()), Err(Errno::PERM));
        assert_eq!(std::fs::read(&path).unwrap(), b"#!/bin/sh\n");
        std::fs::remove_file(&path).unwrap();
    }
}
