//! The data root: its file system, space, and overlay on it.
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, XattrFlags, getxattr, setxattr, statfs, statvfs};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, open_tree, unmount,
};

use super::mounts::{attach, private};
use super::{Context, Report, Status, Step, fail, namespaces, read, warn};
use crate::sys::probe;

/// A directory inside the data root, removed at the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // A second run of doctor, or the engine's clean-up of tmp, removes what could not be removed now.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn check(context: &Context, report: &mut Report) {
    let (root, exists) = existing(&context.data_root);
    let found = if exists {
        root.display().to_string()
    } else {
        format!(
            "{} (not made yet; looking at {})",
            context.data_root.display(),
            root.display()
        )
    };
    report.ok("data root", found);
    file_system(report, &root);
    let tmp = root.join("tmp");
    // Never made here: with a file in it, a directory open to others is no place for a new data root.
    let base = if exists && tmp.is_dir() { tmp } else { root };
    let path = base.join(format!("doctor-{}", std::process::id()));
    let scratch = match fs::create_dir(&path).step("mkdir") {
        Ok(()) => Scratch(path),
        Err(found) => {
            let advice = "run as root, or choose another place with --data-root";
            return report.add(
                "writing",
                Status::Fail,
                found,
                "no image and no container can be stored",
                advice,
            );
        }
    };
    attributes(report, &scratch.0);
    if let Err(found) = private() {
        return report.add(
            "overlay",
            Status::Fail,
            found,
            "no container can be started",
            "run as root",
        );
    }
    overlay(report, &scratch.0);
    idmap(context, report, &scratch.0);
}

/// The path, or the nearest directory above it that exists.
fn existing(path: &Path) -> (PathBuf, bool) {
    let mut at = path;
    loop {
        if at.is_dir() {
            return (at.to_owned(), at == path);
        }
        match at.parent() {
            Some(above) => at = above,
            None => return (PathBuf::from("/"), false),
        }
    }
}

fn file_system(report: &mut Report, root: &Path) {
    let (Ok(fs), Ok(vfs)) = (statfs(root), statvfs(root)) else {
        return report.add(
            "file system",
            Status::Fail,
            "statfs fails",
            "nothing is known about the disk",
            "choose another place with --data-root",
        );
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // magic numbers have 32 bits
    let kind = match fs.f_type as u32 {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x6573_5546 => "fuse",
        0xca45_1a4e => "bcachefs",
        0x0102_1997 => "9p",
        _ => "another",
    };
    let (status, meaning, advice) = match kind {
        "overlay" => (
            Status::Warn,
            "overlay on overlay works only on some kernels; otherwise files are copied",
            "put the data root on a volume: --data-root",
        ),
        "nfs" | "9p" | "fuse" => (
            Status::Warn,
            "overlay does not take it as upper layer, so files are copied",
            "put the data root on a local disk: --data-root",
        ),
        "tmpfs" => (
            Status::Warn,
            "images and containers are lost at the next boot, and use memory",
            "put the data root on a disk: --data-root",
        ),
        _ => (Status::Ok, "", ""),
    };
    report.add("file system", status, kind, meaning, advice);
    let noexec = vfs.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC);
    let nosuid = vfs.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID);
    if vfs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        report.add(
            "mount options",
            Status::Fail,
            "ro",
            "nothing can be stored",
            "mount it read-write, or choose another place with --data-root",
        );
    } else if noexec || nosuid {
        let found = [("noexec", noexec), ("nosuid", nosuid)]
            .iter()
            .filter(|o| o.1)
            .map(|o| o.0)
            .collect::<Vec<_>>()
            .join(",");
        let status = if noexec { Status::Fail } else { Status::Warn };
        let meaning =
            "programs of images cannot be executed, or their set-user-id bits have no effect";
        report.add(
            "mount options",
            status,
            found,
            meaning,
            "mount it without noexec and nosuid, or choose another place with --data-root",
        );
    }
    let free = vfs.f_bavail.saturating_mul(vfs.f_frsize);
    let found = format!("{:.1} GiB free", free as f64 / f64::from(1 << 30));
    let advice = "free space, for example with `minidock system prune`, or choose another place with --data-root";
    match free {
        ..104_857_600 => report.add(
            "space",
            Status::Fail,
            found,
            "images cannot be unpacked",
            advice,
        ),
        104_857_600..2_147_483_648 => report.add(
            "space",
            Status::Warn,
            found,
            "larger images will not fit",
            advice,
        ),
        _ => report.ok("space", found),
    }
    // Some file systems have no fixed number of inodes and say 0.
    if vfs.f_files > 0 {
        let found = format!("{} inodes free", vfs.f_favail);
        let status = if vfs.f_favail < 10_000 {
            Status::Warn
        } else {
            Status::Ok
        };
        let (meaning, advice) = if status == Status::Ok {
            ("", "")
        } else {
            ("images have many small files", advice)
        };
        report.add("inodes", status, found, meaning, advice);
    }
}

