//! A layer's tar becomes a directory.
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, mkdirat, mknodat, openat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::archive::{Archive, Entry, EntryKind};
use super::control::{Control, Deadline};
use super::decompress::{Compression, Digests, Pipeline};
use super::feed::Feed;
use super::limits::{Limits, exceeded};
use super::metadata::{self, Metadata};
use super::owner::IdMap;
use super::path::{clean, parts, show, split};
use super::root::{self, Missing, Parent, Root};
use super::split::Recorder;
use super::{dir, remove, whiteout};
use crate::{Context, Error, Kind, Result};

/// How deleted names of a layer reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// As overlayfs wants them: character devices 0:0 and opaque directories. The target holds one layer.
    Overlay,
    /// By deleting: the target holds a copy of the layers below.
    Delete,
}

/// How to unpack.
#[derive(Debug, Clone)]
pub struct Options {
    /// The compression; `None` means to look at the data.
    pub compression: Option<Compression>,
    /// What becomes of whiteouts.
    pub whiteouts: Whiteouts,
    /// What the archive may ask for.
    pub limits: Limits,
    /// Owners of the archive to owners on disk.
    pub map: IdMap,
    /// Sets owners; without, everything belongs to the caller.
    pub owners: bool,
    /// Waits until the whole file system is on disk.
    pub durable: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            compression: None,
            whiteouts: Whiteouts::Overlay,
            limits: Limits::default(),
            map: IdMap::default(),
            owners: true,
            durable: false,
        }
    }
}

/// What was unpacked.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// Digests and sizes of the stream.
    pub digests: Digests,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of all files together, each hard link counted once, holes included.
    pub files_size: u64,
    /// Extended attributes that the file system refused or that a layer must not have.
    pub skipped_xattrs: u64,
}

/// Unpacks the archive read from `source` into the directory `target`, and records into `tar_split` what is needed to
/// write the same archive again from the directory.
///
/// On failure the target holds part of the layer; the caller removes it.
///
/// # Errors
/// `Corrupt` for damaged or ambiguous archives, `Denied` for paths that leave the target, `Limit` for bombs,
/// `Unsupported` for formats and entry types not known here, `Timeout` after [`Limits::time`], and those of the
/// file system (`ENOSPC`, …). `EINTR` after [`Control::cancel`].
pub fn unpack(
    source: BorrowedFd<'_>,
    target: OwnedFd,
    tar_split: Option<File>,
    options: &Options,
    control: &Arc<Control>,
) -> Result<Unpacked> {
    if tar_split.is_some() && options.whiteouts == Whiteouts::Delete {
        let why = "a tar-split file needs a directory that holds this layer alone";
        return Err(Error::new(Kind::Invalid, "unpack", "layer", why));
    }
    let deadline = Deadline::after(options.limits.time);
    let recorder = tar_split.map(Recorder::new).transpose()?;
    let target =
        dir::open_list(target.as_fd(), ".").context("open", || "directory to unpack into")?;
    let ((recorder, ended, done), digests) = std::thread::scope(|scope| {
        let mut pipeline = Pipeline::start(
            scope,
            source,
            options.compression,
            &options.limits,
            control,
            deadline,
        );
        let feed = Feed::new(pipeline.chunks(), recorder);
        let result = Unpacker::new(&target, options, control)
            .and_then(|unpacker| unpacker.run(feed, deadline));
        pipeline.finish(result)
    })?;
    // Compressed data says itself where it ends.
    if !ended && digests.compression == Compression::None {
        return Err(no_end());
    }
    if let Some(recorder) = recorder {
        let file = recorder.finish()?;
        if options.durable {
            file.sync_all().context("sync", || "tar-split file")?;
        }
    }
    if options.durable {
        rustix::fs::syncfs(&target).context("sync", || "file system of the layer")?;
    }
    Ok(Unpacked { digests, ..done })
}

