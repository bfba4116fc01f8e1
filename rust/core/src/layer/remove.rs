//! Deleting a tree that a container or an archive has filled (rule R10).
//!
//! The walk knows directories by descriptor only, so nothing that is renamed or linked meanwhile can lead it elsewhere;
//! it holds a bounded number of descriptors whatever the depth, and does not recurse.
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::control::Control;
use super::dir::{self, Name};
use crate::{Context, Error, Kind, Result};

/// Levels whose descriptors stay open; those above are opened again through `..` on the way up, and verified.
const OPEN_LEVELS: usize = 24;

/// Device and inode number: which directory it is, whatever its name.
pub type Identity = (u64, u64);

/// What a removal did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// False when there was nothing of that name.
    pub existed: bool,
    /// Files and directories deleted, the top included.
    pub count: u64,
}

/// Deletes the directory `path` and everything in it.
///
/// `identity` is the recorded device and inode number of the directory; another one there is refused.
/// Symbolic links are deleted, not followed; a mount point inside is an error.
///
/// # Errors
/// `Denied` when the directory is not the recorded one or a file cannot be deleted (immutable, `chattr -i`),
/// `Busy` for a mount point, `Invalid` when `path` is not a directory. `EINTR` after [`Control::cancel`].
pub fn remove_tree(path: &Path, identity: Option<Identity>, control: &Control) -> Result<Removed> {
    let subject = || path.display().to_string();
    let top = match Top::open(path, identity)? {
        Ok(top) => top,
        Err(removed) => return Ok(removed),
    };
    let fd = dir::open_list(top.parent.as_fd(), top.name).map_err(|e| explain(e, subject()))?;
    if identity_of(fd.as_fd()).context("remove", subject)? != top.identity {
        return Err(Error::new(
            Kind::Denied,
            "remove",
            subject(),
            "directory was exchanged while it was looked at",
        ));
    }
    let count = empty(fd, path.as_os_str(), control)?;
    unlinkat(&top.parent, top.name, AtFlags::REMOVEDIR).map_err(|e| explain(e, subject()))?;
    Ok(Removed {
        existed: true,
        count: count + 1,
    })
}

/// The quick part of [`remove_tree`]: deletes the directory `path` if it is empty; `None` when it is not.
///
/// # Errors
/// As [`remove_tree`].
pub fn remove_empty(path: &Path, identity: Option<Identity>) -> Result<Option<Removed>> {
    Ok(Top::open(path, identity)?.err())
}

/// A directory to remove, known not to be empty.
struct Top<'a> {
    parent: OwnedFd,
    name: &'a OsStr,
    identity: Identity,
}

impl<'a> Top<'a> {
    /// Looks at the directory and deletes it at once if it is empty, which is usual for a container that wrote nothing.
    fn open(
        path: &'a Path,
        identity: Option<Identity>,
    ) -> Result<std::result::Result<Self, Removed>> {
        let subject = || path.display().to_string();
        let invalid = |why| Error::new(Kind::Invalid, "remove", path.display().to_string(), why);
        // Path::file_name leaves out a trailing slash, which would make the kernel follow a link in the last place.
        let (parent, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if !parent.as_os_str().is_empty() => (parent, name),
            (Some(_), Some(name)) => (Path::new("."), name),
            _ => return Err(invalid("not the name of a directory")),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = match openat(CWD, parent, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Err(Removed::default())),
            other => other.context("remove", subject)?,
        };
        let stat = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Err(Removed::default())),
            other => other.context("remove", subject)?,
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(invalid("not a directory"));
        }
        let found = (stat.st_dev, stat.st_ino);
        if identity.is_some_and(|identity| identity != found) {
            let why = "another directory is in the place of the recorded one, nothing was deleted";
            return Err(Error::new(Kind::Denied, "remove", subject(), why));
        }
        match unlinkat(&parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(Err(Removed {
                existed: true,
                count: 1,
            })),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Ok(Self {
                parent,
                name,
                identity: found,
            })),
            Err(e) => Err(explain(e, subject())),
        }
    }
}

/// Deletes everything inside the directory `name` of `parent`, and itself.
///
/// # Errors
/// As [`remove_tree`].
pub fn remove_at(parent: BorrowedFd<'_>, name: &CStr, control: &Control) -> Result<u64> {
    let subject = || name.to_string_lossy().into_owned();
    let top = dir::open_list(parent, name).map_err(|e| explain(e, subject()))?;
    let count = empty(top, OsStr::from_bytes(name.to_bytes()), control)?;
    unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(|e| explain(e, subject()))?;
    Ok(count + 1)
}

/// A directory above the one that is being emptied.
struct Above {
    /// `None` where it was closed to save descriptors.
    fd: Option<OwnedFd>,
    identity: Identity,
    /// Its name in the directory above it.
    name: CString,
    /// Names read from it and not deleted yet.
    names: Vec<Name>,
}