fn attributes(report: &mut Report, dir: &Path) {
    for (name, meaning) in [
        (
            "trusted.overlay.minidock",
            "overlay cannot store opaque directories, so files are copied",
        ),
        (
            "security.capability",
            "file capabilities of images are lost",
        ),
        ("user.minidock", "user attributes of images are lost"),
    ] {
        // Version 2 of struct vfs_cap_data with an empty set: the kernel checks this attribute's form.
        let value: &[u8] = if name.starts_with("security") {
            &[0, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        } else {
            b"1"
        };
        let file = dir.join("attribute");
        let outcome = fs::write(&file, "").step("write").and_then(|()| {
            setxattr(&file, name, value, XattrFlags::empty()).step("setxattr")?;
            let mut back = [0; 64];
            getxattr(&file, name, &mut back[..])
                .step("getxattr")
                .map(|_| "can be stored".to_owned())
        });
        let blame = if name.starts_with("trusted") {
            fail(
                meaning,
                "use a file system with extended attributes, such as ext4 or xfs: --data-root",
            )
        } else {
            warn(
                meaning,
                "use a file system with extended attributes, such as ext4 or xfs: --data-root",
            )
        };
        let title = format!(
            "{}.* attributes",
            name.split('.').next().unwrap_or_default()
        );
        report.tried(&title, outcome, &blame);
    }
}

fn overlay(report: &mut Report, dir: &Path) {
    let prepare = || -> std::io::Result<()> {
        for sub in ["lower1/dir", "lower2", "upper", "work", "merged"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        fs::write(dir.join("lower1/file"), "one")?;
        fs::write(dir.join("lower1/gone"), "one")?;
        fs::write(dir.join("lower1/dir/inner"), "one")?;
        fs::write(dir.join("lower2/second"), "two")
    };
    if let Err(e) = prepare().step("write") {
        return report.add(
            "overlay",
            Status::Fail,
            e,
            "no container can be started",
            "choose another place with --data-root",
        );
    }
    let path = |name: &str| dir.join(name);
    let both = format!("{}:{}", path("lower2").display(), path("lower1").display());
    let mounted = fresh(
        &[
            ("lowerdir", &both),
            ("upperdir", &text(&path("upper"))),
            ("workdir", &text(&path("work"))),
        ],
        false,
    )
    .and_then(|fd| attach(&fd, &path("merged")));
    let blame = warn(
        "images are copied for each container: slow, and much disk space",
        "kernel option CONFIG_OVERLAY_FS (modprobe overlay); the data root must be on a file system that overlay takes, such as ext4, xfs or btrfs",
    );
    if !report.tried(
        "overlay",
        mounted.map(|()| "works in the data root".to_owned()),
        &blame,
    ) {
        return;
    }
    let merged = path("merged");
    let use_it = || -> Result<(), String> {
        if fs::read_to_string(merged.join("second")).step("read")? != "two" {
            return Err("a lower layer is not seen".to_owned());
        }
        fs::write(merged.join("file"), "changed").step("copy up")?;
        if fs::read_to_string(path("lower1/file")).step("read")? != "one" {
            return Err("a write went through to the layer".to_owned());
        }
        fs::remove_file(merged.join("gone")).step("remove")?;
        let whiteout = fs::symlink_metadata(path("upper/gone")).step("stat whiteout")?;
        if !whiteout.file_type().is_char_device() || whiteout.rdev() != 0 {
            return Err("a removed file left no whiteout (character device 0:0)".to_owned());
        }
        fs::remove_dir_all(merged.join("dir")).step("remove directory")?;
        fs::create_dir(merged.join("dir")).step("make directory")?;
        let mut value = [0; 8];
        getxattr(path("upper/dir"), "trusted.overlay.opaque", &mut value[..])
            .step("read the opaque mark")?;
        Ok(())
    };
    let blame = fail(
        "changes of containers are not kept as layers",
        "report this with the output of `minidock doctor --json`",
    );
    report.tried(
        "whiteouts and copy-up",
        use_it().map(|()| "as expected".to_owned()),
        &blame,
    );
    let _ = unmount(&merged, UnmountFlags::DETACH);

    let fd = fresh(
        &[
            ("lowerdir+", &text(&path("lower2"))),
            ("lowerdir+", &text(&path("lower1"))),
        ],
        false,
    );
    let blame = warn(
        "the mount options of an image must fit into one page: about 100 layers",
        "Linux 6.8 or later",
    );
    report.tried(
        "overlay lowerdir+",
        fd.map(|_| "layers are added one by one".to_owned()),
        &blame,
    );
    let fd = fresh(
        &[
            ("lowerdir", &both),
            ("upperdir", &text(&path("upper"))),
            ("workdir", &text(&path("work"))),
        ],
        true,
    );
    let blame = warn(
        "containers with --rm are synced to disk at their end",
        "Linux 5.10 or later",
    );
    report.tried("overlay volatile", fd.map(|_| "works".to_owned()), &blame);
    let parameter = |name: &str| {
        read(&format!("/sys/module/overlay/parameters/{name}")).unwrap_or_else(|| "?".to_owned())
    };
    let found: Vec<_> = ["metacopy", "redirect_dir", "index", "xino_auto"]
        .iter()
        .map(|n| format!("{n}={}", parameter(n)))
        .collect();
    report.ok("overlay defaults", found.join(" "));
    // The work directory is root's alone.
    let _ = fs::remove_dir_all(path("work"));
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A detached overlay.
fn fresh(options: &[(&str, &str)], volatile: bool) -> Result<OwnedFd, String> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).step("fsopen")?;
    for (key, value) in options {
        fsconfig_set_string(&fs, *key, *value).step(&format!("fsconfig {key}"))?;
    }
    if volatile {
        fsconfig_set_flag(&fs, "volatile").step("fsconfig volatile")?;
    }
    fsconfig_create(&fs).step("fsconfig")?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).step("fsmount")
}

