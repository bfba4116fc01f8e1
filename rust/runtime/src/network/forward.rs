//! TCP connections through a host port: the client's, and one to the container for each.
//!
//! Little is copied through a buffer. What is more goes through a pipe and is not copied at all (splice(2)).
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::{Errno, Result};
use rustix::net::{
    RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, accept_with, connect, recv, send,
    shutdown, sockopt,
};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::address;
use super::child::{Port, Subject, token};
use super::slab::Slab;

/// The buffer for what is copied.
const SMALL: usize = 16 * 1024;
/// So much without a pause is worth a pipe.
const BUSY: usize = 2 * SMALL;
/// What a pipe is to hold: one turn of a fast stream.
const PIPE: usize = 1 << 20;
/// How much of one direction moves before others have their turn.
const TURN: usize = 1 << 22;
/// Connections that are accepted before others have their turn.
const BATCH: usize = 64;
/// Empty pipes that are kept for the next who needs one.
const POOL: usize = 16;

/// A pipe and how much is in it.
#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipe {
    fn new() -> Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Beyond a user's share of pipe memory it stays as it is.
        let _ = fcntl_setpipe_size(&write, PIPE);
        Ok(Self {
            read,
            write,
            held: 0,
        })
    }
}

/// One end of a link.
#[derive(Debug)]
struct End {
    socket: OwnedFd,
    readable: bool,
    writable: bool,
    /// There is an end of the stream to be read, perhaps behind data.
    hung: bool,
    /// Something was written.
    written: bool,
    /// Small packets do not wait for the answer to those before.
    no_delay: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Flow {
    /// What could not be written yet, from the buffer.
    rest: Vec<u8>,
    /// The same, on the other way.
    pipe: Option<Pipe>,
    /// Read since there was last nothing to read.
    burst: usize,
    busy: bool,
    /// The source has ended.
    ended: bool,
    /// All has been written, and the end as well.
    done: bool,
    /// Nobody reads at the other side any more.
    broken: bool,
}

/// What came of an attempt to move.
enum Moved {
    /// No more for now.
    Waits,
    /// A turn is over, and there is more.
    More,
    /// The source's connection is lost.
    Lost,
}

/// Two connections: 0 is the client's, 1 the container's. Flow 0 leads from 0 to 1.
#[derive(Debug)]
struct Link {
    ends: [End; 2],
    flows: [Flow; 2],
    connecting: bool,
    queued: bool,
}

/// What all links share.
#[derive(Debug)]
struct Shared {
    buffer: Vec<u8>,
    pool: Vec<Pipe>,
}

/// All connections.
#[derive(Debug)]
pub struct Links {
    links: Slab<Link>,
    shared: Shared,
    /// Those with more to do although no event will tell.
    queue: Vec<usize>,
    /// For the next client, and whether it is of IPv6: nobody is let in for whom there is no socket.
    spare: Option<(bool, OwnedFd)>,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            links: Slab::default(),
            shared: Shared {
                buffer: vec![0; SMALL],
                pool: Vec::new(),
            },
            queue: Vec::new(),
            spare: None,
        }
    }
}

impl Links {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether [`Links::resume`] has something to do.
    pub fn has_more(&self) -> bool {
        !self.queue.is_empty()
    }

    /// After a batch of events.
    pub fn settle(&mut self) {
        self.links.settle();
        if self.links.len() == 0 {
            self.shared.pool = Vec::new();
        }
    }

