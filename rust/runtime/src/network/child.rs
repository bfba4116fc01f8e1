//! The process that serves: one epoll loop over listeners, connections, datagrams and names.
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

use minidock_core::net::live::Protocol;
use minidock_core::sys;
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{Timespec, epoll};
use rustix::io::{Errno, Result};
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};

use super::datagrams::Datagrams;
use super::dns::{Dns, Server};
use super::forward::Links;

/// How long listeners rest when there is no descriptor or memory for one more connection.
const REST: Duration = Duration::from_millis(100);
/// Events that are taken at once.
const EVENTS: usize = 128;

/// What an event is about: the highest byte of its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Subject {
    Retire,
    Port,
    Link,
    Session,
    Dns,
}

/// The token of an event.
pub fn token(subject: Subject, at: usize) -> epoll::EventData {
    epoll::EventData::new_u64((subject as u64) << 56 | at as u64)
}

/// A bound socket and where it leads.
#[derive(Debug)]
pub struct Port {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Non-blocking.
    pub socket: OwnedFd,
    /// The container's address and port.
    pub target: SocketAddr,
}

/// What is served.
#[derive(Debug)]
pub struct Serving {
    /// Ports that are forwarded.
    pub ports: Vec<Port>,
    /// Names.
    pub dns: Option<Dns>,
    /// The end comes after so long without connection or packet.
    pub idle: Duration,
    /// Readable when nothing new is to be taken any more.
    pub retire: Option<OwnedFd>,
}

/// Makes a fork of the supervisor the process that serves: only the descriptors in `kept` stay open. Returns what tells it
/// to retire; None if the supervisor has ended, or the descriptors could not be closed.
pub fn prepare(supervisor: Pid, kept: &mut [RawFd]) -> Option<OwnedFd> {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    if getppid() != Some(supervisor) {
        return None;
    }
    // What the supervisor has open is none of this process's: as long as it lived, no stream of the container could end.
    sys::close_all_but(kept).ok()?;
    let _ = rustix::process::setsid();
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    let _ = rustix::thread::set_name(c"minidock-net");
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(Resource::Nofile, raised);
    let mut set = SigSet::empty();
    set.add(NixSignal::SIGTERM);
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&set, flags).ok().map(Into::into)
}

/// Serves until there was nothing to do for a while, or all is done after it was told to retire.
pub fn serve(serving: Serving) -> Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let dns = serving.dns.map(|dns| Server::new(dns, &epoll));
    let mut child = Child {
        ports: serving.ports,
        idle: serving.idle,
        retires: serving.retire,
        links: Links::default(),
        datagrams: Datagrams::default(),
        dns: dns.transpose()?,
        epoll,
        listening: false,
        rests_until: None,
        retired: false,
        active: Instant::now(),
    };
    if let Some(retire) = &child.retires {
        let data = token(Subject::Retire, 0);
        epoll::add(&child.epoll, retire, data, epoll::EventFlags::IN)?;
    }
    for (at, port) in child.ports.iter().enumerate() {
        if port.protocol == Protocol::Udp {
            let data = token(Subject::Port, at);
            epoll::add(&child.epoll, &port.socket, data, epoll::EventFlags::IN)?;
        }
    }
    child.listen(true)?;
    child.run()
}

struct Child {
    ports: Vec<Port>,
    idle: Duration,
    retires: Option<OwnedFd>,
    epoll: OwnedFd,
    links: Links,
    datagrams: Datagrams,
    dns: Option<Server>,
    /// Whether the listeners are polled.
    listening: bool,
    /// When they will be again.
    rests_until: Option<Instant>,
    retired: bool,
    /// When something was done last.
    active: Instant,
}

