//! The firewall with real packets between namespaces.
use std::net::UdpSocket;
use std::os::fd::AsFd;

use super::*;
use crate::net::endpoint::{Inside, own_namespace};
use crate::net::in_new_namespace;
use crate::net::live::Protocol;
use crate::net::testnet::*;

pub(super) const TABLE: &str = "minidock-test";

/// The number of elements in a set.
pub(super) fn count(set: &str) -> usize {
    let socket = Socket::open().unwrap();
    read::elements(&socket, FAMILY, TABLE, set).unwrap().len()
}

#[test]
fn published_ports() {
    in_new_namespace(|| {
        let (files, firewall) = (Files::new(), Firewall::new(TABLE));
        let outside = neighbour();
        let host = own_namespace().unwrap();
        let net = network(1);
        let inside = container(&net, 1, 2);
        let server = serve(&inside, 80);
        let ports = [
            port(8080, "10.9.1.2"),
            port(8080, "fd00:1::2"),
            port_at("192.0.2.1", 8081, "10.9.1.2"),
            port_at("2001:db8::1", 8081, "fd00:1::2"),
            port_at("10.9.1.1", 8082, "10.9.1.2"),
            port_at("127.0.0.1", 8083, "10.9.1.2"),
        ];
        files.network(&net);
        files.ports(&net, &ports);
        assert!(firewall.ensure(files.path()).unwrap());
        assert!(!firewall.ensure(files.path()).unwrap());
        for (to, reached) in [
            ("192.0.2.1:8080", true),
            ("[2001:db8::1]:8080", true),
            ("192.0.2.1:8081", true),
            ("[2001:db8::1]:8081", true),
            ("10.9.1.1:8080", true),
            ("10.9.1.1:8082", true),
            ("192.0.2.1:8082", false),
            ("192.0.2.1:8083", false),
            ("10.9.1.2:80", false),
            ("[fd00:1::2]:80", false),
        ] {
            let own = if to.starts_with('[') {
                "2001:db8::2"
            } else {
                "192.0.2.2"
            };
            sees(&server, &outside, to, reached.then_some(own));
        }
        // From the host itself. Its loopback is left to listeners.
        reaches(&host, "192.0.2.1:8080", true);
        reaches(&host, "[2001:db8::1]:8080", true);
        reaches(&host, "10.9.1.2:80", true);
        reaches(&host, "127.0.0.1:8080", false);
        reaches(&host, "[::1]:8080", false);
        firewall.unpublish(&ports).unwrap();
        firewall.unpublish(&ports).unwrap();
        reaches(&outside, "192.0.2.1:8080", false);
        assert!(!firewall.verify(files.path()).unwrap());
        assert!(firewall.ensure(files.path()).unwrap());
        reaches(&outside, "192.0.2.1:8080", true);
    });
}

#[test]
fn datagrams() {
    in_new_namespace(|| {
        let (files, firewall) = (Files::new(), Firewall::new(TABLE));
        let outside = neighbour();
        let net = network(1);
        let inside = container(&net, 1, 2);
        let server = {
            let _there = Inside::enter(inside.as_fd()).unwrap();
            UdpSocket::bind("[::]:80").unwrap()
        };
        let udp = |to| Published {
            protocol: Protocol::Udp,
            ..port(53, to)
        };
        files.network(&net);
        let ports = [udp("10.9.1.2"), udp("fd00:1::2")];
        firewall.add(files.path(), &[net], &ports).unwrap();
        // The table was not there: it is made from the files, which do not know of the ports.
        answers(&server, &outside, "192.0.2.1:53", false);
        firewall.add(files.path(), &[], &ports).unwrap();
        answers(&server, &outside, "192.0.2.1:53", true);
        answers(&server, &outside, "[2001:db8::1]:53", true);
    });
}

/// Where bridges show their packets to the firewall, and where they do not.
fn with_and_without_bridge_netfilter(test: impl Fn(bool) + Sync) {
    let file = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    for on in [false, true] {
        in_new_namespace(|| {
            if file.exists() {
                for version in ["iptables", "ip6tables"] {
                    let value = if on { "1" } else { "0" };
                    std::fs::write(
                        file.with_file_name(format!("bridge-nf-call-{version}")),
                        value,
                    )
                    .unwrap();
                }
            }
            test(on && file.exists());
        });
    }
}

