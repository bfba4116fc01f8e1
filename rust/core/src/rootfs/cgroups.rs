//! `/sys/fs/cgroup` of a container.
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;

use crate::error::{Context, Error, Kind, Result};
use crate::mount::{Options, attach, open_bind, pseudo};
use crate::path::text;
use crate::sys::{MountAttr, mount_setattr};

/// One mounted hierarchy of the host.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Where it is mounted.
    mountpoint: PathBuf,
    /// Which directory of the hierarchy that mount shows.
    root: PathBuf,
    /// Its controllers (or `name=…`) in the words of its superblock; empty on v2.
    controllers: Vec<String>,
}

/// The mounts of [`mounts`]: one at the top, and on v1 one per hierarchy below it.
#[derive(Debug)]
pub struct Mounts {
    /// To be attached first.
    pub top: OwnedFd,
    below: Vec<(String, OwnedFd)>,
    read_only: bool,
}

impl Mounts {
    /// Attaches the hierarchies, once the top is in place.
    pub fn attach_below(&self) -> Result<()> {
        for (name, fd) in &self.below {
            let target = openat(
                &self.top,
                name.as_str(),
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .context("open cgroup mount point", || name.as_str())?;
            attach(fd.as_fd(), target.as_fd())
                .context("mount cgroup hierarchy", || name.as_str())?;
        }
        if self.read_only {
            let attr = MountAttr {
                set: libc::MOUNT_ATTR_RDONLY,
                ..MountAttr::default()
            };
            mount_setattr(self.top.as_fd(), 0, &attr)
                .context("make read-only", || "/sys/fs/cgroup")?;
        }
        Ok(())
    }
}

/// Makes the mounts for the calling process, which is in its cgroups and its cgroup namespace (`own_namespace`) already.
///
/// On v2: that hierarchy. On v1 and on hybrid hosts: a tmpfs with a directory for each v1 hierarchy, as runc has it. In a
/// cgroup namespace of its own a hierarchy is mounted anew and shows the namespace's root; otherwise the process's own
/// group is bound.
pub fn mounts(options: &Options, own_namespace: bool) -> Result<Mounts> {
    let read = |path: &str| std::fs::read_to_string(path).context("read", || path);
    let (v1, v2) = parse(&read("/proc/self/mountinfo")?);
    let groups = read("/proc/self/cgroup")?;
    let attributes = options.set;
    if v1.is_empty() {
        let v2 = v2.ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                "mount cgroups",
                "/sys/fs/cgroup",
                "no cgroup hierarchy is mounted on this host",
            )
        })?;
        let top = if own_namespace {
            pseudo("cgroup2", &[], attributes).context("mount cgroup hierarchy", || "cgroup2")?
        } else {
            bind(&v2, own_group(&groups, &[]), attributes)?
        };
        return Ok(Mounts {
            top,
            below: Vec::new(),
            read_only: false,
        });
    }
    let top = pseudo(
        "tmpfs",
        &["mode=755"],
        attributes & !libc::MOUNT_ATTR_RDONLY,
    )
    .context("mount", || "tmpfs of /sys/fs/cgroup")?;
    let mut below = Vec::new();
    for h in &v1 {
        let name = h
            .mountpoint
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let fd = if own_namespace {
            let words: Vec<&str> = h
                .controllers
                .iter()
                .flat_map(|c| {
                    if c.starts_with("name=") {
                        vec!["none", c]
                    } else {
                        vec![c.as_str()]
                    }
                })
                .collect();
            pseudo("cgroup", &words, attributes)
                .context("mount cgroup hierarchy", || name.as_str())?
        } else {
            bind(h, own_group(&groups, &h.controllers), attributes)?
        };
        match mkdirat(&top, name.as_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) => below.push((name.clone(), fd)),
            Err(Errno::EXIST) => continue,
            Err(e) => return Err(e).context("make cgroup mount point", || name),
        }
        // A hierarchy of several controllers is also known by the name of each.
        for controller in h
            .controllers
            .iter()
            .filter(|c| **c != name && !c.contains('='))
        {
            match symlinkat(name.as_str(), &top, controller.as_str()) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e).context("link cgroup controller", || controller.as_str()),
            }
        }
    }
    Ok(Mounts {
        top,
        below,
        read_only: attributes & libc::MOUNT_ATTR_RDONLY != 0,
    })
}