    /// Takes connections that wait at a listener. Fails if there is no descriptor or memory for more.
    pub fn accept(&mut self, port: &Port, epoll: &OwnedFd) -> Result<()> {
        let v6 = port.target.is_ipv6();
        for _ in 0..BATCH {
            let spare = self.spare.take().filter(|(family, _)| *family == v6);
            let server = match spare {
                Some((_, socket)) => socket,
                None => address::socket(port.target.ip(), SocketType::STREAM)?,
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let client = match accept_with(&port.socket, flags) {
                Ok(client) => client,
                Err(errno) => {
                    self.spare = Some((v6, server));
                    match errno {
                        Errno::AGAIN => return Ok(()),
                        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => {
                            return Err(errno);
                        }
                        // That connection has failed already.
                        _ => continue,
                    }
                }
            };
            match self.link(&client, &server, port, epoll) {
                Ok(()) => {
                    self.links.insert(Link::new(client, server));
                }
                Err(errno) => {
                    reset(&client);
                    if matches!(errno, Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC) {
                        return Err(errno);
                    }
                }
            }
        }
        Ok(())
    }

    /// Connects to the container, and has both ends polled under the number that the link will have.
    fn link(&self, client: &OwnedFd, server: &OwnedFd, port: &Port, epoll: &OwnedFd) -> Result<()> {
        match connect(server, &port.target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno),
        }
        let at = self.links.next();
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(epoll, client, token(Subject::Link, at * 2), flags)?;
        epoll::add(epoll, server, token(Subject::Link, at * 2 + 1), flags)
    }

    /// Something has happened at one end of a link.
    pub fn ready(&mut self, token: usize, flags: EventFlags) {
        let (at, side) = (token / 2, token % 2);
        let Some(link) = self.links.get_mut(at) else {
            return;
        };
        let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        // A connection that was refused is told by the first attempt to read.
        if side == 1 && (failed || flags.contains(EventFlags::OUT)) {
            link.connecting = false;
        }
        let end = &mut link.ends[side];
        end.readable |= failed || flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        end.writable |= failed || flags.contains(EventFlags::OUT);
        end.hung |= failed || flags.contains(EventFlags::RDHUP);
        self.turn(at);
    }

    /// Goes on with those that have had their turn.
    pub fn resume(&mut self) {
        for at in std::mem::take(&mut self.queue) {
            if let Some(link) = self.links.get_mut(at) {
                link.queued = false;
                self.turn(at);
            }
        }
    }

    fn turn(&mut self, at: usize) {
        let Some(link) = self.links.get_mut(at) else {
            return;
        };
        let mut more = false;
        for side in [0, 1] {
            match link.pump(side, &mut self.shared) {
                Moved::Waits => {}
                Moved::More => more = true,
                Moved::Lost => {
                    link.reset();
                    self.links.remove(at);
                    return;
                }
            }
        }
        let broken = link.flows.iter().any(|flow| flow.broken);
        if link.flows.iter().all(|flow| flow.done || flow.broken) {
            if broken {
                link.reset();
            }
            self.links.remove(at);
        } else if more && !link.queued {
            link.queued = true;
            self.queue.push(at);
        }
    }
}

impl Link {
    fn new(client: OwnedFd, server: OwnedFd) -> Self {
        let end = |socket, no_delay| End {
            socket,
            readable: false,
            writable: false,
            hung: false,
            written: false,
            no_delay,
        };
        Self {
            // The client's has it from the listener.
            ends: [end(client, true), end(server, false)],
            flows: [Flow::default(), Flow::default()],
            connecting: true,
            queued: false,
        }
    }

    /// Both sides are to see that the connection was cut.
    fn reset(&self) {
        for end in &self.ends {
            reset(&end.socket);
        }
    }

    /// Moves what there is from one side to the other.
    fn pump(&mut self, side: usize, shared: &mut Shared) -> Moved {
        let other_ended = self.flows[1 - side].done;
        let [first, second] = &mut self.ends;
        let (from, to) = if side == 0 {
            (first, second)
        } else {
            (second, first)
        };
        let flow = &mut self.flows[side];
        if flow.done || flow.broken || self.connecting {
            return Moved::Waits;
        }
        let mut moved = 0;
        loop {
            match flow.flush(to) {
                Ok(true) => {}
                Ok(false) => return Moved::Waits,
                // What that side has still said is passed on before the link goes.
                Err(_) => {
                    flow.rest = Vec::new();
                    flow.pipe = None;
                    flow.broken = true;
                    return Moved::Waits;
                }
            }
            if flow.ended {
                flow.done = true;
                flow.release(shared);
                if !other_ended {
                    let _ = shutdown(&to.socket, Shutdown::Write);
                }
                return Moved::Waits;
            }
            if !from.readable {
                flow.release(shared);
                return Moved::Waits;
            }
            if moved >= TURN {
                return Moved::More;
            }
            match flow.read(from, to, shared) {
                Ok(n) => moved += n,
                Err(Errno::AGAIN) => from.readable = false,
                Err(Errno::INTR) => {}
                Err(_) => return Moved::Lost,
            }
        }
    }
}

