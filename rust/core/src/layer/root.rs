//! The directory that a layer is unpacked into: pinned once, everything below reached from its descriptor (R1, R5).
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, mkdirat, openat2, statat,
};
use rustix::io::Errno;

use super::dir;
use super::path::{parts, show};
use crate::{Context, Error, Kind, Result};

/// Directories whose descriptors stay open between entries.
const CACHED: usize = 32;

/// A pinned tree.
pub struct Root {
    fd: Rc<OwnedFd>,
    /// The directories of the latest path, outermost first.
    cache: Vec<Cached>,
    /// Owner of directories that the archive has no entry for.
    owner: Option<(u32, u32)>,
    /// Symbolic links on the way are an error.
    strict: bool,
    /// Mounts inside are part of the tree, but those that this says true of; none are, without it.
    pub cross: Option<Kept>,
    /// The process's umask, which a layer's directories do not take part in.
    pub umask: u32,
}

struct Cached {
    name: Vec<u8>,
    /// `None` for one closed to save descriptors; it is opened again from the nearest one that is open.
    fd: Option<Rc<OwnedFd>>,
    via_link: bool,
}

/// Whether a directory lies on a file system that nobody may copy into.
pub type Kept = fn(BorrowedFd<'_>) -> bool;

/// The directory that an entry goes into.
pub struct Parent {
    /// Its descriptor (`O_PATH`).
    pub fd: Rc<OwnedFd>,
    /// The path to it leads through a symbolic link of the tree.
    pub via_link: bool,
}

/// What to do about directories that are missing on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Make them.
    Create,
    /// Make them, and take a whiteout in the way as a deleted directory that comes back empty.
    CreateOverlay,
    /// Fail.
    Fail,
}

impl Root {
    /// Pins the directory `fd`.
    pub fn new(fd: OwnedFd, owner: Option<(u32, u32)>) -> Self {
        Self {
            fd: Rc::new(fd),
            cache: Vec::new(),
            owner,
            strict: false,
            cross: None,
            umask: 0,
        }
    }

    /// Pins the directory `fd`; no symbolic link below it is ever followed.
    pub fn strict(fd: OwnedFd) -> Self {
        Self {
            strict: true,
            ..Self::new(fd, None)
        }
    }

    /// The top.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens the directory `name` of the tree's directory `at` for listing; never through a link. `EXDEV` for another mount
    /// that is no part of the tree.
    pub fn open_list(&self, at: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
        self.open(at, name, OFlags::RDONLY)
    }

    fn open_path(&self, at: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
        self.open(at, name, OFlags::PATH)
    }

    fn open(&self, at: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let fd = dir::open(at, name, flags, self.cross.is_some())?;
        self.check(fd)
    }

    fn check(&self, fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
        match self.cross {
            Some(kept) if kept(fd.as_fd()) => Err(Errno::XDEV),
            _ => Ok(fd),
        }
    }

    /// Forgets directories by name, after one or a link to one went away.
    pub fn forget(&mut self) {
        self.cache.clear();
    }

