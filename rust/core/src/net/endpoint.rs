//! A container's interface on a network.
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::{Deserialize, Serialize};

use super::bridge;
use super::live::{Network, Prefix};
use super::route::{self, Socket};
use crate::error::{Context, Error, Kind, Result};
use crate::sys;

/// What the engine has planned: section `endpoints` of minidock.json.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The network.
    pub network: Network,
    /// The interface's name in the container.
    pub interface: String,
    /// The other end's name on the host; empty without another end (macvlan, ipvlan).
    pub host_interface: String,
    /// The hardware address; the kernel's choice without.
    pub mac: Option<String>,
    /// Its addresses.
    pub addresses: Vec<Prefix>,
    /// The default routes' gateways.
    pub gateways: Vec<IpAddr>,
    /// Its names on this network.
    pub names: Vec<String>,
    /// Names that only this container has for others on this network: alias to name.
    #[serde(default)]
    pub links: std::collections::BTreeMap<String, String>,
    /// Kernel parameters; `IFNAME` stands for the interface.
    pub sysctls: std::collections::BTreeMap<String, String>,
    /// Published ports lead to its addresses.
    pub serves_ports: bool,
}

/// Until it is dropped, the calling thread is in another network namespace.
pub struct Inside {
    home: OwnedFd,
}

impl Inside {
    /// Enters a namespace. The caller must be single-threaded, or be in the namespace on purpose with this thread only.
    pub fn enter(ns: BorrowedFd<'_>) -> Result<Self> {
        let home = own_namespace()?;
        sys::setns(ns, libc::CLONE_NEWNET).context("join network namespace", String::new)?;
        Ok(Self { home })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if sys::setns(self.home.as_fd(), libc::CLONE_NEWNET).is_err() {
            // What follows would be done to the container's network instead of the host's.
            std::process::abort();
        }
    }
}

/// The network namespace of the calling thread.
pub fn own_namespace() -> Result<OwnedFd> {
    open("/proc/thread-self/ns/net")
}

/// The network namespace of a process.
pub fn namespace_of(pid: i32) -> Result<OwnedFd> {
    open(&format!("/proc/{pid}/ns/net"))
}

fn open(path: &str) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context("open", || path)
}

/// Connects the container whose network namespace is `ns` to networks, in order. Nothing is left on failure.
pub fn connect(host: &mut Socket, ns: BorrowedFd<'_>, all: &[Settings]) -> Result<()> {
    for (at, settings) in all.iter().enumerate() {
        if let Err(error) = one(host, ns, settings) {
            for made in &all[..=at] {
                let _ = disconnect(host, ns, made);
            }
            return Err(error);
        }
    }
    Ok(())
}

fn one(host: &mut Socket, ns: BorrowedFd<'_>, settings: &Settings) -> Result<()> {
    let network = &settings.network;
    let mac = settings.mac.as_deref().map(hardware_address).transpose()?;
    let inside = settings.interface.as_str();
    let below = bridge::ensure(host, network)?;
    if network.driver == "bridge" {
        let name = settings.host_interface.as_str();
        host.one(route::new_veth(name, inside, ns, mac, network.mtu))?;
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
        host.one(route::join_bridge(name, below))
            .map_err(|error| match error.errno {
                Some(libc::EXFULL) => {
                    let why =
                        "a bridge has 1,023 ports at most; use another network for more containers";
                    Error::new(Kind::Limit, "join bridge", &network.bridge, why)
                }
                _ => error,
            })?;
        host.one(route::set_port(name, !network.icc))?;
    } else {
        let (driver, mode) = (network.driver.as_str(), network.mode.as_str());
        host.one(route::new_child(
            driver,
            mode,
            inside,
            below,
            ns,
            mac,
            network.mtu,
        )?)?;
    }
    let _there = Inside::enter(ns)?;
    let mut socket = Socket::open()?;
    let found = route::index_of(inside);
    let lost = || {
        Error::new(
            Kind::NotFound,
            "find interface",
            inside,
            "it has disappeared",
        )
    };
    let index = found.ok_or_else(lost)?;
    let v6 = settings.addresses.iter().any(|a| a.address.is_ipv6());
    set(inside, "ipv6", "accept_ra", "0");
    // Its own link-local address is of use at once.
    set(inside, "ipv6", "accept_dad", "0");
    set(inside, "ipv6", "disable_ipv6", if v6 { "0" } else { "1" });
    // Who knows the address from a container before it is told that it is another's now.
    set(inside, "ipv4", "arp_notify", "1");
    for (name, value) in &settings.sysctls {
        sysctl(inside, name, value)?;
    }
    for address in &settings.addresses {
        socket.one(route::add_address(index, *address))?;
    }
    socket.one(route::up(inside))?;
    default_routes(&mut socket, index, settings)
}

