//! Groups by which systemd tells whose a process is: those of cgroup version 2, and of version 1's `name=systemd`.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, mkdir, unlinkat};
use rustix::io::Errno;

use super::controller::Version;
use super::file;
use super::hierarchy::Hierarchies;
use super::path::CgroupPath;
use crate::{Context, Result};

/// Where cgroup version 2 is mounted on a host without version 1.
const UNIFIED: &str = "/sys/fs/cgroup";

/// Whether systemd is this host's init; sd_booted(3).
#[must_use]
pub fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// A group without limits, in the hierarchies that systemd looks at.
#[derive(Debug)]
pub struct Place {
    dirs: Vec<(Version, OwnedFd)>,
}

impl Place {
    /// The group of a path, and those above it, made where they are missing.
    ///
    /// # Errors
    /// `invalid` for a path that [`CgroupPath::new`] refuses; that of the failed system call.
    pub fn make(path: &str) -> Result<Self> {
        let path = CgroupPath::new(path)?;
        let mut dirs = Vec::with_capacity(2);
        for (version, root) in roots()? {
            for prefix in path.prefixes() {
                match mkdir(root.join(prefix), Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => {
                        return Err(e)
                            .context("make cgroup", || root.join(prefix).display().to_string());
                    }
                }
            }
            let dir = root.join(path.as_str());
            let opened = file::open_dir(CWD, &dir).context("open", || dir.display().to_string())?;
            dirs.push((version, opened));
        }
        Ok(Self { dirs })
    }

    /// The directory that a process can be born into, where that is all there is to do.
    #[must_use]
    pub fn birth(&self) -> Option<BorrowedFd<'_>> {
        match &self.dirs[..] {
            [(Version::V2, dir)] => Some(dir.as_fd()),
            _ => None,
        }
    }

    /// Moves a process here; 0 is the caller, who must have a single thread.
    ///
    /// # Errors
    /// That of the failed write.
    pub fn enter(&self, pid: u32) -> Result<()> {
        for (version, dir) in &self.dirs {
            // A thread's move needs no lock that stops the whole kernel for a moment; version 2 has none for threads.
            let name = match version {
                Version::V1 => "tasks",
                Version::V2 => "cgroup.procs",
            };
            file::write(dir.as_fd(), name, &pid.to_string())
                .context("move into cgroup", || name)?;
        }
        Ok(())
    }
}

/// Removes what is left of a scope of systemd's that only the group at `path` was in: systemd makes and removes a scope in
/// some hierarchies, and the group was made in all of them.
pub(super) fn leave_scope(hierarchies: &Hierarchies, path: &CgroupPath) {
    let parent = Path::new(path.as_str()).parent();
    let Some(scope) = parent.filter(|path| path.extension().is_some_and(|e| e == "scope")) else {
        return;
    };
    for hierarchy in hierarchies.list() {
        // One that is in use, or gone, stays as it is.
        let _ = unlinkat(CWD, hierarchy.mountpoint.join(scope), AtFlags::REMOVEDIR);
    }
}

fn roots() -> Result<Vec<(Version, PathBuf)>> {
    if Path::new(UNIFIED).join("cgroup.controllers").exists() {
        return Ok(vec![(Version::V2, PathBuf::from(UNIFIED))]);
    }
    let hierarchies = Hierarchies::detect()?;
    let wanted = hierarchies
        .list()
        .iter()
        .filter(|one| one.version == Version::V2 || one.name.as_deref() == Some("systemd"));
    Ok(wanted
        .map(|one| (one.version, one.mountpoint.clone()))
        .collect())
}
