//! Interfaces, addresses and routes by rtnetlink(7), synchronously, in the network namespace that the socket was made in.
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridgePort, InfoData, InfoIpVlan, InfoKind,
    InfoMacVlan, InfoPortData, InfoPortKind, InfoVeth, InfoVlan, IpVlanMode, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket as Raw, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;

use super::live::Prefix;
use crate::error::{Context, Error, Kind, Result};

/// The largest name that an interface can have, in bytes.
pub const NAME_MAX: usize = 15;

/// A netlink socket in the network namespace where it was opened, wherever its owner is later.
pub struct Socket {
    raw: Raw,
    sequence: u32,
}

/// One request, and what to call it in an error.
pub struct Request {
    message: RouteNetlinkMessage,
    flags: u16,
    op: &'static str,
    subject: String,
}

impl Socket {
    /// Opens one in the current namespace.
    pub fn open() -> Result<Self> {
        let made = Raw::new(NETLINK_ROUTE).and_then(|mut raw| raw.bind_auto().map(|_| raw));
        Ok(Self {
            raw: made.context("open netlink socket", String::new)?,
            sequence: 0,
        })
    }

    /// Carries out requests in order, each acknowledged; stops at the first that fails.
    pub fn run(&mut self, requests: impl IntoIterator<Item = Request>) -> Result<()> {
        requests
            .into_iter()
            .try_for_each(|request| self.one(request))
    }

    /// Carries out one request.
    pub fn one(&mut self, request: Request) -> Result<()> {
        let (op, subject) = (request.op, request.subject.clone());
        self.send(request)?;
        loop {
            for answer in self.receive(op, &subject)? {
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                if let NetlinkPayload::Error(error) = answer.payload {
                    return match error.code {
                        None => Ok(()),
                        Some(code) => {
                            let errno = Errno::from_raw_os_error(-code.get());
                            Err(errno).context(op, || subject)
                        }
                    };
                }
            }
        }
    }

    fn send(&mut self, request: Request) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(request.message);
        message.header.flags = NLM_F_REQUEST | request.flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let sent = self.raw.send_to(&bytes, &SocketAddr::new(0, 0), 0);
        sent.map(drop).context(request.op, || request.subject)
    }

    fn receive(
        &self,
        op: &'static str,
        subject: &str,
    ) -> Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let (bytes, _) = self.raw.recv_from_full().context(op, || subject)?;
        let mut found = Vec::new();
        let mut rest = &bytes[..];
        while rest.len() >= 16 {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            if length < 16 || length > rest.len() {
                return Err(Error::new(
                    Kind::Corrupt,
                    op,
                    subject,
                    "malformed netlink answer",
                ));
            }
            // What this version of the library cannot read is none of the answers that are looked for.
            if let Ok(message) = NetlinkMessage::deserialize(&rest[..length]) {
                found.push(message);
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
        Ok(found)
    }

    fn dump(&mut self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        const OP: &str = "list network";
        self.send(Request {
            message,
            flags: NLM_F_DUMP,
            op: OP,
            subject: String::new(),
        })?;
        let mut found = Vec::new();
        loop {
            for answer in self.receive(OP, "")? {
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::Done(_) => return Ok(found),
                    NetlinkPayload::Error(error) => {
                        let code = error.code.map_or(0, |code| -code.get());
                        return Err(Errno::from_raw_os_error(code)).context(OP, String::new);
                    }
                    NetlinkPayload::InnerMessage(message) => found.push(message),
                    _ => {}
                }
            }
        }
    }

    /// All interfaces: index, name, index of the bridge that they are a port of.
    pub fn links(&mut self) -> Result<Vec<(u32, String, Option<u32>)>> {
        let all = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        let read = |message| {
            let RouteNetlinkMessage::NewLink(link) = message else {
                return None;
            };
            let mut name = None;
            let mut controller = None;
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(text) => name = Some(text),
                    LinkAttribute::Controller(index) => controller = Some(index),
                    _ => {}
                }
            }
            Some((link.header.index, name?, controller))
        };
        Ok(all.into_iter().filter_map(read).collect())
    }

    /// Whether there is a bridge of this name.
    pub fn is_bridge(&mut self, name: &str) -> Result<bool> {
        self.send(Request {
            message: RouteNetlinkMessage::GetLink(link(name)),
            flags: 0,
            op: "find interface",
            subject: name.to_owned(),
        })?;
        let kind = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::LinkInfo(info) if info.contains(&LinkInfo::Kind(InfoKind::Bridge)));
        let answers = self.receive("find interface", name)?;
        Ok(answers.iter().any(|answer| match &answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(found)) => {
                answer.header.sequence_number == self.sequence && found.attributes.iter().any(kind)
            }
            _ => false,
        }))
    }

    /// The networks that the main and local routing tables lead to, without the default routes.
    pub fn routes(&mut self) -> Result<Vec<Prefix>> {
        let all = self.dump(RouteNetlinkMessage::GetRoute(RouteMessage::default()))?;
        let read = |message| {
            let RouteNetlinkMessage::NewRoute(route) = message else {
                return None;
            };
            let length = route.header.destination_prefix_length;
            if route.header.kind != RouteType::Unicast || length == 0 {
                return None;
            }
            route
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(Prefix {
                        address: IpAddr::V4(*ip),
                        length,
                    }),
                    RouteAttribute::Destination(RouteAddress::Inet6(ip)) => Some(Prefix {
                        address: IpAddr::V6(*ip),
                        length,
                    }),
                    _ => None,
                })
        };
        Ok(all.into_iter().filter_map(read).collect())
    }
}

