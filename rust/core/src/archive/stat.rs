//! What is at a path of a container.
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, OFlags, readlinkat};
use rustix::io::Errno;

use super::tree::{Tree, text_of};
use crate::layer::path::parts;
use crate::path::clean;
use crate::{Context, Error, Result};

/// How many links one path may lead through, as in Go's standard library.
const LINKS: u32 = 255;

/// A file or directory of a container, as `stat` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// Bytes.
    pub size: u64,
    /// Type and permissions, as the kernel has them.
    pub mode: u32,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Of a symbolic link: the absolute path that it leads to in the end, as far as there is one; else empty.
    pub link_target: Vec<u8>,
}

impl Tree {
    /// What is at `path`; a link in the last place is looked at itself, unless a slash or `/.` follows it.
    ///
    /// # Errors
    /// `NotFound`, `System(ENOTDIR)`, `System(ELOOP)`.
    pub fn stat(&self, path: &[u8]) -> Result<PathStat> {
        let node = self.find(path)?;
        let stat = &node.stat;
        let link_target = if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            self.follow(clean(Path::new(OsStr::from_bytes(path))).as_path())?
        } else {
            Vec::new()
        };
        Ok(PathStat {
            size: stat.st_size.cast_unsigned(),
            mode: stat.st_mode,
            mtime: (
                stat.st_mtime,
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            link_target,
        })
    }

    /// The path that all links of `path` lead to; what does not exist is taken by name.
    fn follow(&self, path: &Path) -> Result<Vec<u8>> {
        let subject = || text_of(path.as_os_str().as_bytes());
        let split =
            |path: &[u8]| -> VecDeque<Vec<u8>> { parts(path).map(<[u8]>::to_vec).collect() };
        let mut rest = split(path.as_os_str().as_bytes());
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            match name.as_slice() {
                b"." => continue,
                b".." => {
                    done.pop();
                    continue;
                }
                _ => {}
            }
            done.push(name);
            let here = done.join(&b'/');
            let here = Path::new(OsStr::from_bytes(&here));
            let target = match self.root().open(here, OFlags::PATH | OFlags::NOFOLLOW) {
                Ok(fd) => match readlinkat(&fd, c"", Vec::new()) {
                    Ok(target) => target.into_bytes(),
                    Err(Errno::INVAL | Errno::NOENT) => continue,
                    Err(e) => return Err(e).context("read link", subject),
                },
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(e).context("find", subject),
            };
            links += 1;
            if links > LINKS {
                return Err(Error::errno("find", subject(), libc::ELOOP));
            }
            done.pop();
            if target.starts_with(b"/") {
                done.clear();
            }
            for part in split(&target).into_iter().rev() {
                rest.push_front(part);
            }
        }
        Ok([&b"/"[..], &done.join(&b'/')].concat())
    }
}
