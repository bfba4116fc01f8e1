//! The name server of a container, asked from inside.
mod network;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use minidock_core::net::live::{self, Endpoint, Network};
use minidock_runtime::network::dns::Link;
use network::in_namespace;
use network::names::{Answer, Container, query};
use simple_dns::{Packet, PacketFlag, RCODE};

fn ids() -> (String, String) {
    ("a".repeat(64), "b".repeat(64))
}

fn add(dir: &Path, container: &str, names: &[&str], addresses: &[&str]) {
    let endpoint = Endpoint {
        version: live::VERSION,
        container: container.to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        ports: Vec::new(),
    };
    live::write(&dir.join("endpoints").join(container), &endpoint).unwrap();
}

fn network(root: &network::names::Scratch, id: &str, name: &str) -> PathBuf {
    let dir = root.0.join(id);
    let network = Network {
        id: id.to_owned(),
        name: name.to_owned(),
        ..Network::default()
    };
    live::write(&dir.join("network.json"), &network).unwrap();
    dir
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|ip| ip.parse().unwrap()).collect()
}

#[test]
fn names_of_the_networks_are_answered() {
    in_namespace(|| {
        let root = network::names::Scratch::new();
        let (front, back) = ids();
        let (front, back) = (
            network(&root, &front, "Front"),
            network(&root, &back, "back"),
        );
        add(
            &front,
            "c1",
            &["web", "www", "1a2b"],
            &["172.18.0.2", "fd00::2"],
        );
        add(&front, "c2", &["db", "www"], &["172.18.0.3"]);
        add(&back, "c2", &["db", "größe"], &["172.19.0.3"]);
        let container = Container::start(&[front, back], |dns| dns.forward = false);
        for (name, kind, expected) in [
            ("web", 1, &["172.18.0.2"][..]),
            ("web.", 1, &["172.18.0.2"]),
            ("WEB", 28, &["fd00::2"]),
            ("1a2b", 1, &["172.18.0.2"]),
            ("web.front", 1, &["172.18.0.2"]),
            ("db", 1, &["172.18.0.3"]),
            ("db.back", 1, &["172.19.0.3"]),
            ("größe", 1, &["172.19.0.3"]),
            // It exists, and has none.
            ("db", 28, &[]),
            ("web", 15, &[]),
            ("web", 255, &[]),
            ("web", 64_999, &[]),
        ] {
            let answer = container.ask(name, kind);
            assert_eq!(answer, Answer::fine(ips(expected)), "{name} {kind}");
            assert_eq!(container.ask_tcp(name, kind), answer, "{name} {kind}");
        }
        for name in ["nobody", "web.back", "web.front.front", "x.web", ""] {
            assert_eq!(container.ask(name, 1), Answer::code(2), "{name}");
        }
        // Those with one name take turns.
        let mut first = Vec::new();
        for _ in 0..4 {
            let answer = container.ask("www", 1);
            assert_eq!(answer.addresses.len(), 2);
            first.push(answer.addresses[0]);
        }
        first.sort();
        first.dedup();
        assert_eq!(first, ips(&["172.18.0.2", "172.18.0.3"]));
        assert_eq!(
            container.ask("2.0.18.172.in-addr.arpa", 12).names,
            ["web.front"]
        );
        assert_eq!(
            container.ask("3.0.19.172.in-addr.arpa", 12).names,
            ["db.back"]
        );
        let v6 = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(container.ask(v6, 12).names, ["web.front"]);
        assert_eq!(
            container.ask("9.0.18.172.in-addr.arpa", 12),
            Answer::code(2)
        );
    });
}

#[test]
fn own_names_for_others() {
    in_namespace(|| {
        let root = network::names::Scratch::new();
        let (front, back) = ids();
        let (front, back) = (
            network(&root, &front, "front"),
            network(&root, &back, "back"),
        );
        add(&front, "c1", &["web"], &["172.18.0.2"]);
        add(&front, "c2", &["db"], &["172.18.0.3"]);
        add(&back, "c3", &["other"], &["172.19.0.3"]);
        let link = |alias: &str, name: &str| Link {
            network: front.clone(),
            alias: alias.to_owned(),
            name: name.to_owned(),
        };
        let container = Container::start(&[front.clone(), back], |dns| {
            dns.forward = false;
            dns.links = vec![link("Store", "DB"), link("web", "db"), link("x", "other")];
        });
        // `web` is its own name for db, which hides the one that everybody knows.
        for name in ["store", "store.front", "db", "web", "web.front"] {
            let answer = container.ask(name, 1);
            assert_eq!(answer, Answer::fine(ips(&["172.18.0.3"])), "{name}");
        }
        // A link is about one network.
        for name in ["x", "store.back", "stores"] {
            assert_eq!(container.ask(name, 1), Answer::code(2), "{name}");
        }
        std::fs::remove_file(front.join("endpoints/c2")).unwrap();
        assert_eq!(container.ask("store", 1), Answer::code(2));
    });
}