fn default_routes(socket: &mut Socket, index: u32, settings: &Settings) -> Result<()> {
    let network = &settings.network;
    for gateway in &settings.gateways {
        let link_only = network.driver == "ipvlan" && network.mode.starts_with("l3");
        let by = (!link_only).then_some(*gateway);
        socket.one(route::default_route(index, by, gateway.is_ipv6()))?;
    }
    Ok(())
}

/// Has the default routes of the container go by a network that it is on, to the gateways of `settings`.
pub fn reroute(ns: BorrowedFd<'_>, settings: &Settings) -> Result<()> {
    let _there = Inside::enter(ns)?;
    let name = settings.interface.as_str();
    let lost = || Error::new(Kind::NotFound, "find interface", name, "it has disappeared");
    let index = route::index_of(name).ok_or_else(lost)?;
    default_routes(&mut Socket::open()?, index, settings)
}

/// Takes the container from a network. What is gone already is no error.
pub fn disconnect(host: &mut Socket, ns: BorrowedFd<'_>, settings: &Settings) -> Result<()> {
    let done = if settings.network.driver == "bridge" {
        host.one(route::delete(&settings.host_interface))
    } else {
        let _there = Inside::enter(ns)?;
        Socket::open()?.one(route::delete(&settings.interface))
    };
    match done {
        Err(error) if error.errno == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}

/// Reads `02:42:ac:11:00:02`.
pub fn hardware_address(text: &str) -> Result<[u8; 6]> {
    let wrong = || Error::new(Kind::Invalid, "read hardware address", text, "it is none");
    let bytes: Vec<u8> = text
        .split([':', '-'])
        .map(|part| match part.as_bytes() {
            [b'+', ..] => Err(wrong()),
            [_, _] => u8::from_str_radix(part, 16).map_err(|_| wrong()),
            _ => Err(wrong()),
        })
        .collect::<Result<_>>()?;
    bytes.try_into().map_err(|_| wrong())
}

fn set(interface: &str, family: &str, name: &str, value: &str) {
    let _ = std::fs::write(
        format!("/proc/sys/net/{family}/conf/{interface}/{name}"),
        value,
    );
}

/// Sets a parameter of the current namespace's network.
fn sysctl(interface: &str, name: &str, value: &str) -> Result<()> {
    let path = name.replace('.', "/").replace("IFNAME", interface);
    if !path.starts_with("net/") || path.split('/').any(|part| part.is_empty() || part == "..") {
        let why = "only parameters net.* belong to a network";
        return Err(Error::new(Kind::Invalid, "set kernel parameter", name, why));
    }
    std::fs::write(format!("/proc/sys/{path}"), value).context("set kernel parameter", || name)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net::in_new_namespace;
    use crate::net::testnet::interfaces;

    fn settings(number: u8, icc: bool) -> Settings {
        Settings {
            network: Network {
                id: "ab".repeat(32),
                bridge: "mdn-test".to_owned(),
                icc,
                subnets: vec![
                    "10.9.8.0/24".parse().unwrap(),
                    "fd00:9::/64".parse().unwrap(),
                ],
                addresses: vec![
                    "10.9.8.1/24".parse().unwrap(),
                    "fd00:9::1/64".parse().unwrap(),
                ],
                ..Network::default()
            },
            interface: "eth0".to_owned(),
            host_interface: format!("veth{number}"),
            mac: Some(format!("02:42:0a:09:08:{number:02x}")),
            addresses: vec![
                format!("10.9.8.{number}/24").parse().unwrap(),
                format!("fd00:9::{number:x}/64").parse().unwrap(),
            ],
            gateways: vec!["10.9.8.1".parse().unwrap(), "fd00:9::1".parse().unwrap()],
            ..Settings::default()
        }
    }

    /// A namespace that lives as long as the descriptor.
    fn namespace() -> OwnedFd {
        in_new_namespace(|| {
            crate::namespace::loopback_up().unwrap();
            own_namespace().unwrap()
        })
    }

    fn reaches(from: &OwnedFd, address: &str) -> bool {
        let _there = Inside::enter(from.as_fd()).unwrap();
        let to = address.parse().unwrap();
        TcpStream::connect_timeout(&to, std::time::Duration::from_millis(300)).is_ok()
    }

    /// Whether it does in the end: a busy machine takes its time.
    fn reaches_soon(from: &OwnedFd, address: &str) -> bool {
        (0..20).any(|_| reaches(from, address))
    }

    fn listens(inside: &OwnedFd, address: &str) -> TcpListener {
        let _there = Inside::enter(inside.as_fd()).unwrap();
        TcpListener::bind(address).unwrap()
    }

    #[test]
    fn two_containers_on_a_bridge() {
        for icc in [true, false] {
            in_new_namespace(|| {
                let (a, b) = (namespace(), namespace());
                let mut host = Socket::open().unwrap();
                connect(&mut host, a.as_fd(), &[settings(2, icc)]).unwrap();
                connect(&mut host, b.as_fd(), &[settings(3, icc)]).unwrap();
                let _v4 = listens(&a, "0.0.0.0:80");
                let _v6 = listens(&a, "[fd00:9::2]:81");
                for address in ["10.9.8.2:80", "[fd00:9::2]:81"] {
                    if icc {
                        assert!(reaches_soon(&b, address), "{address}");
                    } else {
                        assert!(!reaches(&b, address), "{address}");
                    }
                }
                let host_ns = own_namespace().unwrap();
                assert!(reaches_soon(&host_ns, "10.9.8.2:80"));
                let _host = TcpListener::bind("10.9.8.1:82").unwrap();
                assert!(reaches_soon(&b, "10.9.8.1:82"));
                disconnect(&mut host, b.as_fd(), &settings(3, icc)).unwrap();
                disconnect(&mut host, b.as_fd(), &settings(3, icc)).unwrap();
                assert!(!reaches(&b, "10.9.8.2:80"));
            });
        }
    }

    #[test]
    fn a_bridge_is_full() {
        in_new_namespace(|| {
            let (a, b) = (namespace(), namespace());
            let mut host = Socket::open().unwrap();
            connect(&mut host, a.as_fd(), &[settings(2, true)]).unwrap();
            let below = bridge::ensure(&mut host, &settings(2, true).network).unwrap();
            let own = own_namespace().unwrap();
            for number in 0..1_022 {
                // The other ends stay apart and down: two in one bridge would be a loop.
                let name = format!("p{number}");
                let pair = route::new_veth(&name, &format!("q{number}"), own.as_fd(), None, 1500);
                host.one(pair).unwrap();
                host.one(route::join_bridge(&name, below)).unwrap();
            }
            let error = connect(&mut host, b.as_fd(), &[settings(3, true)]).unwrap_err();
            assert_eq!(error.kind, Kind::Limit);
            assert!(error.to_string().contains("1,023 ports"), "{error}");
            assert!(!interfaces().contains(&"veth3".to_owned()));
        });
    }

    #[test]
    fn a_failure_leaves_nothing() {
        in_new_namespace(|| {
            let a = namespace();
            let mut host = Socket::open().unwrap();
            let mut wrong = settings(2, true);
            wrong.gateways = vec!["192.0.2.1".parse().unwrap()];
            assert!(connect(&mut host, a.as_fd(), &[settings(3, true), wrong]).is_err());
            let names = interfaces();
            assert!(
                names.iter().all(|name| !name.starts_with("veth")),
                "{names:?}"
            );
        });
    }

    #[test]
    fn parameters_stay_below_net() {
        for name in [
            "kernel.core_pattern",
            "net..x",
            "net.ipv4.../x",
            "net/../kernel",
        ] {
            assert!(sysctl("eth0", name, "1").is_err(), "{name}");
        }
    }

    #[test]
    fn hardware_addresses() {
        assert_eq!(
            hardware_address("02:42:ac:11:00:02").unwrap(),
            [2, 0x42, 0xac, 0x11, 0, 2]
        );
        for text in [
            "",
            "02:42",
            "02:42:ac:11:00:02:03",
            "x",
            "2:42:ac:11:00:02",
            "+2:42:ac:11:00:02",
        ] {
            assert!(hardware_address(text).is_err(), "{text}");
        }
    }
}
