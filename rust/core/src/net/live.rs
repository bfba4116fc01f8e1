//! The live files of networks, below `networks` of the run root: what the firewall and the name servers are made from.
//!
//! `NETWORK_ID/network.json` is written by the engine, `NETWORK_ID/endpoints/CONTAINER_ID` by the supervisors. All are written
//! by rename, so that a reader sees a file whole or not at all.
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};

/// What the files say of the format.
pub const VERSION: u32 = 1;

/// An address with the length of its network's prefix, written `172.18.0.1/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// The address; the bits behind the prefix may be anything.
    pub address: IpAddr,
    /// How many bits are the network's.
    pub length: u8,
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl std::str::FromStr for Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(
                Kind::Invalid,
                "read address",
                text,
                "it is not ADDRESS/LENGTH",
            )
        };
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let length: u8 = length.parse().map_err(|_| wrong())?;
        if length > if address.is_ipv4() { 32 } else { 128 } {
            return Err(wrong());
        }
        Ok(Self { address, length })
    }
}

impl Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// `network.json`: one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// [`VERSION`].
    pub version: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, for messages.
    pub name: String,
    /// `bridge`, `macvlan` or `ipvlan`.
    pub driver: String,
    /// The nf_tables table of the run root.
    pub table: String,
    /// The bridge's interface name; empty with other drivers.
    pub bridge: String,
    /// The interface below a macvlan or ipvlan; empty with a bridge.
    pub parent: String,
    /// The mode of a macvlan or ipvlan.
    pub mode: String,
    /// The largest packet; 0 is the kernel's choice.
    pub mtu: u32,
    /// The bridge's own, which are the containers' gateways.
    pub addresses: Vec<Prefix>,
    /// What its containers have addresses of.
    pub subnets: Vec<Prefix>,
    /// No way out, and none in.
    pub internal: bool,
    /// Containers on it reach each other.
    pub icc: bool,
    /// What leaves it has the host's IPv4 address.
    pub masquerade: bool,
    /// What leaves it has the host's IPv6 address.
    pub masquerade6: bool,
    /// Its containers may be reached directly by IPv4, at all ports, from elsewhere.
    pub routed: bool,
    /// The same by IPv6.
    pub routed6: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            version: VERSION,
            id: String::new(),
            name: String::new(),
            driver: "bridge".to_owned(),
            table: String::new(),
            bridge: String::new(),
            parent: String::new(),
            mode: String::new(),
            mtu: 0,
            addresses: Vec::new(),
            subnets: Vec::new(),
            internal: false,
            icc: true,
            masquerade: true,
            masquerade6: true,
            routed: false,
            routed6: false,
        }
    }
}

/// A transport protocol whose ports are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// tcp(7).
    Tcp,
    /// udp(7).
    Udp,
    /// sctp(7).
    Sctp,
}

impl Protocol {
    /// `IPPROTO_*`.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// A port of the host that leads to one of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Published {
    /// The protocol.
    pub protocol: Protocol,
    /// The host's address; none is every one, a loopback address is for the supervisor's listener alone.
    #[serde(with = "host_ip")]
    pub host_ip: Option<IpAddr>,
    /// The host's port, never 0.
    pub host_port: u16,
    /// The container's address.
    pub address: IpAddr,
    /// The container's port.
    pub container_port: u16,
}

mod host_ip {
    use std::net::IpAddr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(ip: &Option<IpAddr>, to: S) -> Result<S::Ok, S::Error> {
        match ip {
            Some(ip) => to.collect_str(ip),
            None => to.serialize_str(""),
        }
    }

    /// Empty and unspecified addresses are none.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpAddr>, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() {
            return Ok(None);
        }
        let ip: IpAddr = text.parse().map_err(serde::de::Error::custom)?;
        Ok((!ip.is_unspecified()).then_some(ip))
    }
}

/// `endpoints/CONTAINER_ID`: one container on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// [`VERSION`].
    pub version: u32,
    /// 64 hexadecimal digits.
    pub container: String,
    /// Its names on this network, for the name servers of the others there.
    pub names: Vec<String>,
    /// Its addresses on this network.
    pub addresses: Vec<IpAddr>,
    /// The host's ports that lead to it by this network.
    pub ports: Vec<Published>,
}

/// Reads one of the files. Fails with `NotFound`, and `Corrupt` for what is none of ours.
pub fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let shown = || path.display().to_string();
    let text = std::fs::read(path).context("read", shown)?;
    serde_json::from_slice(&text)
        .map_err(|e| Error::new(Kind::Corrupt, "read", shown(), e.to_string()))
}

/// Writes one of the files, whole or not at all; its directory is made if it is not there.
pub fn write<T: Serialize>(path: &Path, content: &T) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let shown = || path.display().to_string();
    let text = serde_json::to_vec(content)
        .map_err(|e| Error::new(Kind::Invalid, "write", shown(), e.to_string()))?;
    if let Some(dir) = path.parent() {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir);
        made.context("make directory", || dir.display().to_string())?;
    }
    // Two writers of one file use different names; what a crash leaves is passed over by readers: it begins with a dot.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let written = options
        .open(&temporary)
        .and_then(|mut file| file.write_all(&text))
        .and_then(|()| std::fs::rename(&temporary, path));
    written
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&temporary);
        })
        .context("write", shown)
}

/// The file of a network, below the directory `networks` of the run root.
#[must_use]
pub fn network_file(networks: &Path, id: &str) -> PathBuf {
    networks.join(id).join("network.json")
}

/// The file of a container's endpoint on a network.
#[must_use]
pub fn endpoint_file(networks: &Path, id: &str, container: &str) -> PathBuf {
    networks.join(id).join("endpoints").join(container)
}

/// All networks and their endpoints. What disappears while it is looked at, or cannot be read, is left out.
pub fn all(networks: &Path) -> Result<Vec<(Network, Vec<Endpoint>)>> {
    let Some(ids) = names(networks)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for id in ids {
        if let Ok(network) = read::<Network>(&network_file(networks, &id)) {
            found.push((network, endpoints(networks, &id)?));
        }
    }
    Ok(found)
}

/// The endpoints of one network.
pub fn endpoints(networks: &Path, id: &str) -> Result<Vec<Endpoint>> {
    let dir = networks.join(id).join("endpoints");
    let containers = names(&dir)?.unwrap_or_default();
    let files = containers.iter().map(|name| read(&dir.join(name)));
    Ok(files.filter_map(Result::ok).collect())
}

/// The names in a directory, without those of files in the making; none if it does not exist.
fn names(dir: &Path) -> Result<Option<Vec<String>>> {
    let shown = || dir.display().to_string();
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.context("read directory", shown)?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(Some(names.filter(|name| !name.starts_with('.')).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        for text in ["10.0.0.1/8", "fd00::1/64", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.1/33",
            "::1/129",
            "x/8",
            "10.0.0.1/-1",
            "10.0.0.1/8/8",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn unspecified_addresses_are_every_one() {
        for (text, ip) in [
            ("", None),
            ("0.0.0.0", None),
            ("::", None),
            ("127.0.0.1", Some("127.0.0.1")),
        ] {
            let json = format!(
                r#"{{"protocol":"tcp","host_ip":"{text}","host_port":8080,"address":"10.0.0.2","container_port":80}}"#
            );
            let port: Published = serde_json::from_str(&json).unwrap();
            assert_eq!(port.host_ip, ip.map(|ip: &str| ip.parse().unwrap()));
        }
    }
}
