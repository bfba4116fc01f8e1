//! Mount calls and file systems of a container's root.
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount,
    mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{fchdir, pivot_root};

use super::{Context, Report, Step, fail, warn};
use crate::sys::probe;

/// Gives this process mounts of its own, which no other namespace sees.
pub(super) fn private() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNS).step("unshare")?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .step("make / private")
}

/// The same with an empty tmpfs on /tmp to work in.
fn private_with_tmp() -> Result<(), String> {
    private()?;
    mount(
        "none",
        "/tmp",
        "tmpfs",
        MountFlags::empty(),
        c"size=16m,mode=1777",
    )
    .step("mount tmpfs")
}

/// A detached file system.
pub(super) fn detached(kind: &str, options: &[(&str, &str)]) -> Result<OwnedFd, String> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).step("fsopen")?;
    for (key, value) in options {
        fsconfig_set_string(&fs, *key, *value).step(&format!("fsconfig {key}"))?;
    }
    fsconfig_create(&fs).step("fsconfig")?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).step("fsmount")
}

/// Puts a detached mount on a path.
pub(super) fn attach(fd: &OwnedFd, path: &Path) -> Result<(), String> {
    move_mount(fd, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).step("move_mount")
}

pub(super) fn check(_: &Context, report: &mut Report) {
    let resolved = || -> Result<String, String> {
        let root = rustix::fs::open(
            "/proc",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .step("open")?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // Below this root, not the host's: ".." and a leading "/" stay inside.
        let inside = openat2(
            &root,
            "/../../version",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
        .step("openat2")?;
        let beyond = openat2(
            &root,
            "self/root/etc",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        );
        drop(inside);
        if beyond.is_ok() {
            Err("openat2 followed a magic link".to_owned())
        } else {
            Ok("RESOLVE_IN_ROOT works".to_owned())
        }
    };
    let blame = fail(
        "paths inside containers cannot be resolved safely, so `run` refuses",
        "Linux 5.6 or later; an outer seccomp filter must allow openat2",
    );
    report.tried("openat2", resolved(), &blame);

    let blame = fail(
        "no container can be started",
        "run as root; in a container, start that with --privileged",
    );
    if !report.tried(
        "private mounts",
        private_with_tmp().map(|()| "works".to_owned()),
        &blame,
    ) {
        return;
    }
    let blame = fail(
        "no container can be started",
        "Linux 5.2 or later; an outer seccomp filter must allow fsopen, fsmount and move_mount",
    );
    let dir = Path::new("/tmp/new");
    let outcome = fs::create_dir(dir)
        .step("mkdir")
        .and_then(|()| attach(&detached("tmpfs", &[("size", "1m")])?, dir));
    report.tried(
        "new mount calls",
        outcome.map(|()| "fsopen, fsmount, move_mount work".to_owned()),
        &blame,
    );

    let clone = || -> Result<(), String> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, dir, flags).step("open_tree")?;
        probe::read_only_mount(tree.as_fd()).step("mount_setattr")
    };
    let blame = fail(
        "bind mounts cannot be made read-only with what is below them",
        "Linux 5.12 or later",
    );
    report.tried(
        "mount_setattr",
        clone().map(|()| "whole trees become read-only".to_owned()),
        &blame,
    );

    for (kind, options, option) in [
        ("proc", &[][..], "CONFIG_PROC_FS"),
        ("sysfs", &[], "CONFIG_SYSFS"),
        (
            "devpts",
            &[("ptmxmode", "0666"), ("mode", "0620")],
            "CONFIG_UNIX98_PTYS",
        ),
        ("mqueue", &[], "CONFIG_POSIX_MQUEUE"),
    ] {
        let outcome = detached(kind, options).map(|_| "can be mounted".to_owned());
        let advice =
            format!("kernel option {option}; in a container, start that with --privileged");
        match outcome {
            Ok(found) => report.ok(kind, found),
            Err(found) => report.add(
                kind,
                super::Status::Fail,
                found,
                "containers need it",
                &advice,
            ),
        }
    }
    device_node(report);
    terminal(report);
    // Last: afterwards this process sees nothing of the host.
    let blame = fail(
        "no container can be started",
        "the root file system must not be the initial ramfs (rootfs); boot with switch_root",
    );
    report.tried("pivot_root", pivot().map(|()| "works".to_owned()), &blame);
}

/// mknod of /dev/null, and opening it.
fn device_node(report: &mut Report) {
    let outcome = || -> Result<(), String> {
        let null = Path::new("/tmp/null");
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(
            CWD,
            null,
            kind,
            Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, 3),
        )
        .step("mknod")?;
        fs::OpenOptions::new().write(true).open(null).step("open")?;
        Ok(())
    };
    let blame = warn(
        "devices of containers are bound from the host instead",
        "CAP_MKNOD, and c 1:3 allowed by the devices cgroup; not possible in a user namespace",
    );
    report.tried(
        "device nodes",
        outcome().map(|()| "mknod and open work".to_owned()),
        &blame,
    );
}

/// A pty of a devpts instance of its own.
fn terminal(report: &mut Report) {
    let outcome = || -> Result<(), String> {
        let dir = Path::new("/tmp/pts");
        fs::create_dir(dir).step("mkdir")?;
        attach(&detached("devpts", &[("ptmxmode", "0666")])?, dir)?;
        let ptmx = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(dir.join("ptmx"))
            .step("open ptmx")?;
        rustix::pty::unlockpt(&ptmx).step("unlock")?;
        let flags = rustix::pty::OpenptFlags::RDWR
            | rustix::pty::OpenptFlags::NOCTTY
            | rustix::pty::OpenptFlags::CLOEXEC;
        rustix::pty::ioctl_tiocgptpeer(&ptmx, flags).step("open the other end")?;
        Ok(())
    };
    let blame = fail("run -t is not possible", "kernel option CONFIG_UNIX98_PTYS");
    report.tried(
        "terminals",
        outcome().map(|()| "own ptys work".to_owned()),
        &blame,
    );
}

fn pivot() -> Result<(), String> {
    let root = Path::new("/tmp/root");
    fs::create_dir(root).step("mkdir")?;
    attach(&detached("tmpfs", &[])?, root)?;
    let fd = rustix::fs::open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .step("open")?;
    fchdir(&fd).step("fchdir")?;
    pivot_root(".", ".").step("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).step("umount")
}