#[test]
fn changes_are_seen_at_once() {
    in_namespace(|| {
        let root = network::names::Scratch::new();
        let (id, later) = ids();
        let dir = network(&root, &id, "front");
        let later_dir = root.0.join(&later);
        let container =
            Container::start(&[dir.clone(), later_dir.clone()], |dns| dns.forward = false);
        assert_eq!(container.ask("web", 1), Answer::code(2));
        for round in 0..20 {
            add(&dir, "c1", &["web"], &["172.18.0.2"]);
            assert_eq!(container.ask("web", 1).addresses.len(), 1, "{round}");
            add(&dir, "c1", &["renamed"], &["172.18.0.2"]);
            assert_eq!(container.ask("web", 1), Answer::code(2));
            assert_eq!(container.ask("renamed", 1).addresses.len(), 1);
            std::fs::remove_file(dir.join("endpoints/c1")).unwrap();
            assert_eq!(container.ask("renamed", 1), Answer::code(2));
        }
        // Files in the making are none yet, and what cannot be read is not there.
        std::fs::write(
            dir.join("endpoints/.c2.1"),
            r#"{"names":["early"],"addresses":["10.0.0.1"]}"#,
        )
        .unwrap();
        std::fs::write(dir.join("endpoints/c3"), "{").unwrap();
        assert_eq!(container.ask("early", 1), Answer::code(2));
        // A network whose directory comes later, and goes, and comes again.
        for _ in 0..3 {
            network(&root, &later, "later");
            add(&later_dir, "c1", &["late"], &["172.20.0.2"]);
            assert_eq!(container.ask("late", 1).addresses.len(), 1);
            assert_eq!(container.ask("late.later", 1).addresses.len(), 1);
            std::fs::remove_dir_all(&later_dir).unwrap();
            assert_eq!(container.ask("late", 1), Answer::code(2));
        }
        for number in 0..300 {
            let name = format!("c{number}");
            add(
                &dir,
                &name,
                &["all", &name],
                &[&format!("10.0.{}.{}", number / 250, number % 250)],
            );
        }
        assert_eq!(container.ask("c299", 1).addresses, ips(&["10.0.1.49"]));
        // More than fit into a datagram: as many as do, and all by TCP.
        let answer = container.ask("all", 1);
        assert!(answer.truncated && answer.addresses.len() > 20);
        let answer = container.ask_tcp("all", 1);
        assert!(!answer.truncated);
        assert_eq!(answer.addresses.len(), 300);
    });
}

#[test]
fn other_names_are_asked_for_in_the_containers_namespace() {
    in_namespace(|| {
        let container = Container::start(&[], |dns| {
            dns.upstream = ips(&["127.0.0.1", "127.0.0.2"]);
        });
        let server = container.inside(|| UdpSocket::bind("127.0.0.1:53").unwrap());
        let second = container.inside(|| UdpSocket::bind("127.0.0.2:53").unwrap());
        let (data, expected) = (query("example.com", 1), Answer::fine(ips(&["192.0.2.1"])));
        let client = container.client();
        let mut buffer = [0; 2048];

        client.send(&data).unwrap();
        let (n, from) = server.recv_from(&mut buffer).unwrap();
        // The question as it was, under another number, from a port of chance.
        assert_eq!(buffer[2..n], data[2..]);
        let good = network::names::answer(&buffer[..n], "192.0.2.1");
        // Answers to something else, and from somebody else, are none.
        let mut wrong = good.clone();
        wrong[0] ^= 1;
        server.send_to(&wrong, from).unwrap();
        let mut wrong = good.clone();
        wrong[13] = b'x';
        server.send_to(&wrong, from).unwrap();
        second.send_to(&good, from).unwrap();
        server.send_to(&buffer[..n], from).unwrap();
        server.send_to(&good, from).unwrap();
        assert_eq!(Answer::receive(&client, 0x1234), expected);

        // One that fails is followed by the next, as is one that is silent.
        for silent in [false, true] {
            client.send(&data).unwrap();
            let (n, from) = server.recv_from(&mut buffer).unwrap();
            if !silent {
                buffer[2] |= 0x80;
                buffer[3] |= 2;
                server.send_to(&buffer[..n], from).unwrap();
            }
            let (n, from) = second.recv_from(&mut buffer).unwrap();
            let good = network::names::answer(&buffer[..n], "192.0.2.1");
            second.send_to(&good, from).unwrap();
            assert_eq!(Answer::receive(&client, 0x1234), expected);
        }

        // Where nobody is, nobody is waited for.
        drop((server, second));
        let begun = Instant::now();
        client.send(&data).unwrap();
        assert_eq!(Answer::receive(&client, 0x1234), Answer::code(2));
        assert!(begun.elapsed() < Duration::from_secs(2));
    });
}

