//! What happened to containers and images, in order: appended by any process, kept for the last 10,000, followed by any.
//!
//! ```text
//! events/previous    the 10,000 before        (renamed from `current` when that has its 10,000)
//! events/current     the newest, 1 to 10,000  (one JSON object a line)
//! ```
//!
//! Both files only ever grow. Who appends holds the directory's `flock`, so a line's time is later and its number one more than
//! the last line's, whatever the clock does. A line that was torn by kill -9 or a full disk gets its end from the next appender and is passed
//! over by readers, who take no lock: whole is what ends as [`record::stamp`] wants it.
mod append;
mod reader;
mod record;
#[cfg(test)]
mod tests;
mod watch;

pub use append::append;
pub use reader::{Batch, Range, Reader};
pub use record::{LINE_MAX, TEXT_MAX};

use std::collections::BTreeMap;

/// Lines of one file: so many at least are kept, and at most twice as many.
pub const SEGMENT: u64 = 10_000;

const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";

/// Something that happened, in Docker's words; the time is added when it is appended.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// `container`, `image`, `network`, `volume`, `daemon`.
    pub kind: &'a str,
    /// `create`, `start`, `die`, `exec_create: ls -l`, …
    pub action: &'a str,
    /// The object: a container's id, an image's name or id.
    pub id: &'a str,
    /// Facts about the object and what happened: `image`, `name`, labels, `exitCode`.
    pub attributes: &'a BTreeMap<String, String>,
}
