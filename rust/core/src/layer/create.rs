//! A directory becomes a layer's tar: the same tree gives the same bytes.
//!
//! Whiteouts in overlayfs form become OCI's.
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Stat};

use super::archive::{Entry, EntryKind};
use super::compress::Sink;
use super::control::Control;
use super::decompress::Digests;
use super::dir;
use super::limits::Limits;
use super::metadata::{self, read_xattrs};
use super::owner::IdMap;
use super::path::{clean, show};
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
    /// Paths that get no entry; what is in a directory among them is there, too.
    pub left_out: HashSet<Vec<u8>>,
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
    let dir = dir::open_list(top.as_fd(), ".").context("open", || "directory")?;
    let mut writer = Writer::new(TarWriter::new(&mut sink, None), options, false);
    writer.all(dir, control)?;
    let (entries, _) = writer.tar.finish()?;
    Ok((sink.finish()?, entries))
}

/// Writes entries for what it is shown of a tree.
pub(super) struct Writer<'a> {
    pub(super) tar: TarWriter<'a>,
    options: &'a CreateOptions,
    /// First path of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// The tree becomes what the tar says: no later times, no sockets, no attributes of overlayfs but for opaque directories.
    settles: bool,
    /// Bytes of all files together, each hard link counted once, holes included.
    pub(super) size: u64,
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

impl<'a> Writer<'a> {
    pub(super) fn new(tar: TarWriter<'a>, options: &'a CreateOptions, settles: bool) -> Self {
        Self {
            tar,
            options,
            links: HashMap::new(),
            settles,
            size: 0,
        }
    }

    /// Adds the tree `dir`.
    pub(super) fn all(&mut self, dir: OwnedFd, control: &Control) -> Result<()> {
        let stat = rustix::fs::fstat(&dir).context("look at", || "directory")?;
        let xattrs = read_xattrs(dir.as_fd()).context("read attributes of", || "directory")?;
        self.settle(b".", dir.as_fd(), &stat, &xattrs)?;
        if self.options.top {
            self.header(b"./", &stat, EntryKind::Directory, Vec::new(), xattrs)?;
        }
        if is_opaque(dir.as_fd()).context("read attributes of", || "directory")? {
            self.whiteout(b".wh..wh..opq")?;
        }
        let mut walk = Walk::new(dir, control)?;
        while let Some(found) = walk.next()? {
            self.add(&found)?;
        }
        Ok(())
    }

    fn add(&mut self, found: &Found) -> Result<()> {
        let Found {
            path, name, stat, ..
        } = found;
        let at = found.parent.as_fd();
        let subject = || show(path);
        if self.options.left_out.contains(path) {
            return Ok(());
        }
        if self.settles {
            // What no unpacker takes is no layer.
            clean(path, &Limits::default())?;
        }
        let kind = found.kind();
        if kind == FileType::Socket {
            if self.settles {
                super::keep::remove(at, name, false).context("remove", subject)?;
            }
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
                let size = now.st_size.cast_unsigned();
                self.claim(path, size)?;
                let head = xattrs.clone();
                self.header(path, &now, EntryKind::File, Vec::new(), head)?;
                self.tar.content(path, fd.as_fd(), size)?;
                // After reading, which is a time of its own.
                self.settle(path, fd.as_fd(), &now, &xattrs)
            }
            FileType::Directory => {
                let fd = dir::open_list(at, name.as_slice()).context("open", subject)?;
                let xattrs = read_xattrs(fd.as_fd()).context("read attributes of", subject)?;
                let slash = [path.as_slice(), b"/"].concat();
                self.settle(path, fd.as_fd(), stat, &xattrs)?;
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
                self.settle(path, node.as_fd(), stat, &xattrs)?;
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
        if let Some(latest) = self.latest(stat) {
            entry.mtime = (latest, 0);
        }
        self.tar.header(&entry)
    }

    /// The time that a file of `stat` gets instead of its own.
    fn latest(&self, stat: &Stat) -> Option<i64> {
        let own = (stat.st_mtime, stat.st_mtime_nsec as i64);
        self.options.clamp.filter(|latest| own > (*latest, 0))
    }

    /// Makes the file at `path`, open as `fd`, what its entry says.
    fn settle(
        &self,
        path: &[u8],
        fd: BorrowedFd<'_>,
        stat: &Stat,
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<()> {
        if !self.settles {
            return Ok(());
        }
        super::keep::settle(fd, self.latest(stat), xattrs).context("settle", || show(path))
    }

    /// Counts a file of `size` bytes.
    fn claim(&mut self, path: &[u8], size: u64) -> Result<()> {
        self.size = self.size.saturating_add(size);
        let most = Limits::default().size;
        if self.settles && self.size > most {
            let why = format!("the files of the layer are more than {most} bytes (limit size)");
            return Err(Error::new(Kind::Limit, "write layer", show(path), why));
        }
        Ok(())
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
