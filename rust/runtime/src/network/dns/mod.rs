//! Names of the containers on a network, and the way to the name servers of the host.
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Result;

/// The name server of one container.
#[derive(Debug)]
pub struct Dns {
    /// Bound in the container's network namespace, non-blocking.
    pub udp: OwnedFd,
    /// Listening there, non-blocking.
    pub tcp: OwnedFd,
    /// The container's network namespace.
    pub container_ns: OwnedFd,
    /// The live directories of the networks that the container is on.
    pub networks: Vec<PathBuf>,
    /// Name servers that are asked from the container's namespace.
    pub upstream: Vec<IpAddr>,
    /// Name servers that are asked from the host's.
    pub loopback_upstream: Vec<IpAddr>,
    /// Whether other names are asked for at all.
    pub forward: bool,
}

impl Dns {
    /// What is to be polled.
    pub(super) fn sockets(&self) -> [BorrowedFd<'_>; 2] {
        [self.udp.as_fd(), self.tcp.as_fd()]
    }
}

pub(super) struct Server<'a> {
    _dns: &'a Dns,
}

impl<'a> Server<'a> {
    pub fn new(dns: &'a Dns, _epoll: &OwnedFd) -> Result<Self> {
        Ok(Self { _dns: dns })
    }
    pub fn ready(&mut self, _at: usize, _flags: EventFlags, _epoll: &OwnedFd, _now: Instant) {}
    pub fn expire(&mut self, _epoll: &OwnedFd, _now: Instant) {}
    pub fn busy(&self) -> usize {
        0
    }
    pub fn deadline(&self) -> Option<Instant> {
        None
    }
}
