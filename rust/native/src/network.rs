//! Networks of the host: bridges and the packet filter.
use std::path::{Path, PathBuf};

use minidock_core::net::firewall::Firewall;
use minidock_core::net::live::{self, Network};
use minidock_core::net::{bridge, route::Socket};
use minidock_core::{Error, Kind};
use pyo3::prelude::*;

use crate::error::raise;

fn parse(document: &[u8]) -> Result<Network, Error> {
    let invalid = |e: serde_json::Error| {
        Error::new(Kind::Invalid, "read network", String::new(), e.to_string())
    };
    serde_json::from_slice(document).map_err(invalid)
}

/// Makes a network's bridge and firewall, where they are not there; see the stub.
#[pyfunction]
#[pyo3(signature = (document, networks, *, forward=true))]
pub fn network_ensure(
    py: Python<'_>,
    document: &[u8],
    networks: PathBuf,
    forward: bool,
) -> PyResult<Vec<&'static str>> {
    py.detach(|| {
        let network = parse(document)?;
        bridge::ensure(&mut Socket::open()?, &network)?;
        if network.driver != "bridge" {
            return Ok(Vec::new());
        }
        Firewall::new(&network.table).add(&networks, std::slice::from_ref(&network), &[])?;
        if !forward || network.internal {
            return Ok(Vec::new());
        }
        let v6 = network
            .subnets
            .iter()
            .any(|subnet| subnet.address.is_ipv6());
        Ok(bridge::forward(v6))
    })
    .map_err(|e: Error| raise(&e))
}

/// Removes networks' bridges and their part of the firewall; see the stub.
#[pyfunction]
pub fn networks_remove(py: Python<'_>, documents: Vec<Vec<u8>>, networks: PathBuf) -> PyResult<()> {
    py.detach(|| {
        let all: Vec<Network> = documents
            .iter()
            .map(|document| parse(document))
            .collect::<Result<_, _>>()?;
        bridge::remove(&mut Socket::open()?, &all)?;
        // Networks without a bridge have nothing in it, but containers on them may have had it made.
        let empty = live::all(&networks)?.is_empty();
        let mut tables: Vec<&str> = all
            .iter()
            .filter(|network| empty || network.driver == "bridge")
            .map(|network| network.table.as_str())
            .collect();
        tables.sort_unstable();
        tables.dedup();
        tables.into_iter().try_for_each(|table| {
            let firewall = Firewall::new(table);
            if empty {
                return settle(&firewall, &networks).map(drop);
            }
            // Without a table there is nothing to take out of it.
            match firewall.remove_networks(&all) {
                Err(error) if error.kind == Kind::NotFound => Ok(()),
                other => other,
            }
        })
    })
    .map_err(|e: Error| raise(&e))
}

/// Makes the firewall what the live files say; see the stub.
#[pyfunction]
pub fn firewall_ensure(py: Python<'_>, table: &str, networks: PathBuf) -> PyResult<bool> {
    py.detach(|| settle(&Firewall::new(table), &networks))
        .map_err(|e: Error| raise(&e))
}

/// Makes the firewall what the live files say: without a network there is none. True if it had to be made.
fn settle(firewall: &Firewall, networks: &Path) -> Result<bool, Error> {
    if live::all(networks)?.is_empty() {
        firewall.remove()?;
        // Who makes a network meanwhile writes its file before the table, of which that has taken its part away.
        if live::all(networks)?.is_empty() {
            return Ok(false);
        }
    }
    firewall.ensure(networks)
}

/// What keeps packets of containers from being forwarded; see the stub.
#[pyfunction]
pub fn firewall_problems(py: Python<'_>, table: &str) -> PyResult<Vec<String>> {
    py.detach(|| Firewall::new(table).problems())
        .map_err(|e| raise(&e))
}

/// Others' chains that drop what is forwarded; see the stub.
#[pyfunction]
pub fn firewall_others(py: Python<'_>, table: &str) -> PyResult<Vec<(String, bool)>> {
    py.detach(|| Firewall::new(table).others())
        .map_err(|e| raise(&e))
}
