//! Bridges of the host, one a network; and the interfaces below macvlan and ipvlan networks.
use std::os::fd::AsFd;

use super::live::Network;
use super::route::{self, Socket};
use crate::error::{Error, Kind, Result};

/// The group of interfaces that are about to be removed together.
const DOOMED: u32 = 0x6d64_0000;

/// Makes what the containers of a network are connected by, unless it is there, and returns its interface's index.
///
/// Fails with `Conflict` if another kind of interface has the name, with `NotFound` if the parent of a macvlan does not exist,
/// with `Unsupported` for IPv6 that the kernel does not have.
pub fn ensure(socket: &mut Socket, network: &Network) -> Result<u32> {
    let v6 = network.subnets.iter().any(|s| s.address.is_ipv6());
    if v6 && !route::has_ipv6() {
        let name = network.bridge.as_str();
        let why = "the kernel has no IPv6 (it may be booted with ipv6.disable=1): make the network without --ipv6";
        return Err(Error::new(Kind::Unsupported, "make network", name, why));
    }
    if network.driver != "bridge" {
        return parent(socket, network);
    }
    let name = network.bridge.as_str();
    if let Some(index) = route::index_of(name) {
        return if socket.is_bridge(name)? {
            Ok(index)
        } else {
            let why = "an interface that is no bridge has this name; choose another, or remove it";
            Err(Error::new(Kind::Conflict, "make bridge", name, why))
        };
    }
    match socket.one(route::new_bridge(name, mac(&network.id), network.mtu)) {
        // Somebody else is just making it.
        Err(error) if error.kind == Kind::Conflict => {}
        other => other?,
    }
    let index = found(name)?;
    // Routers are not learned from containers (CVE-2020-13401), and IPv6 is off where the network has none.
    set("ipv6", name, "accept_ra", "0");
    // Its own address is not looked for on the network first: nothing would be forwarded meanwhile.
    set("ipv6", name, "accept_dad", "0");
    set("ipv6", name, "disable_ipv6", if v6 { "0" } else { "1" });
    for address in &network.addresses {
        socket.one(route::add_address(index, *address))?;
    }
    socket.one(route::up(name))?;
    Ok(index)
}

/// Removes the bridges of networks, all at once; those that are not there are no error.
///
/// The kernel waits once for all of them, about 30 ms.
pub fn remove<'a>(
    socket: &mut Socket,
    networks: impl IntoIterator<Item = &'a Network>,
) -> Result<()> {
    let mut names: Vec<&str> = Vec::new();
    for network in networks {
        let made = made_parent(network);
        let name = if network.driver == "bridge" {
            network.bridge.as_str()
        } else {
            made.unwrap_or("")
        };
        if name.is_empty() || route::index_of(name).is_none() {
            continue;
        }
        if network.driver != "bridge" || socket.is_bridge(name)? {
            names.push(name);
        }
    }
    match names[..] {
        [] => Ok(()),
        [name] => gone(socket.one(route::delete(name))),
        _ => {
            // The group is this process's, so that two removals at a time do not take each other's.
            let group = DOOMED + (std::process::id() & 0xffff);
            for name in names {
                gone(socket.one(route::set_group(name, group)))?;
            }
            gone(socket.one(route::delete_group(group)))
        }
    }
}

/// What is not there is as good as removed.
fn gone(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.errno == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}

/// The interface below a macvlan or ipvlan; `eth0.10` is made as a VLAN of `eth0`, none as a pair that leads nowhere.
fn parent(socket: &mut Socket, network: &Network) -> Result<u32> {
    let name = network.parent.as_str();
    if let Some(index) = route::index_of(name) {
        return Ok(index);
    }
    let Some(name) = made_parent(network) else {
        let why = "there is no such interface on this host";
        return Err(Error::new(
            Kind::NotFound,
            "find parent interface",
            name,
            why,
        ));
    };
    // (A pair: an empty bridge has no carrier, without which containers would not reach one another, and not every kernel has
    // dummy interfaces.)
    let here = super::endpoint::own_namespace()?;
    let mut peer = None;
    let request = match vlan(name) {
        Some((base, id)) => route::new_vlan(name, found(base)?, id),
        None => {
            let other = peer.insert(name.replacen("dm-", "dn-", 1));
            route::new_veth(name, other, here.as_fd(), None, network.mtu)
        }
    };
    match socket.one(request) {
        Err(error) if error.kind == Kind::Conflict => {}
        other => other?,
    }
    for end in std::iter::once(name).chain(peer.as_deref()) {
        if peer.is_some() {
            // What containers send comes out of the other end, into this host, which takes none of it: no IPv6 (routers:
            // CVE-2020-13401), no answer to ARP, and where there is no route back every source is a wrong one.
            set("ipv6", end, "disable_ipv6", "1");
            set("ipv4", end, "arp_ignore", "8");
            set("ipv4", end, "rp_filter", "1");
        }
        socket.one(route::up(end))?;
    }
    found(name)
}

