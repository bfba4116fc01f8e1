//! What a container has changed of its image, as Docker tells it: by comparing what files are, not what is in them.
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use super::union::{Below, Union};
use crate::layer::metadata::{open_node, read_xattrs};
use crate::layer::path::{parts, show};
use crate::layer::root::is_whiteout;
use crate::layer::walk::{Found, Walk};
use crate::layer::{Control, IdMap, dir};
use crate::path::text;
use crate::{Context, Error, Kind, Result};

/// How a path differs from the image's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The image has another one, or something inside has changed.
    Modified,
    /// The image has none.
    Added,
    /// The image has one.
    Deleted,
}

/// Where the container's files are.
#[derive(Debug, Clone)]
pub enum Changed {
    /// Changes alone, in overlayfs's form.
    Upper(PathBuf),
    /// All files.
    Whole(PathBuf),
}

/// Directories that exist in every container for what is mounted on them.
const MOUNT_POINTS: [&[u8]; 4] = [b"dev", b"proc", b"sys", b"etc"];
/// Files that do; empty while nothing is mounted.
const MOUNTED_FILES: [&[u8]; 3] = [b"etc/hosts", b"etc/hostname", b"etc/resolv.conf"];

/// The paths that differ from `layers`, the topmost layer first, in order: directories before what is in them. `map` holds for the
/// container's files; layers have the image's owners.
///
/// # Errors
/// `Unsupported` for directories that overlayfs redirected, `NotFound` for a lost layer, and those of the file system.
pub fn changes(
    changed: &Changed,
    layers: &[PathBuf],
    map: &IdMap,
    control: &Control,
) -> Result<Vec<(Vec<u8>, Change)>> {
    let (path, whole) = match changed {
        Changed::Upper(path) => (path, false),
        Changed::Whole(path) => (path, true),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = openat(CWD, path, flags, Mode::empty()).context("open", || text(path))?;
    let union = Union::open(layers)?;
    let mut differ = Differ {
        levels: vec![Level {
            depth: 0,
            old: Some(union.top()),
            all: whole || is_opaque(&top)?,
        }],
        union,
        whole,
        map,
        found: BTreeMap::new(),
    };
    differ.deleted(b"", &top)?;
    let hidden = |_: std::os::fd::BorrowedFd<'_>| true;
    let mut walk = Walk::across(top, control, &hidden)?;
    while let Some(found) = walk.next()? {
        differ.one(&found)?;
    }
    Ok(differ
        .found
        .into_iter()
        .map(|(names, change)| ([&b"/"[..], &names.join(&b'/')].concat(), change))
        .collect())
}

/// A directory of the container that the walk is in.
struct Level {
    /// Components of its path.
    depth: usize,
    /// The layers that have it as a directory, too.
    old: Option<Vec<usize>>,
    /// What the layers have in it is there only if the container's own has it.
    all: bool,
}

struct Differ<'a> {
    union: Union,
    levels: Vec<Level>,
    whole: bool,
    map: &'a IdMap,
    /// By components: a directory sorts before what is in it, and what is in it before its neighbours.
    found: BTreeMap<Vec<Vec<u8>>, Change>,
}

