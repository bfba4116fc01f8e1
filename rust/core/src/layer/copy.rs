//! Copies of trees, layer over layer, where overlayfs cannot be used.
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, linkat, mkdirat, mknodat, openat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::control::Control;
use super::copy_files::{File, Files, Layers, Work};
use super::metadata::{self, Metadata};
use super::owner::IdMap;
use super::path::{show, split};
use super::root::{self, Missing, Root};
use super::walk::{Found, Walk};
use super::{dir, remove};
use crate::{Context, Error, Kind, Result};

/// What a copy did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files and directories, the top left out.
    pub count: u64,
    /// Extended attributes that the file system refused.
    pub skipped_xattrs: u64,
}

/// Copies the tree `source` into the directory `target`: contents, holes, hard links, owners (mapped), modes, times,
/// extended attributes, devices. File systems that can share blocks do.
///
/// Whiteouts in overlayfs form in `source` delete in `target`, so layers copied lowest first give the image's tree.
///
/// # Errors
/// `Invalid` for an owner outside the map, `Unsupported` for a directory that overlayfs redirected, and those of the
/// file system (`ENOSPC`, …); part of the copy is there then.
pub fn copy_tree(
    source: OwnedFd,
    target: OwnedFd,
    map: &IdMap,
    control: &Control,
) -> Result<Copied> {
    copy_layers(source, target, map, control, None)
}

/// [`copy_tree`] of the merged view of `layers`, whose own files are cheaper to copy where blocks can be shared.
///
/// # Errors
/// As [`copy_tree`].
pub(super) fn copy_layers(
    source: OwnedFd,
    target: OwnedFd,
    map: &IdMap,
    control: &Control,
    layers: Option<&Layers>,
) -> Result<Copied> {
    let source_top = dir::open_list(source.as_fd(), ".").context("open", || "tree to copy")?;
    let top_stat = rustix::fs::fstat(&source_top).context("look at", || "tree to copy")?;
    let top_xattrs = metadata::read_xattrs(source_top.as_fd())
        .context("read attributes of", || "tree to copy")?;
    let target_top =
        dir::open_list(target.as_fd(), ".").context("open", || "directory to copy into")?;
    let work = Work::new(map, control, layers);
    std::thread::scope(|scope| {
        let mut copy = Copy {
            root: Root::strict(target),
            map,
            control,
            files: Files::new(scope, &work),
            links: HashMap::new(),
            dirs: Vec::new(),
            done: Copied::default(),
        };
        if is_opaque(&top_xattrs) {
            copy.clear_inside(target_top.as_fd(), b"")?;
        }
        let walked = copy.walk(source);
        // What stopped the others comes first: it is the cause.
        copy.done.skipped_xattrs += copy.files.finish()?;
        walked?;
        copy.finish_dirs()?;
        let metadata = metadata_of(map, &top_stat, top_xattrs, b"")?;
        copy.done.skipped_xattrs += metadata
            .set(target_top.as_fd(), UNKNOWN, u32::MAX)
            .context("set metadata of", || "copy")?;
        Ok(copy.done)
    })
}

/// Differs from every owner.
pub(super) const UNKNOWN: (u32, u32) = (u32::MAX, u32::MAX);

struct Copy<'a, 'scope> {
    root: Root,
    map: &'a IdMap,
    control: &'a Control,
    files: Files<'a, 'scope>,
    /// Where the first name of a file with several is.
    links: HashMap<(u64, u64), Vec<u8>>,
    dirs: Vec<(Vec<u8>, Metadata)>,
    done: Copied,
}

fn is_opaque(xattrs: &[(Vec<u8>, Vec<u8>)]) -> bool {
    xattrs
        .iter()
        .any(|(name, value)| name == b"trusted.overlay.opaque" && value == b"y")
}

/// What the copy of a file gets.
pub(super) fn metadata_of(
    map: &IdMap,
    stat: &Stat,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    path: &[u8],
) -> Result<Metadata> {
    if xattrs.iter().any(|(name, _)| {
        matches!(
            name.as_slice(),
            b"trusted.overlay.redirect" | b"trusted.overlay.metacopy"
        )
    }) {
        let why = "overlayfs keeps only part of it here; mount with redirect_dir=off,metacopy=off";
        return Err(Error::new(Kind::Unsupported, "copy", show(path), why));
    }
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Ok(Metadata {
        owner: Some(map.to_host(stat.st_uid.into(), stat.st_gid.into())?),
        mode: stat.st_mode & 0o7777,
        mtime: (stat.st_mtime, nanos),
        xattrs: xattrs
            .into_iter()
            .filter(|(name, _)| metadata::is_wanted(name))
            .collect(),
    })
}

