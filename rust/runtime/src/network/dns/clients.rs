//! Clients of the name server that have connected by TCP.
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use super::super::slab::Slab;
use super::server::Part;

/// So many are connected at once; others wait at the listener.
const CLIENTS: usize = 64;
/// Who says nothing for so long is disconnected.
const SILENCE: Duration = Duration::from_secs(10);
/// The largest message with its length.
const LARGEST: usize = 2 + 65_535;

#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The question to another server that it waits for.
    ask: Option<usize>,
    ended: bool,
    failed: bool,
    active: Instant,
    polled: EventFlags,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Clients {
    clients: Slab<Client>,
    /// Whether the listener is not polled.
    full: bool,
}

impl Clients {
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// When somebody may have been silent for too long.
    pub fn deadline(&self) -> Option<Instant> {
        let silent = self
            .clients
            .iter()
            .filter(|(_, client)| client.ask.is_none());
        silent.map(|(_, client)| client.active + SILENCE).min()
    }

    /// Takes those who wait at the listener.
    pub fn accept(&mut self, listener: &OwnedFd, epoll: &OwnedFd, now: Instant) {
        while self.clients.len() < CLIENTS {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match accept_with(listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                // No descriptor: as if there were too many.
                Err(_) => break,
            };
            let token = Part::Client.token(self.clients.next());
            if epoll::add(epoll, &socket, token, EventFlags::IN).is_err() {
                break;
            }
            self.clients.insert(Client {
                socket,
                input: Vec::new(),
                output: Vec::new(),
                ask: None,
                ended: false,
                failed: false,
                active: now,
                polled: EventFlags::IN,
            });
        }
        if self.clients.len() > 0 {
            self.full = epoll::delete(epoll, listener).is_ok();
        }
    }

    /// Reads and writes what can be.
    pub fn ready(&mut self, at: usize, flags: EventFlags, now: Instant) {
        let Some(client) = self.clients.get_mut(at) else {
            return;
        };
        client.active = now;
        client.failed |= flags.intersects(EventFlags::ERR | EventFlags::HUP);
        if flags.contains(EventFlags::IN) {
            client.read();
        }
        client.write();
    }

    /// The next query of a client, if it is complete and the one before is answered.
    pub fn next_query(&mut self, at: usize) -> Option<Vec<u8>> {
        let client = self.clients.get_mut(at)?;
        if client.ask.is_some() || !client.output.is_empty() || client.failed {
            return None;
        }
        let (length, rest) = client.input.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let query = rest.get(..length)?.to_vec();
        client.input.drain(..2 + length);
        Some(query)
    }

    /// Sends an answer.
    pub fn answer(&mut self, at: usize, answer: &[u8]) {
        let Some(client) = self.clients.get_mut(at) else {
            return;
        };
        client.ask = None;
        let length = u16::try_from(answer.len()).unwrap_or(0);
        client.output.extend_from_slice(&length.to_be_bytes());
        client
            .output
            .extend_from_slice(&answer[..usize::from(length)]);
        client.write();
    }

    /// The client's question has been put to somebody else.
    pub fn wait(&mut self, at: usize, ask: usize) {
        if let Some(client) = self.clients.get_mut(at) {
            client.ask = Some(ask);
        }
    }

    /// Polls a client for what it needs next, or lets it go. Returns the question that nobody waits for any more.
    pub fn settle(&mut self, at: usize, listener: &OwnedFd, epoll: &OwnedFd) -> Option<usize> {
        let client = self.clients.get_mut(at)?;
        let idle = client.ask.is_none() && client.output.is_empty();
        if client.failed || (client.ended && idle) {
            return self.remove(at, listener, epoll);
        }
        let mut wanted = EventFlags::empty();
        if !client.output.is_empty() {
            wanted |= EventFlags::OUT;
        } else if client.ask.is_none() {
            wanted |= EventFlags::IN;
        }
        if wanted != client.polled {
            client.polled = wanted;
            let _ = epoll::modify(epoll, &client.socket, Part::Client.token(at), wanted);
        }
        None
    }

    /// Lets go of those that were silent for too long. Returns questions that nobody waits for any more.
    pub fn expire(&mut self, listener: &OwnedFd, epoll: &OwnedFd, now: Instant) -> Vec<usize> {
        let mut asks = Vec::new();
        if self.deadline().is_some_and(|at| at <= now) {
            let silent = self
                .clients
                .iter()
                .filter(|(_, client)| client.ask.is_none() && client.active + SILENCE <= now);
            let silent: Vec<usize> = silent.map(|(at, _)| at).collect();
            for at in silent {
                asks.extend(self.remove(at, listener, epoll));
            }
        }
        self.clients.settle();
        asks
    }

    fn remove(&mut self, at: usize, listener: &OwnedFd, epoll: &OwnedFd) -> Option<usize> {
        let client = self.clients.remove(at)?;
        if self.full {
            let polled = epoll::add(epoll, listener, Part::Listener.token(0), EventFlags::IN);
            self.full = polled.is_err();
        }
        client.ask
    }
}

impl Client {
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        while self.input.len() < LARGEST {
            match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => {
                    self.ended = true;
                    return;
                }
                Ok((n, _)) => {
                    self.input.extend_from_slice(&buffer[..n]);
                    if n < buffer.len() {
                        return;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.failed = true;
                    return;
                }
            }
        }
    }

    fn write(&mut self) {
        while !self.output.is_empty() && !self.failed {
            match send(&self.socket, &self.output, SendFlags::NOSIGNAL) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.failed = true,
            }
        }
    }
}
