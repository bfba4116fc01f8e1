//! Overlay mounts: detached, made before anything of the container exists, seen by the container only.
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, StatVfsMountFlags, Uid, chownat, fstatvfs, mkdirat, openat,
};
use rustix::io::{Errno, Result as RawResult};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
};

use super::{IdMap, Overlay};
use crate::error::{Context, Error, Kind, Result};
use crate::mount::{attach, made_in_child, open_bind, pseudo};
use crate::namespace::user_namespace;
use crate::path::text;
use crate::sys::{self, MountAttr, mount_setattr};
use crate::volume::quota::Room;

/// The kernel's limit of layers below one overlay (`OVL_MAX_STACK`).
pub const MAX_LAYERS: usize = 500;
/// How many names of [`short`] fit into one option.
const MAX_LISTED: usize = 128;
/// The longest value of an option, fsconfig(2).
const VALUE: usize = 255;

/// Mounts the layers; `label` is an SELinux context for the whole tree.
///
/// Fails with `Limit` for more layers than the kernel stacks, and with the kernel's errno where overlayfs refuses a layer:
/// `System(ELOOP)` if a writable layer lies below a read-only one.
pub fn mount(overlay: &Overlay, label: Option<&str>) -> Result<OwnedFd> {
    let made = stacked(overlay, label)?;
    let Some((upper, _)) = &overlay.upper else {
        return Ok(made);
    };
    let found = fstatvfs(&made).context("look at overlay", || text(upper))?;
    if !found.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(made);
    }
    // Where overlayfs cannot make its directory for work, it is read-only: also for who wants to delete something.
    let Some(_room) = Room::of(upper) else {
        return Ok(made);
    };
    drop(made);
    stacked(overlay, label)
}

fn stacked(overlay: &Overlay, label: Option<&str>) -> Result<OwnedFd> {
    if overlay.lower.len() > MAX_LAYERS {
        let why = format!(
            "{} layers, of which the kernel stacks {MAX_LAYERS}",
            overlay.lower.len()
        );
        return Err(Error::new(Kind::Limit, "mount overlay", "", why));
    }
    if overlay.lower.is_empty() {
        return Err(Error::new(
            Kind::Invalid,
            "mount overlay",
            "",
            "it has no layers",
        ));
    }
    for path in overlay
        .lower
        .iter()
        .chain(overlay.upper.iter().flat_map(|(u, w)| [u, w]))
    {
        if !path.is_dir() {
            return Err(Error::new(
                Kind::NotFound,
                "mount overlay",
                text(path),
                "not a directory",
            ));
        }
    }
    if let Some((_, work)) = &overlay.upper {
        forget_volatile(work);
    }
    // The idmapped copies must live until the overlay has taken its own.
    let trees = match &overlay.idmap {
        Some(map) => idmapped(overlay, map)?,
        None => Vec::new(),
    };
    if !refuses_options() {
        return mount_listed(overlay, label, trees);
    }
    match made(overlay, label, |fs| set_layers(fs, overlay, &trees)) {
        // Linux 6.5 to 6.7.
        Err(e) if e.errno == Some(libc::EINVAL) && trees.is_empty() => {
            mount_listed(overlay, label, trees)
        }
        // Before Linux 6.15 overlayfs takes mounts only that have a place: they get one where nobody sees it.
        Err(e) if e.errno == Some(libc::EINVAL) => mount_placed(overlay, label, &trees),
        other => other,
    }
}

/// [`mount`] of one read-only layer before Linux 6.15, which takes no empty layer beside it that is mounted nowhere.
pub(super) fn mount_alone(overlay: &Overlay, label: &str) -> Result<OwnedFd> {
    let tree = open_bind(&overlay.lower[0], false)?;
    mount_placed(overlay, Some(label), &[tree])
}

/// Whether an option that overlayfs does not know is refused when it is set (Linux 6.5): before, the mount is refused, and the
/// kernel's log says so each time.
pub(super) fn refuses_options() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        // Without overlayfs the mount says why.
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC);
        context.is_ok_and(|fs| fsconfig_set_string(&fs, "lowerdir++", "").is_err())
    })
}

