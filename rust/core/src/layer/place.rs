//! One entry of a layer becomes a file, directory, link or device.
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, mkdirat, mknodat, openat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::archive::{Archive, Entry, EntryKind, Region};
use super::body::Body;
use super::content::copy_content;
use super::limits::exceeded;
use super::metadata::{self, Metadata};
use super::path::{clean, show, split};
use super::root::{self, Missing, Parent};
use super::split::Recorder;
use super::unpack::{PendingDir, Unpacker, Whiteouts};
use super::{dir, remove};
use crate::{Context, Error, Kind, Result};

impl Unpacker<'_> {
    pub(super) fn file(
        &mut self,
        path: &[u8],
        name: &[u8],
        parent: &Parent,
        entry: &Entry,
        metadata: &Metadata,
        body: &mut Body<'_, '_>,
    ) -> Result<()> {
        let mode = metadata.mode & 0o777;
        let create = || {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(&parent.fd, name, flags, Mode::from_raw_mode(mode))
        };
        let fd = self.create(path, name, parent, body, create)?;
        if entry.stored > 0
            && !parent.via_link
            && let Some(recorder) = body.recorder()
        {
            recorder.file(path, entry.stored, entry.sparse.as_deref())?;
        }
        match body {
            Body::File(None) => {}
            Body::File(Some((source, stat))) => {
                copy_content(
                    source,
                    fd.as_fd(),
                    stat,
                    path,
                    &self.abilities,
                    self.control,
                )?;
            }
            // Content behind a link is recorded itself: the path may lead elsewhere later.
            Body::Archive(archive) => {
                self.content(path, fd.as_fd(), entry, archive, parent.via_link)?;
            }
        }
        let skipped = metadata
            .set(fd.as_fd(), self.me, mode & !self.umask)
            .context("set metadata of", || show(path))?;
        self.skipped += skipped;
        Ok(())
    }

    /// Writes the content of a file, holes left out.
    fn content(
        &self,
        path: &[u8],
        fd: BorrowedFd<'_>,
        entry: &Entry,
        archive: &mut Archive<'_>,
        inline: bool,
    ) -> Result<()> {
        let mut recorder = if inline {
            archive.feed().recorder.take()
        } else {
            None
        };
        let whole = [Region {
            offset: 0,
            len: entry.stored,
        }];
        for region in entry.sparse.as_deref().unwrap_or(&whole) {
            let mut offset = region.offset;
            let end = region.offset + region.len;
            while offset < end {
                let Some(slice) = archive.content(end - offset)? else {
                    break;
                };
                if let Some(recorder) = &mut recorder {
                    recorder.bytes(slice)?;
                }
                let mut rest = slice;
                while !rest.is_empty() {
                    let n = match rustix::io::pwrite(fd, rest, offset) {
                        Err(Errno::INTR) => continue,
                        other => other.context("write", || show(path))?,
                    };
                    rest = &rest[n..];
                    offset += n as u64;
                }
                self.control.check()?;
            }
        }
        if entry.sparse.is_some() {
            rustix::fs::ftruncate(fd, entry.size).context("write", || show(path))?;
        }
        if inline {
            archive.feed().recorder = recorder;
        }
        Ok(())
    }

    pub(super) fn directory(
        &mut self,
        path: &[u8],
        name: &[u8],
        parent: &Parent,
        metadata: Metadata,
        body: &mut Body<'_, '_>,
    ) -> Result<()> {
        let make = || mkdirat(&parent.fd, name, Mode::from_raw_mode(0o755));
        let fresh = match make() {
            Ok(()) => true,
            Err(Errno::EXIST) => {
                let stat = root::stat(parent.fd.as_fd(), name)?;
                let overlay = self.options.whiteouts == Whiteouts::Overlay;
                let whiteout = overlay && stat.as_ref().is_some_and(root::is_whiteout);
                if stat
                    .is_none_or(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory)
                {
                    if self.options.keep_kinds {
                        return Err(other_kind("overwrite non-directory", path));
                    }
                    self.clear(path, name, parent, body)?;
                    make().context("create directory", || show(path))?;
                    if whiteout {
                        root::make_opaque(parent.fd.as_fd(), name)
                            .context("make opaque", || show(path))?;
                    }
                    true
                } else if self.options.cross.is_some()
                    && self.root.open_list(parent.fd.as_fd(), name).err() == Some(Errno::XDEV)
                {
                    // Where the kernel's own file system is mounted: its attributes are not to be copied.
                    return Ok(());
                } else {
                    false
                }
            }
            Err(e) => return Err(e).context("create directory", || show(path)),
        };
        let stat = root::stat(parent.fd.as_fd(), name)?
            .ok_or_else(|| Error::errno("create directory", show(path), libc::ENOENT))?;
        let identity = (stat.st_dev, stat.st_ino);
        let key = self.real_path(path, name, parent)?;
        self.dirs.insert(
            key,
            PendingDir {
                metadata,
                identity,
                fresh,
            },
        );
        Ok(())
    }

    pub(super) fn hardlink(
        &mut self,
        path: &[u8],
        name: &[u8],
        parent: &Parent,
        entry: &Entry,
        body: &mut Body<'_, '_>,
    ) -> Result<()> {
        let target = clean(&entry.link, &self.options.limits)?;
        let broken = |why| {
            Error::new(
                Kind::Corrupt,
                "unpack",
                show(path),
                format!("hard link to {}, {why}", show(&target)),
            )
        };
        let (dir, source_name) = split(&target);
        let source = match self.root.parent(dir, Missing::Fail) {
            Ok(source) => source,
            Err(e) if e.kind == Kind::NotFound => return Err(broken("which is not in this layer")),
            Err(e) => return Err(e),
        };
        if source_name.is_empty() {
            return Err(broken("which is a directory"));
        }
        let Some(stat) = root::stat(source.fd.as_fd(), source_name)? else {
            return Err(broken("which is not in this layer"));
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(broken("which is a directory"));
        }
        if self.options.whiteouts == Whiteouts::Overlay && root::is_whiteout(&stat) {
            return Err(broken("which this layer deletes"));
        }
        let old = root::stat(parent.fd.as_fd(), name)?;
        if old.is_some_and(|old| (old.st_dev, old.st_ino) == (stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        // Without AT_SYMLINK_FOLLOW: a link to a symbolic link is another name of the symbolic link.
        let create = || linkat(&source.fd, source_name, &parent.fd, name, AtFlags::empty());
        match self.create(path, name, parent, body, create) {
            Err(e) if e.errno == Some(libc::ENOENT) => Err(broken("which it replaces")),
            other => other,
        }
    }

    pub(super) fn node(
        &mut self,
        path: &[u8],
        name: &[u8],
        parent: &Parent,
        entry: &Entry,
        metadata: &Metadata,
        body: &mut Body<'_, '_>,
    ) -> Result<()> {
        let link = entry.kind == EntryKind::Symlink;
        if link {
            if entry.link.is_empty() || entry.link.contains(&0) {
                return Err(Error::new(
                    Kind::Corrupt,
                    "unpack",
                    show(path),
                    "symbolic link without a target",
                ));
            }
            if entry.link.len() > self.options.limits.path {
                return Err(exceeded(
                    "path",
                    format!("link target of {} bytes", entry.link.len()),
                ));
            }
        }
        let (major, minor) = entry.device;
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(metadata.mode & 0o777);
        let kind = match entry.kind {
            EntryKind::Symlink => FileType::Symlink,
            EntryKind::Char => FileType::CharacterDevice,
            EntryKind::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let create = || {
            if link {
                symlinkat(entry.link.as_slice(), &parent.fd, name)
            } else {
                mknodat(
                    &parent.fd,
                    name,
                    kind,
                    mode,
                    if kind == FileType::Fifo { 0 } else { device },
                )
            }
        };
        self.create(path, name, parent, body, create)?;
        self.skipped += metadata.set_node(parent.fd.as_fd(), name, kind, self.me)?;
        Ok(())
    }

    /// Makes something where nothing may be; what is there goes first.
    fn create<T>(
        &mut self,
        path: &[u8],
        name: &[u8],
        parent: &Parent,
        body: &mut Body<'_, '_>,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<T> {
        match make() {
            Err(Errno::EXIST) => {
                let old = root::stat(parent.fd.as_fd(), name)?;
                if self.options.keep_kinds
                    && old.is_some_and(|old| {
                        FileType::from_raw_mode(old.st_mode) == FileType::Directory
                    })
                {
                    return Err(other_kind("overwrite directory", path));
                }
                self.clear(path, name, parent, body)?;
                make().context("create", || show(path))
            }
            other => other.context("create", || show(path)),
        }
    }

    /// The path of an entry on disk, which differs from that in the archive where its parent is behind a link.
    fn real_path(&self, path: &[u8], name: &[u8], parent: &Parent) -> Result<Vec<u8>> {
        if !parent.via_link || self.options.whiteouts == Whiteouts::Plain {
            return Ok(path.to_vec());
        }
        let mut real = root::real_path(self.root.fd(), parent.fd.as_fd())?;
        if !real.is_empty() {
            real.push(b'/');
        }
        real.extend_from_slice(name);
        Ok(real)
    }

    /// Deletes what is at `path`, with everything inside; remembers content that the tar-split file refers to.
    pub(super) fn clear(
        &mut self,
        path: &[u8],
        name: &[u8],
        parent: &Parent,
        body: &mut Body<'_, '_>,
    ) -> Result<()> {
        let Some(stat) = root::stat(parent.fd.as_fd(), name)? else {
            return Ok(());
        };
        // Taking away what another mount namespace has mounted something on unmounts that there.
        if self.options.cross.is_some()
            && metadata::open_node(parent.fd.as_fd(), name).err() == Some(Errno::XDEV)
        {
            return Err(Error::errno("replace", show(path), libc::EBUSY));
        }
        let real = self.real_path(path, name, parent)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                if let Some(recorder) = body.recorder() {
                    record_tree(recorder, &real, parent.fd.as_fd(), name)?;
                }
                let mut prefix = real.clone();
                prefix.push(b'/');
                self.dirs
                    .retain(|dir, _| *dir != real && !dir.starts_with(&prefix));
                let name = CString::new(name)
                    .map_err(|_| Error::errno("remove", show(path), libc::EINVAL))?;
                remove::remove_at(parent.fd.as_fd(), &name, self.control)?;
                self.root.forget();
            }
            kind => {
                if kind == FileType::RegularFile
                    && let Some(recorder) = body.recorder()
                {
                    record_file(recorder, &real, parent.fd.as_fd(), name)?;
                }
                unlinkat(&parent.fd, name, AtFlags::empty()).context("replace", || show(path))?;
                if kind == FileType::Symlink {
                    self.root.forget();
                }
            }
        }
        Ok(())
    }
}

/// The error of something that must not take the place of something of another kind.
fn other_kind(op: &'static str, path: &[u8]) -> Error {
    let why = "a directory cannot take the place of something else, nor the reverse";
    Error::new(Kind::Conflict, op, show(path), why)
}

/// Remembers the content of a file that goes.
fn record_file(
    recorder: &mut Recorder,
    path: &[u8],
    at: BorrowedFd<'_>,
    name: &[u8],
) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = openat(at, name, flags, Mode::empty()).context("read", || show(path))?;
    recorder.replaced(path, File::from(fd))
}

/// Remembers the content of all files of a directory that goes.
fn record_tree(
    recorder: &mut Recorder,
    path: &[u8],
    at: BorrowedFd<'_>,
    name: &[u8],
) -> Result<()> {
    // The depth is that of the archive's paths, which is limited.
    let fd = dir::open_list(at, name).context("read", || show(path))?;
    for (child, _) in dir::list(&fd, usize::MAX).context("read", || show(path))? {
        let child = child.to_bytes();
        let inner = [path, b"/", child].concat();
        let Some(stat) = root::stat(fd.as_fd(), child)? else {
            continue;
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => record_tree(recorder, &inner, fd.as_fd(), child)?,
            FileType::RegularFile => record_file(recorder, &inner, fd.as_fd(), child)?,
            _ => {}
        }
    }
    Ok(())
}
