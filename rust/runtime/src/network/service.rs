//! The supervisor's side: what is bound, and the process that serves it while there is something to serve.
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use minidock_core::sys;
use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal, sigprocmask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, pidfd_open, pidfd_send_signal, waitid,
};

use super::child::{self, Port, Serving};
use super::dns::Dns;
use super::ports::Bound;

/// How long the process stays without connection or packet.
const IDLE: Duration = Duration::from_secs(30);
/// The first pause after a process that did not end by itself, doubled by each that follows it soon.
const PAUSE_MS: u64 = 100;
const LONGEST_PAUSE_MS: u64 = 10_000;
/// A process that lived for so long was a good one.
const GOOD_MS: u64 = 60_000;

/// The container's addresses, where its published ports lead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Targets {
    /// The one for IPv4.
    pub v4: Option<IpAddr>,
    /// The one for IPv6.
    pub v6: Option<IpAddr>,
}

impl Targets {
    /// The first of each family.
    #[must_use]
    pub fn new(addresses: &[IpAddr]) -> Self {
        let mut all = addresses.iter().copied();
        Self {
            v4: all.clone().find(IpAddr::is_ipv4),
            v6: all.find(IpAddr::is_ipv6),
        }
    }

    /// Where a host port leads: an address of its own family if there is one.
    fn of(&self, port: &Bound) -> Option<SocketAddr> {
        let (first, second) = if port.host_ip.is_ipv4() {
            (self.v4, self.v6)
        } else {
            (self.v6, self.v4)
        };
        Some(SocketAddr::new(first.or(second)?, port.container_port))
    }
}

/// A process that serves, or has served and still has connections.
#[derive(Debug)]
struct Child {
    process: OwnedFd,
    begun: u64,
    retired: bool,
}

/// The ports and names of one container. Times are milliseconds of a clock that does not jump.
///
/// Dropped, it closes its sockets and leaves the processes alone, as a fork of the supervisor must; [`Service::end`] ends them.
#[derive(Debug)]
pub struct Service {
    bound: Vec<Bound>,
    targets: Targets,
    dns: Option<Dns>,
    children: Vec<Child>,
    idle: Duration,
    failures: u32,
    not_before: u64,
}

impl Default for Service {
    fn default() -> Self {
        Self::new()
    }
}