/// Somebody who sends all the time from one port, before and after.
#[test]
fn datagrams_under_way() {
    in_new_namespace(|| {
        let (files, firewall) = (Files::new(), Firewall::new(TABLE));
        let outside = neighbour();
        let net = network(1);
        let servers: Vec<(UdpSocket, Published)> = [2, 3]
            .into_iter()
            .map(|last| {
                let inside = container(&net, 1, last);
                let _there = Inside::enter(inside.as_fd()).unwrap();
                let to = format!("10.9.1.{last}");
                let port = Published {
                    protocol: Protocol::Udp,
                    ..port(53, &to)
                };
                (UdpSocket::bind("0.0.0.0:80").unwrap(), port)
            })
            .collect();
        let client = {
            let _there = Inside::enter(outside.as_fd()).unwrap();
            UdpSocket::bind("192.0.2.2:5000").unwrap()
        };
        files.network(&net);
        firewall.ensure(files.path()).unwrap();
        let send = || client.send_to(b"x", "192.0.2.1:53").unwrap();
        let mut buffer = [0; 8];
        send();
        for (server, port) in servers.iter().chain(&servers) {
            let patient = Some(std::time::Duration::from_secs(10));
            server.set_read_timeout(patient).unwrap();
            let ports = std::slice::from_ref(port);
            firewall.publish(ports).unwrap();
            firewall.redirect_strays(ports).unwrap();
            send();
            server.recv(&mut buffer).unwrap();
            // What reaches it is not disturbed; and gone, with another that nobody sends to.
            firewall.redirect_strays(ports).unwrap();
            let other = Published {
                host_port: 54,
                ..port.clone()
            };
            firewall.unpublish(&[port.clone(), other]).unwrap();
            send();
            server.set_nonblocking(true).unwrap();
            assert!(server.recv(&mut buffer).is_err());
            server.set_nonblocking(false).unwrap();
        }
    });
}

#[test]
fn containers_reach_published_ports() {
    with_and_without_bridge_netfilter(|bridge_netfilter| {
        let (files, firewall) = (Files::new(), Firewall::new(TABLE));
        let _outside = neighbour();
        let (one, two) = (network(1), network(2));
        let server_ns = container(&one, 1, 2);
        let beside = container(&one, 1, 3);
        let elsewhere = container(&two, 2, 2);
        let server = serve(&server_ns, 80);
        files.network(&one);
        files.network(&two);
        files.ports(&one, &[port(8080, "10.9.1.2"), port(8080, "fd00:1::2")]);
        firewall.ensure(files.path()).unwrap();
        for to in ["192.0.2.1:8080", "10.9.1.1:8080", "[2001:db8::1]:8080"] {
            let gateway = if to.starts_with('[') {
                "fd00:1::1"
            } else {
                "10.9.1.1"
            };
            for from in [&beside, &elsewhere] {
                sees(&server, from, to, Some(gateway));
            }
        }
        // Itself; where bridges do the NAT it takes a port that sends back where it received.
        if !bridge_netfilter {
            sees(&server, &server_ns, "192.0.2.1:8080", Some("10.9.1.1"));
        }
        reaches(&beside, "10.9.1.2:80", true);
        reaches(&elsewhere, "10.9.1.2:80", false);
        reaches(&elsewhere, "[fd00:1::2]:80", false);
    });
}

