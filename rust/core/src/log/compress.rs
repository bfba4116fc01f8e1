//! The compression of a rotated file, by a child: the supervisor stays small and goes on reading meanwhile.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use rustix::process::{
    Signal, WaitId, WaitIdOptions, pidfd_send_signal, set_parent_process_death_signal, waitid,
};

use super::time::Clock;
use crate::sys::{self, Forked};
use crate::{Context, Result};

/// The child waits for everybody else: what it does is never urgent.
const NICE: i32 = 10;
const CHUNK: usize = 1 << 16;

/// Begins the comment of a compressed file; the inode of the one that it was made from follows, by which a reader knows
/// what it has read already.
pub const ORIGINAL: &str = "inode ";

/// A compression under way. Dropped, it is given up: the file stays as it was.
#[derive(Debug)]
pub struct Compressing {
    pidfd: OwnedFd,
    unfinished: PathBuf,
}

impl Compressing {
    /// Begins to replace `file` with `file.gz`; `last` is the time of its last record.
    pub fn start(file: &Path, last: Option<i64>) -> Result<Self> {
        let unfinished = unfinished(file);
        match sys::clone3(0, None).context("make process to compress", || name(file))? {
            Forked::Parent { pidfd, .. } => Ok(Self { pidfd, unfinished }),
            Forked::Child => {
                // Nothing of the container or its client is held open here.
                let _ = sys::close_from(0);
                let _ = set_parent_process_death_signal(Some(Signal::KILL));
                let _ = rustix::process::nice(NICE);
                sys::exit_now(i32::from(compress(file, last).is_err()));
            }
        }
    }

    /// Readable when it has ended.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether it has ended, well or not.
    #[must_use]
    pub fn ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        // An error: somebody else has waited for it.
        !matches!(waitid(WaitId::PidFd(self.pidfd.as_fd()), options), Ok(None))
    }
}

impl Drop for Compressing {
    fn drop(&mut self) {
        if !self.ended() {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
        let _ = fs::remove_file(&self.unfinished);
    }
}

/// Where the output is until it is complete.
pub fn unfinished(file: &Path) -> PathBuf {
    with_suffix(file, ".gz.tmp")
}

/// A path with this behind its name.
pub fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

fn name(file: &Path) -> String {
    file.display().to_string()
}

/// Replaces `file` with `file.gz`. A reader finds one of them complete at any time.
pub fn compress(file: &Path, last: Option<i64>) -> io::Result<()> {
    let mut from = File::open(file)?;
    let to = unfinished(file);
    let out = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&to)?;
    let inode = from.metadata()?.ino();
    let mut builder = GzBuilder::new().comment(format!("{ORIGINAL}{inode}"));
    if let Some(last) = last {
        // By this Docker's reader, and ours, pass over a file that is too old for `--since`.
        let mut extra = b"{\"lastTime\":\"".to_vec();
        Clock::default().format(&mut extra, last);
        extra.extend_from_slice(b"\"}");
        builder = builder.extra(extra);
    }
    let done = (|| {
        let mut gzip = builder.write(out, Compression::fast());
        let mut buffer = vec![0; CHUNK];
        loop {
            match io::Read::read(&mut from, &mut buffer)? {
                0 => break,
                n => gzip.write_all(&buffer[..n])?,
            }
        }
        gzip.finish()?;
        fs::rename(&to, with_suffix(file, ".gz"))
    })();
    match done {
        Ok(()) => fs::remove_file(file),
        Err(error) => {
            let _ = fs::remove_file(&to);
            Err(error)
        }
    }
}
