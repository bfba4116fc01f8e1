//! Owner, mode, attributes and times of a file, set by descriptor.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use super::dir::proc_path;
use super::path::show;
use crate::{Context, Error, Kind, Result};

/// What a file gets besides its content.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Owner and group as the file system counts them; `None` leaves them.
    pub owner: Option<(u32, u32)>,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Attributes, already filtered by [`is_wanted`].
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The largest value that the kernel takes.
const XATTR_SIZE_MAX: usize = 64 << 10;

/// Whether an attribute of an archive may reach the disk.
///
/// Those of overlayfs are orders to the kernel (redirects, whiteouts) and never an image's to give; labels of a
/// security module belong to the host that made the archive.
pub fn is_wanted(name: &[u8]) -> bool {
    if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
        return false;
    }
    name.starts_with(b"user.")
        || name.starts_with(b"trusted.")
        || matches!(
            name,
            b"security.capability"
                | b"security.ima"
                | b"system.posix_acl_access"
                | b"system.posix_acl_default"
        )
}

/// Refuses attributes that no file system takes.
pub fn check_xattr(path: &[u8], name: &[u8], value: &[u8]) -> Result<()> {
    if name.len() > 255 || name.contains(&0) || value.len() > XATTR_SIZE_MAX {
        let why = format!("extended attribute {} is too long or malformed", show(name));
        return Err(Error::new(Kind::Corrupt, "unpack", show(path), why));
    }
    Ok(())
}

impl Metadata {
    /// Times for the kernel; the access time becomes the same, so that a layer's files are the same everywhere.
    pub fn times(&self) -> Timestamps {
        let time = Timespec {
            tv_sec: self.mtime.0,
            tv_nsec: i64::from(self.mtime.1),
        };
        Timestamps {
            last_access: time,
            last_modification: time,
        }
    }

    /// Sets everything on an open file or directory, which now has owner `has` and permission bits `mode`.
    /// Returns how many attributes the file system would not take.
    pub fn set(&self, fd: BorrowedFd<'_>, has: (u32, u32), mode: u32) -> rustix::io::Result<u64> {
        let chown = self.owner.filter(|owner| *owner != has);
        if let Some((uid, gid)) = chown {
            rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        // A change of owner takes set-id bits away; they are never there before.
        if mode != self.mode {
            rustix::fs::fchmod(fd, Mode::from_raw_mode(self.mode))?;
        }
        let skipped = self.set_xattrs(|name, value| {
            rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty())
        })?;
        rustix::fs::futimens(fd, &self.times())?;
        Ok(skipped)
    }

    fn set_xattrs(
        &self,
        set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<u64> {
        let mut skipped = 0;
        for (name, value) in &self.xattrs {
            match set(name, value) {
                Ok(()) => {}
                // As Docker and tar do: not every file system has them, not every file may have them.
                Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => skipped += 1,
                Err(e) => return Err(e),
            }
        }
        Ok(skipped)
    }

    /// Sets everything on the link, device or pipe `name` in `at`, made by us with this type. Returns as [`Metadata::set`]
    /// does.
    ///
    /// # Errors
    /// `Busy` when another file has its name by now, and the file system's.
    pub fn set_node(
        &self,
        at: BorrowedFd<'_>,
        name: &[u8],
        kind: FileType,
        has: (u32, u32),
    ) -> Result<u64> {
        let subject = || show(name);
        // A device must not be opened: its driver would act. This only points at it.
        let node = open_node(at, name).context("open", subject)?;
        let stat = rustix::fs::fstat(&node).context("look at", subject)?;
        if FileType::from_raw_mode(stat.st_mode) != kind || stat.st_nlink > 1 {
            let why = "it was exchanged when it had just been made";
            return Err(Error::new(Kind::Busy, "set metadata of", show(name), why));
        }
        if let Some((uid, gid)) = self.owner.filter(|owner| *owner != has) {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chownat(&node, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
                .context("set owner of", subject)?;
        }
        let path = proc_path(node.as_fd());
        if kind != FileType::Symlink {
            rustix::fs::chmod(&path, Mode::from_raw_mode(self.mode))
                .context("set mode of", subject)?;
        }
        let skipped = self
            .set_xattrs(|name, value| rustix::fs::setxattr(&path, name, value, XattrFlags::empty()))
            .context("set attributes of", subject)?;
        match rustix::fs::utimensat(&node, c"", &self.times(), AtFlags::EMPTY_PATH) {
            // Linux before 5.8.
            Err(Errno::INVAL) => {
                rustix::fs::utimensat(at, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)
            }
            other => other,
        }
        .context("set time of", subject)?;
        Ok(skipped)
    }
}

/// Points at `name` in `at`, whatever it is, without opening it and without following it.
pub fn open_node(at: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat2(
        at,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
    )
}

/// Opens the regular file `name` in `at` for reading, and says what it is; `None` for anything else.
///
/// Somebody may exchange the name at any moment: what is not a regular file is never opened, since a driver or the reader
/// of a pipe would act.
pub fn open_regular(
    at: BorrowedFd<'_>,
    name: &[u8],
) -> rustix::io::Result<Option<(OwnedFd, Stat)>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = rustix::fs::openat(at, name, flags, Mode::empty())?;
    reopen_regular(node.as_fd())
}

/// The regular file that the `O_PATH` descriptor `node` points at, for reading.
pub fn reopen_regular(node: BorrowedFd<'_>) -> rustix::io::Result<Option<(OwnedFd, Stat)>> {
    let stat = rustix::fs::fstat(node)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, proc_path(node), flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    Ok(Some((fd, stat)))
}

/// The attributes of an open file, sorted by name.
pub fn read_xattrs(fd: BorrowedFd<'_>) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    collect_xattrs(
        |names| rustix::fs::flistxattr(fd, names),
        |name, value| rustix::fs::fgetxattr(fd, name, value),
    )
}

/// The attributes of a link, device or pipe that [`open_node`] points at.
pub fn read_node_xattrs(node: BorrowedFd<'_>) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = proc_path(node);
    collect_xattrs(
        |names| rustix::fs::listxattr(&path, names),
        |name, value| rustix::fs::getxattr(&path, name, value),
    )
}

fn collect_xattrs(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // Most files have none or a few. (An empty buffer would not do: rustix takes it for a list of nothing.)
    let mut small = [0; 256];
    let names = match list(&mut small) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(len) => small[..len].to_vec(),
        Err(Errno::RANGE) => {
            // No list can be longer than this.
            let mut names = vec![0; XATTR_SIZE_MAX];
            let len = list(&mut names)?;
            names.truncate(len);
            names
        }
        Err(e) => return Err(e),
    };
    let mut out = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; XATTR_SIZE_MAX];
        match get(name, &mut value) {
            Ok(n) => {
                value.truncate(n);
                value.shrink_to_fit();
                out.push((name.to_vec(), value));
            }
            // Gone meanwhile, or not this file's.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e),
        }
    }
    out.sort_unstable();
    Ok(out)
}
