//! The section `log` of the supervisor's document (docs/logs.md).
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use crate::{Error, Kind, Result};

/// Where and how one container's output is kept. The engine has checked it: sizes are plain numbers of bytes here, and
/// templates and host names are resolved.
#[derive(Debug, Clone, Deserialize)]
pub struct LogDocument {
    /// `json-file`, `local`, `journald` or `syslog`.
    pub driver: String,
    /// The file; that of the cache for `journald` and `syslog`.
    pub path: PathBuf,
    /// The driver's options under Docker's names.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// What goes into every record: the labels and variables that the options choose, and `tag` where it was asked for.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// The option `tag`, or the driver's own, expanded.
    #[serde(default)]
    pub tag: String,
    /// Whose output it is.
    pub container: LogContainer,
}

/// What the journal is told about a container.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct LogContainer {
    /// 64 hex digits.
    pub id: String,
    /// Without a leading slash.
    #[serde(default)]
    pub name: String,
    /// As the caller named it.
    #[serde(default)]
    pub image_name: String,
}

/// When a file is full, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes after which the next record goes to a new file; None: never.
    pub max_size: Option<u64>,
    /// Files in all, the current one counted.
    pub max_file: u32,
    /// Whether older files are compressed.
    pub compress: bool,
}

impl LogDocument {
    /// The option of this name, None if it is not set; `Invalid` if it cannot be read as a `T`.
    pub(super) fn option<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.options
            .get(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    Error::new(
                        Kind::Invalid,
                        "read log option",
                        name,
                        format!("\"{text}\" makes no sense"),
                    )
                })
            })
            .transpose()
    }

    /// The rotation that the options say; those of a cache begin with `cache-`.
    pub(super) fn rotation(&self, prefix: &str) -> Result<Rotation> {
        Ok(Rotation {
            max_size: self.option(&format!("{prefix}max-size"))?,
            max_file: self.option(&format!("{prefix}max-file"))?.unwrap_or(1),
            compress: self.option(&format!("{prefix}compress"))?.unwrap_or(false),
        })
    }
}
