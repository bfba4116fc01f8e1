//! Which hierarchies are mounted where.
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::CWD;

use super::controller::{Controller, Version};
use super::file;
use crate::{Context, Error, Kind, Result};

/// How a host uses the two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only version 1.
    V1,
    /// Controllers in version 1 and a cgroup2 mount beside them.
    Hybrid,
    /// Only version 2.
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Version of its interface.
    pub version: Version,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Its controllers that minidock knows.
    pub controllers: Vec<Controller>,
    /// Name of a version 1 hierarchy without controllers (`systemd`).
    pub name: Option<String>,
}

/// The hierarchies of this host; cheap to clone.
#[derive(Debug, Clone)]
pub struct Hierarchies {
    list: Arc<[Hierarchy]>,
}

impl Hierarchies {
    /// Looks at `/proc/self/mountinfo`, and at `cgroup.controllers` of the cgroup2 mount.
    ///
    /// # Errors
    /// `unsupported` if no cgroup file system is mounted; the error of the system call if /proc cannot be read.
    pub fn detect() -> Result<Self> {
        let mountinfo =
            file::read(CWD, "/proc/self/mountinfo").context("read", || "/proc/self/mountinfo")?;
        let mut list = parse_mountinfo(&mountinfo);
        list.retain_mut(|h| {
            if h.version == Version::V1 {
                return true;
            }
            // A mount that cannot be reached (hidden below another one) is of no use.
            let available = file::read(CWD, h.mountpoint.join("cgroup.controllers"));
            h.controllers = available
                .as_deref()
                .map(parse_controllers)
                .unwrap_or_default();
            available.is_ok()
        });
        if list.is_empty() {
            let why = "no cgroup file system is mounted; mount cgroup2 there, or let the host's init do so";
            return Err(Error::new(
                Kind::Unsupported,
                "use cgroups",
                "/sys/fs/cgroup",
                why,
            ));
        }
        Ok(Self { list: list.into() })
    }

    /// Hierarchies given by hand, in the order in which they are used.
    #[must_use]
    pub fn from_parts(list: Vec<Hierarchy>) -> Self {
        Self { list: list.into() }
    }

    /// All hierarchies; the version 2 one, if any, is unique.
    #[must_use]
    pub fn list(&self) -> &[Hierarchy] {
        &self.list
    }

    /// How this host uses the two versions.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let v1 = self.list.iter().any(|h| h.version == Version::V1);
        match (v1, self.v2()) {
            (true, Some(_)) => Mode::Hybrid,
            (false, Some(_)) => Mode::V2,
            (_, None) => Mode::V1,
        }
    }

    /// Index of the hierarchy that has the controller.
    #[must_use]
    pub fn position(&self, controller: Controller) -> Option<usize> {
        self.list
            .iter()
            .position(|h| h.controllers.contains(&controller))
    }

    /// The hierarchy that has the controller.
    #[must_use]
    pub fn get(&self, controller: Controller) -> Option<&Hierarchy> {
        self.position(controller).map(|at| &self.list[at])
    }

    /// Index of the version 2 hierarchy.
    #[must_use]
    pub fn v2(&self) -> Option<usize> {
        self.list.iter().position(|h| h.version == Version::V2)
    }
}

/// Controllers named in `cgroup.controllers` or `cgroup.subtree_control`.
pub(super) fn parse_controllers(text: &str) -> Vec<Controller> {
    text.split_ascii_whitespace()
        .filter_map(|n| Controller::from_name(n, Version::V2))
        .collect()
}

