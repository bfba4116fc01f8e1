//! Layers seen as one tree, without a mount: overlayfs's rules of whiteouts and opaque directories.
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use crate::layer::dir;
use crate::layer::path::show;
use crate::layer::root::is_whiteout;
use crate::path::text;
use crate::{Context, Result};

/// Unpacked layers, topmost first. Nobody changes them.
pub struct Union {
    layers: Vec<OwnedFd>,
}

/// What the layers have at a path.
pub struct Below {
    /// Of the topmost one that has it.
    pub stat: Stat,
    /// Of a directory: the layers that it consists of.
    pub layers: Vec<usize>,
}

impl Union {
    /// Opens the layers.
    ///
    /// # Errors
    /// `NotFound` for one that is lost.
    pub fn open(layers: &[PathBuf]) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let layers = layers
            .iter()
            .map(|path| openat(CWD, path, flags, Mode::empty()).context("open", || text(path)))
            .collect::<Result<_>>()?;
        Ok(Self { layers })
    }

    /// The top: all layers.
    pub fn top(&self) -> Vec<usize> {
        (0..self.layers.len()).collect()
    }

    /// What is at `path`, whose directory consists of `layers`.
    pub fn find(&self, path: &[u8], layers: &[usize]) -> Result<Option<Below>> {
        let subject = || show(path);
        let mut found: Option<Below> = None;
        for &layer in layers {
            let fd = &self.layers[layer];
            let stat = match statat(fd, path, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other.context("look at", subject)?,
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            match &mut found {
                None if is_whiteout(&stat) => break,
                None => {
                    found = Some(Below {
                        stat,
                        layers: Vec::new(),
                    });
                }
                Some(_) => {}
            }
            if !is_directory {
                break;
            }
            if let Some(below) = &mut found {
                below.layers.push(layer);
            }
            if self
                .is_opaque(layer, path)
                .context("read attributes of", subject)?
            {
                break;
            }
        }
        Ok(found)
    }

    /// The names in the directory `path`, which consists of `layers`.
    pub fn names(&self, path: &[u8], layers: &[usize]) -> Result<Vec<Vec<u8>>> {
        let mut seen = BTreeSet::new();
        let mut names = Vec::new();
        for &layer in layers {
            let list = self
                .open_list(layer, path)
                .and_then(dir::list_sorted)
                .context("read", || show(path))?;
            for (name, _) in list {
                let name = name.into_bytes();
                let inner = [path, b"/", &name].concat();
                let inner = inner.strip_prefix(b"/").unwrap_or(&inner);
                let stat = statat(&self.layers[layer], inner, AtFlags::SYMLINK_NOFOLLOW)
                    .context("look at", || show(inner))?;
                if seen.insert(name.clone()) && !is_whiteout(&stat) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }

    /// The attribute `name` of the file at `path` in the topmost of `layers` that has it; empty without one.
    pub fn capability(&self, path: &[u8], layers: &[usize]) -> Vec<u8> {
        for &layer in layers {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Ok(fd) = openat(&self.layers[layer], path, flags, Mode::empty()) {
                return super::diff::capability(&fd);
            }
        }
        Vec::new()
    }

    fn open_list(&self, layer: usize, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path: &Path = if path.is_empty() {
            Path::new(".")
        } else {
            Path::new(OsStr::from_bytes(path))
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.layers[layer], path, flags, Mode::empty())
    }

    fn is_opaque(&self, layer: usize, path: &[u8]) -> rustix::io::Result<bool> {
        let mut value = [0_u8; 8];
        match rustix::fs::fgetxattr(
            self.open_list(layer, path)?,
            c"trusted.overlay.opaque",
            &mut value[..],
        ) {
            Ok(n) => Ok(value[..n] == *b"y"),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
            Err(e) => Err(e),
        }
    }
}
