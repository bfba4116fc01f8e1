//! Paths below a pinned root (SECURITY.md R1): opened by `openat2` with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`,
//! checked and used by descriptor, never by name again.
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, readlinkat,
};
use rustix::io::{Errno, Result as RawResult};

use crate::error::{Context, Error, Kind, Result};

/// How often an `openat2` that raced with a rename or mount is tried again.
const RACES: u32 = 128;
/// How many dangling symbolic links one path may go through: the kernel's own limit.
const LINKS: u32 = 40;

/// What a mount or a creation needs at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// Anything but a directory.
    File,
}

/// A directory that paths cannot leave.
#[derive(Debug)]
pub struct Root<'a>(BorrowedFd<'a>);

impl<'a> Root<'a> {
    /// Pins `fd`.
    #[must_use]
    pub fn new(fd: BorrowedFd<'a>) -> Self {
        Self(fd)
    }

    /// The pinned descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'a> {
        self.0
    }

    /// Opens a path; links are followed, but never out of the root.
    pub fn open(&self, path: &Path, flags: OFlags) -> RawResult<OwnedFd> {
        self.open_with(path, flags, ResolveFlags::empty())
    }

    /// Opens a path that must not go through any symbolic link.
    pub fn open_no_links(&self, path: &Path, flags: OFlags) -> RawResult<OwnedFd> {
        self.open_with(path, flags, ResolveFlags::NO_SYMLINKS)
    }

    fn open_with(&self, path: &Path, flags: OFlags, more: ResolveFlags) -> RawResult<OwnedFd> {
        open_below(self.0, relative(path), flags, ResolveFlags::IN_ROOT | more)
    }

    /// Opens a path as `O_PATH`, making it (and the directories on the way, mode 0755) if it is missing.
    ///
    /// Fails with `Invalid` if the end of the path is of the other sort of node.
    pub fn ensure(&self, path: &Path, node: Node) -> Result<OwnedFd> {
        let fd = self.ensure_any(path, node)?;
        let found =
            FileType::from_raw_mode(fstat(&fd).context("stat in rootfs", || text(path))?.st_mode);
        match (node, found) {
            (Node::Directory, FileType::Directory) => Ok(fd),
            (Node::Directory, _) => Err(Error::new(
                Kind::Invalid,
                "use in rootfs",
                text(path),
                "not a directory, but a directory is to be there",
            )),
            (Node::File, FileType::Directory) => Err(Error::new(
                Kind::Invalid,
                "use in rootfs",
                text(path),
                "a directory, but a file is to be there",
            )),
            (Node::File, _) => Ok(fd),
        }
    }

    fn ensure_any(&self, path: &Path, node: Node) -> Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            other => return other.context("open in rootfs", || text(path)),
        }
        let mut path = path.to_owned();
        for _ in 0..LINKS {
            match self
                .create(&path, node)
                .context("create in rootfs", || text(&path))?
            {
                Created::Done(fd) => return Ok(fd),
                Created::Elsewhere(target) => path = target,
            }
        }
        Err(Error::errno("create in rootfs", text(&path), libc::ELOOP))
    }

    /// One pass along a path of which some components are missing.
    fn create(&self, path: &Path, node: Node) -> RawResult<Created> {
        let names: Vec<&[u8]> = relative(path)
            .as_os_str()
            .as_bytes()
            .split(|&b| b == b'/')
            .filter(|n| !n.is_empty() && *n != b".")
            .collect();
        let mut prefix = PathBuf::from(".");
        let mut at = self.open(&prefix, OFlags::PATH | OFlags::DIRECTORY)?;
        for (i, name) in names.iter().enumerate() {
            let last = i + 1 == names.len();
            let parent = prefix.clone();
            prefix.push(std::ffi::OsStr::from_bytes(name));
            match self.open(&prefix, OFlags::PATH) {
                Ok(fd) => {
                    at = fd;
                    continue;
                }
                // `..` of something that exists exists.
                Err(Errno::NOENT) if *name != b".." => {}
                Err(e) => return Err(e),
            }
            let made = if last && node == Node::File {
                openat(
                    &at,
                    *name,
                    OFlags::CREATE
                        | OFlags::EXCL
                        | OFlags::WRONLY
                        | OFlags::NOFOLLOW
                        | OFlags::CLOEXEC,
                    Mode::from_raw_mode(0o644),
                )
                .map(drop)
            } else {
                mkdirat(&at, *name, Mode::from_raw_mode(0o755))
            };
            match made {
                Ok(()) => {}
                Err(Errno::EXIST) => match readlinkat(&at, *name, Vec::new()) {
                    // A dangling link, such as a distribution's /etc/resolv.conf: what it points to is made instead.
                    Ok(link) => {
                        let mut target = parent;
                        let link = PathBuf::from(std::ffi::OsString::from_vec(link.into_bytes()));
                        if link.is_absolute() {
                            target = link
                        } else {
                            target.push(link)
                        }
                        target.extend(
                            names[i + 1..]
                                .iter()
                                .map(|n| Path::new(std::ffi::OsStr::from_bytes(n))),
                        );
                        return Ok(Created::Elsewhere(target));
                    }
                    // Somebody else was faster.
                    Err(Errno::INVAL) => {}
                    Err(e) => return Err(e),
                },
                Err(e) => return Err(e),
            }
            // Made or found by name inside a pinned directory: no link may stand in for it now.
            at = open_below(
                at.as_fd(),
                Path::new(std::ffi::OsStr::from_bytes(name)),
                OFlags::PATH,
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            )?;
        }
        Ok(Created::Done(at))
    }

    /// Reads a regular file of at most `limit` bytes; `None` if it does not exist. Never waits on a fifo or device.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let fd = match self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            other => other.context("open in rootfs", || text(path))?,
        };
        let stat = fstat(&fd).context("stat in rootfs", || text(path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::new(
                Kind::Corrupt,
                "read in rootfs",
                text(path),
                "not a regular file",
            ));
        }
        let too_big = || {
            Error::new(
                Kind::Limit,
                "read in rootfs",
                text(path),
                format!("larger than {limit} bytes"),
            )
        };
        if stat.st_size as u64 > limit {
            return Err(too_big());
        }
        let mut data = Vec::new();
        // It may grow meanwhile.
        std::fs::File::from(fd)
            .take(limit + 1)
            .read_to_end(&mut data)
            .context("read in rootfs", || text(path))?;
        if data.len() as u64 > limit {
            return Err(too_big());
        }
        Ok(Some(data))
    }
}

