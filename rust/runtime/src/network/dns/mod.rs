//! Names of the containers on a network, and the way to the name servers of the host.
mod clients;
pub mod message;
pub mod names;
mod server;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use minidock_core::error::{Context, Result};
use minidock_core::sys;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{SocketType, listen};

use super::address;

pub(super) use server::Server;

/// Where containers find their name server, as with Docker.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// A container's own name for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The live directory of the network that both are on.
    pub network: PathBuf,
    /// What it is called here.
    pub alias: String,
    /// What everybody calls it.
    pub name: String,
}

/// The name server of one container.
#[derive(Debug)]
pub struct Dns {
    /// Bound in the container's network namespace, non-blocking.
    pub udp: OwnedFd,
    /// Listening there, non-blocking.
    pub tcp: OwnedFd,
    /// The container's network namespace.
    pub container_ns: OwnedFd,
    /// The live directories of the networks that the container is on; the first one that has a name decides.
    pub networks: Vec<PathBuf>,
    /// Names that only this container has for others.
    pub links: Vec<Link>,
    /// Name servers that are asked from the container's namespace.
    pub upstream: Vec<IpAddr>,
    /// Name servers that are asked from the host's.
    pub loopback_upstream: Vec<IpAddr>,
    /// Whether they are asked at all.
    pub forward: bool,
}

impl Dns {
    /// What is to be polled.
    pub(super) fn sockets(&self) -> [BorrowedFd<'_>; 2] {
        [self.udp.as_fd(), self.tcp.as_fd()]
    }

    /// The ports of the two sockets, to which the container's port 53 of [`ADDRESS`] has to be redirected: UDP, then TCP.
    pub fn ports(&self) -> Result<(u16, u16)> {
        let port = |socket: &OwnedFd| {
            let bound = address::local(socket).context("read address of name server", String::new);
            bound.map(|at| at.port())
        };
        Ok((port(&self.udp)?, port(&self.tcp)?))
    }
}

/// Makes the sockets of a name server, UDP and TCP, in another network namespace, whose loopback interface has to be up.
/// Their ports are the kernel's choice: no process inside is to find port 53 taken.
///
/// For single-threaded processes: the calling thread is inside for a moment.
pub fn sockets_in(ns: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd)> {
    let own = own_namespace()?;
    inside(ns, own.as_fd(), || {
        let at = SocketAddr::new(ADDRESS.into(), 0);
        let make = |kind| -> rustix::io::Result<OwnedFd> {
            let socket = address::socket(at.ip(), kind)?;
            rustix::net::bind(&socket, &at)?;
            if kind == SocketType::STREAM {
                rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
                listen(&socket, 64)?;
            }
            Ok(socket)
        };
        let udp = make(SocketType::DGRAM).context("make name server", || at.to_string())?;
        let tcp = make(SocketType::STREAM).context("make name server", || at.to_string())?;
        Ok((udp, tcp))
    })
}

/// The calling thread's network namespace.
fn own_namespace() -> Result<OwnedFd> {
    let path = "/proc/thread-self/ns/net";
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).context("open namespace", || path)
}

/// Does something in another network namespace. Nothing is right any more if there is no way back, so that is the end.
fn inside<T>(
    ns: BorrowedFd<'_>,
    own: BorrowedFd<'_>,
    what: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let shown = || "of the container".to_owned();
    sys::setns(ns, libc::CLONE_NEWNET).context("enter network namespace", shown)?;
    let done = what();
    if sys::setns(own, libc::CLONE_NEWNET).is_err() {
        std::process::abort();
    }
    done
}
