//! Relabelling of what is mounted into containers (`:z`, `:Z`).
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

use super::Label;
use crate::{Error, Kind, Result};

const XATTR: &str = "security.selinux";
/// The longest label that is looked at; a longer one is another one.
const MAX_LABEL: usize = 1024;

/// Directories whose relabelling would break the host or hand it to the container (CVE-2021-43816), with all that lies in them.
const SYSTEM_TREES: &[&str] = &[
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run",
    "/sbin", "/sys", "/usr",
];
/// Those in which others may have directories of their own. Some of /var are those of / where a system is an ostree.
const SYSTEM_TOPS: &[&str] = &[
    "/",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/srv",
    "/tmp",
    "/var",
    "/var/cache",
    "/var/home",
    "/var/lib",
    "/var/log",
    "/var/mnt",
    "/var/opt",
    "/var/roothome",
    "/var/spool",
    "/var/srv",
    "/var/tmp",
];
/// What lies in these is a user's home: with another label nobody logs in by a key that is in it.
const HOMES: &[&str] = &["/home", "/var/home"];

/// Checks a bind's source that has `z` or `Z` where nothing is relabelled, as without SELinux.
///
/// `roots` are the engine's own directories. They and the system's are refused there, too, so that a mistake shows on every host;
/// what lies in them is not: /etc/localtime and sockets in /run are given to containers with a `z` for the hosts that need it.
///
/// # Errors
/// `denied`, for what `path` is called and for what it leads to.
pub fn check_relabel(path: &Path, roots: &[PathBuf]) -> Result<()> {
    // What cannot be opened cannot be mounted either, and the mount says why.
    let real = open(path).and_then(|top| real_name(top.as_fd(), path)).ok();
    check(path, real.as_deref(), |name| {
        objection(name, roots, |name, directory| name == directory)
    })
}

/// Labels a file, or a directory and all below it, by one descriptor, and following no link but those on the way to it.
///
/// `shared` (`:z`) drops the categories, so that every container reads it; else (`:Z`) it is this container's alone. What has
/// the label keeps it untouched. A file system without labels is left as it is, which is Docker's way: it may have been
/// mounted with a label that does.
///
/// `roots` are the engine's own directories, of a bind; None: `path` is the engine's, and not checked.
///
/// # Errors
/// `not-found` if it is gone, `denied` if it is the system's or the engine's or the policy forbids the label, `invalid` if it does
/// not know it.
pub fn relabel(path: &Path, label: &str, shared: bool, roots: Option<&[PathBuf]>) -> Result<()> {
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
    let top = match roots {
        Some(roots) => open_checked(path, roots)?,
        None => open(path)?,
    };
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

/// Opens what may be relabelled. It is not looked up again: who may change a link on the way could lead it elsewhere meanwhile.
fn open_checked(path: &Path, roots: &[PathBuf]) -> Result<OwnedFd> {
    let top = open(path)?;
    let real = real_name(top.as_fd(), path)?;
    check(path, Some(&real), |name| {
        objection(name, roots, |name, directory| name.starts_with(directory))
            .or_else(|| around(name, roots))
    })?;
    Ok(top)
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|e| Error::errno("relabel", show(path), e.raw_os_error()))
}

/// What the kernel calls an open file: no link is in it.
fn real_name(file: BorrowedFd<'_>, path: &Path) -> Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .map_err(|e| Error::io("relabel", show(path), e))
}

/// Refuses a path for what is said against its name or its real one.
fn check(
    path: &Path,
    real: Option<&Path>,
    objection: impl Fn(&Path) -> Option<String>,
) -> Result<()> {
    let why = objection(path).or_else(|| {
        let real = real?;
        Some(format!("it is {}, and {}", show(real), objection(real)?))
    });
    match why {
        Some(why) => Err(Error::new(Kind::Denied, "relabel", show(path), why)),
        None => Ok(()),
    }
}

const WITHOUT: &str = "mount it without z or Z";

