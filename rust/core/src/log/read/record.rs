//! One record of a log, of either format.
use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::split::Stream;

/// Names and values that the writer adds to every record.
pub type Attributes = BTreeMap<String, String>;

/// A record in a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it came from.
    pub stream: Stream,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// With its newline, unless it is the first part of a longer line.
    pub data: Cow<'a, [u8]>,
    /// As the format has them; empty without any.
    pub attributes: Cow<'a, [u8]>,
}

/// What is at the beginning of some bytes of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A record, and its length.
    Record(Record<'a>, usize),
    /// So many bytes that are none.
    Damaged(usize),
    /// Less than a record.
    More,
    /// No record, and nothing says where the next one begins.
    Lost,
}

/// Larger than any record, even of a container with a megabyte of labels.
pub const LARGEST: usize = 16 << 20;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines of JSON.
    Json,
    /// Framed messages.
    Local,
}

impl Format {
    /// Looks at the beginning of `data`.
    #[must_use]
    pub fn step(self, data: &[u8]) -> Step<'_> {
        match self {
            Self::Json => super::json::step(data),
            Self::Local => super::local::step(data),
        }
    }

    /// The attributes of a record.
    #[must_use]
    pub fn attributes(self, text: &[u8]) -> Attributes {
        match self {
            Self::Json => super::json::attributes(text),
            Self::Local => super::local::attributes(text),
        }
    }
}
