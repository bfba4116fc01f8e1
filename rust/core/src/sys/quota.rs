//! Project quotas: ioctl_fsxattr and quotactl_fd(2).
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};

use super::check;

/// `struct fsxattr`: what a file system keeps about a file beside its attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Attributes {
    /// `FS_XFLAG_*`.
    pub flags: u32,
    extent_size: u32,
    extents: u32,
    /// The number of its project.
    pub project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `FS_XFLAG_PROJINHERIT`: what is made inside is of the same project.
pub const INHERIT: u32 = 0x200;

/// `_IOR('X', 31, struct fsxattr)` and `_IOW('X', 32, struct fsxattr)`, on all architectures that we have.
const GET: libc::c_ulong = 0x801c_581f;
const SET: libc::c_ulong = 0x401c_5820;

/// `struct if_dqblk`.
#[derive(Default)]
#[repr(C)]
struct Block {
    hard_limit: u64,
    soft_limit: u64,
    space: u64,
    inode_hard_limit: u64,
    inode_soft_limit: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

// As the kernel has them on every machine: `GET` and `SET` carry the first size.
const _: () = assert!(size_of::<Attributes>() == 28 && size_of::<Block>() == 72);

const PROJECT_QUOTA: u32 = 2;
const GET_QUOTA: u32 = 0x80_0007;
const SET_QUOTA: u32 = 0x80_0008;
/// `QIF_BLIMITS`
const LIMITS_OF_BLOCKS: u32 = 1;
/// `QIF_DQBLKSIZE`
const UNIT: u64 = 1024;

/// Those of an open file.
pub fn attributes(fd: BorrowedFd<'_>) -> Result<Attributes> {
    let mut found = Attributes::default();
    // SAFETY: the request writes one `struct fsxattr`, which `found` is.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), GET as _, &raw mut found) }.into())?;
    Ok(found)
}

/// Changes those of an open file.
pub fn set_attributes(fd: BorrowedFd<'_>, wanted: &Attributes) -> Result<()> {
    // SAFETY: the request reads one `struct fsxattr`, which `wanted` is.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), SET as _, &raw const *wanted) }.into()).map(drop)
}

/// Whether anything on the file system of `fd` is of a project: a directory of xfs takes no space while it is small.
pub fn is_used(fd: BorrowedFd<'_>, project: u32) -> Result<bool> {
    let mut block = Block::default();
    match quotactl(fd, GET_QUOTA, project, &mut block) {
        // xfs keeps nothing about a project that nobody has used.
        Ok(()) | Err(Errno::NOENT) => Ok(block.space > 0 || block.inodes > 0),
        Err(e) => Err(e),
    }
}

/// The most bytes that a project may take; 0: no limit.
pub fn limit(fd: BorrowedFd<'_>, project: u32) -> Result<u64> {
    let mut block = Block::default();
    match quotactl(fd, GET_QUOTA, project, &mut block) {
        Ok(()) => Ok(block.hard_limit * UNIT),
        Err(Errno::NOENT) => Ok(0),
        Err(e) => Err(e),
    }
}

/// Limits the bytes that a project may take: rounded up to 1 KiB, and never 0, which would be no limit.
pub fn set_limit(fd: BorrowedFd<'_>, project: u32, bytes: u64) -> Result<()> {
    let mut block = Block {
        hard_limit: bytes.div_ceil(UNIT).max(1),
        valid: LIMITS_OF_BLOCKS,
        ..Block::default()
    };
    quotactl(fd, SET_QUOTA, project, &mut block)
}

fn quotactl(fd: BorrowedFd<'_>, command: u32, project: u32, block: &mut Block) -> Result<()> {
    let command = command << 8 | PROJECT_QUOTA;
    // SAFETY: both commands read or write one `struct if_dqblk`, which `block` is.
    check(unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            fd.as_raw_fd(),
            command,
            project,
            &raw mut *block,
        )
    })
    .map(drop)
}
