//! The files of a container that does not run, mounted in a namespace of the caller's own.
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, fstat, mkdirat, openat};
use rustix::io::Errno;

use super::sources::at;
use super::{IdMap, Origin, Rootfs, detached, pivot};
use crate::error::{Context, Kind, Result};
use crate::mount;
use crate::namespace::user_namespace;
use crate::path::{Node, Root, text};
use crate::sys::{self, AT_RECURSIVE, MountAttr, mount_setattr};

/// What nobody needs who only copies files.
const ATTRIBUTES: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

/// One of the container's mounts.
#[derive(Debug)]
pub struct OfflineMount {
    /// Where, in the container.
    pub destination: PathBuf,
    /// The path of the host that is there. A missing one is left out.
    pub source: PathBuf,
    /// With what is mounted below it.
    pub recursive: bool,
    /// What is there instead.
    pub origin: Option<Origin>,
    /// Nothing may be written to it, or what is mounted below it.
    pub read_only: bool,
    /// A missing destination is made; without, such a mount is left out.
    pub create: bool,
    /// The map that its files' ids are seen through.
    pub idmap: Option<IdMap>,
}

impl OfflineMount {
    /// A detached mount of the source; `None` when that is missing.
    fn open(&self, label: Option<&str>) -> Result<Option<OwnedFd>> {
        let mut idmap = self.idmap.as_ref();
        let opened = match &self.origin {
            Some(origin) => {
                let opened = origin.open(self.recursive, idmap, label);
                idmap = idmap.filter(|_| !origin.maps_owners());
                opened
            }
            None => mount::open_bind(&self.source, self.recursive),
        };
        let fd = match opened {
            Err(e) if e.kind == Kind::NotFound => return Ok(None),
            other => other?,
        };
        let fail = || text(&self.destination);
        let read_only = if self.read_only {
            libc::MOUNT_ATTR_RDONLY
        } else {
            0
        };
        let attr = MountAttr {
            set: ATTRIBUTES | read_only,
            ..attributes()
        };
        mount_setattr(fd.as_fd(), AT_RECURSIVE, &attr).context("mount", fail)?;
        if let Some(map) = idmap {
            let userns = user_namespace(map)?;
            mount::map_owners(fd.as_fd(), userns.as_fd(), false)
                .map_err(|e| at(&self.destination, e))?;
        }
        Ok(Some(fd))
    }

    /// The place for it; `None` when it is left out.
    fn place(&self, top: &Root<'_>, source: &OwnedFd) -> Result<Option<OwnedFd>> {
        if !self.create {
            return Ok(top.open(&self.destination, OFlags::PATH).ok());
        }
        let stat = fstat(source).context("look at", || text(&self.destination))?;
        let node = if FileType::from_raw_mode(stat.st_mode).is_dir() {
            Node::Directory
        } else {
            Node::File
        };
        top.ensure(&self.destination, node).map(Some)
    }
}

/// Moves to a new mount namespace and mounts `rootfs` there, and the container's mounts, each a source of the host and a place.
/// Returns the top; the mounts last as long as the namespace.
///
/// For a process with one thread. Fails as the mounts do.
pub fn offline(rootfs: &Rootfs, mounts: &[OfflineMount], label: Option<&str>) -> Result<OwnedFd> {
    sys::unshare(libc::CLONE_NEWNS).context("create mount namespace", String::new)?;
    pivot::isolate()?;
    // Before anything is mounted over the root: no user namespace can be made then.
    let opened = mounts.iter().map(|m| m.open(label));
    let opened: Vec<Option<OwnedFd>> = opened.collect::<Result<_>>()?;
    let (mut top, mut below) = whole(rootfs, label)?;
    if let Some(rootfs) = with_places(rootfs, &top, mounts)? {
        (top, below) = whole(&rootfs, label)?;
    }
    pivot::attach_root(top.as_fd())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = openat(&top, ".", flags, Mode::empty())
        .context("open", || "container's root filesystem")?;
    let root = Root::new(top.as_fd());
    for (target, source) in &below {
        let Ok(at) = root.open(target, OFlags::PATH) else {
            continue;
        };
        mount_setattr(source.as_fd(), AT_RECURSIVE, &attributes())
            .and_then(|()| mount::attach(source.as_fd(), at.as_fd()))
            .context("mount", || text(target))?;
    }
    for (wanted, source) in mounts.iter().zip(opened) {
        let Some(source) = source else {
            continue;
        };
        if let Some(at) = wanted.place(&root, &source)? {
            mount::attach(source.as_fd(), at.as_fd())
                .context("mount", || text(&wanted.destination))?;
        }
    }
    Ok(top)
}

fn attributes() -> MountAttr<'static> {
    MountAttr {
        set: ATTRIBUTES,
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    }
}

/// The root filesystem and what is mounted below it, without a place.
fn whole(rootfs: &Rootfs, label: Option<&str>) -> Result<(OwnedFd, Vec<(PathBuf, OwnedFd)>)> {
    let (root, below) = detached::private(rootfs, label)?;
    mount_setattr(root.as_fd(), 0, &attributes())
        .context("mount", || "container's root filesystem")?;
    Ok((root, below))
}

/// Layers that nothing can be made in, under a writable one that ends with the namespace, when a place for a mount is missing.
fn with_places(rootfs: &Rootfs, top: &OwnedFd, mounts: &[OfflineMount]) -> Result<Option<Rootfs>> {
    let Rootfs::Overlay(layers) = rootfs else {
        return Ok(None);
    };
    let root = Root::new(top.as_fd());
    let is_missing = |m: &OfflineMount| {
        m.create && matches!(root.open(&m.destination, OFlags::PATH), Err(Errno::NOENT))
    };
    if layers.upper.is_some() || !mounts.iter().any(is_missing) {
        return Ok(None);
    }
    let fail = || "place for mounts";
    let scratch = mount::pseudo("tmpfs", &["mode=0700"], 0).context("mount", fail)?;
    // Where nobody looks: below the container's root.
    pivot::attach_root(scratch.as_fd())?;
    let make = |name: &str| -> Result<PathBuf> {
        mkdirat(&scratch, name, Mode::from_raw_mode(0o755)).context("make", fail)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(&scratch, name, flags, Mode::empty()).context("open", fail)?;
        // As long as the process: overlayfs takes paths.
        let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        std::mem::forget(fd);
        Ok(path)
    };
    let mut layers = layers.clone();
    layers.upper = Some((make("upper")?, make("work")?));
    Ok(Some(Rootfs::Overlay(layers)))
}
