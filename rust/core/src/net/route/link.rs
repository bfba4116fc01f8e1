//! Requests about interfaces.
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridgePort, InfoData, InfoIpVlan, InfoKind,
    InfoMacVlan, InfoPortData, InfoPortKind, InfoVeth, InfoVlan, IpVlanMode, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};

use super::Request;
use crate::error::{Error, Kind, Result};

pub(super) fn named(name: &str) -> LinkMessage {
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
    // Without IPv6 the kernel refuses the attribute.
    if !super::has_ipv6() {
        return;
    }
    let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    message
        .attributes
        .push(LinkAttribute::AfSpecUnspec(vec![inet6]));
}

/// A bridge, down. Its hardware address is given: by itself it would change with its ports.
#[must_use]
pub fn new_bridge(name: &str, mac: [u8; 6], mtu: u32) -> Request {
    let mut message = named(name);
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
    let mut other = named(peer);
    size(&mut other, mtu);
    other
        .attributes
        .push(LinkAttribute::NetNsFd(ns.as_raw_fd()));
    if let Some(mac) = mac {
        other.attributes.push(LinkAttribute::Address(mac.to_vec()));
    }
    let mut message = named(name);
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
    let mut message = named(name);
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
    let mut message = named(name);
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
    let mut message = named(name);
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
    let mut message = named(name);
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
    let mut message = named(name);
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
    let mut message = named(name);
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
    delete_link(named(name), name)
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