/// [`mount`] before Linux 6.8: by one option that names all layers, of at most 255 bytes.
fn mount_listed(overlay: &Overlay, label: Option<&str>, trees: Vec<OwnedFd>) -> Result<OwnedFd> {
    let list = lower_list(&overlay.lower);
    let fits = list.len() <= VALUE && !list.as_bytes().contains(&b',');
    if trees.is_empty() && !is_alone(overlay) && fits {
        return made(overlay, label, |fs| set_list(fs, &list).map(|()| None));
    }
    if overlay.lower.len() > MAX_LISTED {
        let why = format!(
            "{} layers: this kernel stacks {MAX_LISTED}, Linux 6.8 and later {MAX_LAYERS}",
            overlay.lower.len()
        );
        return Err(Error::new(Kind::Limit, "mount overlay", "", why));
    }
    let trees = if trees.is_empty() {
        let opened = overlay.lower.iter().map(|path| open_bind(path, false));
        opened.collect::<Result<Vec<_>>>()?
    } else {
        trees
    };
    mount_placed(overlay, label, &trees)
}

fn mount_placed(overlay: &Overlay, label: Option<&str>, trees: &[OwnedFd]) -> Result<OwnedFd> {
    if let Some((_, work)) = &overlay.upper {
        forget_volatile(work); // the mark of the attempt that failed
    }
    made_in_child("mount overlay", &|| describe(overlay), || {
        placed(overlay, label, trees)
    })
}

/// Whether a layer must be joined by an empty one: overlayfs wants two where none is writable.
fn is_alone(overlay: &Overlay) -> bool {
    overlay.upper.is_none() && overlay.lower.len() == 1
}

/// Mounts with the layers that `set` names; what it returns lives until they are taken.
fn made(
    overlay: &Overlay,
    label: Option<&str>,
    set: impl FnOnce(BorrowedFd<'_>) -> Result<Option<OwnedFd>>,
) -> Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .context("open filesystem", || "overlay (CONFIG_OVERLAY_FS)")?;
    fsconfig_set_string(&context, "source", "overlay")
        .context("set filesystem source", || "overlay")?;
    let fs = context.as_fd();
    let kept = (set(fs)?, set_upper(fs, overlay)?);
    if overlay.upper.is_some() && overlay.volatile {
        match fsconfig_set_flag(fs, "volatile") {
            // Before Linux 5.10 there is no such option; the container is correct without it.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(e) => return Err(e).context("set filesystem option", || "volatile of overlay"),
        }
    }
    if let Some(label) = label {
        fsconfig_set_string(fs, "context", label)
            .context("set filesystem option", || "context of overlay")?;
    }
    fsconfig_create(fs).context("mount overlay", || describe(overlay))?;
    drop(kept);
    // Without a writable layer overlayfs is read-only by itself; say so in the mount, too.
    let attributes = if overlay.upper.is_none() {
        MountAttrFlags::MOUNT_ATTR_RDONLY
    } else {
        MountAttrFlags::empty()
    };
    fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .context("mount overlay", || describe(overlay))
}

/// Takes away the kernel's mark of a writable layer that was mounted `volatile`: it refuses such a layer for ever, since a crash of
/// the machine may have cost files. What that costs here, too, is what any container's last seconds do (docs/architecture.md).
pub(super) fn forget_volatile(work: &Path) {
    let mark = work.join("work/incompat");
    // Hardly ever there; what cannot be removed is the mount's error.
    if mark.exists() {
        let _ = std::fs::remove_dir_all(mark);
    }
}

fn describe(overlay: &Overlay) -> String {
    let top = overlay
        .upper
        .as_ref()
        .map_or(&overlay.lower[0], |(upper, _)| upper);
    text(top)
}

/// An empty directory, mounted nowhere.
fn empty() -> Result<OwnedFd> {
    let fail = || "empty layer (tmpfs)";
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context("open filesystem", fail)?;
    fsconfig_create(context.as_fd()).context("mount", fail)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).context("mount", fail)
}

/// The read-only layers: `trees` are their mapped copies, if they have any.
fn set_layers(fs: BorrowedFd<'_>, overlay: &Overlay, trees: &[OwnedFd]) -> Result<Option<OwnedFd>> {
    if trees.is_empty() {
        set_lower(fs, &overlay.lower)?;
    }
    for (tree, path) in trees.iter().zip(&overlay.lower) {
        set_fd(fs, "lowerdir+", tree, path)?;
    }
    if !is_alone(overlay) {
        return Ok(None);
    }
    let empty = empty()?;
    set_fd(fs, "lowerdir+", &empty, &overlay.lower[0])?;
    Ok(Some(empty))
}

