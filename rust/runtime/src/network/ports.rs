//! Ports of the host, bound before the container starts: a conflict is found at once, and any port gets its number.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use minidock_core::error::{Error, Kind, Result};
use minidock_core::net::live::Protocol;
use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::Errno;
use rustix::net::{SocketType, listen, sockopt as options};
use serde::{Deserialize, Deserializer};

use super::{address, holder};

/// The kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// After so long without a packet a client is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How often the kernel is asked for a port that is free for both families.
const ATTEMPTS: usize = 64;

/// A port that is to be published.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The protocol.
    pub protocol: Protocol,
    /// The container's port.
    pub container_port: u16,
    /// The host's address; none is every one, of both families.
    #[serde(default, deserialize_with = "host_ip")]
    pub host_ip: Option<IpAddr>,
    /// The host's port; 0 is any.
    #[serde(default)]
    pub host_port: u16,
    /// The last of a range, the first free port of which is taken; less than `host_port` is no range.
    #[serde(default)]
    pub host_port_end: u16,
}

/// Empty is none.
fn host_ip<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<IpAddr>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// A port that is the container's.
#[derive(Debug)]
pub struct Bound {
    /// The protocol.
    pub protocol: Protocol,
    /// The container's port.
    pub container_port: u16,
    /// The host's address, perhaps the unspecified one.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
    /// Non-blocking; a TCP socket listens. SCTP has none.
    pub socket: Option<OwnedFd>,
    /// That of SCTP, which only keeps others from the port; none where the kernel has no SCTP.
    pub held: Option<OwnedFd>,
}

/// Binds all ports, or none. A port without address is two, where the host has IPv6, with one number.
///
/// Fails with `Conflict` if a port is taken, naming the process that holds it; with `Denied` for a privileged port without
/// the privilege, and with `Invalid` for an address that is not the host's.
pub fn bind(wanted: &[Wanted]) -> Result<Vec<Bound>> {
    let mut bound = Vec::with_capacity(wanted.len());
    for port in wanted {
        bound.append(&mut bind_one(port)?);
    }
    Ok(bound)
}

fn bind_one(wanted: &Wanted) -> Result<Vec<Bound>> {
    let hosts: Vec<IpAddr> = match wanted.host_ip {
        Some(ip) => vec![ip],
        None if has_ipv6() => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        None => vec![Ipv4Addr::UNSPECIFIED.into()],
    };
    let candidates = if wanted.host_port == 0 {
        vec![0; ATTEMPTS]
    } else {
        (wanted.host_port..=wanted.host_port_end.max(wanted.host_port)).collect()
    };
    // What was free in one family only stays taken until the end, or the kernel might choose it again.
    let mut halves = Vec::new();
    let mut refused = None;
    for port in candidates {
        let mut bound = Vec::with_capacity(hosts.len());
        match bind_all(wanted, &hosts, port, &mut bound) {
            Ok(()) => return Ok(bound),
            Err((at, Errno::ADDRINUSE)) => refused = Some((at, Errno::ADDRINUSE)),
            Err((at, errno)) => return Err(failure(wanted, at, errno)),
        }
        if port == 0 {
            halves.append(&mut bound);
        }
    }
    let (at, errno) = refused.unwrap_or((SocketAddr::new(hosts[0], 0), Errno::ADDRINUSE));
    drop(halves);
    Err(failure(wanted, at, errno))
}

type Refused = (SocketAddr, Errno);

/// Binds one number, or the kernel's choice, at all addresses; those before the one that is refused are in `bound`, too.
fn bind_all(
    wanted: &Wanted,
    hosts: &[IpAddr],
    mut port: u16,
    bound: &mut Vec<Bound>,
) -> std::result::Result<(), Refused> {
    for ip in hosts {
        let at = SocketAddr::new(*ip, port);
        let mut held = None;
        let socket = match wanted.protocol {
            Protocol::Sctp => {
                held = sctp(at).map_err(|errno| (at, errno))?;
                if port == 0 {
                    let chosen = match &held {
                        Some(socket) => number(socket),
                        // Any number that is likely to be free.
                        None => udp(at).and_then(|socket| number(&socket)),
                    };
                    port = chosen.map_err(|errno| (at, errno))?;
                }
                None
            }
            Protocol::Udp => Some(udp(at).map_err(|errno| (at, errno))?),
            Protocol::Tcp => Some(tcp(at).map_err(|errno| (at, errno))?),
        };
        if let Some(socket) = &socket {
            port = number(socket).map_err(|errno| (at, errno))?;
        }
        bound.push(Bound {
            protocol: wanted.protocol,
            container_port: wanted.container_port,
            host_ip: *ip,
            host_port: port,
            socket,
            held,
        });
    }
    Ok(())
}

