//! Sockets that records are sent to: never waited for, opened again when the other side has gone.
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with, sockopt,
};

/// How long the first connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long nothing is tried after a connection has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Who is sent to.
#[derive(Debug, Clone)]
pub enum Target {
    /// A socket in the filesystem, of datagrams or of a stream.
    Unix(PathBuf, SocketType),
    /// UDP or TCP.
    Net(SocketAddr, SocketType),
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It has gone.
    Done,
    /// There is no room now; the rest of it is kept.
    Full,
    /// Nobody takes it.
    Lost,
}

/// A connection, or the want of one.
#[derive(Debug)]
pub struct Remote {
    target: Target,
    socket: Option<OwnedFd>,
    /// What is left of a message.
    rest: Vec<u8>,
    /// When a connection has last failed.
    failed: Option<Instant>,
}

impl Target {
    fn kind(&self) -> SocketType {
        match self {
            Self::Unix(_, kind) | Self::Net(_, kind) => *kind,
        }
    }

    /// A socket that is connected, or is going to be.
    fn open(&self) -> rustix::io::Result<OwnedFd> {
        let family = match self {
            Self::Unix(..) => AddressFamily::UNIX,
            Self::Net(SocketAddr::V4(_), _) => AddressFamily::INET,
            Self::Net(SocketAddr::V6(_), _) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, self.kind(), flags, None)?;
        let connected = match self {
            Self::Unix(path, _) => connect(&socket, &SocketAddrUnix::new(path)?),
            Self::Net(address, _) => connect(&socket, address),
        };
        match connected {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    }
}

impl Remote {
    /// Connects, within 10 s.
    pub fn open(target: Target) -> rustix::io::Result<Self> {
        let socket = target.open()?;
        let limit = Timespec {
            tv_sec: CONNECT.as_secs() as i64,
            tv_nsec: 0,
        };
        if poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&limit))? == 0 {
            return Err(Errno::TIMEDOUT);
        }
        sockopt::socket_error(&socket)??;
        Ok(Self {
            target,
            socket: Some(socket),
            rest: Vec::new(),
            failed: None,
        })
    }

    /// What is polled for room to write.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        let socket = self.socket.as_ref()?;
        (!self.rest.is_empty()).then_some(socket.as_fd())
    }

    /// Sends one message, after what is left of the one before. `file`, if there is one, goes with it.
    pub fn send(&mut self, message: &[u8], file: Option<BorrowedFd<'_>>) -> Sent {
        if self.resume() == Sent::Full {
            // The caller has not waited: this one is too many.
            return Sent::Lost;
        }
        self.attempt(message, file)
    }

    /// Goes on with what is left.
    pub fn resume(&mut self) -> Sent {
        if self.rest.is_empty() {
            return Sent::Done;
        }
        let rest = std::mem::take(&mut self.rest);
        self.attempt(&rest, None)
    }

    /// Forgets the connection and what is left of a message; whether there was any.
    pub fn give_up(&mut self) -> bool {
        self.socket = None;
        self.failed = Some(Instant::now());
        !std::mem::take(&mut self.rest).is_empty()
    }

    fn attempt(&mut self, message: &[u8], file: Option<BorrowedFd<'_>>) -> Sent {
        let mut done = 0;
        for _ in 0..2 {
            if self.socket.is_none() && !self.reopen() {
                return Sent::Lost;
            }
            let Some(socket) = &self.socket else {
                return Sent::Lost;
            };
            match push(socket, message, file, &mut done) {
                Ok(()) => return Sent::Done,
                Err(Errno::AGAIN | Errno::NOTCONN | Errno::INPROGRESS) if file.is_none() => {
                    self.rest.extend_from_slice(&message[done..]);
                    return Sent::Full;
                }
                // Too large for any socket: a new one changes nothing.
                Err(Errno::MSGSIZE | Errno::NOBUFS) => return Sent::Lost,
                // The other side has gone, and may be back. A stream begins with a whole message again.
                Err(_) => {
                    self.socket = None;
                    done = 0;
                }
            }
        }
        self.failed = Some(Instant::now());
        Sent::Lost
    }

    fn reopen(&mut self) -> bool {
        if self.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return false;
        }
        self.socket = self.target.open().ok();
        self.failed = self.socket.is_none().then(Instant::now);
        self.socket.is_some()
    }
}

/// Sends from `done` on; a datagram all at once.
fn push(
    socket: &OwnedFd,
    message: &[u8],
    file: Option<BorrowedFd<'_>>,
    done: &mut usize,
) -> rustix::io::Result<()> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    if let Some(file) = file {
        let files = [file];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        return sendmsg(socket, &[], &mut control, flags).map(drop);
    }
    while *done < message.len() {
        match rustix::net::send(socket, &message[*done..], flags) {
            Ok(n) => *done += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn a_stream_keeps_what_does_not_fit() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::Net(server.local_addr().unwrap(), SocketType::STREAM);
        let mut remote = Remote::open(target).unwrap();
        let (mut peer, _) = server.accept().unwrap();
        let message = vec![b'x'; 100_000];
        let mut sent = 0;
        while remote.send(&message, None) == Sent::Done {
            sent += message.len();
        }
        sent += message.len();
        assert!(remote.fd().is_some());
        assert_eq!(remote.send(b"too many", None), Sent::Lost);
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all.len()
        });
        while remote.resume() == Sent::Full {
            std::thread::yield_now();
        }
        drop(remote);
        assert_eq!(reader.join().unwrap(), sent);
    }

    #[test]
    fn connects_again() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::Net(server.local_addr().unwrap(), SocketType::STREAM);
        let mut remote = Remote::open(target).unwrap();
        drop(server.accept().unwrap());
        // The first may still be taken by the kernel.
        while remote.send(b"a\n", None) == Sent::Lost {}
        let accepted = std::thread::spawn(move || server.accept().unwrap().0);
        while !accepted.is_finished() {
            remote.send(b"b\n", None);
        }
        drop(remote);
        let mut all = Vec::new();
        accepted.join().unwrap().read_to_end(&mut all).unwrap();
        assert!(
            all.starts_with(b"a\n") || all.starts_with(b"b\n"),
            "{all:?}"
        );
    }

    #[test]
    fn nobody_there() {
        let free = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let target = Target::Net(free, SocketType::STREAM);
        assert_eq!(Remote::open(target).unwrap_err(), Errno::CONNREFUSED);
        let target = Target::Unix("/does/not/exist".into(), SocketType::DGRAM);
        assert_eq!(Remote::open(target).unwrap_err(), Errno::NOENT);
    }
}