/// What is to be said against relabelling the directory or file of this name; `lies_in` says what a tree's is.
fn objection(
    name: &Path,
    roots: &[PathBuf],
    lies_in: impl Fn(&Path, &Path) -> bool,
) -> Option<String> {
    if let Some(root) = roots.iter().find(|root| lies_in(name, root)) {
        return Some(engine_s(root));
    }
    // Only a file of a file system without names, such as a pipe, has a real one that does not begin at the root.
    let is_system_s = !name.is_absolute()
        || SYSTEM_TOPS.iter().any(|top| name == Path::new(top))
        || SYSTEM_TREES
            .iter()
            .any(|tree| lies_in(name, Path::new(tree)));
    is_system_s.then(|| format!("relabelling it would change the host's own labels: {WITHOUT}"))
}

/// What is to be said against relabelling all below a directory, beside what it is itself.
fn around(name: &Path, roots: &[PathBuf]) -> Option<String> {
    if HOMES
        .iter()
        .any(|homes| name.parent() == Some(Path::new(homes)))
    {
        return Some(format!(
            "relabelling it would change the host's own labels, those of a whole home: mount a directory that is in it, or {WITHOUT}"
        ));
    }
    roots
        .iter()
        .find(|root| root.starts_with(name))
        .map(|root| engine_s(root))
}

