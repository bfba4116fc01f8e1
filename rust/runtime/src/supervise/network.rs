//! The container's networks: interfaces, published ports, names, and what others are told of them.
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use minidock_core::error::{Context, Error, Kind, Result};
use minidock_core::namespace;
use minidock_core::net::endpoint::{self, Inside, Settings};
use minidock_core::net::firewall::{self, Firewall};
use minidock_core::net::guard::Guard;
use minidock_core::net::live::{self, Protocol, Published};
use minidock_core::net::route::{self, Socket};
use serde::{Deserialize, Serialize};

use super::watch::now_ms;
use crate::network::dns;
use crate::network::ports::{self, Bound, Wanted};
use crate::network::{Dns, Service, Targets};

/// How long a port is waited for that the supervisor of a container which has just ended still holds.
const LETTING_GO_MS: u64 = 1000;
/// How long the kernel may take to remove the interfaces of a namespace by itself.
const FADING: Duration = Duration::from_secs(1);

/// Section `network` of the document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkDocument {
    /// The directory of the live files.
    run_networks: PathBuf,
    /// The nf_tables table.
    table: String,
    /// Its interfaces.
    #[serde(default)]
    endpoints: Vec<Settings>,
    /// The ports to publish.
    #[serde(default)]
    ports: Vec<Wanted>,
    /// The name server of its own; none on the default network.
    #[serde(default)]
    dns: Option<DnsDocument>,
}

/// Where names are looked up that no container has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsDocument {
    /// Asked from the container's network.
    #[serde(default)]
    upstream: Vec<IpAddr>,
    /// Asked from the host's: its own name servers.
    #[serde(default)]
    loopback_upstream: Vec<IpAddr>,
    /// False: nobody is asked.
    forward: bool,
}

/// A port of the host that is the container's.
#[derive(Debug, Clone, Serialize)]
pub struct Taken {
    protocol: Protocol,
    container_port: u16,
    host_ip: IpAddr,
    host_port: u16,
}

/// The networks of one container, over all of its runs.
pub struct Network {
    container: String,
    file: PathBuf,
    networks: PathBuf,
    firewall: Firewall,
    endpoints: Vec<Settings>,
    dns: Option<DnsDocument>,
    taken: Vec<Taken>,
    published: Vec<Published>,
    service: Service,
    guard: Option<Guard>,
    /// That of the current run.
    namespace: Option<OwnedFd>,
}

impl Network {
    /// Binds the host's ports, before anything is made: a conflict is found here.
    pub fn new(document: NetworkDocument, container: &str, run_dir: &Path) -> Result<Self> {
        let bound = bind(&document.ports)?;
        let mut made = Self {
            container: container.to_owned(),
            file: run_dir.join("network.json"),
            firewall: Firewall::new(&document.table),
            guard: None,
            networks: document.run_networks,
            endpoints: document.endpoints,
            dns: document.dns,
            taken: Vec::new(),
            published: Vec::new(),
            service: Service::new(),
            namespace: None,
        };
        made.take(bound);
        if made.endpoints.iter().any(|e| e.network.driver == "bridge") {
            made.guard = Some(Guard::new(made.networks.clone(), document.table));
        }
        Ok(made)
    }

    /// Takes over bound ports, which lead to the endpoint that serves them.
    fn take(&mut self, bound: Vec<Bound>) {
        let taken = bound.iter().map(|port| Taken {
            protocol: port.protocol,
            container_port: port.container_port,
            host_ip: port.host_ip,
            host_port: port.host_port,
        });
        self.taken = taken.collect();
        self.service.set_ports(bound);
        self.aim();
    }

    /// Where the ports lead to, after endpoints have come or gone.
    fn aim(&mut self) {
        let serving = self.endpoints.iter().find(|e| e.serves_ports);
        let addresses: Vec<IpAddr> = serving
            .map(|e| e.addresses.iter().map(|prefix| prefix.address).collect())
            .unwrap_or_default();
        let targets = Targets::new(&addresses);
        self.service.set_targets(targets);
        self.published = self
            .taken
            .iter()
            // The listener serves the rest: IPv6 for a container that has none.
            .filter_map(|port| {
                Some(Published {
                    protocol: port.protocol,
                    host_ip: (!port.host_ip.is_unspecified()).then_some(port.host_ip),
                    host_port: port.host_port,
                    address: if port.host_ip.is_ipv4() {
                        targets.v4?
                    } else {
                        targets.v6?
                    },
                    container_port: port.container_port,
                })
            })
            .collect();
    }

    /// Connects the container whose PID 1 is `pid`, before it executes anything.
    pub fn set_up(&mut self, pid: i32) -> Result<()> {
        let namespace = endpoint::namespace_of(pid)?;
        {
            let _there = Inside::enter(namespace.as_fd())?;
            namespace::loopback_up()?;
        }
        if !self.endpoints.is_empty() {
            endpoint::connect(&mut Socket::open()?, namespace.as_fd(), &self.endpoints)?;
        }
        self.namespace = Some(namespace);
        self.serve_names()?;
        self.announce()?;
        self.open()
    }

