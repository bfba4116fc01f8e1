//! Requests about addresses and routes.
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Request;
use crate::net::live::Prefix;

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
