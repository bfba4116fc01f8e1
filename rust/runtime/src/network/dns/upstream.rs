//! Questions that other name servers are asked.
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use minidock_core::error::Context;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, connect, recv, send};
use rustix::rand::{GetRandomFlags, getrandom};

use super::super::address;
use super::super::slab::Slab;
use super::Dns;
use super::message::{self, Code, Query, Reply};
use super::server::Part;

/// So long a server has for its answer before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many questions are under way at once.
const QUESTIONS: usize = 1024;
/// The largest message with its length.
const LARGEST: usize = 2 + 65_535;
const DNS_PORT: u16 = 53;

/// Who has asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A client that takes an answer of so many bytes.
    Datagram(SocketAddr, usize),
    /// A client that is connected.
    Stream(usize),
}

/// A question that is done with.
#[derive(Debug)]
pub struct Answered {
    /// Who has asked.
    pub asker: Asker,
    /// What is to be sent.
    pub answer: Vec<u8>,
}

#[derive(Debug)]
struct Question {
    asker: Asker,
    /// The client's number of it, and ours.
    id: u16,
    own_id: u16,
    /// With the length before it, as TCP has it.
    query: Vec<u8>,
    asked: Vec<u8>,
    /// The answer if nobody has a better one.
    failure: Vec<u8>,
    /// The server that is asked.
    server: usize,
    socket: OwnedFd,
    until: Instant,
    /// How much of the query has been written to a stream, and what has been read from it.
    written: usize,
    read: Vec<u8>,
}

/// All questions under way.
pub struct Upstream {
    dns: Rc<Dns>,
    own: OwnedFd,
    questions: Slab<Question>,
    /// When which server's time is over, in order; those that have answered are still in it.
    queue: VecDeque<(Instant, usize)>,
    buffer: Vec<u8>,
    last: usize,
}