    /// The directory `path` (clean, relative), links in it followed inside the root.
    ///
    /// # Errors
    /// `NotFound` or, for something in the way that is no directory, `Corrupt`.
    pub fn parent(&mut self, path: &[u8], missing: Missing) -> Result<Parent> {
        let mut depth = parts(path)
            .zip(&self.cache)
            .take_while(|(part, cached)| *part == cached.name.as_slice())
            .count();
        while depth > 0 && self.cache[depth - 1].fd.is_none() {
            depth -= 1;
        }
        self.cache.truncate(depth);
        let mut end: usize = self
            .cache
            .iter()
            .map(|cached| cached.name.len() + 1)
            .sum::<usize>()
            .saturating_sub(1);
        for part in parts(path).skip(depth) {
            end += part.len() + usize::from(end > 0);
            let last = self.cache.last();
            let at = last
                .and_then(|cached| cached.fd.as_ref())
                .map_or(self.fd.as_fd(), |fd| fd.as_fd());
            let via_link = last.is_some_and(|cached| cached.via_link);
            let (fd, via_link) = match self.open_path(at, part) {
                Ok(fd) => (fd, via_link),
                Err(Errno::LOOP) if !self.strict => (self.through_link(&path[..end])?, true),
                Err(Errno::NOENT) if missing != Missing::Fail => {
                    self.make(at, part)
                        .context("create directory", || show(&path[..end]))?;
                    let fd = self
                        .open_path(at, part)
                        .context("open directory", || show(&path[..end]))?;
                    (fd, via_link)
                }
                Err(Errno::NOTDIR)
                    if missing == Missing::CreateOverlay && is_whiteout_at(at, part)? =>
                {
                    rustix::fs::unlinkat(at, part, AtFlags::empty())
                        .context("replace", || show(&path[..end]))?;
                    self.make(at, part)
                        .context("create directory", || show(&path[..end]))?;
                    make_opaque(at, part).context("make opaque", || show(&path[..end]))?;
                    let fd = self
                        .open_path(at, part)
                        .context("open directory", || show(&path[..end]))?;
                    (fd, via_link)
                }
                Err(Errno::NOTDIR) => {
                    let why = format!("{} is not a directory", show(&path[..end]));
                    return Err(Error::new(Kind::Corrupt, "unpack", show(path), why));
                }
                Err(Errno::XDEV) if self.cross.is_some() => {
                    let why =
                        "this file system is the kernel's, and holds no files of the container";
                    let at = show(&path[..end]);
                    return Err(Error::new(Kind::Denied, "copy into", at, why));
                }
                Err(e) => return Err(e).context("open directory", || show(&path[..end])),
            };
            self.cache.push(Cached {
                name: part.to_vec(),
                fd: Some(Rc::new(fd)),
                via_link,
            });
            // Keeps the outermost half, which all paths share, and the innermost half.
            if self.cache.len() > CACHED {
                let at = self.cache.len() - 1 - CACHED / 2;
                if at >= CACHED / 2 {
                    self.cache[at].fd = None;
                }
            }
        }
        let last = self.cache.last();
        Ok(Parent {
            fd: Rc::clone(
                last.and_then(|cached| cached.fd.as_ref())
                    .unwrap_or(&self.fd),
            ),
            via_link: last.is_some_and(|cached| cached.via_link),
        })
    }

    /// A directory behind a link; absolute targets and `..` stay inside the root.
    fn through_link(&self, path: &[u8]) -> Result<OwnedFd> {
        let mut tries = 0;
        let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        resolve.set(ResolveFlags::NO_XDEV, self.cross.is_none());
        loop {
            let result = openat2(
                &self.fd,
                path,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
                resolve,
            );
            let why = match result {
                // The kernel could not be sure about a ".." while something was renamed.
                Err(Errno::AGAIN) if tries < 100 => {
                    tries += 1;
                    continue;
                }
                Err(Errno::NOENT) => "is a link to nothing",
                Err(Errno::NOTDIR) => "is a link to something that is not a directory",
                Err(Errno::LOOP) => "is a link that leads in a circle",
                Err(Errno::NAMETOOLONG) => "is a link with too long a target",
                other => return other.context("open directory", || show(path)),
            };
            return Err(Error::new(Kind::Corrupt, "unpack", show(path), why));
        }
    }

    fn make(&self, at: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
        let mode = Mode::from_raw_mode(0o755);
        mkdirat(at, name, mode)?;
        if self.umask & 0o755 != 0 {
            let fd = self.open_path(at, name)?;
            rustix::fs::chmod(dir::proc_path(fd.as_fd()), mode)?;
        }
        if let Some((uid, gid)) = self.owner.filter(|owner| *owner != (0, 0)) {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }
}

/// What `name` is, links not followed; `None` when there is nothing.
pub fn stat(at: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>> {
    match statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e).context("look at", || show(name)),
    }
}

/// Whether this is how overlayfs marks a deleted name: a character device 0:0.
pub fn is_whiteout(stat: &Stat) -> bool {
    stat.st_rdev == 0 && FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
}

fn is_whiteout_at(at: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
    Ok(stat(at, name)?.is_some_and(|stat| is_whiteout(&stat)))
}

/// Hides what lower layers have in the directory `name`.
pub fn make_opaque(at: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    let fd = dir::open_list(at, name)?;
    rustix::fs::fsetxattr(
        &fd,
        c"trusted.overlay.opaque",
        b"y",
        rustix::fs::XattrFlags::empty(),
    )
}

/// The path of a directory of the tree without links, as the kernel knows it.
pub fn real_path(root: BorrowedFd<'_>, dir: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let read = |fd| {
        rustix::fs::readlink(dir::proc_path(fd), Vec::new())
            .context("find the path of", || "directory in a layer")
    };
    let (top, path) = (read(root)?, read(dir)?);
    let inside = path.as_bytes().strip_prefix(top.as_bytes());
    match inside {
        Some([]) => Ok(Vec::new()),
        Some([b'/', rest @ ..]) => Ok(rest.to_vec()),
        _ => Err(Error::new(
            Kind::Busy,
            "unpack",
            show(path.as_bytes()),
            "directory was moved out of the layer",
        )),
    }
}
