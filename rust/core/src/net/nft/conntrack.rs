//! Connections that the kernel knows: those that go on by rules of before; linux/netfilter/nfnetlink_conntrack.h.
//!
//! Address translation is decided with the first packet of a connection. Datagrams that somebody keeps sending are one connection
//! all the time: they would never reach a port that is published after the first of them, or never leave one that was.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::message::{Attributes, Reader};
use super::{Family, Socket};
use crate::error::Result;
use crate::net::live::{Protocol, Published};

/// `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE` of `NFNL_SUBSYS_CTNETLINK`.
const GET: u16 = 0x101;
const DELETE: u16 = 0x102;

/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`, `CTA_ID`, `CTA_FILTER`.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const FILTER: u16 = 25;
/// Of filters: the protocol is compared, and the destination's port. Kernels before 5.8 list everything.
const BY_PROTOCOL: u32 = 1 << 3;
const BY_PORT: u32 = 1 << 5;

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Direction {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// The destination's.
    port: u16,
}

fn direction(tuple: Reader<'_>) -> Option<Direction> {
    let addresses = tuple.nested(1);
    let address = |v4: u16, v6: u16| -> Option<IpAddr> {
        let v4 = addresses.get(v4).and_then(|b| <[u8; 4]>::try_from(b).ok());
        let v6 = addresses.get(v6).and_then(|b| <[u8; 16]>::try_from(b).ok());
        v4.map(IpAddr::from).or(v6.map(IpAddr::from))
    };
    let protocol = tuple.nested(2);
    Some(Direction {
        source: address(1, 3)?,
        destination: address(2, 4)?,
        protocol: *protocol.get(1)?.first()?,
        port: u16::from_be_bytes(protocol.get(3)?.try_into().ok()?),
    })
}

/// Has the kernel forget who sends datagrams to published ports, other than those that reach the container (`published`) or
/// that do (not `published`). Only what concerns other addresses than loopback.
pub fn forget(socket: &Socket, ports: &[Published], published: bool) -> Result<()> {
    for family in [Family::Ip, Family::Ip6] {
        let of_family = |port: &&Published| port.address.is_ipv4() == (family == Family::Ip);
        let datagrams = ports.iter().filter(|port| port.protocol == Protocol::Udp);
        let ports: BTreeMap<u16, Vec<&Published>> =
            datagrams
                .filter(of_family)
                .fold(BTreeMap::new(), |mut all, port| {
                    all.entry(port.host_port).or_default().push(port);
                    all
                });
        if !ports.is_empty() {
            forget_of(socket, family, &ports, published)?;
        }
    }
    Ok(())
}

/// The same for ports of one family, by the host's.
fn forget_of(
    socket: &Socket,
    family: Family,
    ports: &BTreeMap<u16, Vec<&Published>>,
    published: bool,
) -> Result<()> {
    let protocol = Protocol::Udp.number();
    let concerned = |body: Reader<'_>| -> Option<bool> {
        let to = direction(body.nested(ORIGINAL))?;
        let from = direction(body.nested(REPLY))?;
        let concerns = |port: &&Published| {
            port.host_ip.is_none_or(|ip| ip == to.destination)
                && (from.source == port.address) != published
        };
        let here = to.protocol == protocol && !to.destination.is_loopback();
        Some(here && ports.get(&to.port)?.iter().any(concerns))
    };
    let found: RefCell<Vec<Vec<u8>>> = RefCell::default();
    socket.list(
        GET,
        Some(family),
        |a| {
            // The kernel goes through all connections each time: for one port it says those of that port only.
            let one = ports.keys().next().filter(|_| ports.len() == 1);
            a.nested(ORIGINAL, |a| {
                a.nested(2, |a| {
                    a.put(1, &[protocol]);
                    if let Some(port) = one {
                        a.put(3, &port.to_be_bytes());
                    }
                });
            });
            let compared = BY_PROTOCOL | one.map_or(0, |_| BY_PORT);
            a.nested(FILTER, |a| a.put(1, &compared.to_ne_bytes()));
        },
        &mut || found.borrow_mut().clear(),
        &mut |_, body| {
            if concerned(body) == Some(true) {
                found.borrow_mut().push(identity(body));
            }
        },
    )?;
    for identity in found.into_inner() {
        socket.get(DELETE, family, |a| a.0.extend(&identity), &mut |_, _| {})?;
    }
    Ok(())
}

/// The attributes that name a connection.
fn identity(body: Reader<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut to = Attributes(&mut bytes);
    to.nested(ORIGINAL, |a| {
        a.0.extend(body.get(ORIGINAL).unwrap_or_default());
    });
    to.put(ID, body.get(ID).unwrap_or_default());
    bytes
}
