//! Copying between the client's streams and the container's: with back-pressure, without losing a byte.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use minidock_core::sys::borrow_fd;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

/// How much one turn moves at most: a busy stream must not starve the others or the control socket.
const TURN: usize = 1 << 16;
/// The buffer of streams that cannot be spliced.
const CHUNK: usize = 4096;

/// How a descriptor is written without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A socket: by flag.
    Socket,
    /// Opened anew, non-blocking: the client's own descriptor stays as it is.
    Reopened,
    /// A regular file or block device: writing never waits long.
    File,
}

/// One direction of one stream.
#[derive(Debug)]
pub struct Relay {
    from: Option<OwnedFd>,
    to: Option<OwnedFd>,
    from_kind: Kind,
    to_kind: Kind,
    splice: bool,
    /// Bytes read and not written yet.
    pending: Vec<u8>,
    /// The reader has gone: what comes is thrown away.
    discard: bool,
    /// Towards the container: ends when the container reads no more.
    input: bool,
    /// The source has ended.
    ended: bool,
}

/// What a relay waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Data to read.
    Read,
    /// Room to write.
    Write,
    /// Nothing: it has ended.
    Nothing,
}

/// A private, non-blocking descriptor for one of the client's streams.
///
/// O_NONBLOCK belongs to the open file that the client and its other children share, so it is never set on theirs: pipes
/// and terminals are opened anew through `/proc`, sockets are used with a flag per call.
pub fn private(fd: BorrowedFd<'_>, write: bool) -> Option<(OwnedFd, Kind)> {
    let number = fd.as_raw_fd();
    let stat = fstat(fd).ok()?;
    let duplicate = |kind| {
        rustix::io::fcntl_dupfd_cloexec(fd, 3)
            .ok()
            .map(|fd| (fd, kind))
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => duplicate(Kind::Socket),
        FileType::Fifo | FileType::CharacterDevice => {
            let access = if write {
                OFlags::WRONLY
            } else {
                OFlags::RDONLY
            };
            let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            match openat(CWD, format!("/proc/self/fd/{number}"), flags, Mode::empty()) {
                Ok(fd) => Some((fd, Kind::Reopened)),
                // A device that can be opened once only, or a pipe whose other end has gone: as it is, then.
                Err(_) => duplicate(Kind::File),
            }
        }
        _ => duplicate(Kind::File),
    }
}

