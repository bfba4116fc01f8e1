//! Where a stream ends: a file, pipe or socket that is written without ever blocking for long.
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::PollFlags;
use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::SendFlags;
use sha2::{Digest as _, Sha256};

use super::control::{Control, wait};
use super::dir::proc_path;

/// What a pipe should hold, if the system lets it: the more, the less often reader and writer wait for each other.
const PIPE: usize = 1 << 20;

/// A descriptor that is written, hashing what it gets.
pub struct Descriptor {
    fd: OwnedFd,
    kind: Kind,
    /// Of what was written.
    pub hash: Option<Sha256>,
    /// Bytes written.
    pub count: u64,
    control: Arc<Control>,
}

enum Kind {
    /// Never blocks for long.
    File,
    /// Opened by us once more, not to block: the flag of the caller's own would be everybody's who has the pipe.
    Pipe,
    Socket,
    /// Blocks: terminals, pipes where /proc is missing.
    Other,
}

impl Descriptor {
    /// Writes to `fd` from its offset on.
    pub fn new(fd: OwnedFd, hashed: bool, control: &Arc<Control>) -> Self {
        let (kind, fd) = classify(fd);
        Self {
            fd,
            kind,
            hash: hashed.then(Sha256::new),
            count: 0,
            control: Arc::clone(control),
        }
    }

    fn put(&self, buf: &[u8]) -> rustix::io::Result<usize> {
        match self.kind {
            Kind::File | Kind::Pipe => rustix::io::write(&self.fd, buf),
            Kind::Socket => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                rustix::net::send(&self.fd, buf, flags)
            }
            // Where there is room at all, there is room for PIPE_BUF bytes.
            Kind::Other => rustix::io::write(&self.fd, &buf[..buf.len().min(4096)]),
        }
    }
}

fn classify(fd: OwnedFd) -> (Kind, OwnedFd) {
    let kind = rustix::fs::fstat(&fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::RegularFile | FileType::BlockDevice) => (Kind::File, fd),
        Ok(FileType::Socket) => (Kind::Socket, fd),
        Ok(FileType::Fifo) => match own_pipe(fd.as_fd()) {
            Ok(own) => (Kind::Pipe, own),
            Err(_) => (Kind::Other, fd),
        },
        _ => (Kind::Other, fd),
    }
}

fn own_pipe(fd: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let own = openat(CWD, proc_path(fd), flags, Mode::empty())?;
    if rustix::pipe::fcntl_getpipe_size(&own)? < PIPE {
        // Over the user's limit: as it is, then.
        let _ = rustix::pipe::fcntl_setpipe_size(&own, PIPE);
    }
    Ok(own)
}

impl Write for Descriptor {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        loop {
            if matches!(self.kind, Kind::Other) {
                wait(&self.fd, PollFlags::OUT, || self.control.check())
                    .map_err(io::Error::other)?;
            }
            let n = match self.put(buf) {
                Err(Errno::INTR) => continue,
                // A reader that stops must not make the call deaf to signals.
                Err(Errno::AGAIN) => {
                    wait(&self.fd, PollFlags::OUT, || self.control.check())
                        .map_err(io::Error::other)?;
                    continue;
                }
                other => other?,
            };
            if let Some(hash) = &mut self.hash {
                hash.update(&buf[..n]);
            }
            self.count += n as u64;
            return Ok(n);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
