//! Deleted names of a layer (OCI image-spec, "Whiteouts").
//!
//! A whiteout speaks of the layers below only; what the same layer brings stays, in whatever order they come.
use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, mknodat};
use rustix::io::Errno;

use super::body::Body;
use super::dir;
use super::path::{parts, show, split};
use super::root;
use super::unpack::{Unpacker, Whiteouts};
use crate::{Context, Error, Kind, Result};

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Files of the aufs file system itself, which old archives carry.
const AUFS: &[u8] = b".wh..wh.";

/// What the name of an entry means.
#[derive(Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// A file.
    Plain,
    /// Not part of the tree.
    Ignored,
    /// Nothing of the layers below is in this directory.
    Opaque(&'a [u8]),
    /// In this directory, this name of the layers below is gone.
    Deleted(&'a [u8], &'a [u8]),
}

/// Reads a clean path.
///
/// # Errors
/// `Denied` for whiteouts of nothing, of the directory itself or of its parent; `Corrupt` for a path through one.
pub fn classify(path: &[u8]) -> Result<Name<'_>> {
    let (dir, base) = split(path);
    if parts(path).any(|part| part.starts_with(AUFS) && part != OPAQUE) {
        return Ok(Name::Ignored);
    }
    if parts(dir).any(|part| part.starts_with(PREFIX)) {
        return Err(Error::new(
            Kind::Corrupt,
            "unpack",
            show(path),
            "path leads through a whiteout",
        ));
    }
    if base == OPAQUE {
        return Ok(Name::Opaque(dir));
    }
    match base.strip_prefix(PREFIX) {
        None => Ok(Name::Plain),
        Some(b"" | b"." | b"..") => Err(Error::new(
            Kind::Denied,
            "unpack",
            show(path),
            "whiteout of something outside its directory",
        )),
        Some(name) => Ok(Name::Deleted(dir, name)),
    }
}

/// `.wh.NAME`.
pub fn deleted(
    unpacker: &mut Unpacker<'_>,
    dir: &[u8],
    name: &[u8],
    body: &mut Body<'_, '_>,
) -> Result<()> {
    let mut path = dir.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    let parent = unpacker.root.parent(dir, unpacker.missing())?;
    match unpacker.options.whiteouts {
        Whiteouts::Overlay => {
            match mknodat(
                &parent.fd,
                name,
                FileType::CharacterDevice,
                Mode::empty(),
                0,
            ) {
                Ok(()) => Ok(()),
                Err(Errno::EXIST) => {
                    let stat = root::stat(parent.fd.as_fd(), name)?;
                    // This layer's directory replaces the one below instead of joining it.
                    if stat.is_some_and(|stat| {
                        FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                    }) {
                        root::make_opaque(parent.fd.as_fd(), name)
                            .context("make opaque", || show(&path))?;
                    }
                    Ok(())
                }
                Err(e) => Err(e).context("create whiteout", || show(&path)),
            }
        }
        Whiteouts::Delete => {
            if unpacker.unpacked.contains(&path) {
                let stat = root::stat(parent.fd.as_fd(), name)?;
                if stat.is_some_and(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                }) {
                    return delete_below(unpacker, &path, body);
                }
                return Ok(());
            }
            unpacker.clear(&path, name, &parent, body)
        }
        Whiteouts::Plain => Ok(()),
    }
}

/// `.wh..wh..opq` in `dir`.
pub fn opaque(unpacker: &mut Unpacker<'_>, dir: &[u8], body: &mut Body<'_, '_>) -> Result<()> {
    match unpacker.options.whiteouts {
        Whiteouts::Overlay => {
            let parent = unpacker.root.parent(dir, unpacker.missing())?;
            root::make_opaque(parent.fd.as_fd(), b".").context("make opaque", || show(dir))
        }
        Whiteouts::Delete => delete_below(unpacker, dir, body),
        Whiteouts::Plain => Ok(()),
    }
}

/// Deletes what is in `path` and did not come with this layer.
fn delete_below(unpacker: &mut Unpacker<'_>, path: &[u8], body: &mut Body<'_, '_>) -> Result<()> {
    let parent = unpacker.root.parent(path, unpacker.missing())?;
    let list = dir::open_list(parent.fd.as_fd(), ".").context("read", || show(path))?;
    for (name, _) in dir::list(&list, usize::MAX).context("read", || show(path))? {
        let name = name.to_bytes();
        let inner = if path.is_empty() {
            name.to_vec()
        } else {
            [path, b"/", name].concat()
        };
        if !unpacker.unpacked.contains(&inner) {
            unpacker.clear(&inner, name, &parent, body)?;
            continue;
        }
        let stat = root::stat(parent.fd.as_fd(), name)?;
        if stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
            // Only along paths of this layer, whose depth is limited.
            delete_below(unpacker, &inner, body)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(classify(b"a/b").unwrap(), Name::Plain);
        assert_eq!(classify(b"a/.wh").unwrap(), Name::Plain);
        assert_eq!(classify(b".wh.b").unwrap(), Name::Deleted(b"", b"b"));
        assert_eq!(classify(b"a/.wh..b").unwrap(), Name::Deleted(b"a", b".b"));
        assert_eq!(
            classify(b"a/.wh....").unwrap(),
            Name::Deleted(b"a", b"..."[..].into())
        );
        assert_eq!(classify(b"a/.wh..wh..opq").unwrap(), Name::Opaque(b"a"));
        assert_eq!(classify(b".wh..wh.plnk/12.34").unwrap(), Name::Ignored);
        assert_eq!(classify(b".wh..wh.aufs").unwrap(), Name::Ignored);
        for bad in [&b"a/.wh."[..], b".wh..", b"a/.wh..."] {
            assert_eq!(classify(bad).unwrap_err().kind, Kind::Denied);
        }
        assert_eq!(classify(b".wh.a/b").unwrap_err().kind, Kind::Corrupt);
    }
}
