//! Maps of user and group ids: user namespaces of containers, and those that idmapped mounts refer to.
use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::error::{Context, Error, Kind, Result};
use crate::rootfs::IdMap;
use crate::sys;

/// The text of `/proc/PID/uid_map`.
fn map_text(map: &[(u32, u32, u32)]) -> String {
    let mut out = String::new();
    for (inside, outside, size) in map {
        let _ = writeln!(out, "{inside} {outside} {size}");
    }
    out
}

/// Writes the maps of a process that has just been born into a new user namespace (user_namespaces(7)).
///
/// The writer has CAP_SETUID and CAP_SETGID in the parent namespace, so `setgroups` stays allowed.
pub fn write_maps(pid: i32, map: &IdMap) -> Result<()> {
    if map.uid.is_empty() || map.gid.is_empty() {
        return Err(Error::new(
            Kind::Invalid,
            "map ids",
            pid.to_string(),
            "a user namespace needs uidMappings and gidMappings",
        ));
    }
    for (name, list) in [("uid_map", &map.uid), ("gid_map", &map.gid)] {
        let path = format!("/proc/{pid}/{name}");
        // One write: the kernel takes the whole map or nothing.
        let fd = openat(
            CWD,
            path.as_str(),
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .context("open id map", || path.as_str())?;
        rustix::io::write(&fd, map_text(list).as_bytes())
            .context("write id map", || path.as_str())?;
    }
    Ok(())
}

/// A user namespace that nobody lives in, for idmapped mounts.
pub fn user_namespace(map: &IdMap) -> Result<OwnedFd> {
    let (hold, release) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .context("make pipe", String::new)?;
    match sys::clone3(libc::CLONE_NEWUSER as u64, None)
        .context("create user namespace", String::new)?
    {
        sys::Forked::Child => {
            // Lives until the other end is closed, which also happens when the parent dies.
            drop(release);
            let _ = rustix::io::read(&hold, &mut [0u8; 1][..]);
            sys::exit_now(0)
        }
        sys::Forked::Parent { pid, pidfd } => {
            drop(hold);
            let made = write_maps(pid, map).and_then(|()| {
                let path = format!("/proc/{pid}/ns/user");
                openat(
                    CWD,
                    path.as_str(),
                    OFlags::RDONLY | OFlags::CLOEXEC,
                    Mode::empty(),
                )
                .context("open user namespace", || path.as_str())
            });
            drop(release);
            debug_assert!(pidfd.as_raw_fd() >= 0);
            waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
                .context("wait for process", || pid.to_string())?;
            made
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_one_range_a_line() {
        assert_eq!(
            map_text(&[(0, 100_000, 65536), (70000, 0, 1)]),
            "0 100000 65536\n70000 0 1\n"
        );
    }

    #[test]
    fn empty_maps_are_refused() {
        assert_eq!(
            write_maps(1, &IdMap::default()).unwrap_err().kind,
            Kind::Invalid
        );
    }
}