    /// Has the firewall let through what is to come through, whatever others have done to it while nothing ran.
    fn open(&self) -> Result<()> {
        let bridged = self
            .endpoints
            .iter()
            .filter(|e| e.network.driver == "bridge");
        let networks: Vec<live::Network> = bridged.map(|e| e.network.clone()).collect();
        self.firewall
            .add(&self.networks, &networks, &self.published)
    }

    /// Leads to the container what was under way to a published UDP port before.
    pub fn redirect_strays(&self) {
        let _ = self.firewall.redirect_strays(&self.published);
    }

    /// Has the name server answer in the container's namespace.
    fn serve_names(&mut self) -> Result<()> {
        let (Some(dns), Some(namespace)) = (&self.dns, &self.namespace) else {
            return Ok(());
        };
        let (udp, tcp) = dns::sockets_in(namespace.as_fd())?;
        {
            let ports = (port_of(&udp)?, port_of(&tcp)?);
            let _there = Inside::enter(namespace.as_fd())?;
            firewall::redirect_dns(ports.0, ports.1)?;
        }
        let again = rustix::io::fcntl_dupfd_cloexec(namespace, 3);
        self.service.set_dns(Some(Dns {
            udp,
            tcp,
            container_ns: again.context("duplicate descriptor", String::new)?,
            networks: self.named(),
            links: self.links(),
            upstream: dns.upstream.clone(),
            loopback_upstream: dns.loopback_upstream.clone(),
            forward: dns.forward,
        }));
        Ok(())
    }

    /// The directories of the networks whose names it can look up.
    fn named(&self) -> Vec<PathBuf> {
        let named = self.endpoints.iter().filter(|e| !e.names.is_empty());
        named.map(|e| self.networks.join(&e.network.id)).collect()
    }

    /// Its own names for others there.
    fn links(&self) -> Vec<dns::Link> {
        let links = self.endpoints.iter().flat_map(|e| {
            e.links.iter().map(|(alias, name)| dns::Link {
                network: self.networks.join(&e.network.id),
                alias: alias.clone(),
                name: name.clone(),
            })
        });
        links.collect()
    }

    /// Writes the live files.
    fn announce(&self) -> Result<()> {
        for settings in &self.endpoints {
            let content = live::Endpoint {
                version: live::VERSION,
                container: self.container.clone(),
                names: settings.names.clone(),
                addresses: settings.addresses.iter().map(|p| p.address).collect(),
                ports: if settings.serves_ports {
                    self.published.clone()
                } else {
                    Vec::new()
                },
            };
            live::write(&self.file_of(settings), &content)?;
        }
        live::write(
            &self.file,
            &serde_json::json!({"endpoints": self.endpoints, "ports": self.taken}),
        )
    }

    fn file_of(&self, settings: &Settings) -> PathBuf {
        live::endpoint_file(&self.networks, &settings.network.id, &self.container)
    }

    /// The ports, as the event `started` tells them.
    #[must_use]
    pub fn ports(&self) -> &[Taken] {
        &self.taken
    }

    /// The networks that it is on.
    pub fn joined(&self) -> impl Iterator<Item = &live::Network> {
        self.endpoints.iter().map(|settings| &settings.network)
    }

    /// A run is over: what belongs to its namespace is let go, so that the kernel can remove it.
    pub fn run_ended(&mut self) {
        self.service.set_dns(None);
        self.namespace = None;
    }

    /// Connects a running container to one more network.
    pub fn connect(
        &mut self,
        settings: Settings,
        wanted: &[Wanted],
        dns: Option<DnsDocument>,
    ) -> Result<()> {
        let Some(namespace) = &self.namespace else {
            return Err(Error::new(
                Kind::Conflict,
                "connect",
                "",
                "the container is not running",
            ));
        };
        let id = settings.network.id.as_str();
        if self.endpoints.iter().any(|e| e.network.id == id) {
            return Err(Error::new(
                Kind::Conflict,
                "connect",
                id,
                "it is connected already",
            ));
        }
        let bound = bind(wanted)?;
        let bridged = settings.network.driver == "bridge";
        let all = std::slice::from_ref(&settings);
        endpoint::connect(&mut Socket::open()?, namespace.as_fd(), all)?;
        if self.guard.is_none() && bridged {
            let table = settings.network.table.clone();
            self.guard = Some(Guard::new(self.networks.clone(), table));
        }
        let serves = settings.serves_ports;
        self.endpoints.push(settings);
        if serves {
            self.take(bound);
        }
        if self.dns.is_none() && dns.is_some() {
            self.dns = dns;
            self.serve_names()?;
        }
        self.changed()
    }