impl Differ<'_> {
    fn one(&mut self, found: &Found) -> Result<()> {
        let Found { path, stat, .. } = found;
        let depth = parts(path).count();
        while self.levels.last().is_some_and(|level| level.depth >= depth) {
            self.levels.pop();
        }
        let Some(parent) = self.levels.last() else {
            return Ok(());
        };
        let (all, layers) = (parent.all, parent.old.clone());
        let old = match &layers {
            Some(layers) => self.union.find(path, layers)?,
            None => None,
        };
        if !self.whole && is_whiteout(stat) {
            if old.is_some() {
                self.record(path, Change::Deleted);
            }
            return Ok(());
        }
        let is_directory = found.kind() == FileType::Directory;
        match &old {
            None if is_mount_point(path, stat) => {}
            None => self.record(path, Change::Added),
            Some(below) => {
                if self.differs(found, below, layers.as_deref().unwrap_or_default())? {
                    self.record(path, Change::Modified);
                }
            }
        }
        if !is_directory {
            return Ok(());
        }
        let fd = match dir::open_list(found.parent.as_fd(), found.name.as_slice()) {
            // Gone, or another mount: nothing of the container's.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(()),
            other => other.context("open", || show(path))?,
        };
        let old = old.filter(|below| !below.layers.is_empty());
        self.levels.push(Level {
            depth,
            old: old.map(|below| below.layers),
            all: all || (!self.whole && is_opaque(&fd)?),
        });
        self.deleted(path, &fd)
    }

    /// Records what the layers have in the directory `path` and the container does not, where nothing else would tell.
    fn deleted(&mut self, path: &[u8], fd: &OwnedFd) -> Result<()> {
        let Some(Level {
            old: Some(layers),
            all: true,
            ..
        }) = self.levels.last()
        else {
            return Ok(());
        };
        for name in self.union.names(path, layers)? {
            match statat(fd, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {
                    let inner = [path, b"/", &name].concat();
                    self.record(inner.strip_prefix(b"/").unwrap_or(&inner), Change::Deleted);
                }
                other => drop(other.context("look at", || show(&name))?),
            }
        }
        Ok(())
    }

    /// Records a change, and that of the directories that it is in.
    fn record(&mut self, path: &[u8], change: Change) {
        let names: Vec<Vec<u8>> = parts(path).map(<[u8]>::to_vec).collect();
        for len in 1..names.len() {
            self.found
                .entry(names[..len].to_vec())
                .or_insert(Change::Modified);
        }
        self.found.insert(names, change);
    }

    /// Whether Docker calls these different: type, mode, owner, device; and of all but directories, size and time.
    fn differs(&self, found: &Found, below: &Below, layers: &[usize]) -> Result<bool> {
        let (new, old) = (&found.stat, &below.stat);
        let owner = self.map.to_archive(new.st_uid, new.st_gid).ok();
        if new.st_mode != old.st_mode
            || owner != Some((old.st_uid, old.st_gid))
            || new.st_rdev != old.st_rdev
        {
            return Ok(true);
        }
        if found.kind() == FileType::Directory {
            return Ok(false);
        }
        let same_time = new.st_mtime == old.st_mtime
            && (new.st_mtime_nsec == old.st_mtime_nsec
                || new.st_mtime_nsec == 0
                || old.st_mtime_nsec == 0);
        if new.st_size != old.st_size || !same_time {
            return Ok(true);
        }
        if found.kind() != FileType::RegularFile {
            return Ok(false);
        }
        let node = match open_node(found.parent.as_fd(), &found.name) {
            Err(Errno::NOENT) => return Ok(false),
            other => other.context("open", || show(&found.path))?,
        };
        let known = self.union.capability(&found.path, layers);
        // With a map the kernel stores who may use it, too.
        Ok(self.map.uid.is_empty() && capability(&node) != known)
    }
}

/// The capabilities of the program that an `O_PATH` descriptor points at; empty without any.
pub(super) fn capability(node: &OwnedFd) -> Vec<u8> {
    let mut value = vec![0; 64];
    let path = dir::proc_path(node.as_fd());
    match rustix::fs::getxattr(path, c"security.capability", &mut value[..]) {
        Ok(n) => {
            value.truncate(n);
            value
        }
        Err(_) => Vec::new(),
    }
}

/// Whether an added path is there only because something is mounted on it in every container.
fn is_mount_point(path: &[u8], stat: &Stat) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => MOUNT_POINTS.contains(&path),
        FileType::RegularFile => MOUNTED_FILES.contains(&path) && stat.st_size == 0,
        _ => false,
    }
}

fn is_opaque(fd: &OwnedFd) -> Result<bool> {
    let xattrs = read_xattrs(fd.as_fd()).context("read attributes of", || "directory")?;
    let mut opaque = false;
    for (name, value) in xattrs {
        match name.as_slice() {
            b"trusted.overlay.redirect" | b"trusted.overlay.metacopy" => {
                let why = "overlayfs keeps only part of it here; mount with redirect_dir=off,metacopy=off";
                return Err(Error::new(Kind::Unsupported, "compare", "directory", why));
            }
            b"trusted.overlay.opaque" => opaque = value == b"y",
            _ => {}
        }
    }
    Ok(opaque)
}
