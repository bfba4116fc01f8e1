//! All kernel work of minidock. Knows neither Python nor the store; policy belongs to the engine.
//!
//! Modules carry the kernel's nouns. `sys` holds the only unsafe code, one wrapper per system call.

#[cfg(feature = "layer")]
pub mod archive;
pub mod cgroup;
pub mod error;
pub mod events;
pub mod layer;
pub mod log;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod path;
pub mod probe;
pub mod process;
pub mod rootfs;
pub mod security;
pub mod snapshot;
pub mod stop;
pub mod supervisor;
pub mod sys;
pub mod volume;

pub use error::{Context, Error, Kind, Result};