impl Copy<'_, '_> {
    fn walk(&mut self, source: OwnedFd) -> Result<()> {
        let mut walk = Walk::new(source, self.control)?;
        while let Some(found) = walk.next()? {
            self.one(&found)?;
            self.done.count += 1;
            let entries = &self.control.entries;
            entries.store(self.done.count, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    }

    fn one(&mut self, found: &Found) -> Result<()> {
        let Found {
            path, name, stat, ..
        } = found;
        let subject = || show(path);
        let (dir_path, _) = split(path);
        let parent = self.root.parent(dir_path, Missing::Fail)?;
        let at = parent.fd.as_fd();
        let from = found.parent.as_fd();
        let kind = found.kind();
        if root::is_whiteout(stat) {
            return self.clear(at, name, path);
        }
        if kind == FileType::Directory {
            let source = dir::open_list(from, name.as_slice()).context("open", subject)?;
            let xattrs =
                metadata::read_xattrs(source.as_fd()).context("read attributes of", subject)?;
            let there = root::stat(at, name)?;
            match there.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
                Some(FileType::Directory) if is_opaque(&xattrs) => {
                    let inside = dir::open_list(at, name.as_slice()).context("open", subject)?;
                    self.clear_inside(inside.as_fd(), path)?;
                }
                Some(FileType::Directory) => {}
                Some(_) => {
                    self.clear(at, name, path)?;
                    mkdirat(at, name.as_slice(), Mode::RWXU)
                        .context("create directory", subject)?;
                }
                None => {
                    mkdirat(at, name.as_slice(), Mode::RWXU).context("create directory", subject)?
                }
            }
            let metadata = metadata_of(self.map, stat, xattrs, path)?;
            self.dirs.push((path.clone(), metadata));
            return Ok(());
        }
        self.clear(at, name, path)?;
        if stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&id) {
                let (first_dir, first_name) = split(first);
                let first_parent = self.root.parent(first_dir, Missing::Fail)?;
                return linkat(
                    &first_parent.fd,
                    first_name,
                    at,
                    name.as_slice(),
                    AtFlags::empty(),
                )
                .context("link", subject);
            }
            self.links.insert(id, path.clone());
        }
        match kind {
            FileType::RegularFile => self.file(found, at),
            FileType::Socket => mknodat(at, name.as_slice(), FileType::Socket, Mode::RWXU, 0)
                .context("create", subject)
                .and_then(|()| self.node(found, at)),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name.as_slice(), Vec::new())
                    .context("read link", subject)?;
                symlinkat(target, at, name.as_slice()).context("create", subject)?;
                self.node(found, at)
            }
            kind => {
                mknodat(at, name.as_slice(), kind, Mode::RUSR, stat.st_rdev)
                    .context("create", subject)?;
                self.node(found, at)
            }
        }
    }

    /// Metadata of a link, device, pipe or socket that was just made.
    fn node(&mut self, found: &Found, at: BorrowedFd<'_>) -> Result<()> {
        let source = metadata::open_node(found.parent.as_fd(), &found.name)
            .context("open", || show(&found.path))?;
        let xattrs = metadata::read_node_xattrs(source.as_fd())
            .context("read attributes of", || show(&found.path))?;
        let metadata = metadata_of(self.map, &found.stat, xattrs, &found.path)?;
        self.done.skipped_xattrs += metadata.set_node(at, &found.name, found.kind(), UNKNOWN)?;
        Ok(())
    }

    fn file(&mut self, found: &Found, at: BorrowedFd<'_>) -> Result<()> {
        let Found { path, name, .. } = found;
        let subject = || show(path);
        let opened = metadata::open_regular(found.parent.as_fd(), name).context("open", subject)?;
        let Some((source, stat)) = opened else {
            return Err(Error::new(
                Kind::Busy,
                "copy",
                show(path),
                "tree changes while it is copied",
            ));
        };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = openat(at, name.as_slice(), flags, Mode::RUSR | Mode::WUSR)
            .context("create", subject)?;
        self.files.copy(File {
            path: path.clone(),
            source,
            stat,
            target,
        })
    }

    /// Deletes what is at `name`, with everything inside.
    fn clear(&mut self, at: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<()> {
        match unlinkat(at, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => {
                let name = CString::new(name)
                    .map_err(|_| Error::errno("replace", show(path), libc::EINVAL))?;
                remove::remove_at(at, &name, self.control)?;
                self.root.forget();
                Ok(())
            }
            Err(e) => Err(e).context("replace", || show(path)),
        }
    }

    fn clear_inside(&mut self, inside: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        for (name, _) in dir::list(inside, usize::MAX).context("read", || show(path))? {
            self.clear(inside, name.to_bytes(), path)?;
        }
        Ok(())
    }

    /// Innermost first: nothing is made inside them any more.
    fn finish_dirs(&mut self) -> Result<()> {
        for (path, metadata) in std::mem::take(&mut self.dirs).into_iter().rev() {
            let (dir_path, name) = split(&path);
            let parent = self.root.parent(dir_path, Missing::Fail)?;
            let fd = dir::open_list(parent.fd.as_fd(), name).context("open", || show(&path))?;
            let skipped = metadata
                .set(fd.as_fd(), UNKNOWN, u32::MAX)
                .context("set metadata of", || show(&path))?;
            self.done.skipped_xattrs += skipped;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