impl Child {
    fn run(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let now = Instant::now();
            let Some(wait) = self.wait(now) else {
                return Ok(());
            };
            events.clear();
            let wait = Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: wait.subsec_nanos().into(),
            };
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            let now = Instant::now();
            if !events.is_empty() {
                self.active = now;
            }
            for event in &events {
                let (flags, data) = (event.flags, event.data.u64());
                self.take(data, flags, now);
            }
            self.links.resume();
            self.turn(now);
        }
    }

    fn take(&mut self, data: u64, flags: epoll::EventFlags, now: Instant) {
        let at = usize::try_from(data & ((1 << 56) - 1)).unwrap_or(usize::MAX);
        match data >> 56 {
            s if s == Subject::Link as u64 => self.links.ready(at, flags),
            s if s == Subject::Session as u64 => {
                self.datagrams.answer(at, &self.ports, now);
            }
            s if s == Subject::Port as u64 => self.receive(at, now),
            s if s == Subject::Dns as u64 => {
                if let Some(dns) = &mut self.dns {
                    dns.ready(at, flags, &self.epoll, now);
                }
            }
            _ => self.retire(),
        }
    }

    fn receive(&mut self, at: usize, now: Instant) {
        let Some(port) = self.ports.get(at) else {
            return;
        };
        if port.protocol == Protocol::Udp {
            self.datagrams.receive(at, port, &self.epoll, now);
            return;
        }
        if !self.listening {
            return;
        }
        if let Err(errno) = self.links.accept(port, &self.epoll) {
            // No descriptor or memory left: polled on, the listener would only spin.
            debug_assert_ne!(errno, Errno::AGAIN);
            let _ = self.listen(false);
            self.rests_until = Some(now + REST);
        }
    }

    /// Has the listeners polled, or not.
    fn listen(&mut self, on: bool) -> Result<()> {
        if self.listening == on {
            return Ok(());
        }
        for (at, port) in self.ports.iter().enumerate() {
            if port.protocol != Protocol::Tcp {
                continue;
            }
            if on {
                let data = token(Subject::Port, at);
                epoll::add(&self.epoll, &port.socket, data, epoll::EventFlags::IN)?;
            } else {
                epoll::delete(&self.epoll, &port.socket)?;
            }
        }
        self.listening = on;
        Ok(())
    }

    /// Another process takes what comes from now on. Nothing but the connections is kept open here: a port would stay
    /// taken, and the container's network namespace would not go with the container.
    fn retire(&mut self) {
        self.retired = true;
        self.rests_until = None;
        let _ = self.listen(false);
        // The supervisor has them open, too, so closing them does not end their being polled.
        for port in &self.ports {
            if port.protocol == Protocol::Udp {
                let _ = epoll::delete(&self.epoll, &port.socket);
            }
        }
        if let Some(dns) = self.dns.take() {
            dns.close(&self.epoll);
        }
        self.ports = Vec::new();
        self.retires = None;
        self.datagrams = Datagrams::default();
    }

    /// What time has brought, after all events are dealt with.
    fn turn(&mut self, now: Instant) {
        self.links.settle();
        self.datagrams.expire(now);
        if let Some(dns) = &mut self.dns {
            dns.expire(&self.epoll, now);
        }
        if self.rests_until.is_some_and(|until| until <= now) {
            self.rests_until = None;
            let _ = self.listen(true);
        }
    }

    /// How long to wait for the next event; None at the end of all.
    fn wait(&self, now: Instant) -> Option<Duration> {
        if self.links.has_more() {
            return Some(Duration::ZERO);
        }
        let busy = self.links.len() + self.datagrams.len();
        let busy = busy + self.dns.as_ref().map_or(0, Server::busy);
        let mut until = now + Duration::from_secs(3600);
        if busy == 0 {
            until = self.active + self.idle;
            if self.retired || until <= now {
                return None;
            }
        }
        let dns = self.dns.as_ref().and_then(Server::deadline);
        let deadlines = [self.rests_until, self.datagrams.deadline(), dns];
        let first = deadlines.into_iter().flatten().chain([until]).min()?;
        // A millisecond more, for the clock's grain.
        Some(first.saturating_duration_since(now) + Duration::from_millis(1))
    }
}
