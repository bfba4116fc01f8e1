//! The firewall with real packets between namespaces.
use std::net::UdpSocket;
use std::os::fd::AsFd;

use super::*;
use crate::net::endpoint::{Inside, own_namespace};
use crate::net::in_new_namespace;
use crate::net::live::Protocol;
use crate::net::nft::{Chain, Family, Hook};
use crate::net::testnet::*;

const TABLE: &str = "minidock-test";

/// The number of elements in a set.
fn count(set: &str) -> usize {
    let socket = Socket::open().unwrap();
    read::elements(&socket, FAMILY, TABLE, set).unwrap().len()
}

/// Commits a batch that must be accepted.
fn commit(fill: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new(None);
    fill(&mut batch);
    assert_eq!(Socket::open().unwrap().commit(batch).unwrap(), []);
}

/// A base chain where packets are forwarded that drops what no rule accepts.
fn dropping(family: Family, table: &str, chain: &str) {
    let chain = Chain {
        name: chain.to_owned(),
        hook: Some(Hook {
            kind: "filter".to_owned(),
            number: 2,
            priority: 0,
            accept: false,
        }),
    };
    commit(|batch| {
        batch.add_table(family, table);
        batch.add_chain(family, table, &chain);
    });
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
fn damage_is_seen_and_repaired() {
    in_new_namespace(|| {
        let (files, firewall) = (Files::new(), Firewall::new(TABLE));
        let net = network(1);
        files.network(&net);
        files.ports(&net, &[port(8080, "10.9.1.2")]);
        firewall.rebuild(files.path()).unwrap();
        assert!(firewall.verify(files.path()).unwrap());
        let damages: [&dyn Fn(&mut Batch); 7] = [
            &|batch| batch.delete_table(FAMILY, TABLE),
            &|batch| batch.delete_rules(FAMILY, TABLE, "forward", None),
            &|batch| batch.delete_rules(FAMILY, TABLE, "published", None),
            &|batch| {
                let rule = crate::net::nft::Rule::new("x");
                let rule = rule.verdict(&crate::net::nft::Verdict::Accept);
                batch.insert_rule(FAMILY, TABLE, "protected", &rule);
            },
            &|batch| {
                let key = [6, 0, 0, 0, 0x1f, 0x90, 0, 0];
                batch.delete_elements(FAMILY, TABLE, "ports4", [(&key[..], true)].into_iter());
            },
            &|batch| {
                let chain = Chain {
                    name: "more".to_owned(),
                    hook: None,
                };
                batch.add_chain(FAMILY, TABLE, &chain);
            },
            &|batch| {
                let name = [b'x'; 16];
                let none = crate::net::nft::Data::None;
                let element = [(&name[..], true, &none)];
                batch.add_elements(FAMILY, TABLE, "internal", element.into_iter());
            },
        ];
        for (number, damage) in damages.iter().enumerate() {
            commit(damage);
            assert!(!firewall.verify(files.path()).unwrap(), "damage {number}");
            assert!(firewall.ensure(files.path()).unwrap());
            assert!(firewall.verify(files.path()).unwrap(), "repair {number}");
        }
        firewall.remove().unwrap();
        firewall.remove().unwrap();
        assert!(!firewall.verify(files.path()).unwrap());
    });
}

#[test]
fn many_ports_and_networks_at_once() {
    in_new_namespace(|| {
        let (files, firewall) = (Files::new(), Firewall::new(TABLE));
        assert_eq!(
            firewall.publish(&[port(1, "10.9.1.2")]).unwrap_err().kind,
            Kind::NotFound
        );
        firewall.ensure(files.path()).unwrap();
        let ports = |to: &str| -> Vec<_> { (1000..2000).map(|n| port(n, to)).collect() };
        firewall.publish(&ports("10.9.1.2")).unwrap();
        // Again, and to somebody else, who takes them over.
        firewall.publish(&ports("10.9.1.2")).unwrap();
        firewall.publish(&ports("10.9.1.3")).unwrap();
        assert_eq!(count("ports4"), 1000);
        let socket = Socket::open().unwrap();
        let elements = read::elements(&socket, FAMILY, TABLE, "ports4").unwrap();
        let to = super::super::nft::Data::Value(vec![10, 9, 1, 3, 0, 80, 0, 0]);
        assert!(elements.iter().all(|element| element.data == to));
        // Some are not there.
        let mut some = ports("10.9.1.3");
        some.extend((5000..5010).map(|n| port(n, "10.9.1.3")));
        firewall.unpublish(&some).unwrap();
        assert_eq!(count("ports4"), 0);
        let networks: Vec<_> = (1..=200).map(network).collect();
        firewall.add_networks(&networks).unwrap();
        firewall.add_networks(&networks).unwrap();
        assert_eq!(count("bridges"), 200);
        // A subnet around another's.
        let around = Network {
            bridge: "around".to_owned(),
            subnets: vec!["10.9.0.0/16".parse().unwrap()],
            ..Network::default()
        };
        let refused = firewall.add_networks(&[around]).unwrap_err();
        assert_eq!(refused.kind, Kind::Conflict);
        firewall.remove_networks(&networks[1..]).unwrap();
        firewall.remove_networks(&networks).unwrap();
        for set in layout::set::ALL {
            assert_eq!(count(set), 0, "{set}");
        }
    });
}

#[test]
fn many_at_once_lose_nothing() {
    in_new_namespace(|| {
        let files = Files::new();
        let host = own_namespace().unwrap();
        std::thread::scope(|scope| {
            for n in 1..=8u8 {
                let (files, host) = (&files, &host);
                scope.spawn(move || {
                    let _there = Inside::enter(host.as_fd()).unwrap();
                    let (net, firewall) = (network(n), Firewall::new(TABLE));
                    let ports = [port(8000 + u16::from(n), &format!("10.9.{n}.2"))];
                    files.network(&net);
                    files.ports(&net, &ports);
                    firewall.add(files.path(), &[net], &ports).unwrap();
                    if n % 3 == 0 {
                        firewall.rebuild(files.path()).unwrap();
                    }
                });
            }
        });
        assert!(Firewall::new(TABLE).verify(files.path()).unwrap());
        assert_eq!(count("ports4"), 8);
    });
}

#[test]
fn others_who_drop_what_is_forwarded() {
    in_new_namespace(|| {
        let (files, firewall) = (Files::new(), Firewall::new(TABLE));
        let outside = neighbour();
        let net = network(1);
        let inside = container(&net, 1, 2);
        let server = serve(&inside, 80);
        let away = serve(&outside, 80);
        dropping(Family::Ip, "filter", "FORWARD");
        dropping(Family::Ip6, "filter", "FORWARD");
        dropping(Family::Inet, "mine", "any");
        // Nothing is put there before there is a network.
        assert!(firewall.ensure(files.path()).unwrap());
        let ours = |socket: &Socket| {
            let chains = read::chains(socket).unwrap();
            let ours = chains.iter().filter(|c| c.chain.name == "MINIDOCK-TEST");
            ours.count()
        };
        let socket = Socket::open().unwrap();
        assert_eq!(ours(&socket), 0);
        files.network(&net);
        files.ports(&net, &[port(8080, "10.9.1.2"), port(8080, "fd00:1::2")]);
        assert!(firewall.ensure(files.path()).unwrap());
        assert!(!firewall.ensure(files.path()).unwrap());
        assert_eq!(ours(&socket), 3);
        for to in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
            reaches(&outside, to, true);
        }
        sees(&away, &inside, "192.0.2.2:80", Some("192.0.2.1"));
        // What we do not accept stays dropped.
        sees(&server, &outside, "10.9.1.2:80", None);
        assert_eq!(firewall.problems().unwrap(), Vec::<String>::new());
        commit(|batch| batch.delete_rules(Family::Ip, "filter", "FORWARD", None));
        assert!(!firewall.verify(files.path()).unwrap());
        assert_eq!(firewall.problems().unwrap().len(), 1);
        assert!(firewall.ensure(files.path()).unwrap());
        // Somebody's rules before the jump, and two of us beside each other.
        let rule = crate::net::nft::Rule::new("x").counter();
        commit(|batch| batch.insert_rule(Family::Ip, "filter", "FORWARD", &rule));
        assert!(firewall.ensure(files.path()).unwrap());
        let second = Firewall::new("minidock-second");
        assert!(second.ensure(files.path()).unwrap());
        assert!(firewall.verify(files.path()).unwrap());
        second.remove().unwrap();
        firewall.remove_networks(&[net]).unwrap();
        assert_eq!(ours(&socket), 0);
        assert_eq!(
            read::rules(&socket, Family::Ip, "filter", "")
                .unwrap()
                .len(),
            1
        );
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

#[test]
fn the_lock_is_tried() {
    in_new_namespace(|| {
        let (files, firewall) = (Files::new(), Firewall::new(TABLE));
        let networks = files.path().join("not-yet");
        let held = lock(&networks, FlockOperation::LockExclusive).unwrap();
        assert_eq!(firewall.try_ensure(&networks).unwrap_err().kind, Kind::Busy);
        drop(held);
        assert!(firewall.try_ensure(&networks).unwrap());
    });
}
