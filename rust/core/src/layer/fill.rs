//! Part of an image copied into an empty directory: what a new volume starts with.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::control::Control;
use super::copy::{Copied, copy_layers};
use super::copy_files::Layers;
use super::dir;
use super::owner::IdMap;
use crate::path::{Root, text};
use crate::rootfs::view;
use crate::{Context, Error, Kind, Result};

/// Copies what layers, the topmost first, have at `path` into the existing, empty directory `target`: all that
/// [`copy_tree`](super::copy_tree) keeps, the metadata of the top included. Links in `path` are followed inside the layers.
/// `None`: there is no directory.
///
/// # Errors
/// `Conflict` when `target` is not empty, and those of the mount of the layers and of the copy, of which a part is there then.
pub fn fill(
    lower: Vec<PathBuf>,
    path: &Path,
    target: OwnedFd,
    control: &Control,
) -> Result<Option<Copied>> {
    let empty = dir::list(&target, 1).context("read", || "directory to fill")?;
    if !empty.is_empty() {
        let why = "the directory to fill is not empty";
        return Err(Error::new(Kind::Conflict, "copy", text(path), why));
    }
    let tops = open_tops(&lower)?;
    let whole = view::view(lower)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let source = match Root::new(whole.as_fd()).open(path, flags) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        other => other.context("open in image", || text(path))?,
    };
    let layers = layers(whole.as_fd(), source.as_fd(), tops);
    let map = IdMap::default();
    copy_layers(source, target, &map, control, layers.as_ref()).map(Some)
}

fn open_tops(lower: &[PathBuf]) -> Result<Vec<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    lower
        .iter()
        .map(|path| openat(CWD, path, flags, Mode::empty()).context("open layer", || text(path)))
        .collect()
}

/// The layers with the path of `source` in them; `None` where that is unknown.
fn layers(whole: BorrowedFd<'_>, source: BorrowedFd<'_>, tops: Vec<OwnedFd>) -> Option<Layers> {
    let read = |fd| rustix::fs::readlink(dir::proc_path(fd), Vec::new()).ok();
    let (top, path) = (read(whole)?, read(source)?);
    // A mount without a place is its own "/".
    let top = top.as_bytes().strip_suffix(b"/").unwrap_or(top.as_bytes());
    let inside = path
        .as_bytes()
        .strip_prefix(top)?
        .strip_prefix(b"/")?
        .to_vec();
    Some(Layers { tops, inside })
}

#[cfg(test)]
#[path = "fill_tests.rs"]
mod tests;
