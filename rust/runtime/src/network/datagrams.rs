//! UDP through a host port: each client gets a socket to the container, for as long as the two talk.
use std::collections::{BTreeSet, HashMap};
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg,
};
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, connect, recv, send};

use super::address;
use super::child::{Port, Subject, token};
use super::slab::Slab;

/// A silent client is forgotten after Docker's time.
const SILENCE: Duration = Duration::from_secs(90);
/// So many clients are known at once; a new one takes the place of the one that is silent for longest.
const CLIENTS: usize = 4096;
/// The largest datagram.
const LARGEST: usize = 65_536;
/// Datagrams that are taken before others have their turn.
const BATCH: usize = 64;

/// The host's own address that a client has sent to, from which it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Local {
    Unknown,
    V4([u8; 4]),
    V6([u8; 16], u32),
}

/// A client of one of the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Client {
    port: usize,
    address: SocketAddr,
    local: Local,
}

#[derive(Debug)]
struct Session {
    socket: OwnedFd,
    client: Client,
    active: Instant,
}

/// All clients.
#[derive(Debug)]
pub struct Datagrams {
    sessions: Slab<Session>,
    known: HashMap<Client, usize>,
    /// In the order in which they are forgotten.
    order: BTreeSet<(Instant, usize)>,
    buffer: Vec<u8>,
}

impl Default for Datagrams {
    fn default() -> Self {
        Self {
            sessions: Slab::default(),
            known: HashMap::new(),
            order: BTreeSet::new(),
            // Only what is used of it takes memory.
            buffer: vec![0; LARGEST],
        }
    }
}

impl Datagrams {
    /// How many clients are known.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// When one is to be forgotten.
    pub fn deadline(&self) -> Option<Instant> {
        self.order.first().map(|(active, _)| *active + SILENCE)
    }

    /// Passes on what clients have sent to a port.
    pub fn receive(&mut self, at: usize, port: &Port, epoll: &OwnedFd, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..BATCH {
            let (n, address, local) = match take(port, &mut buffer) {
                Ok(taken) => taken,
                Err(nix::errno::Errno::EAGAIN) => break,
                // An ICMP error about an answer of ours.
                Err(_) => continue,
            };
            let Some(address) = address else { continue };
            let client = Client {
                port: at,
                address,
                local,
            };
            if let Some(session) = self.session(client, port.target, epoll, now) {
                // The first attempt may meet the ICMP error of the datagram before.
                let data = &buffer[..n];
                if let Err(Errno::CONNREFUSED) = send(&session.socket, data, SendFlags::empty()) {
                    let _ = send(&session.socket, data, SendFlags::empty());
                }
            }
        }
        self.buffer = buffer;
    }

    /// Passes on what the container has answered.
    pub fn answer(&mut self, at: usize, ports: &[Port], now: Instant) {
        let Some(session) = self.sessions.get_mut(at) else {
            return;
        };
        let Some(port) = ports.get(session.client.port) else {
            return;
        };
        for _ in 0..BATCH {
            match recv(&session.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((n, _)) => {
                    session.touch(at, now, &mut self.order);
                    give(port, &session.client, &self.buffer[..n]);
                }
                Err(Errno::AGAIN) => return,
                // ICMP errors, which have been consumed by being told.
                Err(_) => {}
            }
        }
    }

    /// Forgets clients that are silent for long.
    pub fn expire(&mut self, now: Instant) {
        while let Some((active, at)) = self.order.first().copied() {
            if active + SILENCE > now {
                break;
            }
            self.forget(at);
        }
        self.sessions.settle();
    }

    fn forget(&mut self, at: usize) {
        if let Some(session) = self.sessions.remove(at) {
            self.known.remove(&session.client);
            self.order.remove(&(session.active, at));
        }
    }

    /// The client's session, a new one if it has none.
    fn session(
        &mut self,
        client: Client,
        target: SocketAddr,
        epoll: &OwnedFd,
        now: Instant,
    ) -> Option<&mut Session> {
        if let Some(at) = self.known.get(&client) {
            let session = self.sessions.get_mut(*at)?;
            session.touch(*at, now, &mut self.order);
            return Some(session);
        }
        if self.sessions.len() >= CLIENTS {
            self.make_room();
        }
        let made = open(target).or_else(|errno| match errno {
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => {
                self.make_room();
                open(target)
            }
            other => Err(other),
        });
        let socket = made.ok()?;
        let at = self.sessions.next();
        epoll::add(epoll, &socket, token(Subject::Session, at), EventFlags::IN).ok()?;
        self.known.insert(client, at);
        self.order.insert((now, at));
        let session = Session {
            socket,
            client,
            active: now,
        };
        let at = self.sessions.insert(session);
        self.sessions.get_mut(at)
    }

    /// Forgets the one that is silent for longest.
    fn make_room(&mut self) {
        if let Some((_, at)) = self.order.first().copied() {
            self.forget(at);
        }
    }
}

impl Session {
    fn touch(&mut self, at: usize, now: Instant, order: &mut BTreeSet<(Instant, usize)>) {
        if self.active != now {
            order.remove(&(self.active, at));
            order.insert((now, at));
            self.active = now;
        }
    }
}

fn open(target: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let socket = address::socket(target.ip(), SocketType::DGRAM)?;
    connect(&socket, &target)?;
    Ok(socket)
}

/// Takes a datagram: its size, from where it came, and to which of the host's addresses.
fn take(port: &Port, buffer: &mut [u8]) -> nix::Result<(usize, Option<SocketAddr>, Local)> {
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let fd = port.socket.as_raw_fd();
    let got = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), MsgFlags::empty())?;
    let from = got.address.as_ref().and_then(address::from_storage);
    let mut local = Local::Unknown;
    for message in got.cmsgs().into_iter().flatten() {
        local = match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Local::V4(info.ipi_spec_dst.s_addr.to_ne_bytes())
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let ip = IpAddr::from(info.ipi6_addr.s6_addr);
                // Only such an address means nothing without its interface.
                let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
                let interface = if link_local { info.ipi6_ifindex } else { 0 };
                Local::V6(info.ipi6_addr.s6_addr, interface)
            }
            _ => continue,
        };
    }
    Ok((got.bytes, from, local))
}

/// Sends a datagram to a client, from the address that it has asked. What cannot be sent is lost, as datagrams are.
fn give(port: &Port, client: &Client, data: &[u8]) {
    let to = address::to_storage(client.address);
    let slices = [IoSlice::new(data)];
    let (v4, v6);
    let message = match client.local {
        Local::Unknown => None,
        Local::V4(ip) => {
            v4 = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(ip),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            Some(ControlMessage::Ipv4PacketInfo(&v4))
        }
        Local::V6(ip, interface) => {
            v6 = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: ip },
                ipi6_ifindex: interface,
            };
            Some(ControlMessage::Ipv6PacketInfo(&v6))
        }
    };
    let fd = port.socket.as_raw_fd();
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let _ = sendmsg(fd, &slices, message.as_slice(), flags, Some(&to));
}
