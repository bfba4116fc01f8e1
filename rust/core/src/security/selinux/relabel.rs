//! Relabelling of what is mounted into containers (`:z`, `:Z`).
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

use super::Label;
use crate::{Error, Kind, Result};

const XATTR: &str = "security.selinux";
/// The longest label that is looked at; a longer one is another one.
const MAX_LABEL: usize = 1024;

/// Directories whose relabelling would break the host or hand it to the container (CVE-2021-43816); what lies below some of
/// them is no less the system's.
const SYSTEM_TREES: &[&str] = &[
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run",
    "/sbin", "/sys", "/usr",
];
const SYSTEM_TOPS: &[&str] = &[
    "/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib", "/var/tmp",
];

/// Checks that a bind's source may be relabelled (`:z`, `:Z`).
///
/// # Errors
/// `denied` for directories of the system, as `path` names them after `..` and links are resolved by the caller.
pub fn check_relabel(path: &Path) -> Result<()> {
    let clean: PathBuf = path
        .components()
        .filter(|c| !matches!(c, Component::CurDir))
        .collect();
    let refused = !clean.is_absolute()
        || clean.components().any(|c| c == Component::ParentDir)
        || SYSTEM_TOPS.iter().any(|top| clean == Path::new(top))
        || SYSTEM_TREES.iter().any(|tree| clean.starts_with(tree));
    if refused {
        let why = "relabelling it would change the host's own labels: mount it without z or Z";
        return Err(Error::new(
            Kind::Denied,
            "relabel",
            path.to_string_lossy(),
            why,
        ));
    }
    Ok(())
}

/// Labels a file, or a directory and all below it, by descriptor and following no link but `path` itself.
///
/// `shared` (`:z`) drops the categories, so that every container reads it; else (`:Z`) it is this container's alone. What has
/// the label keeps it untouched. A file system without labels is left as it is, which is Docker's way: it may have been
/// mounted with a label that does.
///
/// # Errors
/// `not-found` if it is gone, `denied` if the policy forbids the label, `invalid` if it does not know it.
pub fn relabel(path: &Path, label: &str, shared: bool) -> Result<()> {
    let mut wanted = Label::parse(label).ok_or_else(|| {
        Error::new(
            Kind::Invalid,
            "relabel",
            path.to_string_lossy(),
            format!("{label} is no label"),
        )
    })?;
    if shared {
        wanted.level = "s0".into();
    }
    let wanted = format!("{wanted}\0");
    let fail =
        |e: Errno, name: &Path| Error::errno("relabel", show(&path.join(name)), e.raw_os_error());
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let top = fs::openat(CWD, path, flags, Mode::empty()).map_err(|e| fail(e, Path::new("")))?;
    let stat = fs::fstat(&top).map_err(|e| fail(e, Path::new("")))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return set(top.as_fd(), &wanted).map_err(|e| fail(e, Path::new("")));
    }
    // Names, not descriptors: a tree may be wider and deeper than the descriptor limit.
    let mut waiting = vec![PathBuf::from(".")];
    while let Some(name) = waiting.pop() {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let directory = match fs::openat2(&top, &name, flags, Mode::empty(), resolve) {
            Ok(directory) => directory,
            // Gone, or replaced by a link.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(e) => return Err(fail(e, &name)),
        };
        set(directory.as_fd(), &wanted).map_err(|e| fail(e, &name))?;
        for entry in Dir::read_from(&directory).map_err(|e| fail(e, &name))? {
            let entry = entry.map_err(|e| fail(e, &name))?;
            let part = OsStr::from_bytes(entry.file_name().to_bytes());
            if part == "." || part == ".." {
                continue;
            }
            let below = name.join(part);
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match fs::openat2(
                &directory,
                part,
                flags,
                Mode::empty(),
                ResolveFlags::BENEATH,
            ) {
                Ok(file) => file,
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(fail(e, &below)),
            };
            let stat = fs::fstat(&file).map_err(|e| fail(e, &below))?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                waiting.push(below);
            } else {
                set(file.as_fd(), &wanted).map_err(|e| fail(e, &below))?;
            }
        }
    }
    Ok(())
}

/// Labels what a descriptor refers to; one opened with O_PATH takes no fsetxattr, but its name in /proc does.
fn set(file: BorrowedFd<'_>, label: &str) -> std::result::Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut now = [0; MAX_LABEL];
    if fs::getxattr(&path, XATTR, &mut now).is_ok_and(|length| &now[..length] == label.as_bytes()) {
        return Ok(());
    }
    match fs::setxattr(&path, XATTR, label.as_bytes(), XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => Ok(()),
        other => other,
    }
}

/// Labels the top of a detached mount.
///
/// # Errors
/// The kernel's.
pub fn set_label(mount: BorrowedFd<'_>, label: &str) -> std::result::Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = fs::openat(mount, ".", flags, Mode::empty())?;
    fs::fsetxattr(
        &top,
        XATTR,
        format!("{label}\0").as_bytes(),
        XattrFlags::empty(),
    )
}

fn show(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cve_2021_43816_system_directories_are_not_relabelled() {
        for path in [
            "/",
            "/etc",
            "/etc/",
            "/etc/ssl",
            "/usr/share/x",
            "/home",
            "/var",
            "/./etc",
            "/srv/../etc",
            "etc",
            "/dev/shm",
            "/tmp/",
        ] {
            assert_eq!(
                check_relabel(Path::new(path)).unwrap_err().kind,
                Kind::Denied,
                "{path}"
            );
        }
        for path in [
            "/home/ann/data",
            "/srv/www",
            "/var/lib/app",
            "/etcetera",
            "/tmp/x",
        ] {
            assert!(check_relabel(Path::new(path)).is_ok(), "{path}");
        }
    }

    /// On a file system that takes the attribute without SELinux (root on tmpfs), else it says that it does not.
    #[test]
    fn relabel_walks_without_following_links() {
        let root = std::env::temp_dir().join(format!("minidock-selinux-{}", std::process::id()));
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/file"), "").unwrap();
        let outside = root.with_extension("outside");
        std::fs::write(&outside, "").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("a/link")).unwrap();
        let label = "system_u:object_r:container_file_t:s0:c1,c2";
        let value = |path: &Path| {
            let mut buffer = [0; 100];
            let length = fs::lgetxattr(path, XATTR, &mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        match relabel(&root, label, true) {
            Ok(()) if value(&root).is_some() => {
                for path in ["", "a", "a/b", "a/b/file", "a/link"] {
                    assert_eq!(
                        value(&root.join(path)).unwrap(),
                        "system_u:object_r:container_file_t:s0\0",
                        "{path}"
                    );
                }
                relabel(&root, label, false).unwrap();
                assert!(value(&root.join("a")).unwrap().contains("c1,c2"));
            }
            Ok(()) => {}
            Err(e) => assert!(matches!(e.kind, Kind::Invalid | Kind::Denied), "{e}"),
        }
        assert_eq!(value(&outside), None);
        let e = relabel(&root.join("gone"), label, true).unwrap_err();
        assert_eq!(e.kind, Kind::NotFound);
        std::fs::remove_dir_all(&root).unwrap();
        std::fs::remove_file(&outside).unwrap();
    }
}
