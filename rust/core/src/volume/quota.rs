//! The size of a directory tree, limited by a project quota of its file system (ext4, xfs).
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fstat, fstatfs, openat};
use rustix::io::Errno;

use crate::error::{Context, Error, Kind, Result};
use crate::path::text;
use crate::sys::quota;

const EXT4: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;

/// Projects of ours begin here: administrators number theirs from 1.
const FIRST: u32 = 0x4000_0000;

/// How many numbers in a row may be another's.
const TRIES: u32 = 1024;

/// Limits what may be stored in the directory and below it, of which nothing may exist yet but the directories it was made with.
/// `renamed`: it is going to be moved to its place.
///
/// # Errors
/// `Unsupported` with what the file system or the kernel lacks, or where the directory is of a project by where it lies; and the
/// kernel's.
pub fn set(directory: &Path, size: u64, renamed: bool) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(CWD, directory, flags, Mode::empty()).context("open", || text(directory))?;
    let shown = || text(directory);
    let magic = fstatfs(&fd).context("look at", shown)?.f_type as u64;
    let lacks = |why: &str| {
        let why = format!("{why}; a size limit needs ext4 or xfs with project quotas");
        Error::new(Kind::Unsupported, "limit the size of", shown(), why)
    };
    if magic != EXT4 && magic != XFS {
        return Err(lacks("its file system is neither ext4 nor xfs"));
    }
    let how = if magic == XFS {
        "it is not mounted with the option prjquota"
    } else {
        "it is not mounted with the option prjquota (once: tune2fs -O project,quota DEVICE)"
    };
    let failed = |errno: Errno| match errno {
        // Built without, or older; then: no quota of this kind is on, none at all, no such attributes.
        Errno::NOSYS => lacks(
            "this kernel has no quotas for it (quotactl_fd of Linux 5.14; CONFIG_QUOTACTL, CONFIG_XFS_QUOTA)",
        ),
        Errno::SRCH | Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL => lacks(how),
        other => Error::errno("limit the size of", shown(), other.raw_os_error()),
    };
    let before = quota::attributes(fd.as_fd()).map_err(failed)?;
    if let Some(why) = inherited(
        before.project,
        renamed && before.flags & quota::INHERIT != 0,
    ) {
        let op = "limit the size of";
        return Err(Error::new(Kind::Unsupported, op, shown(), why));
    }
    let project = project(fd.as_fd()).map_err(failed)?;
    quota::set_limit(fd.as_fd(), project, size).map_err(failed)?;
    assign(fd.as_fd(), directory, project, &failed)
}

/// A little more than its limit for a directory that is full, until this is dropped.
pub struct Room {
    fd: OwnedFd,
    project: u32,
    limit: u64,
}

impl Room {
    const SIZE: u64 = 1 << 20;

    /// None for a directory that has no limit of ours: it is that of the directory that `directory` lies in.
    pub fn of(directory: &Path) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| openat(CWD, path, flags, Mode::empty()).ok();
        let fd = open(directory)?;
        let project = quota::attributes(fd.as_fd()).ok()?.project;
        let limit = quota::limit(fd.as_fd(), project).ok()?;
        if project < FIRST || limit == 0 {
            return None;
        }
        // What begins further up is an outer engine's volume: other engines' containers would change its limit, too.
        let above = open(directory.parent()?.parent()?)?;
        if quota::attributes(above.as_fd()).ok()?.project == project {
            return None;
        }
        quota::set_limit(fd.as_fd(), project, limit + Self::SIZE).ok()?;
        Some(Self { fd, project, limit })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = quota::set_limit(self.fd.as_fd(), self.project, self.limit);
    }
}

/// Why a new directory with this number can have no other one: it has it from the directory that it lies in. `fixed` if it is to
/// be moved to a place that takes nothing of another number.
fn inherited(project: u32, fixed: bool) -> Option<String> {
    if project >= FIRST {
        // Of an engine whose volume this engine's files are in: the number is that volume's.
        return Some(format!(
            "it lies in a directory whose size is limited already: project {project} has the limit; put the data root elsewhere, or do without one"
        ));
    }
    fixed.then(|| {
        format!(
            "it lies in a directory of project {project}, into which the kernel moves nothing of another one: put the data root elsewhere, or let its directories inherit none (chattr -R -P)"
        )
    })
}

/// A free number for the directory: that of its inode, which no other directory has at the same time.
fn project(fd: BorrowedFd<'_>) -> rustix::io::Result<u32> {
    let mut number = FIRST | (fstat(fd)?.st_ino as u32 & (FIRST - 1));
    for _ in 0..TRIES {
        // A limit may be left of a removed directory's.
        if !quota::is_used(fd, number)? {
            return Ok(number);
        }
        number = FIRST | (number.wrapping_add(1) & (FIRST - 1));
    }
    Err(Errno::USERS)
}

/// Puts the directory and those in it into the project; what is made there later comes into it by itself.
fn assign(
    fd: BorrowedFd<'_>,
    directory: &Path,
    project: u32,
    failed: &dyn Fn(Errno) -> Error,
) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for (name, _) in crate::layer::dir::list(fd, usize::MAX).context("read", || text(directory))? {
        match openat(fd, name.as_c_str(), flags, Mode::empty()) {
            Ok(inside) => assign(inside.as_fd(), directory, project, failed)?,
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            Err(e) => return Err(e).context("open in", || text(directory)),
        }
    }
    let mut wanted = quota::attributes(fd).map_err(failed)?;
    wanted.project = project;
    wanted.flags |= quota::INHERIT;
    quota::set_attributes(fd, &wanted).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::testdir::TestDir;

    #[test]
    fn says_what_is_missing() {
        let tmp = TestDir::new();
        // Enforcement needs a file system of its own; where tests run there is none, or one without quotas.
        if let Err(e) = set(tmp.path(), 1 << 20, true) {
            assert_eq!(e.kind, Kind::Unsupported, "{e}");
            assert!(e.to_string().contains("project quotas"), "{e}");
        }
        let e = set(Path::new("/proc"), 1, false).unwrap_err();
        assert!(e.to_string().contains("neither ext4 nor xfs"), "{e}");
        assert_eq!(
            set(Path::new("/nonexistent"), 1, true).unwrap_err().kind,
            Kind::NotFound
        );
    }
    #[test]
    fn a_number_of_where_it_lies_is_not_taken() {
        assert_eq!(inherited(0, false), None);
        assert!(inherited(0, true).is_some(), "none is a number, too");
        for fixed in [false, true] {
            for project in [FIRST, FIRST | 7, u32::MAX] {
                let why = inherited(project, fixed).unwrap();
                assert!(why.contains("whose size is limited already"), "{why}");
            }
        }
        assert_eq!(inherited(5, false), None, "an administrator's");
        let why = inherited(FIRST - 1, true).unwrap();
        assert!(
            why.contains("the kernel moves nothing of another one"),
            "{why}"
        );
    }
}
