//! A container's namespace with a name server, and its clients.
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use minidock_core::namespace::loopback_up;
use minidock_runtime::network::{Dns, Serving, dns, serve};
use nix::sched::{CloneFlags, setns, unshare};
use simple_dns::rdata::RData;
use simple_dns::{Packet, PacketFlag};

/// A directory that goes at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("minidock-test-dns-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A query with the number 0x1234.
pub fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut data = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        data.push(label.len() as u8);
        data.extend_from_slice(label.as_bytes());
    }
    data.push(0);
    data.extend_from_slice(&kind.to_be_bytes());
    data.extend_from_slice(&[0, 1]);
    data
}

/// What another name server says to a query.
pub fn answer(query: &[u8], ip: &str) -> Vec<u8> {
    let mut data = query.to_vec();
    data[2] |= 0x80;
    data[7] = 1;
    data.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    data.extend_from_slice(&ip.parse::<Ipv4Addr>().unwrap().octets());
    data
}

pub fn read_framed(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut data = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut data).unwrap();
    data
}

#[derive(Debug, PartialEq, Eq, Default)]
pub struct Answer {
    pub code: u8,
    pub truncated: bool,
    pub addresses: Vec<IpAddr>,
    pub names: Vec<String>,
}

impl Answer {
    pub fn fine(addresses: Vec<IpAddr>) -> Self {
        Self {
            addresses,
            ..Self::default()
        }
    }

    pub fn code(code: u8) -> Self {
        Self {
            code,
            ..Self::default()
        }
    }

    pub fn receive(client: &UdpSocket, id: u16) -> Self {
        let mut buffer = vec![0; 65_536];
        let n = client.recv(&mut buffer).unwrap();
        Self::parse(&buffer[..n], id)
    }

    pub fn parse(data: &[u8], id: u16) -> Self {
        let mut found = Self::code(data[3] & 0xf);
        // A question of a type that the parser does not know.
        let Ok(packet) = Packet::parse(data) else {
            assert_eq!(data[6..8], [0, 0]);
            return found;
        };
        assert_eq!(packet.id(), id);
        found.truncated = packet.has_flags(PacketFlag::TRUNCATION);
        for record in &packet.answers {
            match &record.rdata {
                RData::A(a) => found.addresses.push(Ipv4Addr::from(a.address).into()),
                RData::AAAA(a) => found.addresses.push(Ipv6Addr::from(a.address).into()),
                RData::PTR(name) => found.names.push(name.0.to_string()),
                other => panic!("{other:?}"),
            }
        }
        found
    }
}

/// A network namespace with a name server; what serves it is in the test's.
pub struct Container {
    ns: OwnedFd,
    udp: SocketAddr,
    tcp: SocketAddr,
    retire: Option<OwnedFd>,
}

fn namespace() -> OwnedFd {
    std::fs::File::open("/proc/thread-self/ns/net")
        .unwrap()
        .into()
}

impl Container {
    pub fn start(networks: &[PathBuf], change: impl FnOnce(&mut Dns)) -> Self {
        let ns = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            loopback_up().unwrap();
            namespace()
        });
        let ns = ns.join().unwrap();
        let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let (udp, tcp) = dns::sockets_in(ns.as_fd()).unwrap();
        assert_eq!(
            std::fs::read_link("/proc/thread-self/ns/net").unwrap(),
            before
        );
        let mut dns = Dns {
            udp,
            tcp,
            container_ns: ns.try_clone().unwrap(),
            networks: networks.to_vec(),
            links: Vec::new(),
            upstream: Vec::new(),
            loopback_upstream: Vec::new(),
            forward: true,
        };
        change(&mut dns);
        let ports = dns.ports().unwrap();
        let (retired, retire) = rustix::pipe::pipe().unwrap();
        std::thread::spawn(move || {
            let serving = Serving {
                ports: Vec::new(),
                dns: Some(dns),
                idle: Duration::from_secs(3600),
                retire: Some(retired),
            };
            serve(serving).unwrap();
        });
        Self {
            ns,
            udp: (dns::ADDRESS, ports.0).into(),
            tcp: (dns::ADDRESS, ports.1).into(),
            retire: Some(retire),
        }
    }

    /// Does something in the container's namespace.
    pub fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.ns, CloneFlags::CLONE_NEWNET).unwrap();
                what()
            });
            thread.join().unwrap()
        })
    }

    pub fn client(&self) -> UdpSocket {
        self.inside(|| {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect(self.udp).unwrap();
            client
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            client
        })
    }

    pub fn connect(&self) -> TcpStream {
        let stream = self.inside(|| TcpStream::connect(self.tcp).unwrap());
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    pub fn ask(&self, name: &str, kind: u16) -> Answer {
        let client = self.client();
        client.send(&query(name, kind)).unwrap();
        Answer::receive(&client, 0x1234)
    }

    pub fn ask_tcp(&self, name: &str, kind: u16) -> Answer {
        let mut stream = self.connect();
        let data = query(name, kind);
        stream
            .write_all(&(data.len() as u16).to_be_bytes())
            .unwrap();
        stream.write_all(&data).unwrap();
        Answer::parse(&read_framed(&mut stream), 0x1234)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.retire.take();
    }
}
