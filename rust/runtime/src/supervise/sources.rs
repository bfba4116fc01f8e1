//! The section `sources` of `minidock.json`: what binds show instead of a path of the host.
use std::path::PathBuf;

use minidock_core::error::{Error, Kind, Result};
use minidock_core::rootfs::{BindSource, Origin, Overlay};
use serde::Deserialize;

/// One of its entries.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum SourceDocument {
    /// A part of a directory.
    Subpath {
        /// The bind.
        destination: PathBuf,
        /// The directory.
        root: PathBuf,
        /// The part.
        #[serde(default)]
        path: PathBuf,
    },
    /// Layers, read-only.
    Layers {
        /// The bind.
        destination: PathBuf,
        /// Topmost first.
        lower: Vec<PathBuf>,
        /// The part of them.
        #[serde(default)]
        path: PathBuf,
    },
    /// Layers and a writable one.
    Overlay {
        /// The bind.
        destination: PathBuf,
        /// Topmost first.
        lower: Vec<PathBuf>,
        /// The writable one.
        upper: PathBuf,
        /// Its work directory.
        work: PathBuf,
        /// No sync of it.
        #[serde(default)]
        volatile: bool,
        /// The part of them.
        #[serde(default)]
        path: PathBuf,
    },
}

impl SourceDocument {
    /// Fails with `Invalid` for a relative path of the host, or an absolute one of a part.
    pub fn check(&self) -> Result<()> {
        let (destination, path, mut host) = match self {
            Self::Subpath {
                destination,
                root,
                path,
            } => (destination, path, vec![root]),
            Self::Layers {
                destination,
                lower,
                path,
            } => (destination, path, lower.iter().collect()),
            Self::Overlay {
                destination,
                lower,
                upper,
                work,
                path,
                ..
            } => {
                let writable = [upper, work];
                (destination, path, lower.iter().chain(writable).collect())
            }
        };
        host.push(destination);
        let why = if host.iter().any(|p| !p.is_absolute()) {
            "a path of the host, or the destination, is not absolute"
        } else if path.is_absolute() {
            "subpath must be a relative path"
        } else {
            return Ok(());
        };
        let subject = destination.display().to_string();
        Err(Error::new(Kind::Invalid, "read source of", subject, why))
    }

    /// The source that it describes.
    #[must_use]
    pub fn into_source(self) -> BindSource {
        let (destination, origin) = match self {
            Self::Subpath {
                destination,
                root,
                path,
            } => (destination, Origin::Subpath { root, path }),
            Self::Layers {
                destination,
                lower,
                path,
            } => (destination, Origin::Layers { lower, path }),
            Self::Overlay {
                destination,
                lower,
                upper,
                work,
                volatile,
                path,
            } => {
                let overlay = Overlay {
                    lower,
                    upper: Some((upper, work)),
                    volatile,
                    idmap: None,
                };
                (destination, Origin::Overlay { overlay, path })
            }
        };
        BindSource {
            destination,
            origin,
        }
    }
}
