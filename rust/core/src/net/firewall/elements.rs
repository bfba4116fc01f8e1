//! What networks and published ports are in the sets.
use std::collections::BTreeSet;
use std::net::IpAddr;

use super::layout::{NAME_LENGTH, PROTECTED, ROUTED, set};
use crate::net::live::{Endpoint, Network, Prefix, Published};
use crate::net::nft::read::Element;
use crate::net::nft::{Data, Verdict};

/// An element with its set.
pub type Placed = (&'static str, Element);

fn plain(key: Vec<u8>) -> Element {
    Element {
        key,
        start: true,
        data: Data::None,
    }
}

/// What networks have; those without a bridge have nothing.
pub fn of_networks<'a>(networks: impl IntoIterator<Item = &'a Network>) -> BTreeSet<Placed> {
    let mut found = BTreeSet::new();
    let mut ranges: Vec<(&'static str, Prefix)> = Vec::new();
    for network in networks {
        let Some(name) = bridge(network) else {
            continue;
        };
        let verdict = match (network.internal, network.routed, network.routed6) {
            (true, ..) => Verdict::Drop,
            (false, true, true) => Verdict::Accept,
            (false, true, false) => Verdict::Jump(ROUTED[0].to_owned()),
            (false, false, true) => Verdict::Jump(ROUTED[1].to_owned()),
            (false, false, false) => Verdict::Jump(PROTECTED.to_owned()),
        };
        found.insert((set::BRIDGES, plain(name.clone())));
        if network.internal {
            found.insert((set::INTERNAL, plain(name.clone())));
        }
        if network.icc {
            found.insert((set::TOGETHER, plain([&name[..], &name].concat())));
        }
        found.insert((
            set::INTO,
            Element {
                key: name,
                start: true,
                data: Data::Verdict(verdict),
            },
        ));
        for subnet in &network.subnets {
            let at = usize::from(subnet.address.is_ipv6());
            ranges.push((set::SUBNETS[at], *subnet));
            if [network.masquerade, network.masquerade6][at] && !network.internal {
                ranges.push((set::HIDDEN[at], *subnet));
            }
        }
    }
    // A range within another would be refused. Sorted, it comes behind the one that it is in.
    let first = |range: &Prefix| number(range.address) & mask(range.length);
    ranges.sort_by_key(|(set, range)| (*set, first(range), range.length));
    ranges
        .dedup_by(|(set, inner), (before, outer)| set == before && contains(*outer, inner.address));
    for (set, range) in ranges {
        found.extend(interval(range).into_iter().map(|element| (set, element)));
    }
    found
}

/// A network's interface name as it is in a register.
fn bridge(network: &Network) -> Option<Vec<u8>> {
    let name = network.bridge.as_bytes();
    if network.driver != "bridge" || name.is_empty() || name.len() >= NAME_LENGTH {
        return None;
    }
    let mut name = name.to_vec();
    name.resize(NAME_LENGTH, 0);
    Some(name)
}

/// An address as a number, in the upper bits.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

fn contains(range: Prefix, address: IpAddr) -> bool {
    range.address.is_ipv4() == address.is_ipv4()
        && (number(range.address) ^ number(address)) & mask(range.length) == 0
}

/// The first address, and the first behind the range if there is one.
fn interval(range: Prefix) -> Vec<Element> {
    let bytes = |number: u128| {
        let length = if range.address.is_ipv4() { 4 } else { 16 };
        number.to_be_bytes()[..length].to_vec()
    };
    let first = number(range.address) & mask(range.length);
    let mut elements = vec![plain(bytes(first))];
    let behind = 1u128
        .checked_shl(128 - u32::from(range.length))
        .and_then(|size| first.checked_add(size));
    if let Some(behind) = behind {
        elements.push(Element {
            key: bytes(behind),
            start: false,
            data: Data::None,
        });
    }
    elements
}

/// What a published port has; none if it is the listener's alone.
#[must_use]
pub fn of_port(port: &Published) -> Option<Placed> {
    let at = usize::from(port.address.is_ipv6());
    let mut key = match port.host_ip {
        // IPv4 does not lead to IPv6, nor the other way: that is the listener's.
        Some(ip) if ip.is_ipv6() != port.address.is_ipv6() && !ip.is_loopback() => return None,
        Some(ip) => bytes(ip),
        None => Vec::new(),
    };
    key.extend([port.protocol.number(), 0, 0, 0]);
    key.extend(service(port.host_port));
    let to = [&bytes(port.address)[..], &service(port.container_port)].concat();
    let set = match port.host_ip {
        Some(IpAddr::V4(ip)) if ip.is_loopback() => {
            return Some((set::LOOPBACK_PORTS, plain(key)));
        }
        // Nothing with this address ever comes from outside.
        Some(ip) if ip.is_loopback() => return None,
        Some(_) => set::ADDRESS_PORTS[at],
        None => set::PORTS[at],
    };
    let data = Data::Value(to);
    Some((
        set,
        Element {
            key,
            start: true,
            data,
        },
    ))
}

/// What all networks and their endpoints have. Of two ports that exclude each other the first is taken.
#[must_use]
pub fn of_all(all: &[(Network, Vec<Endpoint>)]) -> BTreeSet<Placed> {
    let mut found = of_networks(all.iter().map(|(network, _)| network));
    let mut keys = BTreeSet::new();
    let endpoints = all.iter().flat_map(|(_, endpoints)| endpoints);
    for port in endpoints.flat_map(|endpoint| &endpoint.ports) {
        if let Some((set, element)) = of_port(port)
            && keys.insert((set, element.key.clone()))
        {
            found.insert((set, element));
        }
    }
    found
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// A port in a register.
fn service(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(bridge: &str, subnets: &[&str]) -> Network {
        Network {
            bridge: bridge.to_owned(),
            subnets: subnets.iter().map(|s| s.parse().unwrap()).collect(),
            ..Network::default()
        }
    }

    fn keys(found: &BTreeSet<Placed>, set: &str) -> Vec<(Vec<u8>, bool)> {
        let of_set = found.iter().filter(|(s, _)| *s == set);
        of_set.map(|(_, e)| (e.key.clone(), e.start)).collect()
    }

    #[test]
    fn ranges_are_merged_and_end() {
        let inner = network("a", &["10.0.1.0/24", "255.255.255.0/24", "fd00::/64"]);
        let outer = network("b", &["10.0.0.0/16"]);
        let found = of_networks([&inner, &outer]);
        let expected = vec![
            (vec![10, 0, 0, 0], true),
            (vec![10, 1, 0, 0], false),
            (vec![255, 255, 255, 0], true),
        ];
        assert_eq!(keys(&found, "subnets4"), expected);
        assert_eq!(keys(&found, "masquerade6").len(), 2);
        let all = of_networks([&network("a", &["0.0.0.0/0", "::/0"])]);
        assert_eq!(keys(&all, "subnets4"), [(vec![0; 4], true)]);
        assert_eq!(keys(&all, "subnets6"), [(vec![0; 16], true)]);
    }

    #[test]
    fn names_that_cannot_be() {
        for name in ["", "sixteen-letters-"] {
            assert!(of_networks([&network(name, &["10.0.0.0/8"])]).is_empty());
        }
    }

    #[test]
    fn ports() {
        let port = |host_ip: &str, address: &str| Published {
            protocol: crate::net::live::Protocol::Tcp,
            host_ip: host_ip.parse().ok(),
            host_port: 0x1234,
            address: address.parse().unwrap(),
            container_port: 80,
        };
        let (set, element) = of_port(&port("", "10.0.0.2")).unwrap();
        assert_eq!(
            (set, &element.key[..]),
            ("ports4", &[6, 0, 0, 0, 0x12, 0x34, 0, 0][..])
        );
        assert_eq!(element.data, Data::Value(vec![10, 0, 0, 2, 0, 80, 0, 0]));
        assert_eq!(of_port(&port("", "fd00::2")).unwrap().0, "ports6");
        assert_eq!(
            of_port(&port("192.0.2.1", "10.0.0.2")).unwrap().0,
            "address-ports4"
        );
        assert_eq!(
            of_port(&port("127.0.0.1", "10.0.0.2")).unwrap().0,
            "loopback-ports4"
        );
        assert_eq!(of_port(&port("::1", "fd00::2")), None);
        assert_eq!(of_port(&port("2001:db8::1", "10.0.0.2")), None);
    }
}