impl Service {
    /// A service of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_idle(IDLE)
    }

    /// The same, with processes that end after so long without anything to do.
    #[must_use]
    pub fn with_idle(idle: Duration) -> Self {
        Self {
            bound: Vec::new(),
            targets: Targets::default(),
            dns: None,
            children: Vec::new(),
            idle,
            failures: 0,
            not_before: 0,
        }
    }

    /// The ports that are served from now on; those before are closed.
    pub fn set_ports(&mut self, bound: Vec<Bound>) {
        if self.bound.is_empty() && bound.is_empty() {
            return;
        }
        self.bound = bound;
        self.reload();
    }

    /// The ports.
    #[must_use]
    pub fn ports(&self) -> &[Bound] {
        &self.bound
    }

    /// Where the ports lead from now on; connections that exist stay. Without an address nobody is let in: who connects waits.
    pub fn set_targets(&mut self, targets: Targets) {
        if self.targets != targets {
            self.targets = targets;
            self.reload();
        }
    }

    /// The name server; none ends the one before.
    pub fn set_dns(&mut self, dns: Option<Dns>) {
        if self.dns.is_none() && dns.is_none() {
            return;
        }
        self.dns = dns;
        self.reload();
    }

    /// The name server, to change its networks or upstream servers; [`Service::reload`] has to follow.
    pub fn dns_mut(&mut self) -> Option<&mut Dns> {
        self.dns.as_mut()
    }

    /// Lets the next packet be served by a new process. The one before takes no more, finishes its connections and ends.
    pub fn reload(&mut self) {
        for child in self.children.iter_mut().filter(|child| !child.retired) {
            child.retired = true;
            let _ = pidfd_send_signal(&child.process, Signal::TERM);
        }
    }

    /// What is to be polled for reading: processes for their end, and the sockets if nobody serves them.
    pub fn fds(&self, now: u64) -> impl Iterator<Item = BorrowedFd<'_>> {
        let unserved = !self.is_served() && now >= self.not_before;
        let sockets = self.sockets().filter(move |_| unserved);
        let children = self.children.iter().map(|child| child.process.as_fd());
        children.chain(sockets)
    }

    /// When [`Service::fds`] has more to be polled.
    #[must_use]
    pub fn deadline_ms(&self, now: u64) -> Option<u64> {
        let pauses = !self.is_served() && now < self.not_before && self.sockets().next().is_some();
        pauses.then_some(self.not_before)
    }

    /// Does what there is to do after one of the descriptors was ready: sees to ended processes, and makes a new one if
    /// something has come.
    pub fn wake(&mut self, now: u64) {
        self.reap(now);
        if self.is_served() || now < self.not_before || !self.has_packet() {
            return;
        }
        match self.start(now) {
            Ok(child) => self.children.push(child),
            Err(_) => self.pause(now),
        }
    }

    /// Ends all processes, and with them all connections, and closes the sockets.
    pub fn end(&mut self) {
        for child in &self.children {
            let _ = pidfd_send_signal(&child.process, Signal::KILL);
        }
        for child in self.children.drain(..) {
            let _ = waitid(WaitId::PidFd(child.process.as_fd()), WaitIdOptions::EXITED);
        }
        *self = Self::with_idle(self.idle);
    }

    fn is_served(&self) -> bool {
        self.children.iter().any(|child| !child.retired)
    }

    /// Those that lead somewhere.
    fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let ports = self.bound.iter();
        let ports = ports.filter(|port| self.targets.of(port).is_some());
        let ports = ports.filter_map(|port| Some(port.socket.as_ref()?.as_fd()));
        let dns = self.dns.iter().flat_map(Dns::sockets);
        ports.chain(dns)
    }

    fn has_packet(&self) -> bool {
        let mut fds: Vec<PollFd<'_>> = self
            .sockets()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        !fds.is_empty() && poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    fn reap(&mut self, now: u64) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let mut failed = None;
        self.children.retain(
            |child| match waitid(WaitId::PidFd(child.process.as_fd()), options) {
                Ok(None) | Err(rustix::io::Errno::INTR) => true,
                Ok(Some(status)) => {
                    if status.exit_status() != Some(0) && !child.retired {
                        failed = Some(now.saturating_sub(child.begun));
                    }
                    false
                }
                Err(_) => false,
            },
        );
        match failed {
            Some(lived) if lived < GOOD_MS => self.pause(now),
            Some(_) => self.failures = 0,
            None => {}
        }
    }

    /// The first failure is followed by a new process at once.
    fn pause(&mut self, now: u64) {
        let pause = match self.failures {
            0 => 0,
            n => PAUSE_MS << (n - 1).min(16),
        };
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause.min(LONGEST_PAUSE_MS);
    }

    fn start(&mut self, now: u64) -> std::io::Result<Child> {
        // From its first moment on the process must not die of the signal that retires it.
        let mut before = SigSet::empty();
        let mut blocked = SigSet::empty();
        blocked.add(NixSignal::SIGTERM);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut before))?;
        let supervisor = getpid();
        let forked = sys::fork();
        if let Ok(None) = forked {
            self.run(supervisor);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        let pid = forked?.and_then(Pid::from_raw);
        let pid = pid.ok_or(std::io::ErrorKind::NotFound)?;
        Ok(Child {
            // Not reaped by anybody else: the number is that of the child.
            process: pidfd_open(pid, PidfdFlags::empty())?,
            begun: now,
            retired: false,
        })
    }

    /// The forked process.
    fn run(&mut self, supervisor: Pid) -> ! {
        let ports = self.bound.iter().filter_map(|port| port.socket.as_ref());
        let mut kept: Vec<RawFd> = ports.map(AsRawFd::as_raw_fd).collect();
        if let Some(dns) = &self.dns {
            kept.extend(dns.sockets().map(|fd| fd.as_raw_fd()));
            kept.push(dns.container_ns.as_raw_fd());
        }
        let Some(retire) = child::prepare(supervisor, &mut kept) else {
            sys::exit_now(1);
        };
        let targets = self.targets;
        let ports = std::mem::take(&mut self.bound);
        let ports = ports.into_iter().filter_map(|port| {
            Some(Port {
                protocol: port.protocol,
                target: targets.of(&port)?,
                socket: port.socket?,
            })
        });
        let serving = Serving {
            ports: ports.collect(),
            dns: self.dns.take(),
            idle: self.idle,
            retire: Some(retire),
        };
        let code = i32::from(child::serve(serving).is_err());
        sys::exit_now(code)
    }
}