enum Created {
    Done(OwnedFd),
    Elsewhere(PathBuf),
}

/// `openat2` below `at`, close-on-exec, without magic links, again after races.
pub fn open_below(
    at: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> RawResult<OwnedFd> {
    let mut races = RACES;
    loop {
        match openat2(
            at,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve | ResolveFlags::NO_MAGICLINKS,
        ) {
            Err(Errno::AGAIN) if races > 0 => races -= 1,
            other => return other,
        }
    }
}

/// The path without leading and trailing slashes (those at the end would defeat `O_NOFOLLOW`); `.` for the root itself.
fn relative(path: &Path) -> &Path {
    let mut bytes = path.as_os_str().as_bytes();
    while let [b'/', rest @ ..] | [rest @ .., b'/'] = bytes {
        bytes = rest;
    }
    if bytes.is_empty() {
        Path::new(".")
    } else {
        Path::new(std::ffi::OsStr::from_bytes(bytes))
    }
}

/// A path with `.`, `..` and repeated slashes resolved by text alone, absolute; `..` at the top stays there.
#[must_use]
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            std::path::Component::Normal(name) => out.push(name),
            std::path::Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// A path as error texts show it.
#[must_use]
pub fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Temp(PathBuf);
    impl Temp {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("minidock-path-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(path.join("root")).unwrap();
            Self(path)
        }
        fn root(&self) -> std::fs::File {
            std::fs::File::open(self.0.join("root")).unwrap()
        }
    }
    impl Drop for Temp {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn cleans_by_text() {
        assert_eq!(clean(Path::new("a//b/./../c/")), Path::new("/a/c"));
        assert_eq!(clean(Path::new("/../..")), Path::new("/"));
        assert_eq!(relative(Path::new("//a/b//")), Path::new("a/b"));
        assert_eq!(relative(Path::new("/")), Path::new("."));
    }

    #[test]
    fn creates_missing_directories_and_files_inside_only() {
        let temp = Temp::new("create");
        let fd = temp.root();
        let root = Root::new(fd.as_fd());
        root.ensure(Path::new("/a/b/c/"), Node::Directory).unwrap();
        assert!(temp.0.join("root/a/b/c").is_dir());
        root.ensure(Path::new("/../../x/y"), Node::File).unwrap();
        assert!(temp.0.join("root/x/y").is_file());
        assert!(!temp.0.join("x").exists());
        let e = root.ensure(Path::new("/x/y"), Node::Directory).unwrap_err();
        assert_eq!(e.kind, Kind::Invalid);
        assert!(root.ensure(Path::new("/x/y/z"), Node::Directory).is_err());
    }

    #[test]
    fn links_stay_inside() {
        let temp = Temp::new("links");
        let fd = temp.root();
        let root = Root::new(fd.as_fd());
        symlink(&temp.0, temp.0.join("root/out")).unwrap();
        symlink("../../../run/resolv/stub", temp.0.join("root/dangling")).unwrap();
        symlink("/abs/target", temp.0.join("root/absolute")).unwrap();
        symlink("loop", temp.0.join("root/loop")).unwrap();
        root.ensure(Path::new("/dangling"), Node::File).unwrap();
        assert!(temp.0.join("root/run/resolv/stub").is_file());
        root.ensure(Path::new("/absolute/more"), Node::Directory)
            .unwrap();
        assert!(temp.0.join("root/abs/target/more").is_dir());
        root.ensure(Path::new("/out/marker"), Node::File).unwrap();
        assert!(!temp.0.join("marker").exists());
        assert_eq!(
            root.ensure(Path::new("/loop/x"), Node::File)
                .unwrap_err()
                .errno,
            Some(libc::ELOOP)
        );
    }

    #[test]
    fn reads_regular_files_only_and_no_more_than_the_limit() {
        let temp = Temp::new("read");
        let fd = temp.root();
        let root = Root::new(fd.as_fd());
        std::fs::write(temp.0.join("root/f"), "12345").unwrap();
        assert_eq!(root.read(Path::new("/f"), 5).unwrap().unwrap(), b"12345");
        assert_eq!(root.read(Path::new("/f"), 4).unwrap_err().kind, Kind::Limit);
        assert!(root.read(Path::new("/none"), 4).unwrap().is_none());
        assert_eq!(
            root.read(Path::new("/"), 4).unwrap_err().kind,
            Kind::Corrupt
        );
        rustix::fs::mknodat(&fd, "fifo", FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert_eq!(
            root.read(Path::new("/fifo"), 4).unwrap_err().kind,
            Kind::Corrupt
        );
    }
}
