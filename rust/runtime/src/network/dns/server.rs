//! What is done with queries: answered from the table of names, or passed on.
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::{Errno, Result};
use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};

use super::super::child::{Subject, token};
use super::Dns;
use super::clients::Clients;
use super::message::{self, A, AAAA, Code, Message, PTR, Query, Record};
use super::names::{Found, Names};
use super::upstream::{Answered, Asker, Upstream};

/// The largest message.
const LARGEST: usize = 65_535;
/// Queries that are taken before others have their turn.
const BATCH: usize = 64;

/// Which of the server's descriptors an event is about: the lowest bits of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Datagrams,
    Listener,
    Names,
    Client,
    Upstream,
}

impl Part {
    /// The token of an event.
    pub fn token(self, at: usize) -> epoll::EventData {
        token(Subject::Dns, at << 3 | self as usize)
    }
}

/// The name server of the container, in the process that serves.
pub struct Server {
    dns: Rc<Dns>,
    names: Names,
    clients: Clients,
    upstream: Upstream,
    buffer: Vec<u8>,
}

/// What is to be done with a query.
pub enum Verdict {
    /// This goes back.
    Answer(Vec<u8>),
    /// Others are to be asked.
    Ask,
    Nothing,
}

impl Server {
    /// Reads the table, and has all descriptors polled.
    pub fn new(dns: Dns, epoll: &OwnedFd) -> Result<Self> {
        let names = Names::new(&dns.networks, &dns.links);
        let own = super::own_namespace().map_err(|error| match error.errno {
            Some(errno) => Errno::from_raw_os_error(errno),
            None => Errno::IO,
        })?;
        let own_sockets = [
            (Part::Datagrams, dns.udp.as_fd()),
            (Part::Listener, dns.tcp.as_fd()),
        ];
        let changes = names.fd().map(|fd| (Part::Names, fd));
        for (part, fd) in own_sockets.into_iter().chain(changes) {
            epoll::add(epoll, fd, part.token(0), EventFlags::IN)?;
        }
        let dns = Rc::new(dns);
        Ok(Self {
            names,
            clients: Clients::default(),
            upstream: Upstream::new(Rc::clone(&dns), own),
            dns,
            // Only what is used of it takes memory.
            buffer: vec![0; LARGEST],
        })
    }

    /// Stops taking anything. Who waits for an answer asks again.
    pub fn close(&self, epoll: &OwnedFd) {
        for fd in self.dns.sockets() {
            let _ = epoll::delete(epoll, fd);
        }
    }

    /// Something has happened at one of the descriptors.
    pub fn ready(&mut self, at: usize, flags: EventFlags, epoll: &OwnedFd, now: Instant) {
        let number = at >> 3;
        match at & 7 {
            p if p == Part::Datagrams as usize => self.receive(epoll, now),
            p if p == Part::Listener as usize => self.clients.accept(&self.dns.tcp, epoll, now),
            p if p == Part::Client as usize => {
                self.clients.ready(number, flags, now);
                self.serve(number, epoll, now);
            }
            p if p == Part::Upstream as usize => {
                let answered = self.upstream.ready(number, flags, epoll, now);
                self.deliver(answered, epoll, now);
            }
            _ => self.names.refresh(),
        }
    }

    /// What time has brought.
    pub fn expire(&mut self, epoll: &OwnedFd, now: Instant) {
        for answered in self.upstream.expire(epoll, now) {
            self.deliver(Some(answered), epoll, now);
        }
        for ask in self.clients.expire(&self.dns.tcp, epoll, now) {
            self.upstream.forget(ask);
        }
        self.upstream.settle();
    }

    /// How many connections and questions are under way.
    pub fn busy(&self) -> usize {
        self.clients.len() + self.upstream.len()
    }

