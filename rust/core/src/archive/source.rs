//! What is copied: a file, or a directory with everything in it, as entries.
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::tree::{Tree, is_kernels, text_of};
use crate::layer::archive::{Entry, EntryKind};
use crate::layer::metadata::{self, read_node_xattrs, read_xattrs};
use crate::layer::path::show;
use crate::layer::walk::{Found, Walk};
use crate::layer::{Control, IdMap, dir};
use crate::path::text;
use crate::{Context, Error, Kind, Result};

/// The owner of what the container's map does not know.
const NOBODY: u32 = 65534;

/// How often a name that is exchanged while it is looked at is looked at again.
const RACES: u32 = 16;

/// A file or directory to copy, pinned.
pub struct Source<'a> {
    fd: OwnedFd,
    stat: Stat,
    /// Nothing in it is to be seen.
    hidden: bool,
    tree: Option<&'a Tree>,
}

/// Takes one entry; with a regular file comes its content, and what the open file is.
pub type Sink<'a> = dyn FnMut(&Entry, Option<(&OwnedFd, &Stat)>) -> Result<()> + 'a;

impl<'a> Source<'a> {
    /// What a container has at `path`.
    ///
    /// # Errors
    /// As [`Tree::stat`]; `Invalid` for a socket.
    pub fn container(tree: &'a Tree, path: &[u8]) -> Result<Self> {
        let node = tree.find(path)?;
        let source = Self {
            fd: node.fd,
            stat: node.stat,
            hidden: node.hidden,
            tree: Some(tree),
        };
        source.check(&text_of(path))
    }

    /// What the host has at `path`, which is the caller's word; a link in the last place is not followed, unless a slash follows.
    ///
    /// # Errors
    /// The kernel's; `Invalid` for a socket.
    pub fn host(path: &Path) -> Result<Self> {
        let subject = || text(path);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty()).context("open", subject)?;
        let stat = fstat(&fd).context("look at", subject)?;
        let source = Self {
            fd,
            stat,
            hidden: false,
            tree: None,
        };
        source.check(&subject())
    }

    fn check(self, subject: &str) -> Result<Self> {
        if FileType::from_raw_mode(self.stat.st_mode) == FileType::Socket {
            let why = "it is a socket, and archives cannot hold one";
            return Err(Error::new(Kind::Invalid, "copy", subject, why));
        }
        Ok(self)
    }

    /// Gives every entry to `sink`: the top as `name`, and below it `name/…`, directories before what is in them, names
    /// sorted. Sockets are left out; what is deleted meanwhile, too.
    ///
    /// # Errors
    /// Those of reading, and `sink`'s.
    pub fn entries(&self, name: &[u8], control: &Control, sink: &mut Sink<'_>) -> Result<()> {
        let none = IdMap::default();
        let mut reader = Reader {
            map: self.tree.map_or(&none, |tree| &tree.map),
            links: HashMap::new(),
            sink,
        };
        if FileType::from_raw_mode(self.stat.st_mode) != FileType::Directory {
            let done = reader.node(name.to_vec(), self.fd.as_fd(), &self.stat)?;
            return if done { Ok(()) } else { Err(exchanged(name)) };
        }
        let subject = || show(name);
        let top = openat(
            &self.fd,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .context("open", subject)?;
        let prefix = if name.ends_with(b"/") {
            name.to_vec()
        } else {
            [name, b"/"].concat()
        };
        reader.directory(prefix.clone(), top.as_fd(), &self.stat)?;
        if self.hidden {
            return Ok(());
        }
        let hidden = |fd: BorrowedFd<'_>| match self.tree {
            Some(tree) => tree.leaves_out(fd),
            None => is_kernels(fd),
        };
        let mut walk = Walk::across(top, control, &hidden)?;
        while let Some(found) = walk.next()? {
            control.check()?;
            let path = [prefix.as_slice(), &found.path].concat();
            reader.one(path, &found)?;
        }
        Ok(())
    }
}