fn number(socket: &OwnedFd) -> std::result::Result<u16, Errno> {
    address::local(socket).map(|at| at.port())
}

fn tcp(at: SocketAddr) -> std::result::Result<OwnedFd, Errno> {
    let socket = address::socket(at.ip(), SocketType::STREAM)?;
    // A port in TIME_WAIT is free; that of another listener is not.
    options::set_socket_reuseaddr(&socket, true)?;
    // The accepted sockets inherit these. Who is gone without a word does not keep a connection for ever.
    options::set_tcp_nodelay(&socket, true)?;
    options::set_socket_keepalive(&socket, true)?;
    options::set_tcp_keepidle(&socket, KEEPALIVE)?;
    if at.is_ipv6() {
        options::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &at)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// None if the kernel has no SCTP.
fn sctp(at: SocketAddr) -> std::result::Result<Option<OwnedFd>, Errno> {
    let protocol = rustix::net::ipproto::SCTP;
    let socket = match address::socket_of(at.ip(), SocketType::STREAM, Some(protocol)) {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) => return Ok(None),
        other => other?,
    };
    if at.is_ipv6() {
        options::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &at)?;
    Ok(Some(socket))
}

fn udp(at: SocketAddr) -> std::result::Result<OwnedFd, Errno> {
    let socket = address::socket(at.ip(), SocketType::DGRAM)?;
    // An answer has to come from the address that was asked.
    let told = if at.is_ipv6() {
        options::set_ipv6_v6only(&socket, true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)
    } else {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)
    };
    told.map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
    rustix::net::bind(&socket, &at)?;
    Ok(socket)
}

/// Whether the kernel has IPv6 at all.
fn has_ipv6() -> bool {
    address::socket(Ipv6Addr::UNSPECIFIED.into(), SocketType::DGRAM).is_ok()
}

/// Docker's words, and who is to blame.
fn failure(wanted: &Wanted, at: SocketAddr, errno: Errno) -> Error {
    let name = match wanted.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    let range = wanted.host_port_end > wanted.host_port && wanted.host_port != 0;
    let at = SocketAddr::new(at.ip(), if wanted.host_port == 0 { 0 } else { at.port() });
    let shown = if range {
        let (ip, first, last) = (at.ip(), wanted.host_port, wanted.host_port_end);
        match ip {
            IpAddr::V4(ip) => format!("{ip}:{first}-{last}/{name}"),
            IpAddr::V6(ip) => format!("[{ip}]:{first}-{last}/{name}"),
        }
    } else {
        format!("{at}/{name}")
    };
    let (kind, why) = match errno {
        Errno::ADDRINUSE if range => (Kind::Conflict, "all ports of it are in use".to_owned()),
        Errno::ADDRINUSE if wanted.host_port == 0 => (Kind::Conflict, "no port is free".to_owned()),
        Errno::ADDRINUSE => {
            let held = holder::of(wanted.protocol, at);
            let held = held.map_or_else(String::new, |holder| format!(" (held by {holder})"));
            (Kind::Conflict, format!("address already in use{held}"))
        }
        Errno::ACCESS | Errno::PERM => {
            let file = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
            let start = std::fs::read_to_string(file).unwrap_or_default();
            let start = start.trim_end();
            let why = format!(
                "permission denied: ports below net.ipv4.ip_unprivileged_port_start ({start}) need CAP_NET_BIND_SERVICE"
            );
            (Kind::Denied, why)
        }
        Errno::ADDRNOTAVAIL => {
            let why = "cannot assign requested address: the host does not have it";
            (Kind::Invalid, why.to_owned())
        }
        Errno::AFNOSUPPORT => (Kind::Unsupported, "the kernel has no IPv6".to_owned()),
        other => {
            return Error::errno("failed to bind host port", shown, other.raw_os_error());
        }
    };
    Error::new(kind, "failed to bind host port", shown, why)
}

#[cfg(test)]
#[path = "ports_tests.rs"]
mod tests;
