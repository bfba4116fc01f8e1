//! The host's own tree as a root filesystem, copy-on-write: every mount below it gets an overlay of its own.
//!
//! overlayfs refuses (`ELOOP`) a writable layer that lies below its read-only layer on the same filesystem, which a data
//! root does as a rule. Such changes, and those of small mounts, go to one tmpfs that nobody else can reach: it is charged
//! to the container's memory and gone with the container.
//!
//! Before Linux 6.15 overlayfs takes layers from mounts of the caller's own namespace alone, and that tmpfs is in none: it is mounted in
//! a namespace for this moment, which goes when the overlays are made. They keep it.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{
    CWD, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, mkdirat, openat, stat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    mount_change, move_mount,
};
use rustix::process::fchdir;

use super::overlay::{forget_volatile, refuses_options};
use super::{Host, masks, unescape};
use crate::error::{Context, Error, Kind, Result};
use crate::mount::{open_bind, pseudo};
use crate::path::{clean, text};
use crate::sys::{MountAttr, mount_setattr};

/// Filesystems that show the kernel, not files: a container has its own of them, or none.
const KERNEL: [&str; 21] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// Directories of the tree that a container has mounts of its own on.
const OWN: [&str; 3] = ["dev", "proc", "sys"];

/// The mounts of a host root: the top, and those below it with their places, outer ones first.
///
/// Fails with `NotFound` if the path is no directory; a mount below it that cannot be stacked is shown read-only, with a
/// warning. `label` is an SELinux context for all that is stacked.
pub fn mount(
    host: &Host,
    label: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<(OwnedFd, Vec<(PathBuf, OwnedFd)>)> {
    let top = std::fs::canonicalize(&host.path).context("open host root", || text(&host.path))?;
    if !top.is_dir() {
        return Err(Error::new(
            Kind::NotFound,
            "open host root",
            text(&top),
            "not a directory",
        ));
    }
    let mountinfo = "/proc/self/mountinfo";
    let mounts = std::fs::read_to_string(mountinfo).context("read", || mountinfo)?;
    let masks: Vec<PathBuf> = host
        .mask
        .iter()
        .map(|m| std::fs::canonicalize(m).unwrap_or_else(|_| clean(m)))
        .collect();
    let mut writable = Writable {
        upper: host.upper.as_ref(),
        label,
        scratch: None,
        apart: None,
        count: 0,
    };
    let root = stack(&top, &mut writable)?;
    let mut below = Vec::new();
    for path in submounts(&mounts, &top, &masks) {
        let target = path.strip_prefix(&top).unwrap_or(&path).to_path_buf();
        match stack_or_bind(&path, &mut writable) {
            Ok((fd, None)) => below.push((target, fd)),
            Ok((fd, Some(why))) => {
                warnings.push(format!(
                    "{} is read-only in the container: {why}",
                    text(&path)
                ));
                below.push((target, fd));
            }
            // Gone meanwhile, or never reachable: hidden below another mount.
            Err(e) if matches!(e.errno, Some(libc::ENOENT | libc::EACCES | libc::ENOTDIR)) => {}
            Err(e) => warnings.push(format!("{} is missing in the container: {e}", text(&path))),
        }
    }
    for mask in &masks {
        if let Ok(target) = mask.strip_prefix(&top)
            && mask.is_dir()
            && !target.as_os_str().is_empty()
        {
            let empty =
                masks::empty_directory(label).context("make empty filesystem", String::new)?;
            below.push((target.to_path_buf(), empty));
        }
    }
    Ok((root, below))
}

/// Paths of the mounts strictly below `top` that hold files, outer ones first.
fn submounts(mountinfo: &str, top: &Path, masks: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<(PathBuf, bool)> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let Some(path) = left.split(' ').nth(4).map(unescape) else {
            continue;
        };
        let kind = right.split(' ').next().unwrap_or_default();
        let Ok(inside) = path.strip_prefix(top) else {
            continue;
        };
        let own = inside
            .components()
            .next()
            .is_some_and(|c| OWN.iter().any(|o| c.as_os_str() == *o));
        if inside.as_os_str().is_empty() || own || masks.iter().any(|m| path.starts_with(m)) {
            continue;
        }
        // Of several mounts on one directory the last is seen.
        found.retain(|(p, _)| *p != path);
        found.push((path, KERNEL.contains(&kind)));
    }
    found.retain(|(_, kernel)| !kernel);
    let mut paths: Vec<PathBuf> = found.into_iter().map(|(p, _)| p).collect();
    paths.sort_by_key(|p| p.components().count());
    paths
}

