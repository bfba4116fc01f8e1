//! A layer's tar becomes a directory.
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::Mode;

use super::archive::{Archive, Entry, EntryKind};
use super::control::{Control, Deadline};
use super::decompress::{Compression, Digests, Input, Pipeline};
use super::feed::Feed;
use super::limits::{Limits, exceeded};
use super::metadata::{self, Metadata};
use super::owner::IdMap;
use super::path::{clean, parts, show, split};
use super::root::{Missing, Root};
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
pub fn unpack<'a>(
    source: impl Into<Input<'a>>,
    target: OwnedFd,
    tar_split: Option<File>,
    options: &Options,
    control: &Arc<Control>,
) -> Result<Unpacked> {
    if tar_split.is_some() && options.whiteouts == Whiteouts::Delete {
        let why = "a tar-split file needs a directory that holds this layer alone";
        return Err(Error::new(Kind::Invalid, "unpack", "layer", why));
    }
    let source = source.into();
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
        )?;
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
pub(super) struct PendingDir {
    pub(super) metadata: Metadata,
    pub(super) identity: remove::Identity,
    /// Made by us with our owner and mode.
    pub(super) fresh: bool,
}

pub(super) struct Unpacker<'a> {
    pub(super) root: Root,
    pub(super) options: &'a Options,
    pub(super) control: &'a Control,
    pub(super) dirs: BTreeMap<Vec<u8>, PendingDir>,
    /// What this layer brought, parents included; only kept where whiteouts delete.
    pub(super) unpacked: BTreeSet<Vec<u8>>,
    /// Owner that the kernel gives new files.
    pub(super) me: (u32, u32),
    pub(super) umask: u32,
    files_size: u64,
    holes: u64,
    pub(super) skipped: u64,
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
