//! Networks of containers: interfaces, addresses and routes by netlink, packet filter and NAT by nf_tables.
pub mod firewall;
pub mod guard;
pub mod live;
pub mod nft;
