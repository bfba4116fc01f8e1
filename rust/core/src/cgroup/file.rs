//! Reading and writing one file of a group.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, Result};
use rustix::path::Arg;

/// No file that minidock reads is larger; a kernel that says otherwise is cut off.
const READ_MAX: usize = 1 << 20;

/// Opens a directory for use as a starting point only.
pub fn open_dir<P: Arg>(at: BorrowedFd<'_>, path: P) -> Result<OwnedFd> {
    openat(
        at,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Opens the directory that `dir` is, with the right to use it (`dir` may be `O_PATH`).
pub fn open_dir_read(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    openat(
        dir,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Opens a file for writing; never creates one (on a real cgroup file system that is impossible anyway).
pub fn open_write<P: Arg>(at: BorrowedFd<'_>, path: P) -> Result<OwnedFd> {
    openat(
        at,
        path,
        OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Writes `value` with one system call, as the kernel's parsers require.
pub fn write<P: Arg>(at: BorrowedFd<'_>, path: P, value: &str) -> Result<()> {
    let fd = open_write(at, path)?;
    // A short write cannot be continued: the kernel has already parsed the first part.
    if rustix::io::retry_on_intr(|| rustix::io::write(&fd, value.as_bytes()))? == value.len() {
        Ok(())
    } else {
        Err(Errno::IO)
    }
}

/// Reads a whole file as text.
pub fn read<P: Arg>(at: BorrowedFd<'_>, path: P) -> Result<String> {
    let fd = openat(
        at,
        path,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    read_fd(fd.as_fd())
}

/// Reads the rest of an open file as text.
pub fn read_fd(fd: BorrowedFd<'_>) -> Result<String> {
    let mut text = Vec::with_capacity(4096);
    loop {
        if text.len() == text.capacity() {
            if text.len() >= READ_MAX {
                break;
            }
            text.reserve(text.len());
        }
        if rustix::io::retry_on_intr(|| {
            rustix::io::read(fd, rustix::buffer::spare_capacity(&mut text))
        })? == 0
        {
            break;
        }
    }
    Ok(String::from_utf8(text)
        .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}