impl Upstream {
    /// `own` is the host's network namespace.
    pub fn new(dns: Rc<Dns>, own: OwnedFd) -> Self {
        Self {
            dns,
            own,
            questions: Slab::default(),
            queue: VecDeque::new(),
            buffer: vec![0; LARGEST],
            last: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// The number of the question that was put last.
    pub fn last(&self) -> usize {
        self.last
    }

    /// When a server's time may be over.
    pub fn deadline(&self) -> Option<Instant> {
        self.queue.front().map(|(until, _)| *until)
    }

    /// After a batch of events.
    pub fn settle(&mut self) {
        self.questions.settle();
        if self.questions.len() == 0 {
            self.queue.clear();
        }
    }

    /// Nobody waits for the answer any more.
    pub fn forget(&mut self, at: usize) {
        self.questions.remove(at);
    }

    /// Puts a query (`data` is all of it) to the first server that can be asked; false if there is none.
    pub fn ask(
        &mut self,
        asker: Asker,
        query: &Query<'_>,
        data: &[u8],
        epoll: &OwnedFd,
        now: Instant,
    ) -> bool {
        if self.questions.len() >= QUESTIONS {
            return false;
        }
        // An answer is recognised by a number and a port that cannot be guessed.
        let mut number = [0; 2];
        if getrandom(&mut number, GetRandomFlags::empty()) != Ok(number.len()) {
            return false;
        }
        let own_id = u16::from_ne_bytes(number);
        let Ok(length) = u16::try_from(data.len()) else {
            return false;
        };
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(data);
        message::set_id(&mut framed[2..], own_id);
        let limit = match asker {
            Asker::Datagram(_, limit) => limit,
            Asker::Stream(_) => LARGEST,
        };
        let at = self.questions.next();
        let Some((server, socket)) = self.open(0, asker, &framed, at, epoll) else {
            return false;
        };
        self.last = self.questions.insert(Question {
            asker,
            id: message::id(query),
            own_id,
            query: framed,
            asked: query.question.to_vec(),
            failure: query.answer(Code::Failure, &[], limit),
            server,
            socket,
            until: now + PATIENCE,
            written: 0,
            read: Vec::new(),
        });
        self.queue.push_back((now + PATIENCE, at));
        true
    }

    /// Something has happened at the socket of a question; what came of it, if it is done with.
    pub fn ready(
        &mut self,
        at: usize,
        flags: EventFlags,
        epoll: &OwnedFd,
        now: Instant,
    ) -> Option<Answered> {
        let question = self.questions.get_mut(at)?;
        let reply = match question.asker {
            Asker::Datagram(..) => question.receive(&mut self.buffer),
            Asker::Stream(_) => question.talk(at, flags, epoll, &mut self.buffer),
        };
        match reply {
            None | Some((Reply::Foreign, _)) => None,
            Some((Reply::Good, answer)) => self.done(at, Some(answer)),
            Some((Reply::Failed, answer)) => self.next(at, Some(answer), epoll, now),
        }
    }

    /// Puts questions that were not answered in time to the next server. Returns those that nobody has answered.
    pub fn expire(&mut self, epoll: &OwnedFd, now: Instant) -> Vec<Answered> {
        let mut done = Vec::new();
        while let Some((until, at)) = self.queue.front().copied() {
            if until > now {
                break;
            }
            self.queue.pop_front();
            // It may be another question by now, or the same with another server.
            if self
                .questions
                .get(at)
                .is_some_and(|question| question.until <= now)
            {
                done.extend(self.next(at, None, epoll, now));
            }
        }
        done
    }

    /// Asks the next server; without one, the answer is the last that was got.
    fn next(
        &mut self,
        at: usize,
        answer: Option<Vec<u8>>,
        epoll: &OwnedFd,
        now: Instant,
    ) -> Option<Answered> {
        let question = self.questions.get(at)?;
        let asker = question.asker;
        // The socket of the server before goes out of the poll by being closed.
        let Some((server, socket)) =
            self.open(question.server + 1, asker, &question.query, at, epoll)
        else {
            return self.done(at, answer.filter(|answer| !answer.is_empty()));
        };
        let question = self.questions.get_mut(at)?;
        question.server = server;
        question.socket = socket;
        question.until = now + PATIENCE;
        question.written = 0;
        question.read = Vec::new();
        self.queue.push_back((question.until, at));
        None
    }

    fn done(&mut self, at: usize, answer: Option<Vec<u8>>) -> Option<Answered> {
        let question = self.questions.remove(at)?;
        let mut answer = answer.unwrap_or(question.failure);
        message::set_id(&mut answer, question.id);
        if let Asker::Datagram(_, limit) = question.asker {
            message::truncate(&mut answer, &question.asked, limit);
        }
        Some(Answered {
            asker: question.asker,
            answer,
        })
    }

    /// Connects to the first server from number `first` on that can be asked at all.
    fn open(
        &self,
        first: usize,
        asker: Asker,
        query: &[u8],
        at: usize,
        epoll: &OwnedFd,
    ) -> Option<(usize, OwnedFd)> {
        let inner = self.dns.upstream.iter().map(|ip| (*ip, false));
        let outer = self.dns.loopback_upstream.iter().map(|ip| (*ip, true));
        let servers = inner.chain(outer).enumerate().skip(first);
        for (number, (ip, host)) in servers {
            if let Some(socket) = self.connect(ip, host, asker, query) {
                let flags = match asker {
                    Asker::Datagram(..) => EventFlags::IN,
                    Asker::Stream(_) => EventFlags::OUT,
                };
                epoll::add(epoll, &socket, Part::Upstream.token(at), flags).ok()?;
                return Some((number, socket));
            }
        }
        None
    }

    /// A socket of its own for each question: only the server that was asked can answer, and only to a port of chance.
    fn connect(&self, ip: IpAddr, host: bool, asker: Asker, query: &[u8]) -> Option<OwnedFd> {
        let kind = match asker {
            Asker::Datagram(..) => SocketType::DGRAM,
            Asker::Stream(_) => SocketType::STREAM,
        };
        let make = || address::socket(ip, kind).context("make socket", String::new);
        let socket = if host {
            make()
        } else {
            super::inside(self.dns.container_ns.as_fd(), self.own.as_fd(), make)
        };
        let socket = socket.ok()?;
        match connect(&socket, &SocketAddr::new(ip, DNS_PORT)) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) if kind == SocketType::STREAM => return Some(socket),
            Err(_) => return None,
        }
        if kind == SocketType::DGRAM {
            send(&socket, &query[2..], SendFlags::NOSIGNAL).ok()?;
        }
        Some(socket)
    }
}

