//! Who is connected to the supervisor: control sockets, and the streams that were attached through them.
use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use minidock_core::supervisor::Keys;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags};
use rustix::net::{accept_with, recvmsg, sockopt};

use super::attached::{Source, Typed, Writer};
use super::control::{self, Received, Request};
use super::relay::private;

/// More at a time wait until others go: each has descriptors here.
const MOST: usize = 200;
/// The longest request.
const LONGEST: usize = 16384;
/// Descriptors that one request may carry.
const FDS: usize = 4;

/// One connection.
pub struct Client {
    socket: OwnedFd,
    /// It started this supervisor, and gets no answers to requests.
    pub first: bool,
    /// stdout and stderr, or both in the first one, each piece with a header.
    writers: [Option<Writer>; 2],
    /// Whose reader has gone, while the client itself is still there.
    broken: [bool; 2],
    framed: bool,
    pub source: Option<Source>,
    /// It has frozen the container, which is to run again when it goes unless this file is there.
    pub holds: Option<PathBuf>,
    gone: bool,
}

impl Client {
    /// A connection without streams.
    #[must_use]
    pub fn new(socket: OwnedFd, first: bool) -> Self {
        Self {
            socket,
            first,
            writers: [None, None],
            broken: [false; 2],
            framed: false,
            source: None,
            holds: None,
            gone: false,
        }
    }

    /// Connects streams: `streams` names what `fds` are, in order.
    ///
    /// stdin, stdout, stderr, or `framed` for both outputs on one descriptor, each piece behind Docker's header of 8 bytes.
    pub fn attach(&mut self, streams: &[StreamName], fds: &[BorrowedFd<'_>], keys: Option<Keys>) {
        let mut keys = keys;
        for (name, fd) in streams.iter().zip(fds) {
            let write = *name != StreamName::Stdin;
            let Some((fd, kind)) = private(*fd, write) else {
                continue;
            };
            let writer = |fd| Some(Writer::new(fd, kind));
            match name {
                StreamName::Stdin => {
                    let keys = keys.take();
                    self.source = Some(Source::new(fd, kind, keys));
                }
                StreamName::Stdout => self.writers[0] = writer(fd),
                StreamName::Stderr => self.writers[1] = writer(fd),
                StreamName::Framed => {
                    self.writers = [writer(fd), None];
                    self.framed = true;
                }
            }
            self.broken = [false; 2];
        }
    }

    /// Takes all streams away.
    pub fn detach(&mut self) {
        self.writers = [None, None];
        self.broken = [false; 2];
        self.source = None;
    }

    /// Writes nothing more there: nobody reads it.
    fn lose(&mut self, slot: usize) {
        self.writers[slot] = None;
        self.broken[slot] = true;
    }

    /// Sends one packet; a client that does not read does not stop the supervisor.
    pub fn tell(&self, text: &str) {
        control::tell(Some(&self.socket), text);
    }

    fn slot(&self, stream: usize) -> usize {
        if self.framed { 0 } else { stream }
    }

    /// Whether something waits to be sent.
    fn is_pending(&self) -> bool {
        self.writers.iter().flatten().any(|w| w.is_pending())
    }

    /// Reads one request and the descriptors that came with it.
    fn receive(&self) -> (Received, Vec<OwnedFd>) {
        let mut buffer = [0u8; LONGEST];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            flags,
        );
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        let received = match got {
            Ok(message) if message.bytes == 0 => Received::Closed,
            Ok(message) => control::parse(&buffer[..message.bytes]),
            Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
            Err(_) => Received::Closed,
        };
        (received, fds)
    }
}

/// What a descriptor of an attaching client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamName {
    /// Read by the supervisor.
    Stdin,
    /// Written by it.
    Stdout,
    /// Written by it.
    Stderr,
    /// Both outputs, each piece behind a header: stream, three zeros, length (big-endian).
    Framed,
}

/// What those who have gone had.
#[derive(Debug, Default)]
pub struct Swept {
    /// Input.
    pub input: bool,
    /// The last hold on the frozen container: see [`Client::holds`].
    pub held: Option<PathBuf>,
}

/// All connections.
#[derive(Default)]
pub struct Clients {
    list: Vec<Client>,
}

impl Clients {
    /// Adds one.
    pub fn add(&mut self, client: Client) {
        self.list.push(client);
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Client> {
        self.list.iter()
    }

    /// One of them.
    pub fn get(&mut self, at: usize) -> Option<&mut Client> {
        self.list.get_mut(at)
    }

    /// Whether there is a place for one more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.list.len() >= MOST
    }

