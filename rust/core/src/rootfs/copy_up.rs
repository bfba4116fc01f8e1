//! What a new tmpfs takes over from the root filesystem: the mode, and with `tmpcopyup` all that is at its place.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fchmod, fchown, fstat,
    mkdirat, openat, readlinkat, statat, symlinkat,
};
use rustix::io::{Errno, Result as RawResult};

use crate::error::{Context, Result};
use crate::mount::Options;
use crate::path::{Root, text};

/// A tmpfs is as open as the directory that it covers, where there is one, unless its options say a mode.
pub fn keep_mode(root: &Root<'_>, place: &Path, options: &mut Options) {
    if options.data.iter().any(|o| o.starts_with("mode=")) {
        return;
    }
    if let Ok(at) = root.open(place, OFlags::PATH | OFlags::DIRECTORY)
        && let Ok(found) = fstat(&at)
    {
        let mode = found.st_mode & 0o7777;
        options.data.push(format!("mode={mode:o}"));
    }
}

/// Copies directories, regular files and links below `from` into the new filesystem, with modes and owners.
pub fn copy(root: &Root<'_>, from: &Path, to: BorrowedFd<'_>) -> Result<()> {
    let source = match root.open(from, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.context("copy to tmpfs", || text(from))?,
    };
    // Mode and owner cannot be changed through an O_PATH descriptor.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(to, ".", flags, Mode::empty())
        .and_then(|to| copy_directory(&source, to.as_fd()))
        .context("copy to tmpfs", || text(from))
}

fn copy_directory(from: &OwnedFd, to: BorrowedFd<'_>) -> RawResult<()> {
    let stat = fstat(from)?;
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let owner = (
            Some(Uid::from_raw(stat.st_uid)),
            Some(Gid::from_raw(stat.st_gid)),
        );
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                mkdirat(to, name, Mode::from_raw_mode(0o700))?;
                let (source, target) = (
                    openat(from, name, flags | OFlags::DIRECTORY, Mode::empty())?,
                    openat(to, name, flags | OFlags::DIRECTORY, Mode::empty())?,
                );
                copy_directory(&source, target.as_fd())?;
            }
            FileType::RegularFile => {
                let source = openat(from, name, flags, Mode::empty())?;
                let target = openat(
                    to,
                    name,
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
                    Mode::from_raw_mode(0o600),
                )?;
                loop {
                    if rustix::fs::sendfile(&target, &source, None, 1 << 20)? == 0 {
                        break;
                    }
                }
                chownat(to, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
                chmodat(to, name, mode, AtFlags::empty())?;
            }
            FileType::Symlink => {
                let link = readlinkat(from, name, Vec::new())?;
                symlinkat(&link, to, name)?;
                chownat(to, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            // Sockets, fifos and nodes belong to a running system, not to its image.
            _ => {}
        }
    }
    fchown(
        to,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))
}
