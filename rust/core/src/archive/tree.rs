//! A container's tree of files, pinned.
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, StatVfsMountFlags, StatxAttributes, StatxFlags,
    fstat, fstatfs, fstatvfs, openat, stat, statx,
};
use rustix::io::Errno;

use super::view::View;
use crate::layer::IdMap;
use crate::path::{Root, clean};
use crate::rootfs;
use crate::supervisor::Helper;
use crate::{Context, Error, Kind, Result};

/// File systems that show the kernel, not files, by their magic numbers.
const KERNEL: [u64; 20] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0x7363_6673, // securityfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0xcafe_4a11, // bpf
    0x4249_4e4d, // binfmt_misc
    0x6265_6570, // configfs
    0xde5e_81e4, // efivarfs
    0x6165_676c, // pstore
    0xf97c_ff8c, // selinuxfs
    0x6573_5543, // fusectl
    0x9584_58f6, // hugetlbfs
    0x6e73_6673, // nsfs
    0x0187,      // autofs
    0x6759_6969, // rpc_pipefs
];

const TMPFS: u64 = 0x0102_1994;

/// Whether an open directory lies on a file system of the kernel's own.
pub fn is_kernels(fd: BorrowedFd<'_>) -> bool {
    // Who cannot say what it is, is none of those.
    magic(fd).is_ok_and(|magic| KERNEL.contains(&magic))
}

fn magic(fd: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    // Some are negative as the kernel's 32-bit word.
    Ok(fstatfs(fd)?.f_type as u64 & 0xffff_ffff)
}

/// A container's tree.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    /// The mount of its own /dev: left out of copies of what is above it.
    dev: Option<u64>,
    /// Its owners on disk, and in archives.
    pub(super) map: IdMap,
    /// Who holds its mounts; closed last.
    _view: Option<View>,
}

/// A directory to copy into.
#[derive(Debug)]
pub struct Place {
    pub(super) fd: OwnedFd,
    /// It is on the container's root filesystem, on no other mount.
    pub on_root: bool,
    /// Its mount is read-only.
    pub read_only: bool,
}

/// What is at a path.
pub(super) struct Node {
    /// `O_PATH`.
    pub fd: OwnedFd,
    pub stat: Stat,
    /// A mount of the kernel's, shown as an empty directory.
    pub hidden: bool,
}

impl Tree {
    /// The tree that PID 1 of a running container sees, mounts and all. `start_time` is field 22 of its `/proc/PID/stat`.
    ///
    /// # Errors
    /// `NotFound` when that process has ended, `Busy` when it has not entered the container's root yet.
    pub fn running(pid: i32, start_time: u64, map: IdMap) -> Result<Self> {
        let name = || format!("process {pid}");
        let gone = || {
            let why = "it has ended";
            Error::new(Kind::NotFound, "open root filesystem of", name(), why)
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let process = match openat(CWD, format!("/proc/{pid}"), flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(gone()),
            other => other.context("open", name)?,
        };
        // The directory is that very process's, whoever gets its number later.
        let is_it = || started(process.as_fd()) == Some(start_time);
        if !is_it() {
            return Err(gone());
        }
        let root = match openat(&process, "root", flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::SRCH) => return Err(gone()),
            other => other.context("open root filesystem of", name)?,
        };
        // Before it enters its root, its root is the host's.
        let (own, its) = (
            stat("/").context("look at", || "/")?,
            fstat(&root).context("look at", name)?,
        );
        if (own.st_dev, own.st_ino) == (its.st_dev, its.st_ino) {
            let why = "it has not entered the container's root filesystem yet";
            return Err(Error::new(
                Kind::Busy,
                "open root filesystem of",
                name(),
                why,
            ));
        }
        if !is_it() {
            return Err(gone());
        }
        Ok(Self::new(root, map))
    }

    /// The tree of a container that does not run, mounted by the helper where nobody sees it; the mounts end with the value.
    /// Nobody may start the container meanwhile. `request` is JSON (docs/supervisor.md).
    ///
    /// # Errors
    /// Those of the mount.
    pub fn stopped(helper: &Helper, bundle: &Path, request: &[u8], map: IdMap) -> Result<Self> {
        let (root, view) = View::open(helper, bundle, request)?;
        Ok(Self {
            _view: Some(view),
            ..Self::new(root, map)
        })
    }

    pub(super) fn new(root: OwnedFd, map: IdMap) -> Self {
        let dev = Root::new(root.as_fd())
            .open_no_links(Path::new("dev"), OFlags::PATH | OFlags::DIRECTORY)
            .ok()
            .filter(|fd| magic(fd.as_fd()).is_ok_and(|magic| magic == TMPFS))
            .and_then(|fd| mount_id(fd.as_fd()))
            .filter(|(_, top)| *top)
            .map(|(id, _)| id);
        Self {
            root,
            dev,
            map,
            _view: None,
        }
    }

