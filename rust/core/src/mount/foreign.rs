//! Binds whose source lies in the mount namespace of another container (`/proc/PID/root/…`): what is mounted there can be
//! copied only by a process inside that namespace.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{PidfdGetfdFlags, WaitId, WaitIdOptions, pidfd_getfd, waitid};

use super::clone_tree;
use crate::error::{Context, Error, Kind, Result};
use crate::path::{Root, text};
use crate::sys;

/// The process and the path inside its root, of a path of that form.
pub(super) fn parse(path: &Path) -> Option<(i32, PathBuf)> {
    let mut parts = path.strip_prefix("/proc").ok()?.components();
    let pid = parts.next()?.as_os_str().to_str()?.parse().ok()?;
    (parts.next()?.as_os_str() == "root").then(|| (pid, parts.as_path().to_path_buf()))
}

/// A detached copy of what the process `pid` has at `inside`, below its root. The other container decides about the links
/// on the way, so they are followed inside its root only.
pub(super) fn open(pid: i32, inside: &Path, recursive: bool) -> Result<OwnedFd> {
    let name = || format!("{} of process {pid}", text(inside));
    let namespace = format!("/proc/{pid}/ns/mnt");
    let namespace = openat(
        CWD,
        namespace.as_str(),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context("open namespace", || namespace.as_str())?;
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (answer, answer_write) = pipe().context("make pipe", String::new)?;
    let (hold, release) = pipe().context("make pipe", String::new)?;
    match sys::clone3(0, None).context("make process", String::new)? {
        sys::Forked::Child => {
            drop(release);
            let copied = copy(namespace.as_fd(), inside, recursive);
            // A descriptor's number, or an errno below zero.
            let number = match &copied {
                Ok(fd) => std::os::fd::AsRawFd::as_raw_fd(fd),
                Err(e) => -e.raw_os_error(),
            };
            let _ = rustix::io::write(&answer_write, &number.to_ne_bytes());
            // The parent takes the descriptor out of this process; its end of the pipe closes when it has.
            let _ = rustix::io::read(&hold, &mut [0u8; 1][..]);
            sys::exit_now(0)
        }
        sys::Forked::Parent { pidfd, .. } => {
            drop((answer_write, hold));
            let mut raw = [0u8; 4];
            let got = rustix::io::read(&answer, &mut raw[..]).context("open bind source", name);
            let taken = got.and_then(|n| match (n, i32::from_ne_bytes(raw)) {
                (4, number) if number >= 0 => pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty())
                    .context("open bind source", name),
                (4, errno) => Err(Error::errno("open bind source", name(), -errno)),
                _ => {
                    let why = "the process that copies it has ended";
                    Err(Error::new(
                        Kind::System(libc::EIO),
                        "open bind source",
                        name(),
                        why,
                    ))
                }
            });
            drop(release);
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            taken
        }
    }
}

fn copy(
    namespace: BorrowedFd<'_>,
    inside: &Path,
    recursive: bool,
) -> std::result::Result<OwnedFd, Errno> {
    sys::setns(namespace, libc::CLONE_NEWNS)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, "/", flags, Mode::empty())?;
    let source = Root::new(root.as_fd()).open(inside, OFlags::PATH)?;
    clone_tree(source.as_fd(), recursive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_paths_of_other_processes() {
        let shm = parse(Path::new("/proc/42/root/dev/shm"));
        assert_eq!(shm, Some((42, PathBuf::from("dev/shm"))));
        for other in [
            "/proc/self/root/x",
            "/proc/42/cwd",
            "/x/proc/42/root/y",
            "/proc",
        ] {
            assert_eq!(parse(Path::new(other)), None, "{other}");
        }
    }
}
