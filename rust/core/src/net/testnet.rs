//! Hosts, containers and neighbours for tests: namespaces joined by real interfaces.
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bridge;
use super::endpoint::{self, Inside, Settings, own_namespace};
use super::in_new_namespace;
use super::live::{self, Endpoint, Network, Protocol, Published};
use super::nft::{self, Batch};
use super::route::{self, Socket};

/// A namespace with its loopback up, that lives as long as the descriptor.
pub fn namespace() -> OwnedFd {
    in_new_namespace(|| {
        crate::namespace::loopback_up().unwrap();
        own_namespace().unwrap()
    })
}

/// The names of all interfaces.
pub fn interfaces() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let names = text.lines().filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

/// A directory `networks`, removed at the end.
pub struct Files(pub PathBuf);

impl Files {
    pub fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("minidock-net-test-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn network(&self, network: &Network) {
        live::write(&live::network_file(&self.0, &network.id), network).unwrap();
    }

    pub fn ports(&self, network: &Network, ports: &[Published]) {
        let endpoint = Endpoint {
            version: live::VERSION,
            ports: ports.to_vec(),
            ..Endpoint::default()
        };
        live::write(&live::endpoint_file(&self.0, &network.id, "c"), &endpoint).unwrap();
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Network `number`: 10.9.number.0/24 and fd00:number::/64.
pub fn network(number: u8) -> Network {
    Network {
        id: format!("{number:02x}").repeat(32),
        bridge: format!("mdn-{number:011x}"),
        addresses: vec![
            format!("10.9.{number}.1/24").parse().unwrap(),
            format!("fd00:{number:x}::1/64").parse().unwrap(),
        ],
        subnets: vec![
            format!("10.9.{number}.0/24").parse().unwrap(),
            format!("fd00:{number:x}::/64").parse().unwrap(),
        ],
        ..Network::default()
    }
}

/// A container on network `n` with the last number of its addresses: a namespace.
pub fn container(network: &Network, n: u8, last: u8) -> OwnedFd {
    let ns = namespace();
    let settings = Settings {
        network: network.clone(),
        interface: "eth0".to_owned(),
        host_interface: format!("veth{n}-{last}"),
        addresses: vec![
            format!("10.9.{n}.{last}/24").parse().unwrap(),
            format!("fd00:{n:x}::{last:x}/64").parse().unwrap(),
        ],
        gateways: network.addresses.iter().map(|a| a.address).collect(),
        ..Settings::default()
    };
    endpoint::connect(&mut Socket::open().unwrap(), ns.as_fd(), &[settings]).unwrap();
    ns
}

/// Somebody on the wire at 192.0.2.2 and 2001:db8::2, whose router is this host, at …1.
pub fn neighbour() -> OwnedFd {
    let ns = namespace();
    joined_by_wire(&ns);
    ns
}

/// Makes a namespace such a neighbour.
pub fn joined_by_wire(ns: &OwnedFd) {
    bridge::forward(true);
    // Otherwise IPv6 takes seconds to begin on each interface.
    std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap();
    crate::namespace::loopback_up().unwrap();
    let join = |socket: &mut Socket, name: &str, last: u8| {
        let index = route::index_of(name).unwrap();
        let prefixes = [format!("192.0.2.{last}/24"), format!("2001:db8::{last}/64")];
        for prefix in prefixes {
            let prefix = prefix.parse().unwrap();
            socket.one(route::add_address(index, prefix)).unwrap();
        }
        socket.one(route::up(name)).unwrap();
        index
    };
    let mut socket = Socket::open().unwrap();
    let veth = route::new_veth("ext0", "eth0", ns.as_fd(), None, 1500);
    socket.one(veth).unwrap();
    join(&mut socket, "ext0", 1);
    {
        let _there = Inside::enter(ns.as_fd()).unwrap();
        let mut socket = Socket::open().unwrap();
        let index = join(&mut socket, "eth0", 2);
        for gateway in ["192.0.2.1", "2001:db8::1"] {
            let gateway: IpAddr = gateway.parse().unwrap();
            let default = route::default_route(index, Some(gateway), gateway.is_ipv6());
            socket.one(default).unwrap();
        }
    }
}

/// A server in a namespace.
pub fn serve(ns: &OwnedFd, port: u16) -> TcpListener {
    let _there = Inside::enter(ns.as_fd()).unwrap();
    TcpListener::bind(SocketAddr::new("::".parse().unwrap(), port)).unwrap()
}

/// Commits a batch that must be accepted.
pub fn commit(fill: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new(None);
    fill(&mut batch);
    assert_eq!(nft::Socket::open().unwrap().commit(batch).unwrap(), []);
}

/// How long something is waited for that is to come, and that is not to.
fn patience(expected: bool) -> Duration {
    Duration::from_millis(if expected { 10_000 } else { 300 })
}

fn connect(from: &OwnedFd, to: &str, expected: bool) -> Option<TcpStream> {
    let _there = Inside::enter(from.as_fd()).unwrap();
    TcpStream::connect_timeout(&to.parse().unwrap(), patience(expected)).ok()
}

/// A connection from a namespace comes about, or does not.
#[track_caller]
pub fn reaches(from: &OwnedFd, to: &str, expected: bool) {
    assert_eq!(connect(from, to, expected).is_some(), expected, "{to}");
}

/// Whom a server sees when a namespace connects to an address; none if nothing is to reach it.
#[track_caller]
pub fn sees(server: &TcpListener, from: &OwnedFd, to: &str, expected: Option<&str>) {
    let connection = connect(from, to, expected.is_some());
    let seen = connection.map(|_| {
        let (_, peer) = server.accept().unwrap();
        peer.ip().to_canonical().to_string()
    });
    assert_eq!(seen.as_deref(), expected, "{to}");
}

/// A server gets a datagram from a namespace to an address, and its answer comes back from where it was asked; or not.
#[track_caller]
pub fn answers(server: &UdpSocket, from: &OwnedFd, to: &str, expected: bool) {
    let client = {
        let _there = Inside::enter(from.as_fd()).unwrap();
        let any = if to.starts_with('[') {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        UdpSocket::bind(any).unwrap()
    };
    let wait = Some(patience(expected));
    client.set_read_timeout(wait).unwrap();
    server.set_read_timeout(wait).unwrap();
    client.connect(to).unwrap();
    let mut buffer = [0; 8];
    let answered = client.send(b"ask").is_ok()
        && server.recv_from(&mut buffer).is_ok_and(|(_, peer)| {
            server.send_to(b"answer", peer).unwrap();
            client.recv(&mut buffer).is_ok()
        });
    assert_eq!(answered, expected, "{to}");
}

/// A TCP port of every address, to port 80 of a container.
pub fn port(host_port: u16, address: &str) -> Published {
    Published {
        protocol: Protocol::Tcp,
        host_ip: None,
        host_port,
        address: address.parse().unwrap(),
        container_port: 80,
    }
}

/// The same at one address of the host.
pub fn port_at(host_ip: &str, host_port: u16, address: &str) -> Published {
    Published {
        host_ip: Some(host_ip.parse().unwrap()),
        ..port(host_port, address)
    }
}