impl Flow {
    /// Writes what is held; false if not all of it could be.
    fn flush(&mut self, to: &mut End) -> Result<bool> {
        while !self.rest.is_empty() {
            if !to.writable {
                return Ok(false);
            }
            match write(to, &self.rest) {
                Ok(n) if n == self.rest.len() => self.rest = Vec::new(),
                Ok(n) => drop(self.rest.drain(..n)),
                Err(Errno::AGAIN) => to.writable = false,
                Err(errno) => return Err(errno),
            }
        }
        let Some(pipe) = &mut self.pipe else {
            return Ok(true);
        };
        while pipe.held > 0 {
            if !to.writable {
                return Ok(false);
            }
            to.hurry();
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            match splice(&pipe.read, None, &to.socket, None, pipe.held, flags) {
                Ok(0) => return Err(Errno::PIPE),
                Ok(n) => pipe.held -= n,
                Err(Errno::AGAIN) => to.writable = false,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }

    /// Reads once; nothing is held. What can be written at once is.
    fn read(&mut self, from: &mut End, to: &mut End, shared: &mut Shared) -> Result<usize> {
        if self.busy && self.pipe.is_none() {
            // Without one (no descriptor is left) copying goes on.
            self.pipe = shared.pool.pop().or_else(|| Pipe::new().ok());
        }
        if let Some(pipe) = self.pipe.as_mut().filter(|_| self.busy) {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            let read = splice(&from.socket, None, &pipe.write, None, PIPE, flags);
            let n = read.inspect_err(|errno| {
                if *errno == Errno::AGAIN {
                    self.busy = self.burst >= BUSY;
                    self.burst = 0;
                }
            })?;
            pipe.held = n;
            self.ended = n == 0;
            self.burst = self.burst.saturating_add(n);
            return Ok(n);
        }
        let (n, _) = recv(&from.socket, &mut shared.buffer[..], RecvFlags::empty())?;
        self.ended = n == 0;
        if n < SMALL && !from.hung {
            // There was no more; of what comes now epoll tells.
            from.readable = false;
            self.burst = 0;
        } else {
            self.burst += n;
            self.busy = self.burst >= BUSY;
        }
        let mut data = &shared.buffer[..n];
        while !data.is_empty() && to.writable {
            match write(to, data) {
                Ok(n) => data = &data[n..],
                Err(Errno::AGAIN) => to.writable = false,
                // The next attempt meets it again.
                Err(_) => break,
            }
        }
        self.rest.extend_from_slice(data);
        Ok(n)
    }

    /// Gives the pipe to others.
    fn release(&mut self, shared: &mut Shared) {
        if let Some(pipe) = self.pipe.take()
            && shared.pool.len() < POOL
        {
            shared.pool.push(pipe);
        }
    }
}

impl End {
    /// The first packet waits for nobody anyway; those that follow it must not either.
    fn hurry(&mut self) {
        if self.written && !self.no_delay {
            self.no_delay = true;
            let _ = sockopt::set_tcp_nodelay(&self.socket, true);
        }
        self.written = true;
    }
}

fn write(to: &mut End, data: &[u8]) -> Result<usize> {
    to.hurry();
    loop {
        match send(&to.socket, data, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Lets the close that follows cut the connection.
fn reset(socket: &impl AsFd) {
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}
