//! What an archive may ask of the machine (rule R6).
use std::time::Duration;

use crate::{Error, Kind, Result};

/// Bounds on one archive. Each is checked before anything is allocated or written for it.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the uncompressed stream, and bytes that all files together may claim (holes count).
    pub size: u64,
    /// Highest factor between what comes out (holes of sparse files count) and what came in,
    /// looked at once more than [`Limits::ratio_from`] bytes came out.
    pub ratio: u64,
    /// Bytes that may come out before the ratio matters.
    pub ratio_from: u64,
    /// Number of entries.
    pub entries: u64,
    /// Components of a path.
    pub depth: usize,
    /// Bytes of a path or link target.
    pub path: usize,
    /// Bytes of extended headers and long names before one entry.
    pub metadata: usize,
    /// Extended attributes of one entry.
    pub xattrs: usize,
    /// Data regions of one sparse file.
    pub regions: usize,
    /// Time for the whole archive.
    pub time: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            size: 1 << 40,
            // Deflate cannot exceed 1032; real layers stay below 30.
            ratio: 200,
            ratio_from: 1 << 30,
            entries: 10_000_000,
            depth: 512,
            path: 4095,
            metadata: 1 << 20,
            xattrs: 256,
            regions: 100_000,
            time: None,
        }
    }
}

impl Limits {
    /// Fails when `out` bytes from `input` bytes are a bomb.
    pub fn check_ratio(&self, out: u64, input: u64) -> Result<()> {
        if out > self.size {
            return Err(exceeded("size", format!("more than {} bytes", self.size)));
        }
        if out > self.ratio_from && out / self.ratio.max(1) > input {
            return Err(exceeded(
                "ratio",
                format!("{out} bytes out of {input}, more than {} to 1", self.ratio),
            ));
        }
        Ok(())
    }
}

/// The error of a reached limit; `what` is the limit's name.
pub fn exceeded(what: &str, why: impl Into<String>) -> Error {
    Error::new(
        Kind::Limit,
        "unpack",
        "layer",
        format!("{} (limit {what})", why.into()),
    )
}