/// Mounts with layers that have places in a mount namespace of this process's own, which nobody else sees.
fn placed(overlay: &Overlay, label: Option<&str>, trees: &[OwnedFd]) -> RawResult<OwnedFd> {
    let raw = |e: Error| Errno::from_raw_os_error(e.errno.unwrap_or(libc::EINVAL));
    sys::unshare(libc::CLONE_NEWNS)?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let hidden = pseudo("tmpfs", &["mode=700"], 0)?;
    attach(
        hidden.as_fd(),
        openat(CWD, "/", flags, Mode::empty())?.as_fd(),
    )?;
    let mut names = Vec::new();
    for (number, tree) in trees.iter().enumerate() {
        let name = short(number);
        mkdirat(&hidden, &name, Mode::from_raw_mode(0o700))?;
        let place = openat(&hidden, &name, flags, Mode::empty())?;
        attach(tree.as_fd(), place.as_fd())?;
        names.push(PathBuf::from(name));
    }
    if is_alone(overlay) {
        let name = short(trees.len());
        mkdirat(&hidden, &name, Mode::from_raw_mode(0o700))?;
        names.push(PathBuf::from(name));
    }
    rustix::process::fchdir(&hidden)?;
    let list = || lower_list(&names);
    let set = |fs: BorrowedFd<'_>| match refuses_options() {
        true => set_lower(fs, &names).or_else(|_| set_list(fs, &list())),
        false => set_list(fs, &list()),
    };
    made(overlay, label, |fs| set(fs).map(|()| None)).map_err(raw)
}

/// A name of one byte for a layer's place, none that means something in a list of layers.
fn short(number: usize) -> OsString {
    let plain = (b'!'..=0xff).filter(|byte| !b",./:\\\x7f".contains(byte));
    OsString::from_vec(plain.skip(number).take(1).collect())
}

/// What it returns lives until the mount is made.
fn set_upper(fs: BorrowedFd<'_>, overlay: &Overlay) -> Result<Vec<OwnedFd>> {
    let pair = overlay.upper.iter();
    let pair = pair.flat_map(|(upper, work)| [("upperdir", upper), ("workdir", work)]);
    pair.filter_map(|(key, path)| set_path(fs, key, path).transpose())
        .collect()
}

/// Sets an option to a path: by a descriptor, which must live until the mount is made, if it is longer than `fsconfig`
/// takes, or has a comma, which ends an option before Linux 6.5.
fn set_path(fs: BorrowedFd<'_>, key: &str, path: &Path) -> Result<Option<OwnedFd>> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() <= VALUE && !bytes.contains(&b',') {
        fsconfig_set_string(fs, key, path).context("set layer", || text(path))?;
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::empty()).context("open layer", || text(path))?;
    let short = format!("/proc/self/fd/{}", fd.as_raw_fd());
    fsconfig_set_string(fs, key, short.as_str()).context("set layer", || text(path))?;
    Ok(Some(fd))
}

/// One `lowerdir+` per layer: no limit on the length, no escaping.
fn set_lower(fs: BorrowedFd<'_>, lower: &[PathBuf]) -> Result<()> {
    for path in lower {
        set_path(fs, "lowerdir+", path)?; // looked up at once
    }
    Ok(())
}

fn set_list(fs: BorrowedFd<'_>, list: &OsStr) -> Result<()> {
    fsconfig_set_string(fs, "lowerdir", list).context("set layers", || text(Path::new(list)))
}