/// Deletes everything inside `top`; `shown` is its path in messages. Returns how many.
fn empty(top: OwnedFd, shown: &OsStr, control: &Control) -> Result<u64> {
    let subject = |above: &[Above], name: &CStr, inner: &CStr| {
        let mut path = shown.as_bytes().to_vec();
        for part in above
            .iter()
            .skip(1)
            .map(|level| level.name.as_c_str())
            .chain([name, inner])
        {
            if !part.is_empty() {
                path.push(b'/');
                path.extend_from_slice(part.to_bytes());
            }
        }
        String::from_utf8_lossy(&path).into_owned()
    };
    let mut above: Vec<Above> = Vec::new();
    let (mut fd, mut name, mut names) = (top, CString::default(), Vec::new());
    let mut identity = identity_of(fd.as_fd()).context("remove", || shown.to_string_lossy())?;
    let mut count = 0;
    loop {
        if names.is_empty() {
            control.check()?;
            names = dir::list(&fd, 1).map_err(|e| explain(e, subject(&above, &name, c"")))?;
        }
        let Some((child, kind)) = names.pop() else {
            let Some(up) = above.pop() else {
                return Ok(count);
            };
            let fail = |e| explain(e, subject(&above, &up.name, &name));
            let up_fd = match up.fd {
                Some(fd) => fd,
                None => climb(fd.as_fd(), up.identity).map_err(fail)?,
            };
            unlinkat(&up_fd, &name, AtFlags::REMOVEDIR).map_err(fail)?;
            count += 1;
            (fd, identity, name, names) = (up_fd, up.identity, up.name, up.names);
            continue;
        };
        let fail = |e| explain(e, subject(&above, &name, &child));
        if let Some(inner) = delete(fd.as_fd(), &child, kind).map_err(fail)? {
            let inner_identity = identity_of(inner.as_fd()).map_err(fail)?;
            above.push(Above {
                fd: Some(std::mem::replace(&mut fd, inner)),
                identity: std::mem::replace(&mut identity, inner_identity),
                name: std::mem::replace(&mut name, child),
                names: std::mem::take(&mut names),
            });
            if let Some(old) = above.len().checked_sub(OPEN_LEVELS) {
                above[old].fd = None;
                // What was read ahead is read again, so depth costs no memory beyond names of open levels.
                above[old].names = Vec::new();
            }
        } else {
            count += 1;
        }
    }
}

/// Deletes one name, or opens it where it is a directory that is not empty.
fn delete(at: BorrowedFd<'_>, name: &CStr, kind: FileType) -> rustix::io::Result<Option<OwnedFd>> {
    if kind != FileType::Directory {
        match unlinkat(at, name, AtFlags::empty()) {
            // Gone already is as good.
            Ok(()) | Err(Errno::NOENT) => return Ok(None),
            // File systems that do not tell kinds in listings.
            Err(Errno::ISDIR) => {}
            Err(e) => return Err(e),
        }
    }
    match unlinkat(at, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(None),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(e) => return Err(e),
    }
    match dir::open_list(at, name) {
        // Not root, and a directory without permissions (as overlayfs leaves in its work directory).
        Err(Errno::ACCESS) => {
            let path = dir::open_path(at, name)?;
            rustix::fs::chmod(dir::proc_path(path.as_fd()), Mode::RWXU)?;
            dir::open_list(at, name).map(Some)
        }
        other => other.map(Some),
    }
}

/// The directory above `fd`, which must be the recorded one.
fn climb(fd: BorrowedFd<'_>, identity: Identity) -> rustix::io::Result<OwnedFd> {
    let up = openat(
        fd,
        c"..",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // Somebody moved the directory out while it was emptied.
    if identity_of(up.as_fd())? == identity {
        Ok(up)
    } else {
        Err(Errno::STALE)
    }
}

/// Device and inode number of an open file.
pub fn identity_of(fd: BorrowedFd<'_>) -> rustix::io::Result<Identity> {
    fstat(fd).map(|stat| (stat.st_dev, stat.st_ino))
}

fn explain(e: Errno, subject: String) -> Error {
    let (kind, why) = match e {
        Errno::PERM => (
            Kind::Denied,
            "not permitted; an immutable file is released by chattr -i",
        ),
        Errno::XDEV | Errno::BUSY => (Kind::Busy, "something is mounted there; unmount it"),
        Errno::LOOP | Errno::STALE => (Kind::Busy, "tree changes while it is deleted"),
        Errno::NOTEMPTY => (
            Kind::Busy,
            "files appear while it is deleted; stop the process that makes them",
        ),
        _ => return Error::errno("remove", subject, e.raw_os_error()),
    };
    Error {
        errno: Some(e.raw_os_error()),
        ..Error::new(kind, "remove", subject, why)
    }
}

#[cfg(test)]
#[path = "remove_tests.rs"]
mod tests;
