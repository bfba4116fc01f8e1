//! The data of one file into another.
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;

use super::control::Control;
use super::path::show;
use crate::{Context, Error, Kind, Result};

/// What two file systems have not refused to do between each other yet: one answer for all files.
#[derive(Debug)]
pub struct Abilities {
    /// Share blocks.
    reflink: AtomicBool,
    /// Copy in the kernel.
    ranges: AtomicBool,
}

impl Default for Abilities {
    fn default() -> Self {
        Self {
            reflink: AtomicBool::new(true),
            ranges: AtomicBool::new(true),
        }
    }
}

impl Abilities {
    /// Whether sharing blocks is worth an attempt.
    pub fn may_share(&self) -> bool {
        self.reflink.load(Relaxed)
    }

    /// Has `target` share all blocks of `source`; whether that is done.
    pub fn share(&self, source: &OwnedFd, target: &OwnedFd) -> rustix::io::Result<bool> {
        if !self.may_share() {
            return Ok(false);
        }
        match rustix::fs::ioctl_ficlone(target, source) {
            Ok(()) => Ok(true),
            Err(Errno::NOSPC | Errno::DQUOT | Errno::IO) => Err(Errno::NOSPC),
            Err(_) => {
                self.reflink.store(false, Relaxed);
                Ok(false)
            }
        }
    }
}

/// Copies the data of a file, not its holes, into an empty one, in the kernel where it can. `abilities` remembers what these
/// file systems do between each other.
///
/// # Errors
/// `Busy` when the file becomes shorter meanwhile, and the file system's.
pub fn copy_content(
    source: &OwnedFd,
    target: BorrowedFd<'_>,
    stat: &Stat,
    path: &[u8],
    abilities: &Abilities,
    control: &Control,
) -> Result<()> {
    let size = stat.st_size.cast_unsigned();
    let sparse = stat.st_blocks.cast_unsigned().saturating_mul(512) < size;
    let subject = || show(path);
    let mut offset = 0;
    while offset < size {
        let mut end = size;
        if sparse {
            match rustix::fs::seek(source, SeekFrom::Data(offset)) {
                Ok(data) => offset = data,
                Err(Errno::NXIO) => break,
                Err(e) => return Err(e).context("read", subject),
            }
            end = rustix::fs::seek(source, SeekFrom::Hole(offset))
                .context("read", subject)?
                .min(size);
        }
        let (mut from, mut to) = (offset, offset);
        while from < end {
            control.check()?;
            if !abilities.ranges.load(Relaxed) {
                by_hand(source, target, &mut from, end, path, control)?;
                break;
            }
            let part = usize::try_from(end - from)
                .unwrap_or(usize::MAX)
                .min(64 << 20);
            match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), part)
            {
                Ok(0) => {
                    return Err(Error::new(
                        Kind::Busy,
                        "copy",
                        show(path),
                        "file changes while it is read",
                    ));
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    abilities.ranges.store(false, Relaxed);
                }
                Err(e) => return Err(e).context("write", subject),
            }
        }
        offset = end;
    }
    // A hole at the end.
    if sparse {
        rustix::fs::ftruncate(target, size).context("write", subject)?;
    }
    Ok(())
}

/// Between file systems that `copy_file_range` does not copy between: page by page, or through a buffer.
fn by_hand(
    source: &OwnedFd,
    target: BorrowedFd<'_>,
    at: &mut u64,
    end: u64,
    path: &[u8],
    control: &Control,
) -> Result<()> {
    let short = || {
        let why = "file changes while it is read";
        Error::new(Kind::Busy, "copy", show(path), why)
    };
    if *at > 0 {
        rustix::fs::seek(target, SeekFrom::Start(*at)).context("write", || show(path))?;
    }
    while *at < end {
        control.check()?;
        let part = usize::try_from(end - *at)
            .unwrap_or(usize::MAX)
            .min(8 << 20);
        match rustix::fs::sendfile(target, source, Some(at), part) {
            Ok(0) => return Err(short()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::INVAL | Errno::NOSYS) => break,
            Err(e) => return Err(e).context("write", || show(path)),
        }
    }
    let mut buf = vec![0; if *at < end { super::feed::CHUNK } else { 0 }];
    while *at < end {
        control.check()?;
        let want = buf
            .len()
            .min(usize::try_from(end - *at).unwrap_or(usize::MAX));
        let n = rustix::io::retry_on_intr(|| rustix::io::pread(source, &mut buf[..want], *at))
            .context("read", || show(path))?;
        if n == 0 {
            return Err(short());
        }
        let mut done = 0;
        while done < n {
            done += rustix::io::retry_on_intr(|| {
                rustix::io::pwrite(target, &buf[done..n], *at + done as u64)
            })
            .context("write", || show(path))?;
        }
        *at += n as u64;
    }
    Ok(())
}