/// An idmapped mount of the data root's file system, and an overlay over it.
fn idmap(context: &Context, report: &mut Report, dir: &Path) {
    let blame = warn(
        "--userns=remap needs a copy of each layer",
        "Linux 5.12 (ext4), 5.15 (btrfs), 5.19 (xfs, overlay), 6.3 (tmpfs) or later",
    );
    let outcome = || -> Result<OwnedFd, String> {
        let namespace = namespaces::mapped(context)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, dir.join("lower1"), flags).step("open_tree")?;
        probe::idmap_mount(tree.as_fd(), namespace.as_fd()).step("mount_setattr")?;
        let mapped = dir.join("mapped");
        fs::create_dir(&mapped).step("mkdir")?;
        attach(&tree, &mapped)?;
        let uid = fs::metadata(mapped.join("gone")).step("stat")?.uid();
        if uid == 100_000 {
            Ok(tree)
        } else {
            Err(format!("root's file belongs to uid {uid}, not to 100000"))
        }
    };
    if report.tried(
        "idmapped mounts",
        outcome().map(|_| "work on this file system".to_owned()),
        &blame,
    ) {
        let over = fresh(
            &[(
                "lowerdir",
                &format!(
                    "{}:{}",
                    text(&dir.join("mapped")),
                    text(&dir.join("lower2"))
                ),
            )],
            false,
        );
        let blame = warn(
            "--userns=remap needs a copy of each layer",
            "Linux 5.19 or later",
        );
        report.tried(
            "overlay over idmapped layers",
            over.map(|_| "works".to_owned()),
            &blame,
        );
    }
    let _ = unmount(dir.join("mapped"), UnmountFlags::DETACH);
    let tmpfs = || -> Result<String, String> {
        let namespace = namespaces::mapped(context)?;
        let tmpfs = super::mounts::detached("tmpfs", &[])?;
        probe::idmap_mount(tmpfs.as_fd(), namespace.as_fd()).step("mount_setattr")?;
        Ok("works".to_owned())
    };
    let blame = warn(
        "with --userns=remap, binds of directories on a tmpfs are not mapped",
        "Linux 6.3 or later",
    );
    report.tried("idmapped tmpfs", tmpfs(), &blame);
}