#[test]
fn loopback_servers_are_asked_in_the_hosts_namespace() {
    in_namespace(|| {
        let server = UdpSocket::bind("127.0.0.53:53").unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.53:53").unwrap();
        let container = Container::start(&[], |dns| dns.loopback_upstream = ips(&["127.0.0.53"]));
        let client = container.client();
        client.send(&query("example.com", 1)).unwrap();
        let mut buffer = vec![0; 65_536];
        let (n, from) = server.recv_from(&mut buffer).unwrap();
        server
            .send_to(&network::names::answer(&buffer[..n], "192.0.2.7"), from)
            .unwrap();
        let expected = Answer::fine(ips(&["192.0.2.7"]));
        assert_eq!(Answer::receive(&client, 0x1234), expected);

        // An answer that is larger than the client takes is cut.
        client.send(&query("example.com", 1)).unwrap();
        let (n, from) = server.recv_from(&mut buffer).unwrap();
        let mut large = network::names::answer(&buffer[..n], "192.0.2.7");
        large.resize(600, 0);
        server.send_to(&large, from).unwrap();
        let cut = Answer::receive(&client, 0x1234);
        assert!(cut.truncated && cut.addresses.is_empty());

        // Who asks by TCP is answered by TCP, one question after the other.
        let thread = std::thread::spawn(move || {
            for _ in 0..3 {
                let (mut stream, _) = listener.accept().unwrap();
                let data = network::names::read_framed(&mut stream);
                let answer = network::names::answer(&data, "192.0.2.8");
                let length = (answer.len() as u16).to_be_bytes();
                // In pieces.
                for part in [&length[..1], &length[1..], &answer[..5], &answer[5..]] {
                    stream.write_all(part).unwrap();
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        let mut stream = container.connect();
        let data = query("example.com", 1);
        let framed = [&(data.len() as u16).to_be_bytes()[..], &data].concat();
        stream.write_all(&framed.repeat(3)).unwrap();
        for _ in 0..3 {
            let answer = Answer::parse(&network::names::read_framed(&mut stream), 0x1234);
            assert_eq!(answer, Answer::fine(ips(&["192.0.2.8"])));
        }
        thread.join().unwrap();
    });
}

#[test]
fn without_a_way_out_no_packet_leaves() {
    in_namespace(|| {
        let server = UdpSocket::bind("127.0.0.53:53").unwrap();
        let container = Container::start(&[], |dns| {
            dns.loopback_upstream = ips(&["127.0.0.53"]);
            dns.forward = false;
        });
        assert_eq!(container.ask("example.com", 1), Answer::code(2));
        server.set_nonblocking(true).unwrap();
        assert!(server.recv(&mut [0; 512]).is_err());
    });
}

#[test]
fn hostile_messages_do_no_harm() {
    in_namespace(|| {
        let root = network::names::Scratch::new();
        let dir = network(&root, &ids().0, "front");
        add(&dir, "c1", &["web"], &["172.18.0.2"]);
        let container = Container::start(&[dir], |dns| dns.forward = false);
        let client = container.client();
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/dns");
        for entry in std::fs::read_dir(corpus).unwrap() {
            client
                .send(&std::fs::read(entry.unwrap().path()).unwrap())
                .unwrap();
        }
        client.send(&[]).unwrap();
        client.send(&vec![0xff; 65_507]).unwrap();
        // Clients that say nothing, half of something, or go in the middle.
        let mut silent: Vec<TcpStream> = (0..30).map(|_| container.connect()).collect();
        for stream in silent.iter_mut().take(10) {
            stream.write_all(&[0xff, 0xff, 1]).unwrap();
        }
        silent.truncate(20);
        let mut stream = container.connect();
        stream.write_all(&[0, 0, 0, 2, 1, 1]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(container.ask("web", 1).addresses.len(), 1);
        assert_eq!(container.ask_tcp("web", 1).addresses.len(), 1);
        // Not more than 64 are let in; the others wait until somebody goes.
        silent.extend((0..60).map(|_| container.connect()));
        let late = std::thread::scope(|scope| {
            let late = scope.spawn(|| container.ask_tcp("web", 1));
            std::thread::sleep(Duration::from_millis(50));
            drop(silent);
            late.join().unwrap()
        });
        assert_eq!(late.addresses.len(), 1);
    });
}

#[test]
fn the_answer_has_what_the_query_had() {
    in_namespace(|| {
        let container = Container::start(&[], |dns| dns.forward = false);
        let client = container.client();
        let mut data = query("Nobody", 1);
        data[11] = 1;
        data.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        client.send(&data).unwrap();
        let mut buffer = [0; 512];
        let n = client.recv(&mut buffer).unwrap();
        let packet = Packet::parse(&buffer[..n]).unwrap();
        assert_eq!(packet.rcode(), RCODE::ServerFailure);
        assert!(packet.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_AVAILABLE));
        assert!(packet.opt().is_some());
        assert_eq!(packet.questions[0].qname.to_string(), "Nobody");
        let _: SocketAddr = client.peer_addr().unwrap();
    });
}