/// Unpacks an archive from memory, on the caller's thread; for tests and fuzzers.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_bytes(bytes: &[u8], target: OwnedFd, options: &Options) -> Result<u64> {
    let control = Arc::new(Control::default());
    control.read.store(bytes.len() as u64, Relaxed);
    let unpacker = Unpacker::new(&target, options, &control)?;
    match unpacker.run(Feed::from_bytes(bytes), Deadline::after(None))? {
        (_, true, done) => Ok(done.entries),
        _ => Err(no_end()),
    }
}

fn no_end() -> Error {
    Error::new(
        Kind::Corrupt,
        "unpack",
        "layer",
        "archive is truncated: its end mark is missing",
    )
}

/// A directory whose metadata is set when everything inside is there.
struct PendingDir {
    metadata: Metadata,
    identity: remove::Identity,
    /// Made by us with our owner and mode.
    fresh: bool,
}

pub(super) struct Unpacker<'a> {
    pub(super) root: Root,
    pub(super) options: &'a Options,
    control: &'a Control,
    dirs: BTreeMap<Vec<u8>, PendingDir>,
    /// What this layer brought, parents included; only kept where whiteouts delete.
    pub(super) unpacked: BTreeSet<Vec<u8>>,
    /// Owner that the kernel gives new files.
    me: (u32, u32),
    umask: u32,
    files_size: u64,
    holes: u64,
    skipped: u64,
}

/// No owner at all: whatever is compared to it differs.
const UNKNOWN: (u32, u32) = (u32::MAX, u32::MAX);

impl<'a> Unpacker<'a> {
    fn new(target: &OwnedFd, options: &'a Options, control: &'a Control) -> Result<Self> {
        let target = target
            .try_clone()
            .context("duplicate", || "directory to unpack into")?;
        let stat = rustix::fs::fstat(&target).context("look at", || "directory to unpack into")?;
        let owner = if options.owners {
            Some(options.map.to_host(0, 0)?)
        } else {
            None
        };
        // Files in a set-group-id directory inherit its group.
        let inherits = stat.st_mode & 0o2000 != 0 || options.whiteouts == Whiteouts::Delete;
        let me = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let umask = umask();
        let mut root = Root::new(target, owner);
        root.umask = umask;
        Ok(Self {
            root,
            options,
            control,
            dirs: BTreeMap::new(),
            unpacked: BTreeSet::new(),
            me: if inherits { UNKNOWN } else { me },
            umask,
            files_size: 0,
            holes: 0,
            skipped: 0,
        })
    }

    fn run(
        mut self,
        feed: Feed<'_>,
        deadline: Deadline,
    ) -> Result<(Option<Recorder>, bool, Unpacked)> {
        let mut archive = Archive::new(feed, self.options.limits.clone());
        let mut entries = 0;
        while let Some(entry) = archive.next_entry()? {
            self.control.check()?;
            deadline.check()?;
            self.entry(&entry, &mut archive)?;
            entries += 1;
            self.control.entries.store(entries, Relaxed);
        }
        if self.options.whiteouts == Whiteouts::Overlay && !self.dirs.contains_key(&b""[..]) {
            let top = dir::open_list(self.root.fd(), ".")
                .context("open", || "directory to unpack into")?;
            rustix::fs::fchmod(top, Mode::from_raw_mode(0o755))
                .context("set mode of", || "directory to unpack into")?;
        }
        self.finish_dirs()?;
        let done = Unpacked {
            digests: Digests {
                digest: String::new(),
                compressed_size: 0,
                diff_id: String::new(),
                size: 0,
                compression: Compression::None,
            },
            entries,
            files_size: self.files_size,
            skipped_xattrs: self.skipped,
        };
        let ended = archive.ended;
        Ok((archive.into_feed().recorder, ended, done))
    }

