//! Making mounts with the new mount API: each is a detached descriptor first, and attached to a descriptor.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::{Errno, Result as RawResult};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::{Options, foreign};
use crate::error::{Context, Error, Kind, Result};
use crate::path::text;
use crate::sys::{AT_RECURSIVE, MountAttr, mount_setattr};

/// A detached mount of a kernel filesystem (proc, sysfs, tmpfs, …) with options `key=value` or `flag`.
pub fn pseudo(kind: &str, data: &[&str], attributes: u64) -> RawResult<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", kind)?;
    for option in data {
        set_option(context.as_fd(), option)?;
    }
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::from_bits_retain(attributes as u32),
    )
}

fn set_option(context: BorrowedFd<'_>, option: &str) -> RawResult<()> {
    match option.split_once('=') {
        Some((key, value)) => fsconfig_set_string(context, key, value),
        None => fsconfig_set_flag(context, option),
    }
}

/// A detached mount of any filesystem, with the options of a mount of the document.
pub fn filesystem(kind: &str, source: &str, options: &Options) -> Result<OwnedFd> {
    let name = || format!("{kind} {source}");
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).context("open filesystem", || kind)?;
    fsconfig_set_string(&context, "source", source).context("set filesystem source", name)?;
    for flag in &options.filesystem_flags {
        fsconfig_set_flag(&context, *flag)
            .context("set filesystem option", || format!("{flag} of {kind}"))?;
    }
    // A read-only device needs a read-only filesystem; kernel filesystems are shared with the host and stay as they are.
    let own = !matches!(
        kind,
        "proc"
            | "sysfs"
            | "cgroup"
            | "cgroup2"
            | "devpts"
            | "mqueue"
            | "tmpfs"
            | "ramfs"
            | "bpf"
            | "debugfs"
            | "tracefs"
            | "securityfs"
    );
    if own && options.set & libc::MOUNT_ATTR_RDONLY != 0 {
        fsconfig_set_flag(&context, "ro")
            .context("set filesystem option", || format!("ro of {kind}"))?;
    }
    for option in &options.data {
        // Each devpts is a new instance since Linux 4.7; the word is still in everybody's documents.
        if kind == "devpts" && option == "newinstance" {
            continue;
        }
        set_option(context.as_fd(), option)
            .context("set filesystem option", || format!("{option} of {kind}"))?;
    }
    fsconfig_create(&context).context("create filesystem", name)?;
    let attributes = MountAttrFlags::from_bits_retain(options.set as u32);
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).context("mount filesystem", name)
}

/// A detached copy of the mount (or of the part of it) that `fd` lies on.
pub fn clone_tree(fd: BorrowedFd<'_>, recursive: bool) -> RawResult<OwnedFd> {
    open_tree(
        fd,
        "",
        clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH,
    )
}

/// A detached copy of what the host has at `path`, links followed: the source of a bind. `/proc/PID/root/…` is what that
/// process has there.
pub fn open_bind(path: &Path, recursive: bool) -> Result<OwnedFd> {
    if let Some((pid, inside)) = foreign::parse(path) {
        return foreign::open(pid, &inside, recursive);
    }
    open_tree(CWD, path, clone_flags(recursive)).context("open bind source", || text(path))
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags | OpenTreeFlags::AT_RECURSIVE
    } else {
        flags
    }
}

/// Puts a detached mount on the file or directory that `target` is, on top of what is mounted there.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> RawResult<()> {
    move_mount(
        mount,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// Sets the attributes of a detached bind, and its propagation (`rprivate` where nothing else is asked for).
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    options: &Options,
    idmap: Option<(BorrowedFd<'_>, bool)>,
) -> Result<()> {
    // `rw` on a bind keeps what the host's mount is: it must not make a read-only mount of the host writable.
    let (clear, clear_all) = (
        options.clear & !libc::MOUNT_ATTR_RDONLY,
        options.clear_recursive & !libc::MOUNT_ATTR_RDONLY,
    );
    let mut changes = vec![(
        AT_RECURSIVE,
        MountAttr {
            set: options.set_recursive,
            clear: clear_all,
            propagation: libc::MS_PRIVATE,
            idmap: None,
        },
    )];
    if !options.propagation.is_empty() {
        // The copy is a peer of the host's mounts: a slave at most, unless a word of the list says otherwise.
        let shared = options
            .propagation
            .iter()
            .any(|p| p.kind == libc::MS_SHARED);
        changes[0].1.propagation = if shared { 0 } else { libc::MS_SLAVE };
    }
    changes.push((
        0,
        MountAttr {
            set: options.set,
            clear,
            ..MountAttr::default()
        },
    ));
    for p in &options.propagation {
        changes.push((
            if p.recursive { AT_RECURSIVE } else { 0 },
            MountAttr {
                propagation: p.kind,
                ..MountAttr::default()
            },
        ));
    }
    for (flags, attr) in changes {
        if attr.set | attr.clear | attr.propagation != 0 {
            mount_setattr(mount, flags, &attr).context("set mount options", String::new)?;
        }
    }
    idmap.map_or(Ok(()), |(userns, recursive)| {
        map_owners(mount, userns, recursive)
    })
}

/// Has the files of a detached mount seen with the owners that they have in a user namespace.
///
/// Fails with `Unsupported` where its file system cannot.
pub fn map_owners(mount: BorrowedFd<'_>, userns: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let attr = MountAttr {
        idmap: Some(userns),
        ..MountAttr::default()
    };
    let flags = if recursive { AT_RECURSIVE } else { 0 };
    let why = match mount_setattr(mount, flags, &attr) {
        Err(Errno::INVAL) => "its file system does not support idmapped mounts in this kernel",
        Err(Errno::PERM) => {
            "its owners are mapped already, or its file system belongs to a user namespace"
        }
        other => return other.context("map owners", String::new),
    };
    Err(Error::new(Kind::Unsupported, "map owners", "", why))
}
