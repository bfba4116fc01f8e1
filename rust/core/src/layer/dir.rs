//! Directories by descriptor: opening one component, listing, deleting what is inside.
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, RawDir, ResolveFlags, openat2};
use rustix::io::Result;
use rustix::path::Arg;

/// Opens the directory `name` in `at` for listing; never through a link, never onto another mount.
///
/// # Errors
/// `ELOOP` for a symbolic link, `ENOTDIR` for another file, `EXDEV` for a mount point.
pub fn open_list<P: Arg>(at: BorrowedFd<'_>, name: P) -> Result<OwnedFd> {
    open(at, name, OFlags::RDONLY, false)
}

/// Opens the directory `name` in `at`; never through a link, and onto another mount only with `cross`.
pub fn open<P: Arg>(at: BorrowedFd<'_>, name: P, flags: OFlags, cross: bool) -> Result<OwnedFd> {
    let mut resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    resolve.set(ResolveFlags::NO_XDEV, !cross);
    let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(at, name, flags, Mode::empty(), resolve)
}

/// Opens the directory `name` in `at` as a starting point only; as strict as [`open_list`].
pub fn open_path<P: Arg>(at: BorrowedFd<'_>, name: P) -> Result<OwnedFd> {
    open(at, name, OFlags::PATH, false)
}

/// A name in a directory and what the file system says it is (`Unknown` on some).
pub type Name = (CString, FileType);

/// Up to `max` names of `dir` from its current position, `.` and `..` left out; none at its end.
pub fn list(dir: impl AsFd, max: usize) -> Result<Vec<Name>> {
    let mut buf = [MaybeUninit::<u8>::uninit(); 16 << 10];
    let mut names = Vec::new();
    // The iterator drops what it has read ahead, so a bounded list must end where the buffer does.
    let mut raw = RawDir::new(dir.as_fd(), &mut buf);
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if name != c"." && name != c".." {
            names.push((name.to_owned(), entry.file_type()));
        }
        if names.len() >= max && raw.is_buffer_empty() {
            break;
        }
    }
    Ok(names)
}

/// All names, sorted by their bytes.
pub fn list_sorted(dir: impl AsFd) -> Result<Vec<Name>> {
    let mut names = list(dir, usize::MAX)?;
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

/// A path by which calls without a descriptor form reach exactly the file of `fd`.
#[must_use]
pub fn proc_path(fd: BorrowedFd<'_>) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/thread-self/fd/{}", fd.as_raw_fd())
}