    /// Takes the next connection from the listening socket, if it is one of our own user.
    pub fn accept(&mut self, listener: &OwnedFd) {
        let socket = match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => socket,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                // It stays readable: without a pause this would be asked for at every turn.
                std::thread::sleep(Duration::from_millis(10));
                return;
            }
            Err(_) => return,
        };
        // The socket's mode keeps others away already.
        let same = sockopt::socket_peercred(&socket)
            .is_ok_and(|peer| peer.uid == rustix::process::geteuid());
        if same {
            self.list.push(Client::new(socket, false));
        }
    }

    /// Reads a request of a client.
    pub fn receive(&mut self, at: usize) -> Option<(Request, Vec<OwnedFd>)> {
        let client = self.list.get_mut(at)?;
        match client.receive() {
            (Received::Request(request), fds) => Some((request, fds)),
            (Received::Closed, _) => {
                client.gone = true;
                None
            }
            (Received::Nonsense, _) => {
                if !client.first {
                    client.tell(&control::refused("the request makes no sense"));
                }
                None
            }
            (Received::Nothing, _) => None,
        }
    }

    /// Takes out those who have gone.
    pub fn sweep(&mut self) -> Swept {
        let mut swept = Swept::default();
        self.list.retain_mut(|client| {
            if client.gone {
                swept.input |= client.source.is_some();
                swept.held = client.holds.take().or(swept.held.take());
            }
            !client.gone
        });
        if self.list.iter().any(|client| client.holds.is_some()) {
            swept.held = None;
        }
        swept
    }

    /// Whether somebody's output of `stream` waits to be read, so that no more can be sent.
    #[must_use]
    pub fn is_blocked(&self, stream: usize) -> bool {
        self.list.iter().any(|client| {
            client.writers[client.slot(stream)]
                .as_ref()
                .is_some_and(|w| w.is_pending())
        })
    }

    /// Sends output to everybody who is attached. False: the client that started the container has closed its end, and
    /// nobody else is there to read.
    pub fn push(&mut self, stream: usize, data: &[u8]) -> bool {
        let (mut lost, mut readers) = (false, false);
        for client in &mut self.list {
            let slot = client.slot(stream);
            let Some(writer) = &mut client.writers[slot] else {
                // Found by `flush`, or while others still read.
                lost |= client.first && client.broken[slot];
                continue;
            };
            let alive = if client.framed {
                let mut piece = Vec::with_capacity(data.len() + 8);
                piece.extend_from_slice(&header(stream, data.len()));
                piece.extend_from_slice(data);
                writer.push(&piece)
            } else {
                writer.push(data)
            };
            if alive {
                readers = true;
            } else {
                client.lose(slot);
                lost |= client.first;
            }
        }
        readers || !lost
    }

    /// Sends what waits in one writer.
    pub fn flush(&mut self, at: usize, slot: usize) {
        if let Some(client) = self.list.get_mut(at)
            && let Some(writer) = &mut client.writers[slot]
            && !writer.flush()
        {
            client.lose(slot);
        }
    }

    /// Reads a client's input.
    pub fn read(&mut self, at: usize, buffer: &mut [u8]) -> Typed {
        let Some(client) = self.list.get_mut(at) else {
            return Typed::Nothing;
        };
        let Some(source) = &mut client.source else {
            return Typed::Nothing;
        };
        let typed = source.read(buffer);
        match typed {
            Typed::End => client.source = None,
            Typed::Detached(_) => {
                client.detach();
                client.tell(control::DETACHED);
            }
            _ => {}
        }
        typed
    }

    /// No more input from anybody: the container reads none.
    pub fn drop_sources(&mut self) {
        for client in &mut self.list {
            client.source = None;
        }
    }

    /// Ends all attachments, in order: `ended` is told when the output has been sent. Returns those whose output waits to
    /// be read, without telling them.
    pub fn finish(&mut self, ended: &str) -> Vec<Client> {
        let mut slow = Vec::new();
        for mut client in std::mem::take(&mut self.list) {
            if client.is_pending() {
                slow.push(client);
                continue;
            }
            client.detach();
            client.tell(ended);
            self.list.push(client);
        }
        slow
    }

    /// What to poll for: sockets, full writers, sources. `input` is whether input can be taken.
    pub fn interests(&self, input: bool) -> impl Iterator<Item = (Interest, BorrowedFd<'_>)> {
        self.list.iter().enumerate().flat_map(move |(at, client)| {
            let socket = std::iter::once((Interest::Socket(at), client.socket.as_fd()));
            let writers = client.writers.iter().enumerate();
            let writers = writers.filter_map(move |(slot, writer)| {
                let writer = writer.as_ref().filter(|w| w.is_pending())?;
                Some((Interest::Writer(at, slot), writer.fd()))
            });
            let source = client.source.as_ref().filter(|_| input);
            socket
                .chain(writers)
                .chain(source.map(|source| (Interest::Source(at), source.fd())))
        })
    }
}

/// A descriptor of a client, by the client's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// A request.
    Socket(usize),
    /// Room for output.
    Writer(usize, usize),
    /// Input.
    Source(usize),
}

/// The header of Docker's multiplexed streams.
fn header(stream: usize, length: usize) -> [u8; 8] {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let number = if stream == 0 { 1 } else { 2 };
    [number, 0, 0, 0, length[0], length[1], length[2], length[3]]
}

/// Sends what is left to clients that read slowly, and how it ended; in a process of its own, so that the supervisor can
/// go on. It ends with the last client.
pub fn serve_slow(mut slow: Vec<Client>, ended: &str) {
    use rustix::event::{PollFd, PollFlags, poll};
    while !slow.is_empty() {
        let mut fds = Vec::new();
        for client in &slow {
            // A client that goes is seen by its socket; what it still says is not answered.
            fds.push(PollFd::new(&client.socket, PollFlags::RDHUP));
            for writer in client.writers.iter().flatten() {
                if writer.is_pending() {
                    fds.push(PollFd::from_borrowed_fd(writer.fd(), PollFlags::OUT));
                }
            }
        }
        if poll(&mut fds, None).is_err_and(|e| e != Errno::INTR) {
            return;
        }
        drop(fds);
        slow.retain_mut(|client| {
            for writer in &mut client.writers {
                if writer.as_mut().is_some_and(|w| !w.flush()) {
                    *writer = None;
                }
            }
            let gone = matches!(client.receive().0, Received::Closed);
            if !gone && !client.is_pending() {
                client.detach();
                client.tell(ended);
                return false;
            }
            !gone
        });
    }
}

#[cfg(test)]
#[path = "clients_tests.rs"]
mod tests;
