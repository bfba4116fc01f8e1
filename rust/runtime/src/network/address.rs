//! Socket addresses between the types of std, rustix and nix.
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;

use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use rustix::io::Result;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

/// Non-blocking, and closed by `execve`.
pub fn socket(ip: IpAddr, kind: SocketType) -> Result<OwnedFd> {
    socket_of(ip, kind, None)
}

/// The same, of another protocol than the usual one.
pub fn socket_of(ip: IpAddr, kind: SocketType, protocol: Option<Protocol>) -> Result<OwnedFd> {
    let family = match ip {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, kind, flags, protocol)
}

/// The address that a socket is bound to.
pub fn local(socket: &impl std::os::fd::AsFd) -> Result<SocketAddr> {
    let found = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(found)
}

/// An address as a datagram came with it.
pub fn from_storage(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*v4).into());
    }
    let v6 = storage.as_sockaddr_in6()?;
    Some(SocketAddrV6::from(*v6).into())
}

/// For `sendmsg`.
pub fn to_storage(address: SocketAddr) -> SockaddrStorage {
    debug_assert!(SockaddrStorage::from(address).len() > 0);
    SockaddrStorage::from(address)
}
