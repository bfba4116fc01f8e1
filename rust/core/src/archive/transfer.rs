//! Copies: a tree to a tar, a tar into a tree, a tree into a tree.
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::source::Source;
use super::tree::{Place, Tree, is_kernels};
use crate::layer::archive::{Entry, EntryKind};
use crate::layer::compress::Sink;
use crate::layer::tar::TarWriter;
use crate::layer::unpack::Placer;
use crate::layer::{Control, Input, Limits, Options, Owner, Whiteouts, unpack};
use crate::path::text;
use crate::{Context, Result};

/// How to copy.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Who gets the files, in the numbers of the side that they come from.
    pub owner: Owner,
    /// A directory never takes the place of something else, nor the reverse.
    pub keep_kinds: bool,
    /// Without set-user-id bits, file capabilities and devices for everybody.
    pub tame: bool,
}

impl Rules {
    fn options(self, tree: Option<&Tree>) -> Options {
        Options {
            whiteouts: Whiteouts::Plain,
            owner: self.owner,
            keep_kinds: self.keep_kinds,
            tame: self.tame,
            cross: Some(is_kernels),
            hashed: false,
            map: tree.map(|tree| tree.map.clone()).unwrap_or_default(),
            ..Options::default()
        }
    }
}

/// Writes `source` as a tar to `out`, the top named `name`.
///
/// # Errors
/// Those of reading and writing; `Busy` for a file that becomes shorter meanwhile.
pub fn read(source: &Source<'_>, name: &[u8], out: OwnedFd, control: &Arc<Control>) -> Result<()> {
    let mut sink = Sink::plain(out, control);
    let mut tar = TarWriter::new(&mut sink, None);
    source.entries(name, control, &mut |entry, content| {
        tar.header(entry)?;
        match content {
            Some((file, _)) => tar.content(&entry.path, file.as_fd(), entry.stored),
            None => Ok(()),
        }
    })?;
    tar.finish()?;
    sink.finish()?;
    Ok(())
}

/// Unpacks the tar that `input` gives, plain or compressed by gzip or zstd, into a container's directory.
///
/// # Errors
/// As [`unpack`].
pub fn write(
    input: Input<'_>,
    tree: &Tree,
    place: Place,
    rules: Rules,
    control: &Arc<Control>,
) -> Result<()> {
    unpack(input, place.fd, None, &rules.options(Some(tree)), control)?;
    Ok(())
}

/// Where [`copy`] puts files.
pub enum Target<'a> {
    /// A directory of a container.
    Container(&'a Tree, &'a Place),
    /// A directory of the host, which is the caller's word.
    Host(&'a Path),
}

/// Copies `source` into a directory, the top named `name`. [`Control::size`] counts the bytes of the tar that Docker would
/// have sent.
///
/// # Errors
/// Those of reading and writing; `Conflict` where [`Rules::keep_kinds`] forbids it.
pub fn copy(
    source: &Source<'_>,
    name: &[u8],
    target: &Target<'_>,
    rules: Rules,
    control: &Arc<Control>,
) -> Result<()> {
    let (opened, tree);
    let fd = match target {
        Target::Container(owner, place) => {
            tree = Some(*owner);
            &place.fd
        }
        Target::Host(path) => {
            tree = None;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            opened = openat(CWD, *path, flags, Mode::empty()).context("open", || text(path))?;
            &opened
        }
    };
    let options = Options {
        // The caller's own files are no bomb.
        limits: Limits {
            size: u64::MAX,
            entries: u64::MAX,
            ..Limits::default()
        },
        ..rules.options(tree)
    };
    let mut placer = Placer::new(fd, &options, control)?;
    // The end mark.
    let mut size = 1024;
    let mut count = 0;
    source.entries(name, control, &mut |entry, content| {
        placer.place(entry, content)?;
        size += tar_size(entry);
        count += 1;
        control.size.store(size, Relaxed);
        control.entries.store(count, Relaxed);
        Ok(())
    })?;
    placer.finish()
}

/// Bytes of an entry in Docker's archives, whose times have whole seconds.
fn tar_size(entry: &Entry) -> u64 {
    let long = |text: &[u8]| text.len() > 100 || !text.is_ascii();
    let extended = if long(&entry.path) || long(&entry.link) {
        1024
    } else {
        0
    };
    let content = if entry.kind == EntryKind::File {
        entry.size.next_multiple_of(512)
    } else {
        0
    };
    512 + extended + content
}