fn link(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn new_link(message: LinkMessage, op: &'static str, subject: &str) -> Request {
    Request {
        message: RouteNetlinkMessage::NewLink(message),
        flags: NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
        op,
        subject: subject.to_owned(),
    }
}

fn size(message: &mut LinkMessage, mtu: u32) {
    if mtu != 0 {
        message.attributes.push(LinkAttribute::Mtu(mtu));
    }
}

/// No link-local IPv6 address appears by itself.
fn no_link_local(message: &mut LinkMessage) {
    let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    message
        .attributes
        .push(LinkAttribute::AfSpecUnspec(vec![inet6]));
}

/// A bridge, down. Its hardware address is given: by itself it would change with its ports.
#[must_use]
pub fn new_bridge(name: &str, mac: [u8; 6], mtu: u32) -> Request {
    let mut message = link(name);
    size(&mut message, mtu);
    message
        .attributes
        .push(LinkAttribute::Address(mac.to_vec()));
    let info = vec![LinkInfo::Kind(InfoKind::Bridge)];
    message.attributes.push(LinkAttribute::LinkInfo(info));
    new_link(message, "make bridge", name)
}

/// A pair of interfaces: `name` here, down, and `peer` in the namespace `ns`, down.
#[must_use]
pub fn new_veth(
    name: &str,
    peer: &str,
    ns: BorrowedFd<'_>,
    mac: Option<[u8; 6]>,
    mtu: u32,
) -> Request {
    let mut other = link(peer);
    size(&mut other, mtu);
    other
        .attributes
        .push(LinkAttribute::NetNsFd(ns.as_raw_fd()));
    if let Some(mac) = mac {
        other.attributes.push(LinkAttribute::Address(mac.to_vec()));
    }
    let mut message = link(name);
    size(&mut message, mtu);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
    ]));
    new_link(message, "make interface", name)
}

/// Makes an interface a port of a bridge and brings it up.
#[must_use]
pub fn join_bridge(name: &str, bridge: u32) -> Request {
    let mut message = link(name);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    no_link_local(&mut message);
    message.attributes.push(LinkAttribute::Controller(bridge));
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: NLM_F_ACK,
        op: "join bridge",
        subject: name.to_owned(),
    }
}

/// Has a bridge's port give back what the container sends to itself by a published port of the host; `isolated` keeps it
/// from other such ports.
pub fn set_port(name: &str, isolated: bool) -> Request {
    let mut message = link(name);
    let port = InfoPortData::BridgePort(vec![
        InfoBridgePort::HairpinMode(true),
        InfoBridgePort::Isolated(isolated),
    ]);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(port),
    ]));
    Request {
        message: RouteNetlinkMessage::NewLink(message),
        flags: NLM_F_ACK,
        op: "set bridge port",
        subject: name.to_owned(),
    }
}