    /// When [`Server::expire`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let deadlines = [self.clients.deadline(), self.upstream.deadline()];
        deadlines.into_iter().flatten().min()
    }

    fn receive(&mut self, epoll: &OwnedFd, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..BATCH {
            let (n, from) = match recvfrom(&self.dns.udp, &mut buffer[..], RecvFlags::empty()) {
                Ok((n, _, from)) => (n, from),
                Err(Errno::AGAIN) => break,
                Err(_) => continue,
            };
            let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) else {
                continue;
            };
            // What was true when the query was sent has to be known.
            self.names.refresh();
            let data = &buffer[..n];
            let Message::Query(query) = message::read(data) else {
                if let Message::Refused(answer) = message::read(data) {
                    self.send(from, &answer);
                }
                continue;
            };
            match decide(&query, &mut self.names, query.limit(), self.dns.forward) {
                Verdict::Answer(answer) => self.send(from, &answer),
                Verdict::Ask => {
                    let asker = Asker::Datagram(from, query.limit());
                    if !self.upstream.ask(asker, &query, data, epoll, now) {
                        let answer = query.answer(Code::Failure, &[], query.limit());
                        self.send(from, &answer);
                    }
                }
                Verdict::Nothing => {}
            }
        }
        self.buffer = buffer;
    }

    fn send(&self, to: SocketAddr, answer: &[u8]) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let _ = sendto(&self.dns.udp, answer, flags, &to);
    }

    /// Goes through the queries that a client has sent by TCP, up to one that others have to be asked about.
    fn serve(&mut self, at: usize, epoll: &OwnedFd, now: Instant) {
        self.names.refresh();
        while let Some(data) = self.clients.next_query(at) {
            let verdict = match message::read(&data) {
                Message::Query(query) => {
                    let verdict = decide(&query, &mut self.names, LARGEST, self.dns.forward);
                    if matches!(verdict, Verdict::Ask)
                        && !self
                            .upstream
                            .ask(Asker::Stream(at), &query, &data, epoll, now)
                    {
                        Verdict::Answer(query.answer(Code::Failure, &[], LARGEST))
                    } else {
                        verdict
                    }
                }
                Message::Refused(answer) => Verdict::Answer(answer),
                Message::Nothing => Verdict::Nothing,
            };
            match verdict {
                Verdict::Answer(answer) => self.clients.answer(at, &answer),
                Verdict::Ask => self.clients.wait(at, self.upstream.last()),
                Verdict::Nothing => {}
            }
        }
        if let Some(ask) = self.clients.settle(at, &self.dns.tcp, epoll) {
            self.upstream.forget(ask);
        }
    }

    fn deliver(&mut self, answered: Option<Answered>, epoll: &OwnedFd, now: Instant) {
        let Some(answered) = answered else { return };
        match answered.asker {
            Asker::Datagram(to, _) => self.send(to, &answered.answer),
            Asker::Stream(at) => {
                self.clients.answer(at, &answered.answer);
                self.serve(at, epoll, now);
            }
        }
    }
}

/// Answers from the table what it knows, and the rest only if it is not to be passed on.
pub fn decide(query: &Query<'_>, names: &mut Names, limit: usize, forward: bool) -> Verdict {
    let known = query.name.as_deref().filter(|_| query.internet);
    let records = known.and_then(|name| look_up(query.kind, name, names));
    match records {
        Some(records) => Verdict::Answer(query.answer(Code::Fine, &records, limit)),
        None if forward => Verdict::Ask,
        // Docker's answer on a network without a way out.
        None => Verdict::Answer(query.answer(Code::Failure, &[], limit)),
    }
}

/// What the table says; None if it does not have the name.
fn look_up(kind: u16, name: &[u8], names: &mut Names) -> Option<Vec<Record>> {
    if kind == PTR
        && let Some(ip) = message::address_of(name)
    {
        return names.name_of(ip).map(|name| vec![Record::Name(name)]);
    }
    match (kind, names.find(name, kind == AAAA)) {
        (_, Found::Nobody) => None,
        (A | AAAA, Found::Addresses(ips)) => Some(ips.into_iter().map(Record::Address).collect()),
        // It exists, and has nothing of that kind.
        (_, Found::Addresses(_)) => Some(Vec::new()),
    }
}