fn stack_or_bind(path: &Path, writable: &mut Writable<'_>) -> Result<(OwnedFd, Option<String>)> {
    let found = stat(path).context("open mount", || text(path))?;
    let why = if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        match stack(path, writable) {
            Ok(fd) => return Ok((fd, None)),
            Err(e) => e.to_string(),
        }
    } else {
        "it is a file with a mount of its own, which overlayfs cannot stack".to_owned()
    };
    let fd = open_bind(path, false)?;
    let attr = MountAttr {
        set: libc::MOUNT_ATTR_RDONLY,
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    mount_setattr(fd.as_fd(), 0, &attr).context("make read-only", || text(path))?;
    Ok((fd, Some(why)))
}

/// Where changes go.
struct Writable<'a> {
    /// An SELinux context for what is stacked.
    label: Option<&'a str>,
    /// The writable layer of the top, and its work directory; those of submounts lie beside them.
    upper: Option<&'a (PathBuf, PathBuf)>,
    /// The tmpfs for all others, made when first needed.
    scratch: Option<OwnedFd>,
    /// Where that is mounted.
    apart: Option<Apart>,
    count: usize,
}

impl Writable<'_> {
    /// A fresh pair of directories for the mount at `lower`: on disk where overlayfs would take it, else in the tmpfs.
    fn pair(&mut self, lower: &Path) -> Result<(OwnedFd, OwnedFd)> {
        let number = self.count;
        self.count += 1;
        let (upper, work) = match self.on_disk(lower, number) {
            Some((upper, work)) => (upper, work),
            None => {
                let dir = make_directory(self.scratch()?, &number.to_string())?;
                (
                    make_directory(dir.as_fd(), "upper")?,
                    make_directory(dir.as_fd(), "work")?,
                )
            }
        };
        // The top of an overlay has the owner and mode of its writable layer.
        let like = stat(lower).context("open mount", || text(lower))?;
        fchown(
            &upper,
            Some(Uid::from_raw(like.st_uid)),
            Some(Gid::from_raw(like.st_gid)),
        )
        .context("set owner of layer", || text(lower))?;
        fchmod(&upper, Mode::from_raw_mode(like.st_mode & 0o7777))
            .context("set mode of layer", || text(lower))?;
        Ok((upper, work))
    }

    fn on_disk(&self, lower: &Path, number: usize) -> Option<(OwnedFd, OwnedFd)> {
        let (upper, work) = self.upper?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |path: &Path| openat(CWD, path, flags, Mode::empty()).ok();
        let (top_upper, top_work) = (open(upper)?, open(work)?);
        let same = stat(lower).ok()?.st_dev == fstat(&top_upper).ok()?.st_dev;
        if same && std::fs::canonicalize(upper).ok()?.starts_with(lower) {
            return None;
        }
        if number == 0 {
            return Some((top_upper, top_work));
        }
        let parent = open(upper.parent()?)?;
        let mounts = make_directory(parent.as_fd(), "mounts").ok()?;
        let dir = make_directory(mounts.as_fd(), &number.to_string()).ok()?;
        Some((
            make_directory(dir.as_fd(), "upper").ok()?,
            make_directory(dir.as_fd(), "work").ok()?,
        ))
    }

    fn scratch(&mut self) -> Result<BorrowedFd<'_>> {
        let fd = match self.scratch.take() {
            Some(fd) => fd,
            None => {
                let fd =
                    pseudo("tmpfs", &["mode=700"], 0).context("mount", || "tmpfs for changes")?;
                self.apart = Some(Apart::enter()?);
                // A place that every host has, and of which nothing is needed meanwhile.
                move_mount(
                    &fd,
                    "",
                    CWD,
                    "/sys",
                    MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
                )
                .context("mount", || "tmpfs for changes")?;
                fd
            }
        };
        let fd: &OwnedFd = self.scratch.insert(fd);
        Ok(fd.as_fd())
    }
}