/// The value of `lowerdir`: joined by colons; colons and backslashes inside names are escaped.
fn lower_list(lower: &[PathBuf]) -> OsString {
    let mut out = Vec::new();
    for (i, path) in lower.iter().enumerate() {
        if i > 0 {
            out.push(b':');
        }
        for byte in path.as_os_str().as_bytes() {
            if matches!(byte, b'\\' | b':') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
    }
    OsString::from_vec(out)
}

/// Detached copies of the read-only layers' mounts with mapped ids.
///
/// The writable layer is not mapped: overlayfs works in it with the ids of whoever mounts it, the host's root, which an
/// idmapped mount would not know. Its files carry the host's ids, and it belongs to the container's root.
fn idmapped(overlay: &Overlay, map: &IdMap) -> Result<Vec<OwnedFd>> {
    let userns = user_namespace(map)?;
    let mut trees = Vec::with_capacity(overlay.lower.len());
    for path in &overlay.lower {
        let tree = open_bind(path, false)?;
        let attr = MountAttr {
            idmap: Some(userns.as_fd()),
            ..MountAttr::default()
        };
        mount_setattr(tree.as_fd(), 0, &attr).context("map the ids of layer", || text(path))?;
        trees.push(tree);
    }
    if let Some((upper, _)) = &overlay.upper {
        let root = |list: &[(u32, u32, u32)]| {
            let (inside, outside, _) = *list.iter().find(|(inside, ..)| *inside == 0)?;
            Some(outside + inside)
        };
        let owner = (
            root(&map.uid).map(Uid::from_raw),
            root(&map.gid).map(Gid::from_raw),
        );
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        chownat(CWD, upper, owner.0, owner.1, flags)
            .context("give layer to the container's root", || text(upper))?;
    }
    Ok(trees)
}

fn set_fd(fs: BorrowedFd<'_>, key: &str, fd: &OwnedFd, path: &Path) -> Result<()> {
    match fsconfig_set_fd(fs, key, fd.as_fd()) {
        // Linux before 6.13 takes paths only.
        Err(Errno::INVAL | Errno::BADF | Errno::OPNOTSUPP) => fsconfig_set_string(
            fs,
            key,
            format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str(),
        ),
        other => other,
    }
    .context("set layer", || text(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_the_list() {
        assert_eq!(
            lower_list(&["/a:b".into(), "/c\\d".into()]),
            "/a\\:b:/c\\\\d"
        );
    }

    #[test]
    fn as_many_short_names_as_fit() {
        let names: Vec<_> = (0..MAX_LISTED).map(|n| PathBuf::from(short(n))).collect();
        assert_eq!(lower_list(&names).len(), VALUE);
        let different: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(different.len(), MAX_LISTED);
    }

    #[test]
    fn layers_of_one_option() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = std::env::temp_dir().join(format!("minidock-listed-{}", std::process::id()));
        for count in [1, 2, MAX_LISTED] {
            let lower: Vec<PathBuf> = (0..count).map(|n| dir.join(format!("layer{n}"))).collect();
            for path in &lower {
                std::fs::create_dir_all(path).unwrap();
                std::fs::write(path.join("file"), text(path)).unwrap();
            }
            let top = text(&lower[0]);
            let overlay = Overlay {
                lower,
                ..Overlay::default()
            };
            let fd = mount_listed(&overlay, None, Vec::new()).unwrap();
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let file = openat(&fd, "file", flags, Mode::empty()).unwrap();
            let mut found = String::new();
            std::io::Read::read_to_string(&mut std::fs::File::from(file), &mut found).unwrap();
            assert_eq!(found, top);
        }
        let many = Overlay {
            lower: vec![dir.join("layer0"); MAX_LISTED + 1],
            ..Overlay::default()
        };
        assert_eq!(
            mount_listed(&many, None, Vec::new()).unwrap_err().kind,
            Kind::Limit
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn mapped_layers_have_places_where_the_kernel_wants_them() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = std::env::temp_dir().join(format!("minidock-mapped-{}", std::process::id()));
        let lower: Vec<PathBuf> = (0..20).map(|n| dir.join(format!("layer{n}"))).collect();
        for path in &lower {
            std::fs::create_dir_all(path).unwrap();
            std::fs::write(path.join("file"), text(path)).unwrap();
        }
        let overlay = Overlay {
            lower,
            idmap: Some(IdMap {
                uid: vec![(0, 100_000, 10)],
                gid: vec![(0, 100_000, 10)],
            }),
            ..Overlay::default()
        };
        let trees = idmapped(&overlay, overlay.idmap.as_ref().unwrap()).unwrap();
        let named = || "test".to_owned();
        let fd = made_in_child("mount", &named, || placed(&overlay, None, &trees)).unwrap();
        let found = rustix::fs::statat(&fd, "file", AtFlags::empty()).unwrap();
        assert_eq!((found.st_uid, found.st_gid), (100_000, 100_000));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn too_many_or_missing_layers_are_named() {
        let many = Overlay {
            lower: vec!["/".into(); MAX_LAYERS + 1],
            ..Overlay::default()
        };
        assert_eq!(mount(&many, None).unwrap_err().kind, Kind::Limit);
        let none = Overlay {
            lower: vec!["/nonexistent-layer".into()],
            ..Overlay::default()
        };
        assert_eq!(mount(&none, None).unwrap_err().kind, Kind::NotFound);
    }
}
