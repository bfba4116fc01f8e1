//! What serves a container's network from outside it: host ports that are bound for it, connections through them, names.
//!
//! The supervisor binds and polls; a process of its own, forked when a first packet has come, does the work and ends when
//! there has been none for a while.
mod address;
mod child;
mod datagrams;
pub mod dns;
mod forward;
mod holder;
pub mod ports;
mod service;
mod slab;

pub use child::{Port, Serving, serve};
pub use dns::Dns;
pub use service::{Service, Targets};
