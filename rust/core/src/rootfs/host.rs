//! The host's own tree as a root filesystem, copy-on-write.
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::Host;
use crate::error::{Error, Kind, Result};

/// The mounts of a host root: the top, and those below it with their places.
pub fn mount(
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<(OwnedFd, Vec<(PathBuf, OwnedFd)>)> {
    let _ = warnings;
    Err(Error::new(
        Kind::Unsupported,
        "mount host root",
        host.path.display().to_string(),
        "not built yet",
    ))
}
