//! The streams that a client has attached: towards it, and from it.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minidock_core::supervisor::Keys;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, send};

use super::relay::Kind;

/// A stream towards a client.
pub struct Writer {
    fd: OwnedFd,
    kind: Kind,
    pending: Vec<u8>,
}

impl Writer {
    /// A stream without anything that waits to be sent.
    pub fn new(fd: OwnedFd, kind: Kind) -> Self {
        Self {
            fd,
            kind,
            pending: Vec::new(),
        }
    }

    /// Where it goes.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether something waits to be sent.
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Sends `data` after what is pending; false when nobody reads it any more.
    pub fn push(&mut self, data: &[u8]) -> bool {
        if self.is_pending() {
            self.pending.extend_from_slice(data);
            return true;
        }
        match write(&self.fd, self.kind, data) {
            Ok(n) => {
                self.pending.extend_from_slice(&data[n..]);
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                self.pending.extend_from_slice(data);
                true
            }
            Err(_) => false,
        }
    }

    /// Sends what is pending, as far as it goes; false when nobody reads it any more.
    pub fn flush(&mut self) -> bool {
        while !self.pending.is_empty() {
            match write(&self.fd, self.kind, &self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(Errno::AGAIN | Errno::INTR) => return true,
                Err(_) => return false,
            }
        }
        self.pending = Vec::new();
        true
    }
}

fn write(fd: &OwnedFd, kind: Kind, data: &[u8]) -> rustix::io::Result<usize> {
    if kind == Kind::Socket {
        send(fd, data, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    } else {
        rustix::io::write(fd, data)
    }
}

/// A client's input.
pub struct Source {
    fd: OwnedFd,
    kind: Kind,
    keys: Option<Keys>,
}

/// What a read of a client's input gave.
pub enum Typed {
    /// Bytes for the container.
    Bytes(Vec<u8>),
    /// Bytes for the container; then the detach keys.
    Detached(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// The input has ended.
    End,
}

impl Source {
    /// What comes from a descriptor; `keys` end it.
    pub fn new(fd: OwnedFd, kind: Kind, keys: Option<Keys>) -> Self {
        Self { fd, kind, keys }
    }

    /// Where it comes from.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Reads without waiting.
    pub fn read(&mut self, buffer: &mut [u8]) -> Typed {
        let got = if self.kind == Kind::Socket {
            rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::DONTWAIT).map(|(n, _)| n)
        } else {
            rustix::io::read(&self.fd, &mut *buffer)
        };
        match got {
            Ok(0) => Typed::End,
            Ok(n) => match &mut self.keys {
                None => Typed::Bytes(buffer[..n].to_vec()),
                Some(keys) => match keys.filter(&buffer[..n]) {
                    (bytes, true) => Typed::Detached(bytes),
                    (bytes, false) => Typed::Bytes(bytes),
                },
            },
            Err(Errno::AGAIN | Errno::INTR) => Typed::Nothing,
            // A terminal that has hung up, a connection that was reset: an end, too.
            Err(_) => Typed::End,
        }
    }
}