#[test]
fn ways_out() {
    in_new_namespace(|| {
        let (files, firewall) = (Files::new(), Firewall::new(TABLE));
        let outside = neighbour();
        let server = serve(&outside, 80);
        let plain = network(1);
        let open = Network {
            masquerade: false,
            masquerade6: false,
            routed: true,
            ..network(2)
        };
        let internal = Network {
            internal: true,
            ..network(3)
        };
        let all = [plain, open, internal];
        let inside: Vec<_> = (1..)
            .zip(&all)
            .map(|(n, net)| container(net, n, 2))
            .collect();
        let servers: Vec<_> = inside.iter().map(|ns| serve(ns, 80)).collect();
        for net in &all {
            files.network(net);
        }
        files.ports(&all[2], &[port(8080, "10.9.3.2")]);
        firewall.ensure(files.path()).unwrap();
        let out = |at: usize, to: &str, as_who| sees(&server, &inside[at], to, as_who);
        out(0, "192.0.2.2:80", Some("192.0.2.1"));
        out(0, "[2001:db8::2]:80", Some("2001:db8::1"));
        out(1, "192.0.2.2:80", Some("10.9.2.2"));
        out(1, "[2001:db8::2]:80", Some("fd00:2::2"));
        out(2, "192.0.2.2:80", None);
        out(2, "[2001:db8::2]:80", None);
        let into = |at: usize, from, to: &str, as_who| sees(&servers[at], from, to, as_who);
        into(0, &outside, "10.9.1.2:80", None);
        into(1, &outside, "10.9.2.2:80", Some("192.0.2.2"));
        into(2, &outside, "10.9.3.2:80", None);
        // Not even by a published port, and not from other networks.
        into(2, &outside, "192.0.2.1:8080", None);
        into(2, &inside[0], "10.9.3.2:80", None);
        into(1, &inside[2], "10.9.2.2:80", None);
    });
}

#[test]
fn containers_that_are_not_to_reach_each_other() {
    with_and_without_bridge_netfilter(|_| {
        let (files, firewall) = (Files::new(), Firewall::new(TABLE));
        let mut net = Network {
            icc: false,
            ..network(1)
        };
        let (one, two) = (container(&net, 1, 2), container(&net, 1, 3));
        let server = serve(&one, 80);
        files.network(&net);
        firewall.ensure(files.path()).unwrap();
        sees(&server, &two, "10.9.1.2:80", None);
        assert_eq!(count(layout::set::TOGETHER), 0);
        net.icc = true;
        files.network(&net);
        assert!(firewall.ensure(files.path()).unwrap());
        assert_eq!(count(layout::set::TOGETHER), 1);
    });
}

/// Some programs allow addresses of loopback on the wire, and a neighbour may route them to this host.
#[test]
fn addresses_of_loopback_on_the_wire() {
    in_new_namespace(|| {
        let (files, firewall) = (Files::new(), Firewall::new(TABLE));
        // Without loopback of its own.
        let outside = in_new_namespace(|| own_namespace().unwrap());
        joined_by_wire(&outside);
        let host = own_namespace().unwrap();
        for ns in [&outside, &host] {
            let _there = Inside::enter(ns.as_fd()).unwrap();
            std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        }
        let _listeners = [serve(&host, 8080), serve(&host, 8081)];
        reaches(&outside, "127.0.0.1:8080", true);
        let net = network(1);
        files.network(&net);
        files.ports(&net, &[port_at("127.0.0.1", 8080, "10.9.1.2")]);
        firewall.ensure(files.path()).unwrap();
        reaches(&outside, "127.0.0.1:8080", false);
        reaches(&host, "127.0.0.1:8080", true);
        // Others' ports are others' affair.
        reaches(&outside, "127.0.0.1:8081", true);
    });
}

#[test]
fn name_servers() {
    in_new_namespace(|| {
        crate::namespace::loopback_up().unwrap();
        let own = own_namespace().unwrap();
        let at = |port| format!("127.0.0.11:{port}");
        let udp = UdpSocket::bind(at(0)).unwrap();
        for _ in 0..2 {
            let tcp = std::net::TcpListener::bind(at(0)).unwrap();
            let ports = [udp.local_addr().unwrap(), tcp.local_addr().unwrap()];
            redirect_dns(ports[0].port(), ports[1].port()).unwrap();
            answers(&udp, &own, &at(53), true);
            reaches(&own, &at(53), true);
            reaches(&own, "127.0.0.12:53", false);
        }
        // Its own port 53 is free, and its own.
        let other = UdpSocket::bind("127.0.0.1:53").unwrap();
        answers(&other, &own, "127.0.0.1:53", true);
    });
}