/// A macvlan or ipvlan on the interface with the index `parent`, made in the namespace `ns`.
///
/// Fails with `Invalid` for a driver or mode that is none.
pub fn new_child(
    driver: &str,
    mode: &str,
    name: &str,
    parent: u32,
    ns: BorrowedFd<'_>,
    mac: Option<[u8; 6]>,
    mtu: u32,
) -> Result<Request> {
    let unknown = || {
        Error::new(
            Kind::Invalid,
            "make interface",
            mode,
            "it is no mode of the driver",
        )
    };
    let (kind, data) = match driver {
        "macvlan" => {
            let mode = match mode {
                "" | "bridge" => MacVlanMode::Bridge,
                "private" => MacVlanMode::Private,
                "vepa" => MacVlanMode::Vepa,
                "passthru" => MacVlanMode::Passthrough,
                _ => return Err(unknown()),
            };
            let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]);
            (InfoKind::MacVlan, data)
        }
        "ipvlan" => {
            let mode = match mode {
                "" | "l2" => IpVlanMode::L2,
                "l3" => IpVlanMode::L3,
                "l3s" => IpVlanMode::L3S,
                _ => return Err(unknown()),
            };
            (
                InfoKind::IpVlan,
                InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)]),
            )
        }
        _ => {
            let why = "it is not bridge, macvlan or ipvlan";
            return Err(Error::new(Kind::Invalid, "make interface", driver, why));
        }
    };
    let mut message = link(name);
    size(&mut message, mtu);
    message.attributes.push(LinkAttribute::Link(parent));
    message
        .attributes
        .push(LinkAttribute::NetNsFd(ns.as_raw_fd()));
    if let Some(mac) = mac.filter(|_| driver == "macvlan") {
        message
            .attributes
            .push(LinkAttribute::Address(mac.to_vec()));
    }
    let info = vec![LinkInfo::Kind(kind), LinkInfo::Data(data)];
    message.attributes.push(LinkAttribute::LinkInfo(info));
    Ok(new_link(message, "make interface", name))
}

/// A VLAN with the id `vlan` on the interface with the index `parent`.
#[must_use]
pub fn new_vlan(name: &str, parent: u32, vlan: u16) -> Request {
    let mut message = link(name);
    message.attributes.push(LinkAttribute::Link(parent));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Vlan),
        LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(vlan)])),
    ]));
    new_link(message, "make interface", name)
}

/// Brings an interface up.
#[must_use]
pub fn up(name: &str) -> Request {
    let mut message = link(name);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: NLM_F_ACK,
        op: "bring up interface",
        subject: name.to_owned(),
    }
}

/// Puts an interface into a group of interfaces.
#[must_use]
pub fn set_group(name: &str, group: u32) -> Request {
    let mut message = link(name);
    message.attributes.push(LinkAttribute::Group(group));
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: NLM_F_ACK,
        op: "set group of interface",
        subject: name.to_owned(),
    }
}

/// Removes an interface. The kernel waits for all processors (20 to 40 ms).
#[must_use]
pub fn delete(name: &str) -> Request {
    delete_link(link(name), name)
}

/// Removes all interfaces of a group, and waits once for all of them.
#[must_use]
pub fn delete_group(group: u32) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(group));
    delete_link(message, "group")
}

fn delete_link(message: LinkMessage, subject: &str) -> Request {
    Request {
        message: RouteNetlinkMessage::DelLink(message),
        flags: NLM_F_ACK,
        op: "remove interface",
        subject: subject.to_owned(),
    }
}

/// Gives the interface with this index an address. IPv6 addresses are not looked for on the network first: they are leased.
#[must_use]
pub fn add_address(index: u32, prefix: Prefix) -> Request {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = prefix.length;
    let ip = prefix.address;
    match ip {
        IpAddr::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            if prefix.length < 31 {
                let host = u32::MAX.checked_shr(u32::from(prefix.length)).unwrap_or(0);
                let broadcast = (u32::from(v4) | host).into();
                message
                    .attributes
                    .push(AddressAttribute::Broadcast(broadcast));
            }
        }
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.header.flags = AddressHeaderFlags::Nodad;
        }
    }
    message.attributes.push(AddressAttribute::Local(ip));
    message.attributes.push(AddressAttribute::Address(ip));
    Request {
        message: RouteNetlinkMessage::NewAddress(message),
        flags: NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
        op: "add address",
        subject: prefix.to_string(),
    }
}

fn route_to(family: AddressFamily, index: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = 254; // RT_TABLE_MAIN
    message.header.protocol = RouteProtocol::Boot;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Oif(index));
    message
}

/// The default route, by a gateway; without one, to the link itself.
#[must_use]
pub fn default_route(index: u32, gateway: Option<IpAddr>, v6: bool) -> Request {
    let family = if v6 {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    let mut message = route_to(family, index);
    message.header.scope = RouteScope::Universe;
    match gateway {
        Some(IpAddr::V4(ip)) => {
            let gateway = RouteAddress::Inet(ip);
            message.attributes.push(RouteAttribute::Gateway(gateway));
        }
        Some(IpAddr::V6(ip)) => {
            let gateway = RouteAddress::Inet6(ip);
            message.attributes.push(RouteAttribute::Gateway(gateway));
        }
        None => message.header.scope = RouteScope::Link,
    }
    Request {
        message: RouteNetlinkMessage::NewRoute(message),
        flags: NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
        op: "add default route",
        subject: gateway.map_or_else(|| "link".to_owned(), |ip| ip.to_string()),
    }
}

/// The index of an interface of the current namespace.
#[must_use]
pub fn index_of(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}