    fn entry(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<()> {
        let path = clean(&entry.path, &self.options.limits)?;
        if path.is_empty() {
            if entry.kind != EntryKind::Directory {
                let why = "the top of a layer must be a directory";
                return Err(Error::new(Kind::Corrupt, "unpack", show(&entry.path), why));
            }
            let top = self.root.fd();
            let identity =
                remove::identity_of(top).context("look at", || "directory to unpack into")?;
            let metadata = self.metadata(&path, entry)?;
            self.dirs.insert(
                path,
                PendingDir {
                    metadata,
                    identity,
                    fresh: false,
                },
            );
            return Ok(());
        }
        match whiteout::classify(&path)? {
            whiteout::Name::Plain => {}
            whiteout::Name::Ignored => return Ok(()),
            whiteout::Name::Opaque(dir) => return whiteout::opaque(self, dir, archive),
            whiteout::Name::Deleted(dir, name) => {
                return whiteout::deleted(self, dir, name, archive);
            }
        }
        self.claim(entry)?;
        let metadata = self.metadata(&path, entry)?;
        let (dir, name) = split(&path);
        // A hard link's source first: making the parent of the new name must not move it.
        let parent = self.root.parent(dir, self.missing())?;
        match entry.kind {
            EntryKind::File => self.file(&path, name, &parent, entry, &metadata, archive)?,
            EntryKind::Directory => self.directory(&path, name, &parent, metadata, archive)?,
            EntryKind::Hardlink => self.hardlink(&path, name, &parent, entry, archive)?,
            EntryKind::Symlink | EntryKind::Char | EntryKind::Block | EntryKind::Fifo => {
                self.node(&path, name, &parent, entry, &metadata, archive)?;
            }
        }
        if self.options.whiteouts == Whiteouts::Delete {
            let mut end = 0;
            for part in parts(&path) {
                end += part.len() + usize::from(end > 0);
                self.unpacked.insert(path[..end].to_vec());
            }
        }
        Ok(())
    }

    /// What to do about missing parents.
    pub(super) fn missing(&self) -> Missing {
        match self.options.whiteouts {
            Whiteouts::Overlay => Missing::CreateOverlay,
            Whiteouts::Delete => Missing::Create,
        }
    }

    /// Counts what an entry claims before anything is made of it.
    fn claim(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind == EntryKind::File {
            let limits = &self.options.limits;
            self.files_size = self.files_size.saturating_add(entry.size);
            if self.files_size > limits.size {
                return Err(exceeded(
                    "size",
                    format!("files of more than {} bytes", limits.size),
                ));
            }
            self.holes = self
                .holes
                .saturating_add(entry.size.saturating_sub(entry.stored));
            if self.holes > 0 {
                let size = self
                    .control
                    .size
                    .load(Relaxed)
                    .max(self.files_size - self.holes);
                limits.check_ratio(
                    size.saturating_add(self.holes),
                    self.control.read.load(Relaxed),
                )?;
            }
        }
        Ok(())
    }

    fn metadata(&mut self, path: &[u8], entry: &Entry) -> Result<Metadata> {
        let owner = if self.options.owners {
            Some(self.options.map.to_host(entry.uid, entry.gid)?)
        } else {
            None
        };
        let mut xattrs = Vec::new();
        for (name, value) in &entry.xattrs {
            metadata::check_xattr(path, name, value)?;
            if metadata::is_wanted(name) {
                xattrs.push((name.clone(), value.clone()));
            } else {
                self.skipped += 1;
            }
        }
        Ok(Metadata {
            owner,
            mode: entry.mode,
            mtime: entry.mtime,
            xattrs,
        })
    }

    fn file(
        &mut self,
        path: &[u8],
        name: &[u8],
        parent: &Parent,
        entry: &Entry,
        metadata: &Metadata,
        archive: &mut Archive<'_>,
    ) -> Result<()> {
        let mode = metadata.mode & 0o777;
        let create = || {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(&parent.fd, name, flags, Mode::from_raw_mode(mode))
        };
        let fd = self.create(path, name, parent, archive, create)?;
        if entry.stored > 0 && archive.feed().recorder.is_some() && !parent.via_link {
            let regions = entry.sparse.as_deref();
            if let Some(recorder) = &mut archive.feed().recorder {
                recorder.file(path, entry.stored, regions)?;
            }
        }
        // Content behind a link is recorded itself: the path may lead elsewhere later.
        let inline = parent.via_link;
        self.content(path, fd.as_fd(), entry, archive, inline)?;
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
        let whole = [super::archive::Region {
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

    fn directory(
        &mut self,
        path: &[u8],
        name: &[u8],
        parent: &Parent,
        metadata: Metadata,
        archive: &mut Archive<'_>,
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
                    self.clear(path, name, parent, archive)?;
                    make().context("create directory", || show(path))?;
                    if whiteout {
                        root::make_opaque(parent.fd.as_fd(), name)
                            .context("make opaque", || show(path))?;
                    }
                    true
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

    fn hardlink(
        &mut self,
        path: &[u8],
        name: &[u8],
        parent: &Parent,
        entry: &Entry,
        archive: &mut Archive<'_>,
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
        match self.create(path, name, parent, archive, create) {
            Err(e) if e.errno == Some(libc::ENOENT) => Err(broken("which it replaces")),
            other => other,
        }
    }

    fn node(
        &mut self,
        path: &[u8],
        name: &[u8],
        parent: &Parent,
        entry: &Entry,
        metadata: &Metadata,
        archive: &mut Archive<'_>,
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
        self.create(path, name, parent, archive, create)?;
        self.skipped += metadata.set_node(parent.fd.as_fd(), name, link, self.me)?;
        Ok(())
    }

    /// Makes something where nothing may be; what is there goes first.
    fn create<T>(
        &mut self,
        path: &[u8],
        name: &[u8],
        parent: &Parent,
        archive: &mut Archive<'_>,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<T> {
        match make() {
            Err(Errno::EXIST) => {
                self.clear(path, name, parent, archive)?;
                make().context("create", || show(path))
            }
            other => other.context("create", || show(path)),
        }
    }

    /// The path of an entry on disk, which differs from that in the archive where its parent is behind a link.
    fn real_path(&self, path: &[u8], name: &[u8], parent: &Parent) -> Result<Vec<u8>> {
        if !parent.via_link {
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
        archive: &mut Archive<'_>,
    ) -> Result<()> {
        let Some(stat) = root::stat(parent.fd.as_fd(), name)? else {
            return Ok(());
        };
        let real = self.real_path(path, name, parent)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                if let Some(recorder) = &mut archive.feed().recorder {
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
                    && let Some(recorder) = &mut archive.feed().recorder
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

    /// Sets what directories get, innermost first: nothing is made inside them any more.
    fn finish_dirs(&mut self) -> Result<()> {
        for (path, pending) in std::mem::take(&mut self.dirs).into_iter().rev() {
            let (dir, name) = split(&path);
            let fd = if path.is_empty() {
                dir::open_list(self.root.fd(), ".")
            } else {
                dir::open_list(self.root.parent(dir, Missing::Fail)?.fd.as_fd(), name)
            };
            let fd = fd.context("open directory", || show(&path))?;
            let found = remove::identity_of(fd.as_fd()).context("look at", || show(&path))?;
            if found != pending.identity {
                return Err(Error::new(
                    Kind::Busy,
                    "unpack",
                    show(&path),
                    "directory was exchanged during unpacking",
                ));
            }
            let (has, mode) = if pending.fresh {
                (self.me, 0o755 & !self.umask)
            } else {
                (UNKNOWN, u32::MAX)
            };
            let skipped = pending
                .metadata
                .set(fd.as_fd(), has, mode)
                .context("set metadata of", || show(&path))?;
            self.skipped += skipped;
        }
        Ok(())
    }
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

/// The process's umask; asking by umask(2) would set it for all threads.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    // Without an answer every mode is set explicitly.
    value
        .and_then(|value| u32::from_str_radix(value.trim(), 8).ok())
        .unwrap_or(0o7777)
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
