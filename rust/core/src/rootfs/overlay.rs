//! Overlay mounts: detached, made before anything of the container exists, seen by the container only.
use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, Result as RawResult};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::Overlay;
use crate::error::{Context, Error, Kind, Result};
use crate::mount::open_bind;
use crate::namespace::user_namespace;
use crate::path::text;
use crate::sys::{MountAttr, mount_setattr};

/// The kernel's limit of layers below one overlay (`OVL_MAX_STACK`).
pub const MAX_LAYERS: usize = 500;

/// Mounts the layers; `label` is an SELinux context for the whole tree.
///
/// Fails with `Limit` for more layers than the kernel stacks, and with the kernel's errno where overlayfs refuses a layer:
/// `System(ELOOP)` if a writable layer lies below a read-only one.
pub fn mount(overlay: &Overlay, label: Option<&str>) -> Result<OwnedFd> {
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
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .context("open filesystem", || "overlay (CONFIG_OVERLAY_FS)")?;
    fsconfig_set_string(&context, "source", "overlay")
        .context("set filesystem source", || "overlay")?;
    let fs = context.as_fd();
    // The idmapped copies must live until the overlay has taken its own.
    let mut held = Vec::new();
    match &overlay.idmap {
        Some(map) => set_idmapped(fs, overlay, user_namespace(map)?.as_fd(), &mut held)?,
        None => set_plain(fs, overlay)?,
    }
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
    // Without a writable layer overlayfs is read-only by itself; say so in the mount, too.
    let attributes = if overlay.upper.is_none() {
        MountAttrFlags::MOUNT_ATTR_RDONLY
    } else {
        MountAttrFlags::empty()
    };
    fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .context("mount overlay", || describe(overlay))
}

fn describe(overlay: &Overlay) -> String {
    let top = overlay
        .upper
        .as_ref()
        .map_or(&overlay.lower[0], |(upper, _)| upper);
    text(top)
}

fn set_plain(fs: BorrowedFd<'_>, overlay: &Overlay) -> Result<()> {
    set_lower(fs, &overlay.lower)?;
    if let Some((upper, work)) = &overlay.upper {
        fsconfig_set_string(fs, "upperdir", upper.as_path())
            .context("set upper layer", || text(upper))?;
        fsconfig_set_string(fs, "workdir", work.as_path())
            .context("set work directory", || text(work))?;
    }
    Ok(())
}

/// One `lowerdir+` per layer (Linux 6.8: no limit on the length, no escaping), or one `lowerdir` for all.
fn set_lower(fs: BorrowedFd<'_>, lower: &[PathBuf]) -> Result<()> {
    for (i, path) in lower.iter().enumerate() {
        match fsconfig_set_string(fs, "lowerdir+", path.as_path()) {
            Ok(()) => {}
            Err(Errno::INVAL) if i == 0 => return set_lower_list(fs, lower),
            Err(e) => return Err(e).context("set layer", || text(path)),
        }
    }
    Ok(())
}

fn set_lower_list(fs: BorrowedFd<'_>, lower: &[PathBuf]) -> Result<()> {
    let list = lower_list(lower);
    if fsconfig_set_string(fs, "lowerdir", list.as_str()).is_ok() {
        return Ok(());
    }
    // fsconfig takes 255 bytes of one value. Short names by a common directory help: all are relative to it then.
    let common = common_parent(lower).filter(|_| lower.len() > 1);
    if let Some(common) = common {
        let short: Vec<PathBuf> = lower
            .iter()
            .filter_map(|p| p.strip_prefix(&common).ok().map(Path::to_path_buf))
            .collect();
        if short.len() == lower.len() && fsconfig_in(&common, fs, &lower_list(&short)).is_ok() {
            return Ok(());
        }
    }
    let why = "this kernel lacks the overlay option lowerdir+ (Linux 6.8), and the list of layers is too long without it";
    Err(Error::new(
        Kind::Limit,
        "mount overlay",
        format!("{} layers", lower.len()),
        why,
    ))
}

/// Sets `lowerdir` while the working directory is `dir`: names in the list start there.
fn fsconfig_in(dir: &Path, fs: BorrowedFd<'_>, list: &str) -> RawResult<()> {
    let before = openat(CWD, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::chdir(dir)?;
    let set = fsconfig_set_string(fs, "lowerdir", list);
    rustix::process::fchdir(&before)?;
    set
}

/// The longest directory that all paths are below of.
fn common_parent(paths: &[PathBuf]) -> Option<PathBuf> {
    let mut common = paths.first()?.parent()?;
    while !paths.iter().all(|p| p.starts_with(common)) {
        common = common.parent()?;
    }
    Some(common.to_path_buf())
}

/// The value of `lowerdir`: joined by colons; colons and backslashes inside names are escaped.
fn lower_list(lower: &[PathBuf]) -> String {
    let mut out = String::new();
    for (i, path) in lower.iter().enumerate() {
        let name = text(path).replace('\\', "\\\\").replace(':', "\\:");
        let _ = write!(out, "{}{name}", if i == 0 { "" } else { ":" });
    }
    out
}

/// Layers through idmapped, detached copies of their mounts, handed over by descriptor (Linux 6.15; before, overlayfs
/// takes attached mounts only).
fn set_idmapped(
    fs: BorrowedFd<'_>,
    overlay: &Overlay,
    userns: BorrowedFd<'_>,
    held: &mut Vec<OwnedFd>,
) -> Result<()> {
    let mapped = |path: &Path| -> Result<OwnedFd> {
        let tree = open_bind(path, false)?;
        let attr = MountAttr {
            idmap: Some(userns),
            ..MountAttr::default()
        };
        mount_setattr(tree.as_fd(), 0, &attr).context("map the ids of layer", || text(path))?;
        Ok(tree)
    };
    for path in &overlay.lower {
        let tree = mapped(path)?;
        set_fd(fs, "lowerdir+", &tree, path)?;
        held.push(tree);
    }
    if let Some((upper, work)) = &overlay.upper {
        // Both must lie on one mount, so their common directory is mapped.
        let parent = upper
            .parent()
            .filter(|p| Some(*p) == work.parent())
            .ok_or_else(|| {
                Error::new(
                    Kind::Invalid,
                    "mount overlay",
                    text(upper),
                    "an idmapped upper layer and its work directory must be neighbours",
                )
            })?;
        let tree = mapped(parent)?;
        for (key, path) in [("upperdir", upper), ("workdir", work)] {
            let name = path.file_name().unwrap_or_default();
            let fd = openat(
                &tree,
                name,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .context("open layer", || text(path))?;
            set_fd(fs, key, &fd, path)?;
            held.push(fd);
        }
        held.push(tree);
    }
    Ok(())
}

fn set_fd(fs: BorrowedFd<'_>, key: &str, fd: &OwnedFd, path: &Path) -> Result<()> {
    match fsconfig_set_fd(fs, key, fd.as_fd()) {
        // Linux before 6.13 takes paths only.
        Err(Errno::INVAL) => fsconfig_set_string(
            fs,
            key,
            format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str(),
        ),
        other => other,
    }
    .context("set idmapped layer", || text(path))
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
    fn finds_the_common_directory() {
        let p = |l: &[&str]| common_parent(&l.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(
            p(&["/d/layers/3/fs", "/d/layers/1/fs"]),
            Some("/d/layers".into())
        );
        assert_eq!(p(&["/a/x", "/b/x"]), Some("/".into()));
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