/// The parent of a network if it is of our making.
fn made_parent(network: &Network) -> Option<&str> {
    let name = network.parent.as_str();
    (vlan(name).is_some() || name.starts_with("dm-")).then_some(name)
}

/// `eth0.10` is the VLAN 10 on `eth0`.
fn vlan(name: &str) -> Option<(&str, u16)> {
    let (base, id) = name.rsplit_once('.')?;
    let id: u16 = id.parse().ok()?;
    (!base.is_empty() && (1..4095).contains(&id)).then_some((base, id))
}

fn found(name: &str) -> Result<u32> {
    route::index_of(name).ok_or_else(|| {
        Error::new(
            Kind::NotFound,
            "find interface",
            name,
            "there is none of this name",
        )
    })
}

/// A locally administered address that is the network's for ever.
fn mac(id: &str) -> [u8; 6] {
    let byte = |at: usize| {
        id.get(at..at + 2)
            .and_then(|t| u8::from_str_radix(t, 16).ok())
            .unwrap_or(1)
    };
    [0x02, 0x42, byte(0), byte(2), byte(4), byte(6)]
}

/// Sets a parameter of an interface. Where the kernel has no IPv6 there is nothing to set.
fn set(family: &str, interface: &str, name: &str, value: &str) {
    let _ = std::fs::write(
        format!("/proc/sys/net/{family}/conf/{interface}/{name}"),
        value,
    );
}

/// Lets the host forward packets between interfaces, as bridges need it; returns what was changed.
pub fn forward(v6: bool) -> Vec<&'static str> {
    let mut files = vec!["/proc/sys/net/ipv4/ip_forward"];
    if v6 {
        files.push("/proc/sys/net/ipv6/conf/default/forwarding");
        files.push("/proc/sys/net/ipv6/conf/all/forwarding");
    }
    let off = |file: &&str| std::fs::read_to_string(file).is_ok_and(|text| text.trim() == "0");
    files
        .into_iter()
        .filter(off)
        .filter(|file| std::fs::write(file, "1").is_ok())
        .collect()
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::net::in_new_namespace;
    use crate::net::testnet::interfaces;

    fn network(id: u8) -> Network {
        Network {
            id: format!("{id:02x}").repeat(32),
            bridge: format!("mdn-{id}"),
            addresses: vec![format!("10.9.{id}.1/24").parse().unwrap()],
            ..Network::default()
        }
    }

    #[test]
    fn bridges_come_and_go() {
        in_new_namespace(|| {
            let mut socket = Socket::open().unwrap();
            let all: Vec<Network> = (1..=20).map(network).collect();
            for network in &all {
                let index = ensure(&mut socket, network).unwrap();
                assert_eq!(ensure(&mut socket, network).unwrap(), index);
            }
            let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
            let found = route::index_of(&all[6].bridge).is_some();
            assert!(found && routes.contains("\t0007090A\t"), "{routes}");
            remove(&mut socket, &all[..1]).unwrap();
            remove(&mut socket, &all).unwrap();
            remove(&mut socket, &all).unwrap();
            assert_eq!(interfaces(), ["lo"]);
        });
    }

    #[test]
    fn a_name_that_is_taken() {
        in_new_namespace(|| {
            let mut socket = Socket::open().unwrap();
            let own = crate::net::endpoint::own_namespace().unwrap();
            let veth = route::new_veth("mdn-1", "peer", own.as_fd(), None, 0);
            socket.one(veth).unwrap();
            let error = ensure(&mut socket, &network(1)).unwrap_err();
            assert_eq!(error.kind, Kind::Conflict);
            remove(&mut socket, [&network(1)]).unwrap();
            assert!(route::index_of("mdn-1").is_some(), "it is not ours");
        });
    }

    #[test]
    fn parents() {
        in_new_namespace(|| {
            let mut socket = Socket::open().unwrap();
            let with = |parent: &str| Network {
                driver: "macvlan".to_owned(),
                parent: parent.to_owned(),
                ..Network::default()
            };
            assert_eq!(
                ensure(&mut socket, &with("eth9")).unwrap_err().kind,
                Kind::NotFound
            );
            let index = ensure(&mut socket, &with("dm-0123456789ab")).unwrap();
            assert_eq!(route::index_of("dm-0123456789ab"), Some(index));
            remove(&mut socket, [&with("dm-0123456789ab")]).unwrap();
            assert_eq!(route::index_of("dm-0123456789ab"), None);
        });
    }

    #[test]
    fn vlans() {
        assert_eq!(vlan("eth0.10"), Some(("eth0", 10)));
        for name in ["eth0", "eth0.", ".10", "eth0.0", "eth0.4095", "eth0.x"] {
            assert_eq!(vlan(name), None, "{name}");
        }
    }
}
