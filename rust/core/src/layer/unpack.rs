//! A layer's tar becomes a directory.
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::{Mode, Stat};

use super::archive::{Archive, Entry, EntryKind};
use super::body::Body;
use super::content::Abilities;
use super::control::{Control, Deadline};
use super::decompress::{Compression, Digests, Input, Pipeline};
use super::feed::Feed;
use super::limits::{Limits, exceeded};
use super::metadata::{self, Metadata};
use super::owner::IdMap;
use super::path::{clean, parts, show, split};
use super::root::{Kept, Missing, Root};
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
    /// They are names like any other: the archive is no layer.
    Plain,
}

/// Who gets the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Whom the archive names, mapped.
    Archive,
    /// The caller.
    Caller,
    /// This user and group, in the archive's numbers, mapped.
    Fixed(u32, u32),
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
    /// Who gets what is made.
    pub owner: Owner,
    /// A directory never takes the place of something else, nor the reverse: that is an error.
    pub keep_kinds: bool,
    /// Mounts in the target are part of it, but those that this says true of; without it they are errors.
    pub cross: Option<Kept>,
    /// Digests are made.
    pub hashed: bool,
    /// What others could gain rights by is not made: set-user-id and set-group-id bits, file capabilities, and devices
    /// that anybody but their owner may use.
    pub tame: bool,
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
            owner: Owner::Archive,
            keep_kinds: false,
            cross: None,
            hashed: true,
            tame: false,
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
    if tar_split.is_some() && options.whiteouts != Whiteouts::Overlay {
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
            options.hashed,
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

/// Unpacks an archive from memory, on the caller's thread; errors as in [`unpack`].
#[cfg(test)]
pub(crate) fn unpack_bytes(bytes: &[u8], target: OwnedFd, options: &Options) -> Result<u64> {
    let control = Arc::new(Control::default());
    control.read.store(bytes.len() as u64, Relaxed);
    let unpacker = Unpacker::new(&target, options, &control)?;
    match unpacker.run(Feed::from_bytes(bytes), Deadline::after(None))? {
        (_, true, done) => Ok(done.entries),
        _ => Err(no_end()),
    }
}

/// Makes entries one by one in a directory, without an archive.
pub struct Placer<'a>(Unpacker<'a>);

impl<'a> Placer<'a> {
    /// Makes them in `target`.
    ///
    /// # Errors
    /// `Invalid` where the map has no root.
    pub fn new(target: &OwnedFd, options: &'a Options, control: &'a Control) -> Result<Self> {
        Unpacker::new(target, options, control).map(Self)
    }

    /// Makes one; `content` is the file that a regular file gets its content from, and what it is.
    ///
    /// # Errors
    /// As [`unpack`].
    pub fn place(&mut self, entry: &Entry, content: Option<(&OwnedFd, &Stat)>) -> Result<()> {
        self.0.entry(entry, &mut Body::File(content))
    }

