//! A directory that somebody wrote becomes a layer as it is, without a copy: walked once, for its digest and tar-split.
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, statat};
use rustix::io::Errno;

use super::compress::Sink;
use super::control::Control;
use super::create::{CreateOptions, Writer};
use super::dir::{self, proc_path};
use super::limits::Limits;
use super::path::{clean, show, split};
use super::root::{Missing, Root};
use super::split::Recorder;
use super::tar::TarWriter;
use super::unpack::Unpacked;
use crate::{Context, Error, Kind, Result};

/// Makes a layer of the tree `top`, which nobody changes any more: it becomes what an unpacker would make of the tar that
/// [`super::tar_tree`] writes of it, and `tar_split` what that tar has besides. What is left out, empty files and
/// directories, is removed first. Owners stay; `options.map` must be empty.
///
/// On failure part of the tree may be changed already.
///
/// # Errors
/// Those of [`super::tar_tree`]; `Limit` for more than an unpacker takes.
pub fn keep_tree(
    top: OwnedFd,
    tar_split: File,
    options: &CreateOptions,
    control: &Arc<Control>,
) -> Result<Unpacked> {
    let top = dir::open_list(top.as_fd(), ".").context("open", || "directory")?;
    leave_out(&top, &options.left_out)?;
    if !options.top {
        // What an unpacker gives a top without an entry.
        let subject = || "directory";
        rustix::fs::fchown(&top, Some(Uid::ROOT), Some(Gid::ROOT))
            .context("set owner of", subject)?;
        rustix::fs::fchmod(&top, Mode::from_raw_mode(0o755)).context("set mode of", subject)?;
    }
    let mut sink = Sink::digest(control)?;
    let recorder = Recorder::new(tar_split)?;
    let mut writer = Writer::new(TarWriter::new(&mut sink, Some(recorder)), options, true);
    writer.all(top, control)?;
    let files_size = writer.size;
    let (entries, recorder) = writer.tar.finish()?;
    if let Some(recorder) = recorder {
        recorder.finish()?;
    }
    Ok(Unpacked {
        digests: sink.finish()?,
        entries,
        files_size,
        skipped_xattrs: 0,
    })
}

/// Removes `paths`, those inside others first.
fn leave_out(top: &OwnedFd, paths: &HashSet<Vec<u8>>) -> Result<()> {
    let mut paths: Vec<_> = paths.iter().collect();
    paths.sort_unstable_by(|a, b| b.cmp(a));
    let limits = Limits::default();
    for path in paths {
        let path = clean(path, &limits)?;
        let subject = || show(&path);
        let (parent, name) = split(&path);
        // One that is reached through a link is not in this tree.
        let mut root = Root::strict(top.try_clone().context("duplicate", || "directory")?);
        let at = match root.parent(parent, Missing::Fail) {
            Ok(parent) => parent.fd,
            Err(e) if matches!(e.errno, Some(libc::ENOENT | libc::ELOOP | libc::ENOTDIR)) => {
                continue;
            }
            Err(e) => return Err(e),
        };
        let stat = match statat(&at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other.context("look at", subject)?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => remove(at.as_fd(), name, true),
            FileType::RegularFile if stat.st_size == 0 => remove(at.as_fd(), name, false),
            _ => {
                let why = "it is neither an empty file nor a directory";
                return Err(Error::new(Kind::Busy, "leave out", show(&path), why));
            }
        }
        .context("leave out", subject)?;
    }
    Ok(())
}

/// Removes `name`; the directory `at` keeps its time.
pub(super) fn remove(
    at: BorrowedFd<'_>,
    name: &[u8],
    is_directory: bool,
) -> rustix::io::Result<()> {
    let stat = rustix::fs::fstat(at)?;
    let flags = if is_directory {
        AtFlags::REMOVEDIR
    } else {
        AtFlags::empty()
    };
    rustix::fs::unlinkat(at, name, flags)?;
    let time = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: stat.st_mtime_nsec as _,
    };
    set_times(at, time)
}

/// Gives the file of `fd` the time `latest`, and takes from it what overlayfs remembers of it but that it is opaque.
pub(super) fn settle(
    fd: BorrowedFd<'_>,
    latest: Option<i64>,
    xattrs: &[(Vec<u8>, Vec<u8>)],
) -> rustix::io::Result<()> {
    for (name, _) in xattrs {
        let overlay = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
        if overlay && name != b"trusted.overlay.opaque" {
            rustix::fs::removexattr(proc_path(fd), name.as_slice())?;
        }
    }
    match latest {
        None => Ok(()),
        Some(seconds) => set_times(
            fd,
            Timespec {
                tv_sec: seconds,
                tv_nsec: 0,
            },
        ),
    }
}

/// Also of what cannot be opened: a link, a device.
fn set_times(fd: BorrowedFd<'_>, time: Timespec) -> rustix::io::Result<()> {
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, proc_path(fd), &times, AtFlags::empty())
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
