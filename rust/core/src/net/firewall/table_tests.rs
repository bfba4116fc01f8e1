//! The table itself, and others' tables, with many who change them.
use std::os::fd::AsFd;

use super::tests::{TABLE, count};
use super::*;
use crate::net::endpoint::{Inside, own_namespace};
use crate::net::in_new_namespace;
use crate::net::nft::expr::Meta;
use crate::net::nft::{Chain, Data, Family, Hook, Rule, Verdict};
use crate::net::testnet::*;

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
                let rule = Rule::new("x");
                let rule = rule.verdict(&Verdict::Accept);
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
                let none = Data::None;
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
        let to = Data::Value(vec![10, 9, 1, 3, 0, 80, 0, 0]);
        assert!(elements.iter().all(|element| element.data == to));
        // Some are not there.
        let mut some = ports("10.9.1.3");
        some.extend((5000..5010).map(|n| port(n, "10.9.1.3")));
        firewall.unpublish(&some).unwrap();
        assert_eq!(count("ports4"), 0);
        let networks: Vec<_> = (1..=200).map(network).collect();
        firewall.add_elements(&networks, &[]).unwrap();
        firewall.add_elements(&networks, &[]).unwrap();
        assert_eq!(count("bridges"), 200);
        // A subnet around another's.
        let around = Network {
            bridge: "around".to_owned(),
            subnets: vec!["10.9.0.0/16".parse().unwrap()],
            ..Network::default()
        };
        let refused = firewall.add_elements(&[around], &[]).unwrap_err();
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
        let rule = Rule::new("x").counter();
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
fn others_who_reject_the_rest() {
    in_new_namespace(|| {
        let (files, firewall) = (Files::new(), Firewall::new(TABLE));
        let net = network(1);
        files.network(&net);
        files.ports(&net, &[port(8080, "10.9.1.2")]);
        let base = |name: &str| Chain {
            name: name.to_owned(),
            hook: Some(Hook {
                kind: "filter".to_owned(),
                number: 2,
                priority: 10,
                accept: true,
            }),
        };
        let drop = Rule::new("rest").counter().verdict(&Verdict::Drop);
        let some = Rule::new("some").meta(Meta::In, 0).equal(0, b"eth0\0");
        let some = some.verdict(&Verdict::Drop);
        commit(|batch| {
            batch.add_table(Family::Inet, "theirs");
            for (name, rule) in [("rest", &drop), ("some", &some)] {
                batch.add_chain(Family::Inet, "theirs", &base(name));
                batch.add_rule(Family::Inet, "theirs", name, rule);
            }
        });
        let rest = "chain rest of nf_tables table inet theirs".to_owned();
        assert_eq!(firewall.others().unwrap(), [(rest.clone(), true)]);
        assert!(firewall.ensure(files.path()).unwrap());
        let socket = Socket::open().unwrap();
        let jumps = |chain: &str| {
            let rules = read::rules(&socket, Family::Inet, "theirs", chain).unwrap();
            rules.iter().filter(|rule| !rule.jump.is_empty()).count()
        };
        assert_eq!((jumps("rest"), jumps("some")), (1, 0));
        commit(|batch| batch.delete_rules(Family::Inet, "theirs", "rest", None));
        commit(|batch| batch.add_rule(Family::Inet, "theirs", "rest", &drop));
        assert_eq!(firewall.others().unwrap(), [(rest, false)]);
        assert!(!firewall.verify(files.path()).unwrap());
        assert!(firewall.ensure(files.path()).unwrap());
        assert!(firewall.verify(files.path()).unwrap());
        firewall.remove_networks(&[net]).unwrap();
        assert_eq!(jumps("rest"), 0);
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