    /// Sets what directories get when all is inside.
    ///
    /// # Errors
    /// `Busy` when a directory was exchanged, and the file system's.
    pub fn finish(mut self) -> Result<()> {
        self.0.finish_dirs()
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
    /// The file systems of sources and target copy between each other.
    pub(super) abilities: Abilities,
}

/// No owner at all: whatever is compared to it differs.
const UNKNOWN: (u32, u32) = (u32::MAX, u32::MAX);

impl<'a> Unpacker<'a> {
    fn new(target: &OwnedFd, options: &'a Options, control: &'a Control) -> Result<Self> {
        let target = target
            .try_clone()
            .context("duplicate", || "directory to unpack into")?;
        let stat = rustix::fs::fstat(&target).context("look at", || "directory to unpack into")?;
        let owner = match options.owner {
            Owner::Caller => None,
            Owner::Archive | Owner::Fixed(..) => Some(options.map.to_host(0, 0)?),
        };
        // Files in a set-group-id directory inherit its group.
        let inherits = stat.st_mode & 0o2000 != 0 || options.whiteouts != Whiteouts::Overlay;
        let me = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let umask = umask();
        let mut root = Root::new(target, owner);
        root.umask = umask;
        root.cross = options.cross;
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
            abilities: Abilities::default(),
        })
    }

    fn run(
        mut self,
        feed: Feed<'_>,
        deadline: Deadline,
    ) -> Result<(Option<Recorder>, bool, Unpacked)> {
        let mut feed = feed;
        let done = |entries, files_size, skipped_xattrs| Unpacked {
            digests: Digests {
                digest: String::new(),
                compressed_size: 0,
                diff_id: String::new(),
                size: 0,
                compression: Compression::None,
            },
            entries,
            files_size,
            skipped_xattrs,
        };
        // No archive at all is what a pipe from a program gives that had nothing to say, not a damaged layer.
        if self.options.whiteouts == Whiteouts::Plain && feed.is_empty()? {
            return Ok((None, true, done(0, 0, 0)));
        }
        let mut archive = Archive::new(feed, self.options.limits.clone());
        let mut entries = 0;
        while let Some(entry) = archive.next_entry()? {
            self.control.check()?;
            deadline.check()?;
            self.entry(&entry, &mut Body::Archive(&mut archive))?;
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
        let ended = archive.ended;
        let done = done(entries, self.files_size, self.skipped);
        Ok((archive.into_feed().recorder, ended, done))
    }

    /// Makes what `entry` says.
    fn entry(&mut self, entry: &Entry, body: &mut Body<'_, '_>) -> Result<()> {
        let path = clean(&entry.path, &self.options.limits)?;
        if path.is_empty() {
            if entry.kind != EntryKind::Directory {
                let why = "the top of a layer must be a directory";
                return Err(Error::new(Kind::Corrupt, "unpack", show(&entry.path), why));
            }
            if self.options.whiteouts == Whiteouts::Plain {
                // The directory to copy into stays what it is.
                return Ok(());
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
        if self.options.whiteouts != Whiteouts::Plain {
            match whiteout::classify(&path)? {
                whiteout::Name::Plain => {}
                whiteout::Name::Ignored => return Ok(()),
                whiteout::Name::Opaque(dir) => return whiteout::opaque(self, dir, body),
                whiteout::Name::Deleted(dir, name) => {
                    return whiteout::deleted(self, dir, name, body);
                }
            }
        }
        self.claim(entry)?;
        let metadata = self.metadata(&path, entry)?;
        let (dir, name) = split(&path);
        // A hard link's source first: making the parent of the new name must not move it.
        let parent = self.root.parent(dir, self.missing())?;
        match entry.kind {
            EntryKind::File => self.file(&path, name, &parent, entry, &metadata, body)?,
            EntryKind::Directory => self.directory(&path, name, &parent, metadata, body)?,
            EntryKind::Hardlink => self.hardlink(&path, name, &parent, entry, body)?,
            EntryKind::Symlink | EntryKind::Char | EntryKind::Block | EntryKind::Fifo => {
                self.node(&path, name, &parent, entry, &metadata, body)?;
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
            Whiteouts::Delete | Whiteouts::Plain => Missing::Create,
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
        let map = &self.options.map;
        let owner = match self.options.owner {
            Owner::Caller => None,
            Owner::Archive => Some(map.to_host(entry.uid, entry.gid)?),
            Owner::Fixed(uid, gid) => Some(map.to_host(uid.into(), gid.into())?),
        };
        let tame = self.options.tame;
        let mode = match entry.kind {
            EntryKind::Char | EntryKind::Block if tame => entry.mode & 0o700,
            EntryKind::File if tame => entry.mode & 0o1777,
            _ => entry.mode,
        };
        let mut xattrs = Vec::new();
        for (name, value) in &entry.xattrs {
            metadata::check_xattr(path, name, value)?;
            if metadata::is_wanted(name) && !(tame && name == b"security.capability") {
                xattrs.push((name.clone(), value.clone()));
            } else {
                self.skipped += 1;
            }
        }
        Ok(Metadata {
            owner,
            mode,
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
                let parent = self.root.parent(dir, Missing::Fail)?;
                self.root.open_list(parent.fd.as_fd(), name)
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
#[path = "unpack_tests/mod.rs"]
mod tests;
