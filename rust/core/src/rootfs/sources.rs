//! Binds that show something else than a path of the host: a part of a directory, layers, an overlay of their own.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::{IdMap, Overlay, overlay, view};
use crate::error::{Context, Error, Kind, Result};
use crate::mount::{self, Step, set_attributes};
use crate::namespace::user_namespace;
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
        let opened = self.origin.open(true, None, label);
        opened.map_err(|e| at(&self.destination, e))
    }

    /// Whether it is that of `destination`, which is absolute and clean.
    #[must_use]
    pub fn is_for(&self, destination: &Path) -> bool {
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

/// Opens the sources of a container's binds, with all that is set on them.
pub(super) struct Opener<'a> {
    special: Vec<&'a BindSource>,
    label: Option<&'a str>,
    /// Most containers have one map for all.
    maps: Vec<(IdMap, OwnedFd)>,
}

impl<'a> Opener<'a> {
    pub fn new(special: &'a [BindSource], label: Option<&'a str>) -> Self {
        Self {
            special: special.iter().collect(),
            label,
            maps: Vec::new(),
        }
    }

    /// A detached mount of what the bind `step` shows: `path` of the host, unless there is another source for it.
    ///
    /// Fails with `NotFound` in Docker's words, and as mounts do.
    pub fn open(&mut self, step: &Step, path: &Path, recursive: bool) -> Result<OwnedFd> {
        let fail = |e: Error| at(&step.destination, e);
        let mut idmap = step.idmap.as_ref();
        let found = self
            .special
            .iter()
            .position(|s| s.is_for(&step.destination));
        let fd = match found.map(|number| &self.special.remove(number).origin) {
            Some(origin) => {
                let fd = origin.open(recursive, idmap, self.label).map_err(fail)?;
                idmap = idmap.filter(|_| !origin.maps_owners());
                fd
            }
            None => match mount::open_bind(path, recursive) {
                Err(e) if e.kind == Kind::NotFound => {
                    let why = format!("bind source path does not exist: {}", text(path));
                    let subject = text(&step.destination);
                    return Err(Error::new(Kind::NotFound, "mount", subject, why));
                }
                other => other?,
            },
        };
        let userns = idmap.map(|map| self.user_namespace(map)).transpose()?;
        let idmap = userns.map(|fd| (fd, step.options.idmap.unwrap_or(false)));
        set_attributes(fd.as_fd(), &step.options, idmap).map_err(fail)?;
        Ok(fd)
    }

    fn user_namespace(&mut self, map: &IdMap) -> Result<BorrowedFd<'_>> {
        let known = self.maps.iter().position(|(known, _)| known == map);
        let number = match known {
            Some(number) => number,
            None => {
                self.maps.push((map.clone(), user_namespace(map)?));
                self.maps.len() - 1
            }
        };
        Ok(self.maps[number].1.as_fd())
    }

    /// Fails with `Invalid` when a source is left over.
    pub fn finish(self) -> Result<()> {
        let Some(source) = self.special.first() else {
            return Ok(());
        };
        let why = "sources has it, but no bind of the document is mounted there";
        let subject = text(&source.destination);
        Err(Error::new(Kind::Invalid, "plan mounts", subject, why))
    }
}

/// An error about the mount on `destination`.
pub(super) fn at(destination: &Path, e: Error) -> Error {
    Error {
        errno: e.errno,
        ..Error::new(e.kind, "mount", text(destination), e.to_string())
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