    /// The pinned root.
    pub(super) fn root(&self) -> Root<'_> {
        Root::new(self.root.as_fd())
    }

    /// The user and group that a container's `user[:group]` means, by its own files.
    ///
    /// # Errors
    /// As [`rootfs::resolve_user`].
    pub fn user(&self, spec: &str) -> Result<(u32, u32)> {
        let user = rootfs::resolve_user(&self.root(), spec, &[])?;
        Ok((user.uid, user.gid))
    }

    /// Whether a directory with another device number than that above is left out.
    pub(super) fn leaves_out(&self, fd: BorrowedFd<'_>) -> bool {
        is_kernels(fd) || (self.dev.is_some() && mount_id(fd).map(|(id, _)| id) == self.dev)
    }

    /// What is at `path`; a link in the last place is not followed, unless a slash or `/.` follows it.
    ///
    /// # Errors
    /// `NotFound` also for files of the kernel's own; `System(ENOTDIR)`, `System(ELOOP)`.
    pub(super) fn find(&self, path: &[u8]) -> Result<Node> {
        let inside = text_of(path);
        let is_directory = asserts_directory(path);
        let mut at = clean(Path::new(OsStr::from_bytes(path)));
        if is_directory {
            // Follows a link there, and takes nothing else than a directory.
            at.push(".");
        }
        let none = || Error::errno("find", inside.clone(), libc::ENOENT);
        let flags = if is_directory {
            OFlags::PATH | OFlags::DIRECTORY
        } else {
            OFlags::PATH | OFlags::NOFOLLOW
        };
        let fd = self.root().open(&at, flags).context("find", || &inside)?;
        let stat = fstat(&fd).context("look at", || &inside)?;
        let hidden = is_kernels(fd.as_fd());
        if hidden && !is_top(fd.as_fd(), &stat) {
            return Err(none());
        }
        // Masks are mounts on top of the kernel's files.
        if !hidden && self.is_below_kernels(&at) {
            return Err(none());
        }
        Ok(Node { fd, stat, hidden })
    }

    /// Whether a path leads into /proc or /sys as the container has them mounted.
    fn is_below_kernels(&self, path: &Path) -> bool {
        let mut names = path.components().skip(1);
        let (Some(first), Some(_)) = (names.next(), names.next()) else {
            return false;
        };
        let first = Path::new(&first);
        ["proc", "sys"].map(Path::new).contains(&first)
            && self
                .root()
                .open_no_links(first, OFlags::PATH | OFlags::DIRECTORY)
                .is_ok_and(|fd| is_kernels(fd.as_fd()))
    }

    /// The directory at `path`, links followed, to copy into.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for something else, `Denied` for a file system of the kernel's own.
    pub fn directory(&self, path: &[u8]) -> Result<Place> {
        let inside = || text_of(path);
        let at = clean(Path::new(OsStr::from_bytes(path)));
        let fd = self
            .root()
            .open(&at, OFlags::PATH)
            .context("find", inside)?;
        let stat = fstat(&fd).context("look at", inside)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let why = "it is not a directory";
            return Err(Error::new(Kind::Invalid, "copy into", inside(), why));
        }
        if is_kernels(fd.as_fd()) {
            let why = "this file system is the kernel's, and holds no files of the container";
            return Err(Error::new(Kind::Denied, "copy into", inside(), why));
        }
        let (place, root) = (mount_id(fd.as_fd()), mount_id(self.root.as_fd()));
        let flags = fstatvfs(&fd).context("look at", inside)?.f_flag;
        Ok(Place {
            fd,
            on_root: place.map(|(id, _)| id) == root.map(|(id, _)| id),
            read_only: flags.contains(StatVfsMountFlags::RDONLY),
        })
    }
}

/// Whether a path says that it is one of a directory.
pub(super) fn asserts_directory(path: &[u8]) -> bool {
    path.ends_with(b"/") || path.ends_with(b"/.") || path == b"."
}

/// A path for a message.
pub(super) fn text_of(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The id of the mount that a file lies on, and whether it is its top; `None` where the kernel does not tell (Linux 5.8).
fn mount_id(fd: BorrowedFd<'_>) -> Option<(u64, bool)> {
    let found = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    let top = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some((found.stx_mnt_id, top))
}

/// Whether a file of the kernel's is the top of its mount.
fn is_top(fd: BorrowedFd<'_>, stat: &Stat) -> bool {
    mount_id(fd).map_or(stat.st_ino == 1, |(_, top)| top)
        && FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// When the process of an open `/proc/PID` started; `None` when it has ended.
fn started(process: BorrowedFd<'_>) -> Option<u64> {
    let fd = openat(
        process,
        "stat",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let mut text = [0; 4096];
    let n = rustix::io::read(&fd, &mut text[..]).ok()?;
    // The name in brackets may hold anything.
    let rest = &text[text[..n].iter().rposition(|byte| *byte == b')')? + 1..n];
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let time = fields.nth(18)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(time)
}