impl Question {
    fn receive(&self, buffer: &mut [u8]) -> Option<(Reply, Vec<u8>)> {
        // Some that are not the answer may come before it.
        for _ in 0..16 {
            match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((n, _)) => match self.check(&buffer[..n]) {
                    Reply::Foreign => {}
                    reply => return Some((reply, buffer[..n].to_vec())),
                },
                Err(Errno::AGAIN) => return None,
                Err(Errno::INTR) => {}
                // There is no such server.
                Err(_) => return Some((Reply::Failed, Vec::new())),
            }
        }
        None
    }

    fn check(&self, data: &[u8]) -> Reply {
        message::check(data, self.own_id, &self.asked)
    }

    /// Writes the query to a stream, or reads the answer.
    fn talk(
        &mut self,
        at: usize,
        flags: EventFlags,
        epoll: &OwnedFd,
        buffer: &mut [u8],
    ) -> Option<(Reply, Vec<u8>)> {
        let failed = Some((Reply::Failed, Vec::new()));
        if self.written < self.query.len() {
            if flags.contains(EventFlags::ERR) {
                return failed;
            }
            match send(
                &self.socket,
                &self.query[self.written..],
                SendFlags::NOSIGNAL,
            ) {
                Ok(n) => self.written += n,
                Err(Errno::AGAIN | Errno::INTR) => return None,
                Err(_) => return failed,
            }
            if self.written == self.query.len() {
                let token = Part::Upstream.token(at);
                let _ = epoll::modify(epoll, &self.socket, token, EventFlags::IN);
            }
            return None;
        }
        match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((0, _)) => return failed,
            Ok((n, _)) => self.read.extend_from_slice(&buffer[..n]),
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Err(_) => return failed,
        }
        let (length, rest) = self.read.split_first_chunk::<2>()?;
        let answer = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
        match self.check(answer) {
            Reply::Foreign => failed,
            reply => Some((reply, answer.to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use minidock_core::namespace::loopback_up;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::super::message::Message;
    use super::*;

    fn in_namespace(test: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(|| {
            minidock_core::sys::unshare(libc::CLONE_NEWNET).unwrap();
            loopback_up().unwrap();
            test();
        });
        thread.join().unwrap();
    }

    #[test]
    fn questions_under_way_are_bounded() {
        in_namespace(|| {
            let limit = getrlimit(Resource::Nofile);
            let raised = Rlimit {
                current: limit.maximum,
                ..limit
            };
            setrlimit(Resource::Nofile, raised).unwrap();
            let _silent = std::net::UdpSocket::bind("127.0.0.1:53").unwrap();
            let own = super::super::own_namespace().unwrap();
            let (udp, tcp) = super::super::sockets_in(own.as_fd()).unwrap();
            let dns = Dns {
                udp,
                tcp,
                container_ns: own.try_clone().unwrap(),
                networks: Vec::new(),
                links: Vec::new(),
                upstream: Vec::new(),
                loopback_upstream: vec!["127.0.0.1".parse().unwrap()],
                forward: true,
            };
            let mut upstream = Upstream::new(Rc::new(dns), own);
            let data = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
            let Message::Query(query) = message::read(data) else {
                panic!("no query");
            };
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            let asker = Asker::Datagram("127.0.0.1:1".parse().unwrap(), 512);
            let now = Instant::now();
            for _ in 0..QUESTIONS {
                assert!(upstream.ask(asker, &query, data, &epoll, now));
            }
            assert!(!upstream.ask(asker, &query, data, &epoll, now));
            // Their time is over: nobody else is to be asked.
            assert_eq!(upstream.expire(&epoll, now).len(), 0);
            let answered = upstream.expire(&epoll, now + PATIENCE);
            assert_eq!(answered.len(), QUESTIONS);
            assert_eq!(answered[0].answer[..4], [0x12, 0x34, 0x81, 0x82]);
            upstream.settle();
            assert!(upstream.ask(asker, &query, data, &epoll, now));
        });
    }
}