fn is_pipe(fd: &OwnedFd) -> bool {
    fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

impl Relay {
    /// From the client's stream `number` to the container.
    #[must_use]
    pub fn input(number: i32, to: OwnedFd) -> Self {
        let _ = rustix::io::ioctl_fionbio(&to, true);
        let from = private(borrow_fd(number), false);
        let ended = from.is_none();
        let (from, from_kind) = from.map_or((None, Kind::File), |(fd, kind)| (Some(fd), kind));
        Self {
            from,
            to: Some(to),
            from_kind,
            to_kind: Kind::Reopened,
            splice: true,
            pending: Vec::new(),
            discard: false,
            input: true,
            ended,
        }
    }

    /// From the container to the client's stream `number`; thrown away if the client has none.
    #[must_use]
    pub fn output(from: OwnedFd, number: i32) -> Self {
        let _ = rustix::io::ioctl_fionbio(&from, true);
        let to = private(borrow_fd(number), true);
        let discard = to.is_none();
        let (to, to_kind) = to.map_or((None, Kind::File), |(fd, kind)| (Some(fd), kind));
        Self {
            from: Some(from),
            to,
            from_kind: Kind::Reopened,
            to_kind,
            splice: true,
            pending: Vec::new(),
            discard,
            input: false,
            ended: false,
        }
    }

    /// The source, while it is open.
    #[must_use]
    pub fn from(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(AsFd::as_fd)
    }

    /// The target, while it is open.
    #[must_use]
    pub fn to(&self) -> Option<BorrowedFd<'_>> {
        self.to.as_ref().map(AsFd::as_fd)
    }

    /// Writes nothing more to the client; what the container writes is thrown away.
    pub fn abandon_target(&mut self) {
        self.discard = true;
        self.pending = Vec::new();
        self.to = None;
    }

    /// Ends the stream after what is already read.
    pub fn end(&mut self) {
        self.ended = true;
        self.from = None;
        if self.pending.is_empty() {
            self.to = None;
        }
    }

    /// Moves what can be moved without waiting, one turn at most.
    pub fn turn(&mut self) -> Want {
        let mut moved = 0;
        while moved < TURN {
            match self.step() {
                Ok(0) => return self.finish(),
                Ok(n) => moved += n,
                Err(want) => return want,
            }
        }
        Want::Read
    }

    /// Source at its end: nothing left but to close.
    fn finish(&mut self) -> Want {
        self.end();
        Want::Nothing
    }

    /// Moves some bytes; 0 when all is over.
    fn step(&mut self) -> Result<usize, Want> {
        if !self.pending.is_empty() {
            return self.flush();
        }
        let Some(from) = &self.from else { return Ok(0) };
        if self.ended {
            return Ok(0);
        }
        if let (true, false, Some(to)) = (self.splice, self.discard, &self.to) {
            // Zero copies and no buffer, which keeps a supervisor small. One side is always a pipe of ours, except for a pty.
            match splice(
                from,
                None,
                to,
                None,
                TURN,
                SpliceFlags::NONBLOCK | SpliceFlags::MOVE,
            ) {
                Ok(n) => return Ok(n),
                Err(Errno::INTR) => return Err(Want::Read),
                Err(Errno::PIPE | Errno::CONNRESET) => return self.target_gone(),
                Err(Errno::AGAIN) => return Err(self.blocked()),
                Err(Errno::IO) => return Ok(0),
                // Not for this pair of files (a terminal, a file opened for appending).
                Err(_) => self.splice = false,
            }
        }
        let mut buffer = [0u8; CHUNK];
        let got = if self.from_kind == Kind::Socket {
            rustix::net::recv(from, &mut buffer[..], rustix::net::RecvFlags::DONTWAIT)
                .map(|(n, _)| n)
        } else {
            rustix::io::read(from, &mut buffer[..])
        };
        match got {
            Ok(0) => Ok(0),
            Ok(n) if self.discard => Ok(n),
            Ok(n) => {
                self.pending.extend_from_slice(&buffer[..n]);
                self.flush()
            }
            Err(Errno::AGAIN | Errno::INTR) => Err(Want::Read),
            // A pty whose last slave has closed; or a source that is broken, which is an end as well.
            Err(_) => Ok(0),
        }
    }

    /// With splice, EAGAIN may mean either side.
    fn blocked(&self) -> Want {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let Some(from) = &self.from else {
            return Want::Nothing;
        };
        let mut fds = [PollFd::new(from, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut fds, Some(&now)) {
            Ok(n) if n > 0 => Want::Write,
            _ => Want::Read,
        }
    }

    fn flush(&mut self) -> Result<usize, Want> {
        let Some(to) = &self.to else {
            self.pending.clear();
            return Ok(1);
        };
        let wrote = if self.to_kind == Kind::Socket {
            use rustix::net::{SendFlags, send};
            send(to, &self.pending, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
        } else {
            rustix::io::write(to, &self.pending)
        };
        match wrote {
            Ok(n) => {
                self.pending.drain(..n);
                if self.pending.is_empty() {
                    self.pending = Vec::new();
                }
                Ok(n.max(1))
            }
            Err(Errno::AGAIN) => Err(Want::Write),
            Err(Errno::INTR) => Err(Want::Write),
            Err(_) => self.target_gone(),
        }
    }

    /// The reader has gone. The container meets the broken pipe itself, as in `yes | head`; a terminal, which has other
    /// users than this stream, is read on into nothing. Input ends.
    fn target_gone(&mut self) -> Result<usize, Want> {
        self.abandon_target();
        let pipe = self.from.as_ref().is_some_and(is_pipe);
        Ok(usize::from(!self.input && !pipe))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::io::{Read, Write};

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC).unwrap()
    }

    #[test]
    fn moves_all_bytes_under_back_pressure() {
        let (container, container_write) = pipe();
        let (client_read, client) = pipe();
        let mut relay = Relay::output(container, client.as_raw_fd());
        drop(client);
        let data: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
        let copy = data.clone();
        let writer = std::thread::spawn(move || {
            std::fs::File::from(container_write)
                .write_all(&copy)
                .unwrap()
        });
        let reader = std::thread::spawn(move || {
            let mut out = Vec::new();
            std::fs::File::from(client_read)
                .read_to_end(&mut out)
                .unwrap();
            out
        });
        while relay.turn() != Want::Nothing {
            std::thread::yield_now();
        }
        drop(relay);
        writer.join().unwrap();
        assert!(reader.join().unwrap() == data);
    }

    #[test]
    fn a_gone_reader_is_the_writers_broken_pipe() {
        let (container, container_write) = pipe();
        let (client_read, client) = pipe();
        let mut relay = Relay::output(container, client.as_raw_fd());
        drop((client, client_read));
        let mut writer = std::fs::File::from(container_write);
        writer.write_all(&[1; 60_000]).unwrap();
        assert_eq!(relay.turn(), Want::Nothing);
        let error = writer.write_all(&[1]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn an_abandoned_reader_does_not_stop_the_writer() {
        let (container, container_write) = pipe();
        let (client_read, client) = pipe();
        let mut relay = Relay::output(container, client.as_raw_fd());
        drop((client, client_read));
        relay.abandon_target();
        let mut writer = std::fs::File::from(container_write);
        writer.write_all(&[1; 60_000]).unwrap();
        assert_eq!(relay.turn(), Want::Read);
        writer.write_all(&[1; 60_000]).unwrap();
        drop(writer);
        while relay.turn() != Want::Nothing {}
    }

    #[test]
    fn a_full_reader_is_waited_for() {
        let (container, container_write) = pipe();
        let (client_read, client) = pipe();
        let mut relay = Relay::output(container, client.as_raw_fd());
        let mut writer = std::fs::File::from(container_write);
        writer.write_all(&[7; 65536]).unwrap();
        assert_eq!(relay.turn(), Want::Read);
        writer.write_all(&[8; 10]).unwrap();
        assert_eq!(relay.turn(), Want::Write);
        let mut buffer = vec![0; 65536];
        std::fs::File::from(client_read.try_clone().unwrap())
            .read_exact(&mut buffer)
            .unwrap();
        assert_eq!(relay.turn(), Want::Read);
        drop((client_read, client));
    }

    #[test]
    fn the_clients_descriptor_stays_blocking() {
        let (read, write) = pipe();
        let _relay = Relay::output(read, write.as_raw_fd());
        assert!(
            !rustix::fs::fcntl_getfl(&write)
                .unwrap()
                .contains(OFlags::NONBLOCK)
        );
    }
}