fn bind(h: &Hierarchy, group: Option<&str>, attributes: u64) -> Result<OwnedFd> {
    // A mount inside a container shows a part of the hierarchy only; group names start at the hierarchy's root.
    let group = Path::new(group.unwrap_or("/"));
    let below = group.strip_prefix(&h.root).unwrap_or(Path::new(""));
    let path = h.mountpoint.join(below);
    let fd = open_bind(&path, false)?;
    let attr = MountAttr {
        set: attributes,
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    mount_setattr(fd.as_fd(), 0, &attr).context("set mount options of", || text(&path))?;
    Ok(fd)
}

/// The group of `/proc/self/cgroup` in the hierarchy with these controllers.
fn own_group<'a>(groups: &'a str, controllers: &[String]) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, fields.next()?);
        let same = if controllers.is_empty() {
            names.is_empty()
        } else {
            names.split(',').any(|n| controllers.iter().any(|c| c == n))
        };
        same.then_some(path)
    })
}

/// The v1 hierarchies, each once, and the v2 hierarchy, of a `mountinfo`.
fn parse(mountinfo: &str) -> (Vec<Hierarchy>, Option<Hierarchy>) {
    const NOT_CONTROLLERS: [&str; 8] = [
        "rw",
        "ro",
        "none",
        "xattr",
        "clone_children",
        "noprefix",
        "favordynmods",
        "cpuset_v2_mode",
    ];
    let (mut v1, mut v2): (Vec<Hierarchy>, Option<Hierarchy>) = (Vec::new(), None);
    for line in mountinfo.lines() {
        // "31 23 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let mut right = right.split(' ');
        let (kind, options) = (
            right.next().unwrap_or_default(),
            right.nth(1).unwrap_or_default(),
        );
        let mut left = left.split(' ').skip(3);
        let (Some(root), Some(mountpoint)) = (left.next(), left.next()) else {
            continue;
        };
        let make = |controllers| Hierarchy {
            mountpoint: super::unescape(mountpoint),
            root: super::unescape(root),
            controllers,
        };
        match kind {
            "cgroup2" if v2.is_none() => v2 = Some(make(Vec::new())),
            "cgroup" => {
                let controllers: Vec<String> = options
                    .split(',')
                    .filter(|o| !NOT_CONTROLLERS.contains(o) && !o.starts_with("release_agent="))
                    .map(str::to_owned)
                    .collect();
                if !controllers.is_empty() && v1.iter().all(|h| h.controllers != controllers) {
                    v1.push(make(controllers));
                }
            }
            _ => {}
        }
    }
    (v1, v2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n\
        44 31 0:37 / /somewhere/else rw,relatime - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n\
        41 31 0:38 /a\\040b /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn finds_hierarchies() {
        let (v1, v2) = parse(HYBRID);
        assert_eq!(v1.len(), 2);
        assert_eq!(v1[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(v1[1].controllers, ["name=systemd"]);
        assert_eq!(v2.unwrap().root, Path::new("/a b"));
    }

    #[test]
    fn finds_the_own_group() {
        let groups = "9:name=systemd:/\n4:memory:/m\n2:cpu,cpuacct:/x:y/z\n0::/u\n";
        assert_eq!(
            own_group(groups, &["cpuacct".into(), "cpu".into()]),
            Some("/x:y/z")
        );
        assert_eq!(own_group(groups, &["name=systemd".into()]), Some("/"));
        assert_eq!(own_group(groups, &[]), Some("/u"));
        assert_eq!(own_group(groups, &["pids".into()]), None);
    }
}