/// A mount namespace that this thread is in until it is dropped, with all that the one before has.
struct Apart {
    before: OwnedFd,
    directory: OwnedFd,
}

impl Apart {
    fn enter() -> Result<Self> {
        let open = |path: &'static str, flags: OFlags| {
            openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty()).context("open", || path)
        };
        let apart = Self {
            before: open("/proc/thread-self/ns/mnt", OFlags::RDONLY)?,
            directory: open(".", OFlags::PATH | OFlags::DIRECTORY)?,
        };
        unshare(CloneFlags::CLONE_NEWNS).context("make mount namespace", String::new)?;
        // Nothing of it is to reach the host.
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .context("make mounts private", String::new)?;
        Ok(apart)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let back = setns(&self.before, CloneFlags::CLONE_NEWNS);
        if back.is_err() || fchdir(&self.directory).is_err() {
            // Whatever came next would happen in the wrong place.
            std::process::abort();
        }
    }
}

fn make_directory(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    match mkdirat(at, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e).context("make directory for changes", || name),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty()).context("open directory for changes", || name)
}

/// An overlay over one mount of the host.
fn stack(lower: &Path, writable: &mut Writable<'_>) -> Result<OwnedFd> {
    let (upper, work) = writable.pair(lower)?;
    // Afterwards: the pair may have led into another namespace.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let below = openat(CWD, lower, flags, Mode::empty()).context("open mount", || text(lower))?;
    forget_volatile(Path::new(&format!("/proc/self/fd/{}", work.as_raw_fd())));
    let fail = || format!("over {}", text(lower));
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .context("open filesystem", || "overlay (CONFIG_OVERLAY_FS)")?;
    fsconfig_set_string(&context, "source", "overlay").context("mount overlay", fail)?;
    let lower = if refuses_options() {
        "lowerdir+"
    } else {
        "lowerdir"
    };
    for (key, fd) in [(lower, &below), ("upperdir", &upper), ("workdir", &work)] {
        match fsconfig_set_fd(&context, key, fd.as_fd()) {
            Ok(()) => {}
            // Before Linux 6.13 by path only.
            Err(Errno::INVAL | Errno::BADF | Errno::OPNOTSUPP) => {
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                let known = key.trim_end_matches('+'); // before Linux 6.8
                fsconfig_set_string(&context, key, path.as_str())
                    .or_else(|_| fsconfig_set_string(&context, known, path.as_str()))
                    .context("mount overlay", fail)?;
            }
            Err(e) => return Err(e).context("mount overlay", fail),
        }
    }
    // Changes end with the container.
    let _ = fsconfig_set_flag(&context, "volatile");
    if let Some(label) = writable.label {
        fsconfig_set_string(&context, "context", label).context("mount overlay", fail)?;
    }
    fsconfig_create(&context).context("mount overlay", fail)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .context("mount overlay", fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "22 27 0:21 / /proc rw - proc proc rw\n\
        27 1 254:0 / / rw - ext4 /dev/vda rw\n\
        24 27 0:6 / /dev rw - devtmpfs devtmpfs rw\n\
        25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw\n\
        40 27 0:40 / /run rw - tmpfs tmpfs rw\n\
        41 40 0:41 / /run/user/0 rw - tmpfs tmpfs rw\n\
        42 27 0:42 / /mnt/a\\040b rw - ext4 /dev/vdb rw\n\
        43 42 0:43 / /mnt/a\\040b/kernel rw - debugfs debugfs rw\n\
        44 27 0:44 / /var/lib/minidock/x rw - tmpfs tmpfs rw\n\
        45 27 0:45 / /over rw - tmpfs tmpfs rw\n\
        46 27 0:46 / /over rw - tracefs tracefs rw\n";

    #[test]
    fn finds_the_mounts_that_hold_files() {
        let masks = ["/var/lib/minidock".into()];
        let found = submounts(TABLE, Path::new("/"), &masks);
        assert_eq!(
            found,
            [
                Path::new("/run"),
                Path::new("/mnt/a b"),
                Path::new("/run/user/0")
            ]
        );
        assert_eq!(
            submounts(TABLE, Path::new("/run"), &masks),
            [Path::new("/run/user/0")]
        );
    }
}