fn exchanged(path: &[u8]) -> Error {
    let why = "it is exchanged all the time";
    Error::new(Kind::Busy, "read", show(path), why)
}

struct Reader<'a, 'b> {
    map: &'a IdMap,
    /// First path of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    sink: &'a mut Sink<'b>,
}

impl Reader<'_, '_> {
    fn one(&mut self, mut path: Vec<u8>, found: &Found) -> Result<()> {
        let at = found.parent.as_fd();
        if found.kind() == FileType::Directory {
            path.push(b'/');
            return match dir::open(at, found.name.as_slice(), OFlags::RDONLY, true) {
                Ok(fd) => self.directory(path, fd.as_fd(), &found.stat),
                // The walk has been inside: what it finds there comes without it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                    let entry = self.entry(EntryKind::Directory, path, &found.stat);
                    (self.sink)(&entry, None)
                }
                Err(e) => Err(e).context("open", || show(&path)),
            };
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..RACES {
            let node = match openat(at, found.name.as_slice(), flags, Mode::empty()) {
                Err(Errno::NOENT) => return Ok(()),
                other => other.context("open", || show(&path))?,
            };
            let stat = fstat(&node).context("look at", || show(&path))?;
            // A directory was no directory when the walk decided not to enter it.
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                continue;
            }
            if self.node(path.clone(), node.as_fd(), &stat)? {
                return Ok(());
            }
        }
        Err(exchanged(&path))
    }

    fn entry(&self, kind: EntryKind, path: Vec<u8>, stat: &Stat) -> Entry {
        let (uid, gid) = self
            .map
            .to_archive(stat.st_uid, stat.st_gid)
            .unwrap_or((NOBODY, NOBODY));
        Entry {
            path,
            uid: uid.into(),
            gid: gid.into(),
            ..Entry::from_stat(kind, b"", stat)
        }
    }

    fn directory(&mut self, path: Vec<u8>, fd: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
        let xattrs = if is_kernels(fd) {
            Vec::new()
        } else {
            read_xattrs(fd).context("read attributes of", || show(&path))?
        };
        let mut entry = self.entry(EntryKind::Directory, path, stat);
        entry.xattrs = xattrs;
        (self.sink)(&entry, None)
    }

    /// Anything but a directory, by a descriptor that points at it; false when it is not what `stat` says any more.
    fn node(&mut self, path: Vec<u8>, node: BorrowedFd<'_>, stat: &Stat) -> Result<bool> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => EntryKind::Symlink,
            FileType::CharacterDevice => EntryKind::Char,
            FileType::BlockDevice => EntryKind::Block,
            FileType::Fifo => EntryKind::Fifo,
            _ => return Ok(true),
        };
        if stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&id) {
                let link = first.clone();
                let mut entry = self.entry(EntryKind::Hardlink, path, stat);
                entry.link = link;
                return (self.sink)(&entry, None).map(|()| true);
            }
            self.links.insert(id, path.clone());
        }
        if kind == EntryKind::File {
            let opened = metadata::reopen_regular(node).context("open", || show(&path))?;
            let Some((file, stat)) = opened else {
                return Ok(false);
            };
            let xattrs = read_xattrs(file.as_fd()).context("read attributes of", || show(&path))?;
            let mut entry = self.entry(kind, path, &stat);
            entry.xattrs = xattrs;
            return (self.sink)(&entry, Some((&file, &stat))).map(|()| true);
        }
        let mut entry = self.entry(kind, path, stat);
        if kind == EntryKind::Symlink {
            let target =
                readlinkat(node, c"", Vec::new()).context("read link", || show(&entry.path))?;
            entry.link = target.into_bytes();
        }
        entry.xattrs =
            read_node_xattrs(node).context("read attributes of", || show(&entry.path))?;
        (self.sink)(&entry, None).map(|()| true)
    }
}