    /// Takes it from a network. One that it is not on is no error.
    pub fn disconnect(&mut self, id: &str) -> Result<()> {
        let Some(at) = self.endpoints.iter().position(|e| e.network.id == id) else {
            return Ok(());
        };
        let settings = self.endpoints.remove(at);
        let _ = std::fs::remove_file(self.file_of(&settings));
        if let Some(namespace) = &self.namespace {
            endpoint::disconnect(&mut Socket::open()?, namespace.as_fd(), &settings)?;
        }
        if settings.serves_ports {
            self.firewall.unpublish(&self.published)?;
            self.take(Vec::new());
        }
        // The table goes with the last network: nobody makes it again who is on none.
        if !self.endpoints.iter().any(|e| e.network.driver == "bridge")
            && let Some(guard) = self.guard.take()
        {
            guard.end();
        }
        self.changed()
    }

    /// Its default routes go by a network that it is on, and ports that nobody serves any more lead there.
    pub fn route(&mut self, id: &str, gateways: Vec<IpAddr>, wanted: &[Wanted]) -> Result<()> {
        let found = self.endpoints.iter_mut().find(|e| e.network.id == id);
        let (Some(settings), Some(namespace)) = (found, &self.namespace) else {
            let why = "the container is not on it, or not running";
            return Err(Error::new(Kind::Conflict, "route by network", id, why));
        };
        settings.gateways = gateways;
        endpoint::reroute(namespace.as_fd(), settings)?;
        if wanted.is_empty() || self.endpoints.iter().any(|e| e.serves_ports) {
            return self.changed();
        }
        let bound = bind(wanted)?;
        for settings in &mut self.endpoints {
            settings.serves_ports = settings.network.id == id;
        }
        self.take(bound);
        self.changed()
    }

    /// It has other names.
    pub fn rename(
        &mut self,
        names: &std::collections::BTreeMap<String, Vec<String>>,
    ) -> Result<()> {
        for settings in &mut self.endpoints {
            if let Some(names) = names.get(&settings.network.id) {
                settings.names.clone_from(names);
            }
        }
        self.announce()
    }

    fn changed(&mut self) -> Result<()> {
        let (named, links) = (self.named(), self.links());
        if let Some(dns) = self.service.dns_mut() {
            (dns.networks, dns.links) = (named, links);
            self.service.reload();
        }
        self.announce()?;
        self.open()
    }

    /// What is polled for it.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let guard = self.guard.iter().filter_map(Guard::fd);
        self.service.fds(now_ms()).chain(guard)
    }

    /// When [`Network::turn`] is to be called at the latest.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        let guard = self.guard.as_ref().and_then(Guard::deadline_ms);
        guard
            .into_iter()
            .chain(self.service.deadline_ms(now_ms()))
            .min()
    }

    /// Does what there is to do when something is `ready`, or the time has come.
    pub fn turn(&mut self, ready: bool) {
        let now = now_ms();
        if let Some(guard) = &mut self.guard {
            guard.turn(now, ready);
        }
        if ready {
            self.service.wake(now);
        }
    }

    /// The end of all: nobody is led to the container any more. Quick; [`Network::clean`] does what takes time.
    pub fn close(&mut self) {
        self.run_ended();
        for settings in &self.endpoints {
            let _ = std::fs::remove_file(self.file_of(settings));
        }
        if let Some(guard) = self.guard.take() {
            guard.end();
        }
        // The ports stay bound until their rules are gone, but lead nowhere.
        self.service.set_targets(Targets::default());
    }

    /// Removes what the kernel takes its time for.
    ///
    /// Whoever wants one of the ports next cannot bind it before its rules are gone: the sockets are closed after them.
    pub fn clean(mut self) {
        if !self.published.is_empty() {
            let _ = self.firewall.unpublish(&self.published);
        }
        self.service.end();
        let left = |e: &&Settings| route::index_of(&e.host_interface).is_some();
        let until = now_ms() + FADING.as_millis() as u64;
        // All that is needed is a closed namespace. Where others have joined it, it is not: they lose their network, as in Docker.
        while self.endpoints.iter().any(|e| left(&e)) {
            if now_ms() >= until {
                let Ok(mut socket) = Socket::open() else {
                    return;
                };
                for settings in self.endpoints.iter().filter(left) {
                    let _ = socket.one(route::delete(&settings.host_interface));
                }
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The port that a socket is bound to.
fn port_of(socket: &OwnedFd) -> Result<u16> {
    let found = rustix::net::getsockname(socket).and_then(SocketAddr::try_from);
    Ok(found
        .context("find port of name server", String::new)?
        .port())
}

/// Binds ports. One that another supervisor of ours holds is waited for: the container has ended, or the engine, which
/// knows whose ports are whose, would not have asked for it.
fn bind(wanted: &[Wanted]) -> Result<Vec<Bound>> {
    let until = now_ms() + LETTING_GO_MS;
    loop {
        match ports::bind(wanted) {
            Err(error)
                if error.kind == Kind::Conflict
                    && is_passing(&error.to_string())
                    && now_ms() < until =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

/// Whether who holds a port is one of ours, or has let it go since.
fn is_passing(error: &str) -> bool {
    error.contains("held by minidock-") || error.ends_with("address already in use")
}
