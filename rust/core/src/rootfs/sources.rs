//! Binds that show something else than a path of the host: a part of a directory, layers, an overlay of their own.
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::{IdMap, Overlay, overlay, view};
use crate::error::{Context, Error, Kind, Result};
use crate::mount;
use crate::path::{clean, text};

/// What the bind on one destination shows.
#[derive(Debug, Clone)]
pub struct BindSource {
    /// The destination, as the document's mounts have it.
    pub destination: PathBuf,
    /// What is there.
    pub origin: Origin,
}

/// Where a bind comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A part of a directory of the host; it cannot lie outside.
    Subpath {
        /// The directory; no symbolic link in its last place.
        root: PathBuf,
        /// The part, relative.
        path: PathBuf,
    },
    /// Layers, read-only.
    Layers {
        /// Topmost first.
        lower: Vec<PathBuf>,
        /// A part of them, relative; empty for all.
        path: PathBuf,
    },
    /// Layers under a writable one.
    Overlay {
        /// The layers.
        overlay: Overlay,
        /// A part of them, relative; empty for all.
        path: PathBuf,
    },
}

impl BindSource {
    /// Makes it as a detached mount, for a runtime that wants to find it at a path; `label` is an SELinux context for layers.
    ///
    /// Fails with `Invalid` for a part that leaves its directory, `NotFound` for what is missing, and as mounts do.
    pub fn detached(&self, label: Option<&str>) -> Result<OwnedFd> {
        let open = self.origin.open(true, None, label);
        open.map_err(|e| Error {
            errno: e.errno,
            ..Error::new(e.kind, "mount", text(&self.destination), e.to_string())
        })
    }

    /// Whether it is that of `destination`, which is absolute and clean.
    pub(super) fn is_for(&self, destination: &Path) -> bool {
        clean(&self.destination) == destination
    }
}

impl Origin {
    /// A detached mount of it. Owners of layers are seen through `idmap`; that of a directory's part is the caller's to set.
    ///
    /// For a process with one thread. Fails with `Invalid` for a part that leaves its directory, `NotFound` for what is missing, and as
    /// mounts do.
    pub(super) fn open(
        &self,
        recursive: bool,
        idmap: Option<&IdMap>,
        label: Option<&str>,
    ) -> Result<OwnedFd> {
        match self {
            Self::Subpath { root, path } => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let top = match openat(CWD, root, flags, Mode::empty()) {
                    Err(Errno::LOOP | Errno::NOTDIR) => {
                        let why = "not a directory; a symbolic link to one does not do";
                        return Err(Error::new(Kind::Invalid, "open", text(root), why));
                    }
                    other => other.context("open bind source", || text(root))?,
                };
                mount::part_of(top.as_fd(), root, path_or_top(path), recursive, false)
            }
            Self::Layers { lower, path } => {
                let layers = Overlay {
                    lower: lower.clone(),
                    idmap: idmap.cloned(),
                    ..Overlay::default()
                };
                part(view::layers(&layers, label)?, path)
            }
            Self::Overlay { overlay, path } => {
                let layers = Overlay {
                    idmap: idmap.cloned(),
                    ..overlay.clone()
                };
                part(overlay::mount(&layers, label)?, path)
            }
        }
    }

    /// Whether [`Self::open`] maps owners.
    pub(super) fn maps_owners(&self) -> bool {
        !matches!(self, Self::Subpath { .. })
    }
}

fn part(whole: OwnedFd, path: &Path) -> Result<OwnedFd> {
    if path.as_os_str().is_empty() {
        return Ok(whole);
    }
    mount::part_of(whole.as_fd(), Path::new("/"), path, false, true)
}

fn path_or_top(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}