fn engine_s(root: &Path) -> String {
    format!(
        "relabelling it would change the labels of minidock's own files in {}: {WITHOUT}",
        show(root)
    )
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
    use crate::layer::testdir::TestDir;

    /// Why a path must not be relabelled; nothing is.
    fn why(path: &Path, roots: &[PathBuf]) -> Option<String> {
        let real = open(path).and_then(|top| real_name(top.as_fd(), path)).ok();
        let checked = check(path, real.as_deref(), |name| {
            objection(name, roots, |name, directory| name.starts_with(directory))
                .or_else(|| around(name, roots))
        });
        if real.is_some() {
            let opened = open_checked(path, roots).map(drop);
            assert_eq!(opened.is_err(), checked.is_err(), "{}", show(path));
        }
        checked.err().map(|e| {
            assert_eq!(e.kind, Kind::Denied);
            e.to_string()
        })
    }

    #[test]
    fn cve_2021_43816_system_directories_are_not_relabelled() {
        for path in [
            "/",
            "/etc",
            "/etc/",
            "/etc/ssl",
            "/usr/share/x",
            "/home",
            "/home/ann",
            "/home/ann/",
            "/var",
            "/var/home",
            "/var/home/ann",
            "/var/roothome",
            "/var/log",
            "/var/spool",
            "/var/cache/",
            "/./etc",
            "/srv/../etc",
            "etc",
            "/dev/shm",
            "/run/user/1000/x",
            "/tmp/",
        ] {
            let why = why(Path::new(path), &[]).expect(path);
            assert!(
                why.contains("relabelling it would change the host's own labels"),
                "{why}"
            );
        }
        for path in [
            "/home/ann/data",
            "/var/home/ann/data",
            "/srv/www",
            "/var/lib/app",
            "/var/log/app",
            "/etcetera",
            "/tmp/x",
        ] {
            assert_eq!(why(Path::new(path), &[]), None, "{path}");
        }
    }

    #[test]
    fn links_to_system_directories_are_not_relabelled_either() {
        let tmp = TestDir::new();
        let link = |name: &str, to: &Path| {
            std::os::unix::fs::symlink(to, tmp.path().join(name)).unwrap();
            tmp.path().join(name)
        };
        let etc = link("etc", Path::new("/etc"));
        let top = link("top", Path::new("/"));
        let far = link("far", &etc);
        let file = link("file", Path::new("/etc/passwd"));
        for path in [
            &etc,
            &far,
            &top,
            &top.join("etc"),
            &file,
            &etc.join("passwd"),
        ] {
            let why = why(path, &[]).expect("it is refused");
            assert!(why.contains("it is /"), "{why}");
            assert!(why.contains("the host's own labels"), "{why}");
        }
        assert_eq!(why(&link("other", tmp.path()), &[]), None);
        // Where nothing is relabelled, too, but not for what only lies in them.
        for path in [&etc, &far, &top, &top.join("etc")] {
            let e = check_relabel(path, &[]).unwrap_err();
            assert_eq!(e.kind, Kind::Denied, "{e}");
        }
        for path in [&file, &etc.join("passwd")] {
            assert!(check_relabel(path, &[]).is_ok(), "{}", show(path));
        }
    }

    #[test]
    fn what_only_lies_in_system_directories_may_have_z_where_nothing_is_relabelled() {
        let mine = [PathBuf::from("/var/lib/minidock")];
        for path in [
            "/etc",
            "/etc/",
            "/",
            "/usr",
            "/run",
            "/tmp",
            "/home",
            "/var/lib/minidock",
        ] {
            let e = check_relabel(Path::new(path), &mine).unwrap_err();
            assert_eq!(e.kind, Kind::Denied, "{e}");
        }
        for path in [
            "/etc/localtime",
            "/etc/passwd",
            "/run/minidock.sock",
            "/run/user/1000/x",
            "/home/ann",
            "/proc/self/mountinfo",
            "/var/lib/minidock/volumes",
        ] {
            assert!(check_relabel(Path::new(path), &mine).is_ok(), "{path}");
        }
    }

    /// Also by a link, and with the same directory exempt when it is the engine that labels.
    #[test]
    fn the_engine_s_directories_are_not_relabelled_as_binds() {
        let tmp = TestDir::new();
        let engine = tmp.path().join("above/engine");
        let volume = engine.join("volumes/one");
        std::fs::create_dir_all(&volume).unwrap();
        std::fs::create_dir(tmp.path().join("beside")).unwrap();
        let link = tmp.path().join("link");
        std::os::unix::fs::symlink(&volume, &link).unwrap();
        let roots = [engine.clone()];
        let label = "system_u:object_r:container_file_t:s0:c1,c2";
        for path in [&engine, &volume, &link, &tmp.path().join("above")] {
            let value = || {
                let mut buffer = [0; 100];
                fs::getxattr(path, XATTR, &mut buffer).ok().map(|_| buffer)
            };
            let before = value();
            let e = relabel(path, label, true, Some(&roots)).unwrap_err();
            assert_eq!(e.kind, Kind::Denied);
            assert_eq!(e.errno, None, "not the kernel's");
            let words = format!("minidock's own files in {}", show(&engine));
            assert!(e.to_string().contains(&words), "{e}");
            assert_eq!(value(), before);
        }
        assert_eq!(why(&tmp.path().join("beside"), &roots), None);
        // The kernel may refuse the label, and without SELinux may not.
        if let Err(e) = relabel(&volume, label, true, None) {
            assert!(e.errno.is_some(), "{e}");
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
        match relabel(&root, label, true, None) {
            Ok(()) if value(&root).is_some() => {
                for path in ["", "a", "a/b", "a/b/file", "a/link"] {
                    assert_eq!(
                        value(&root.join(path)).unwrap(),
                        "system_u:object_r:container_file_t:s0\0",
                        "{path}"
                    );
                }
                relabel(&root, label, false, Some(&[])).unwrap();
                assert!(value(&root.join("a")).unwrap().contains("c1,c2"));
            }
            Ok(()) => {}
            Err(e) => assert!(matches!(e.kind, Kind::Invalid | Kind::Denied), "{e}"),
        }
        assert_eq!(value(&outside), None);
        let e = relabel(&root.join("gone"), label, true, Some(&[])).unwrap_err();
        assert_eq!(e.kind, Kind::NotFound);
        std::fs::remove_dir_all(&root).unwrap();
        std::fs::remove_file(&outside).unwrap();
    }
}
