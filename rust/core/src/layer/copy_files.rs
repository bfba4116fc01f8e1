//! Contents and metadata of the files of a copy: several at once when there are enough of them.
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle, available_parallelism};

use rustix::fs::{Mode, OFlags, ResolveFlags, Stat, openat2};
use rustix::io::Errno;

use super::content::{Abilities, copy_content};
use super::control::Control;
use super::copy::{UNKNOWN, metadata_of};
use super::metadata;
use super::owner::IdMap;
use super::path::show;
use crate::{Context, Error, Kind, Result};

/// What is copied before threads are worth their start.
const ALONE_FILES: u32 = 32;
const ALONE_BYTES: u64 = 4 << 20;

/// The most threads: the disk has no use for more.
const THREADS: usize = 8;

/// Open files that wait for a thread.
const WAITING: usize = 64;

/// A file that was made, and what it becomes a copy of.
pub(super) struct File {
    pub path: Vec<u8>,
    pub source: OwnedFd,
    pub stat: Stat,
    /// Empty, open for writing.
    pub target: OwnedFd,
}

/// The directories that a tree is the merged view of.
pub(super) struct Layers {
    /// Their tops, the highest first.
    pub tops: Vec<OwnedFd>,
    /// The path of the tree in them.
    pub inside: Vec<u8>,
}

impl Layers {
    /// The file of a layer that `path` of the view shows, if that is certain.
    pub fn find(&self, path: &[u8], shown: &Stat) -> Option<OwnedFd> {
        let mut whole = self.inside.clone();
        if !whole.is_empty() {
            whole.push(b'/');
        }
        whole.extend_from_slice(path);
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = self
            .tops
            .iter()
            .map(|top| openat2(top, whole.as_slice(), flags, Mode::empty(), resolve))
            .find(|opened| !matches!(opened, Err(Errno::NOENT)))?
            .ok()?;
        let (file, stat) = metadata::reopen_regular(found.as_fd()).ok()??;
        // overlayfs shows the numbers of the file below; a directory in between that hides it would make them another's.
        let same = |s: &Stat| (s.st_ino, s.st_size, s.st_mtime, s.st_mtime_nsec, s.st_ctime);
        (same(&stat) == same(shown)).then_some(file)
    }
}

/// What all threads share.
pub(super) struct Work<'a> {
    map: &'a IdMap,
    control: &'a Control,
    layers: Option<&'a Layers>,
    abilities: Abilities,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl<'a> Work<'a> {
    pub fn new(map: &'a IdMap, control: &'a Control, layers: Option<&'a Layers>) -> Self {
        Self {
            map,
            control,
            layers,
            abilities: Abilities::default(),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// Gives a file its content and metadata; how many attributes were refused.
    fn one(&self, file: &File) -> Result<u64> {
        let subject = || show(&file.path);
        let (source, stat) = (&file.source, &file.stat);
        let xattrs =
            metadata::read_xattrs(source.as_fd()).context("read attributes of", subject)?;
        if stat.st_size > 0 && !self.share(file).context("copy", subject)? {
            let target = file.target.as_fd();
            copy_content(
                source,
                target,
                stat,
                &file.path,
                &self.abilities,
                self.control,
            )?;
        }
        let metadata = metadata_of(self.map, stat, xattrs, &file.path)?;
        metadata
            .set(file.target.as_fd(), UNKNOWN, u32::MAX)
            .context("set metadata of", subject)
    }

    fn share(&self, file: &File) -> rustix::io::Result<bool> {
        if !self.abilities.may_share() {
            return Ok(false);
        }
        match self.layers {
            None => self.abilities.share(&file.source, &file.target),
            Some(layers) => match layers.find(&file.path, &file.stat) {
                Some(below) => self.abilities.share(&below, &file.target),
                None => Ok(false),
            },
        }
    }

    /// Works until there is no more; how many attributes were refused.
    fn until_end(&self, files: &Mutex<Receiver<File>>) -> u64 {
        let mut skipped = 0;
        loop {
            let next = files.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(file) = next else {
                return skipped;
            };
            if self.failed.load(Relaxed) {
                continue;
            }
            match self.one(&file) {
                Ok(more) => skipped += more,
                Err(e) => {
                    self.failed.store(true, Relaxed);
                    let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(e);
                }
            }
        }
    }
}

/// Where files go to get their content.
pub(super) struct Files<'a, 'scope> {
    scope: &'scope Scope<'scope, 'a>,
    work: &'a Work<'a>,
    alone_files: u32,
    alone_bytes: u64,
    threads: Vec<ScopedJoinHandle<'scope, u64>>,
    /// None: no threads yet, or none any more.
    queue: Option<SyncSender<File>>,
    skipped: u64,
}

impl<'a, 'scope> Files<'a, 'scope> {
    pub fn new(scope: &'scope Scope<'scope, 'a>, work: &'a Work<'a>) -> Self {
        Self {
            scope,
            work,
            alone_files: 0,
            alone_bytes: 0,
            threads: Vec::new(),
            queue: None,
            skipped: 0,
        }
    }

    /// Copies a file, now or later.
    ///
    /// # Errors
    /// That of this file, or `Busy` when another one has failed; then [`Self::finish`] has the cause.
    pub fn copy(&mut self, file: File) -> Result<()> {
        let size = file.stat.st_size.cast_unsigned();
        if self.queue.is_none() {
            if self.alone_files < ALONE_FILES && self.alone_bytes + size < ALONE_BYTES {
                self.alone_files += 1;
                self.alone_bytes += size;
                self.skipped += self.work.one(&file)?;
                return Ok(());
            }
            self.start();
        }
        let Some(queue) = &self.queue else {
            self.skipped += self.work.one(&file)?;
            return Ok(());
        };
        if self.work.failed.load(Relaxed) {
            let why = "another file could not be copied";
            return Err(Error::new(Kind::Busy, "copy", show(&file.path), why));
        }
        if let Err(returned) = queue.send(file) {
            // Only after a panic of all of them, which `finish` tells.
            drop(returned);
        }
        Ok(())
    }

    fn start(&mut self) {
        let cores = available_parallelism().map_or(1, usize::from);
        if cores < 2 {
            // One at a time is as fast.
            self.alone_files = 0;
            self.alone_bytes = 0;
            return;
        }
        let (queue, files) = sync_channel(WAITING);
        let files = std::sync::Arc::new(Mutex::new(files));
        for _ in 0..cores.min(THREADS) {
            let (work, files) = (self.work, std::sync::Arc::clone(&files));
            let thread = std::thread::Builder::new()
                .spawn_scoped(self.scope, move || work.until_end(&files));
            // Those that there are do the work of the others.
            self.threads.extend(thread.ok());
        }
        self.queue = (!self.threads.is_empty()).then_some(queue);
    }

    /// Waits for all files; how many attributes were refused.
    ///
    /// # Errors
    /// The first one of a file.
    pub fn finish(&mut self) -> Result<u64> {
        self.queue = None;
        let mut skipped = std::mem::take(&mut self.skipped);
        for thread in self.threads.drain(..) {
            skipped += thread.join().map_err(|_| {
                let why = "thread panicked";
                Error::new(Kind::System(libc::EIO), "copy", "files", why)
            })?;
        }
        let mut failure = self
            .work
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failure.take().map_or(Ok(skipped), Err)
    }
}