/// The cgroup mounts of a mountinfo text, each hierarchy once; proc_pid_mountinfo(5).
fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    let mut list: Vec<Hierarchy> = Vec::new();
    for line in text.lines() {
        let Some((fields, fs)) = line.split_once(" - ") else {
            continue;
        };
        let mut fs = fs.split(' ');
        let (kind, options) = (fs.next().unwrap_or_default(), fs.nth(1).unwrap_or_default());
        let Some(mountpoint) = fields.split(' ').nth(4).map(unescape) else {
            continue;
        };
        // A later mount on the same place hides the earlier one, whatever its type.
        list.retain(|h| h.mountpoint != mountpoint);
        match kind {
            "cgroup2" => list.push(Hierarchy {
                version: Version::V2,
                mountpoint,
                controllers: Vec::new(),
                name: None,
            }),
            "cgroup" => {
                let controllers = options
                    .split(',')
                    .filter_map(|o| Controller::from_name(o, Version::V1))
                    .collect();
                let name = options
                    .split(',')
                    .find_map(|o| o.strip_prefix("name="))
                    .map(str::to_owned);
                list.push(Hierarchy {
                    version: Version::V1,
                    mountpoint,
                    controllers,
                    name,
                });
            }
            _ => {}
        }
    }
    // A hierarchy may be mounted in several places; the usual one is best, otherwise the first.
    list.sort_by_key(|h| !h.mountpoint.starts_with("/sys/fs/cgroup"));
    let mut seen: Vec<Hierarchy> = Vec::new();
    for h in list {
        let same = |s: &Hierarchy| {
            s.version == h.version
                && (h.version == Version::V2
                    || (s.controllers == h.controllers && s.name == h.name))
        };
        if !seen.iter().any(same) {
            seen.push(h);
        }
    }
    seen
}

/// Undoes the octal escapes of mountinfo (space, tab, newline, backslash).
fn unescape(field: &str) -> PathBuf {
    if !field.contains('\\') {
        return PathBuf::from(field);
    }
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes
            .get(at + 1..at + 4)
            .filter(|d| bytes[at] == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        if let Some(d) = octal {
            out.push(
                d.iter()
                    .fold(0u8, |n, b| n.wrapping_mul(8).wrapping_add(b - b'0')),
            );
            at += 4;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    Path::new(&OsString::from_vec(out)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
90 27 0:32 / /mnt/mem\\040ory rw,relatime - cgroup cgroup rw,memory
";

    #[test]
    fn hybrid() {
        let h = Hierarchies::from_parts(parse_mountinfo(HYBRID));
        assert_eq!(h.mode(), Mode::Hybrid);
        assert_eq!(h.list().len(), 4);
        assert_eq!(
            h.get(Controller::Cpuacct).unwrap().mountpoint,
            Path::new("/sys/fs/cgroup/cpu,cpuacct")
        );
        assert_eq!(
            h.get(Controller::Memory).unwrap().mountpoint,
            Path::new("/sys/fs/cgroup/memory")
        );
        assert_eq!(h.list()[2].name.as_deref(), Some("systemd"));
        assert_eq!(h.get(Controller::Pids), None);
        assert_eq!(h.v2(), Some(3));
    }

    #[test]
    fn pure_v2_and_v1() {
        let v2 = parse_mountinfo(
            "24 23 0:20 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate",
        );
        assert_eq!(Hierarchies::from_parts(v2).mode(), Mode::V2);
        let v1 = parse_mountinfo("24 23 0:20 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids");
        assert_eq!(Hierarchies::from_parts(v1).mode(), Mode::V1);
        assert_eq!(
            parse_controllers("cpuset cpu io memory hugetlb pids rdma misc dmem\n").len(),
            8
        );
    }

    #[test]
    fn hidden_mounts_and_escapes() {
        let over = "1 2 0:3 / /c rw - cgroup cgroup rw,pids\n4 5 0:6 / /c rw - tmpfs tmpfs rw\n";
        assert!(parse_mountinfo(over).is_empty());
        let escaped =
            parse_mountinfo("90 27 0:32 / /mnt/mem\\040o\\134ry\\9 rw - cgroup cgroup rw,memory");
        assert_eq!(escaped[0].mountpoint, Path::new("/mnt/mem o\\ry\\9"));
        assert!(parse_mountinfo("garbage\n\n1 - cgroup\n - - -\n").is_empty());
    }

    #[test]
    fn this_host() {
        let Ok(h) = Hierarchies::detect() else { return };
        assert!(!h.list().is_empty());
        for one in h.list() {
            assert!(one.mountpoint.is_dir(), "{}", one.mountpoint.display());
        }
    }
}
