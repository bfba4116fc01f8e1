//! Copies into and out of containers, and what a container has changed (docs/copying.md).
//!
//! ```text
//!  running: /proc/PID/root, checked ──┐                       ┌─► tar on a descriptor      (cp C:SRC -, get_archive)
//!  stopped: mounts of a helper's own ─┼─► Tree ─► Source ─► entries
//!  host:    the caller's own path ────┘      └──► directory ◄─┴── another Source (cp), or a tar (cp - C:DEST, put_archive)
//! ```
//! A container may change its tree at any moment, and its links are no paths of the host: everything is reached by `openat2`
//! below a pinned root (SECURITY.md R1), looked at by descriptor, and only regular files are ever opened.
mod diff;
mod source;
mod stat;
#[cfg(test)]
mod tests;
mod transfer;
mod tree;
mod union;
mod view;

pub use diff::{Change, Changed, changes};
pub use source::Source;
pub use stat::PathStat;
pub use transfer::{Rules, Target, copy, read, write};
pub use tree::{Place, Tree};
