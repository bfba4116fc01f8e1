//! A directory becomes a layer's tar: the same tree gives the same bytes.
//!
//! Whiteouts in overlayfs form become OCI's.
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Stat};

use super::archive::{Entry, EntryKind};
use super::compress::Sink;
use super::control::Control;
use super::decompress::Digests;
use super::dir;
use super::metadata::{self, read_xattrs};
use super::owner::IdMap;
use super::path::show;
use super::root;
use super::tar::{TarWriter, changed};
use super::walk::{Found, Walk};
use crate::{Context, Error, Kind, Result};

/// How to write.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// Owners on disk to owners in the archive, backwards.
    pub map: IdMap,
    /// No time is later than this (seconds since 1970; `SOURCE_DATE_EPOCH`).
    pub clamp: Option<i64>,
    /// An entry for the top itself comes first.
    pub top: bool,
}

/// Writes the tree `top` as a tar into `sink`; returns digests and the number of entries.
///
/// Sockets are left out, as in every tar.
///
/// # Errors
/// `Invalid` for a name that means a whiteout or an owner outside the map, `Busy` for a file that changes meanwhile,
/// `Unsupported` for a directory that overlayfs redirected, and those of the file system.
pub fn tar_tree(
    top: OwnedFd,
    mut sink: Sink,
    options: &CreateOptions,
    control: &Control,
) -> Result<(Digests, u64)> {
    let mut writer = Writer {
        tar: TarWriter::new(&mut sink),
        options,
        links: HashMap::new(),
    };
    let dir = dir::open_list(top.as_fd(), ".").context("open", || "directory")?;
    if options.top {
        let stat = rustix::fs::fstat(&dir).context("look at", || "directory")?;
        let xattrs = read_xattrs(dir.as_fd()).context("read attributes of", || "directory")?;
        writer.header(b"./", &stat, EntryKind::Directory, Vec::new(), xattrs)?;
    }
    if is_opaque(dir.as_fd()).context("read attributes of", || "directory")? {
        writer.whiteout(b".wh..wh..opq")?;
    }
    let mut walk = Walk::new(dir, control)?;
    while let Some(found) = walk.next()? {
        writer.add(&found)?;
    }
    let entries = writer.tar.finish()?;
    Ok((sink.finish()?, entries))
}

struct Writer<'a> {
    tar: TarWriter<'a>,
    options: &'a CreateOptions,
    /// First path of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

impl Writer<'_> {
    fn add(&mut self, found: &Found) -> Result<()> {
        let Found {
            path, name, stat, ..
        } = found;
        let at = found.parent.as_fd();
        let subject = || show(path);
        let kind = found.kind();
        if kind == FileType::Socket {
            return Ok(());
        }
        if name.starts_with(b".wh.") {
            let why = "a name that starts with .wh. would delete something where the layer is used";
            return Err(Error::new(Kind::Invalid, "write layer", show(path), why));
        }
        if root::is_whiteout(stat) {
            let dir = &path[..path.len() - name.len()];
            return self.whiteout(&[dir, b".wh.", name].concat());
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&id) {
                let first = first.clone();
                return self.header(path, stat, EntryKind::Hardlink, first, Vec::new());
            }
            self.links.insert(id, path.clone());
        }
        match kind {
            FileType::RegularFile => {
                let Some((fd, now)) = metadata::open_regular(at, name).context("open", subject)?
                else {
                    return Err(changed(path));
                };
                if (now.st_dev, now.st_ino, now.st_size) != (stat.st_dev, stat.st_ino, stat.st_size)
                {
                    return Err(changed(path));
                }
                let xattrs = read_xattrs(fd.as_fd()).context("read attributes of", subject)?;
                self.header(path, &now, EntryKind::File, Vec::new(), xattrs)?;
                self.tar
                    .content(path, fd.as_fd(), now.st_size.cast_unsigned())
            }
            FileType::Directory => {
                let fd = dir::open_list(at, name.as_slice()).context("open", subject)?;
                let xattrs = read_xattrs(fd.as_fd()).context("read attributes of", subject)?;
                let slash = [path.as_slice(), b"/"].concat();
                self.header(&slash, stat, EntryKind::Directory, Vec::new(), xattrs)?;
                if is_opaque(fd.as_fd()).context("read attributes of", subject)? {
                    self.whiteout(&[&slash, &b".wh..wh..opq"[..]].concat())?;
                }
                Ok(())
            }
            _ => {
                let node = metadata::open_node(at, name).context("open", subject)?;
                let xattrs = metadata::read_node_xattrs(node.as_fd())
                    .context("read attributes of", subject)?;
                let (kind, link) = match kind {
                    FileType::Symlink => {
                        let target = rustix::fs::readlinkat(&node, c"", Vec::new())
                            .context("read link", subject)?;
                        (EntryKind::Symlink, target.into_bytes())
                    }
                    FileType::CharacterDevice => (EntryKind::Char, Vec::new()),
                    FileType::BlockDevice => (EntryKind::Block, Vec::new()),
                    _ => (EntryKind::Fifo, Vec::new()),
                };
                self.header(path, stat, kind, link, xattrs)
            }
        }
    }

    /// An empty file of root with the given name.
    fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        self.tar.header(&Entry::empty(EntryKind::File, path))
    }

    fn header(
        &mut self,
        path: &[u8],
        stat: &Stat,
        kind: EntryKind,
        link: Vec<u8>,
        xattrs: Xattrs,
    ) -> Result<()> {
        let redirected = xattrs.iter().any(|(name, _)| {
            matches!(
                name.as_slice(),
                b"trusted.overlay.redirect" | b"trusted.overlay.metacopy"
            )
        });
        if redirected {
            let why =
                "overlayfs keeps only part of it here; mount with redirect_dir=off,metacopy=off";
            return Err(Error::new(
                Kind::Unsupported,
                "write layer",
                show(path),
                why,
            ));
        }
        let (uid, gid) = self.options.map.to_archive(stat.st_uid, stat.st_gid)?;
        let mut entry = Entry {
            link,
            xattrs,
            uid: uid.into(),
            gid: gid.into(),
            ..Entry::from_stat(kind, path, stat)
        };
        if let Some(latest) = self.options.clamp
            && entry.mtime.0 >= latest
        {
            entry.mtime = (latest, 0);
        }
        self.tar.header(&entry)
    }
}

fn is_opaque(dir: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let mut value = [0_u8; 8];
    match rustix::fs::fgetxattr(dir, c"trusted.overlay.opaque", &mut value[..]) {
        Ok(n) => Ok(value[..n] == *b"y"),
        Err(
            rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::RANGE,
        ) => Ok(false),
        Err(e) => Err(e),
    }
}
