//! The mounts that the container sees.
use std::path::{Path, PathBuf};

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq)]
pub(super) struct Mount {
    pub root: String,
    pub point: PathBuf,
    pub read_only: bool,
    pub kind: String,
    pub options: String,
}

/// Those of a `mountinfo`.
pub(super) fn mounts(text: &str) -> Vec<Mount> {
    let parse = |line: &str| -> Option<Mount> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point, flags) = (before.next()?, before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, _source, options) = (after.next()?, after.next()?, after.next()?);
        let read_only = flags
            .split(',')
            .chain(options.split(','))
            .any(|flag| flag == "ro");
        Some(Mount {
            root: root.to_owned(),
            point: point.into(),
            read_only,
            kind: kind.to_owned(),
            options: options.to_owned(),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// The mount that `path` lies on: the last one made among those with the longest matching mount point.
pub(super) fn mount_of<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    let above = mounts
        .iter()
        .filter(|mount| Path::new(path).starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

#[cfg(test)]
mod tests {
    use super::super::limits::folder;
    use super::*;

    #[test]
    fn the_innermost_latest_mount_counts() {
        let text = "1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /proc rw,nosuid - proc proc rw\n\
                    3 2 0:2 /sys /proc/sys ro - proc proc rw\n4 1 0:3 /a/b /sys/fs/cgroup/memory ro shared:3 - cgroup cgroup rw,memory\n";
        let mounts = mounts(text);
        assert_eq!(mounts.len(), 4);
        assert!(mount_of(&mounts, "/proc/sys").unwrap().read_only);
        assert!(!mount_of(&mounts, "/proc/irq").unwrap().read_only);
        assert_eq!(mount_of(&mounts, "/etc").unwrap().kind, "overlay");
        assert_eq!(folder(&mounts, "pids", "/a/b"), None);
    }
}
