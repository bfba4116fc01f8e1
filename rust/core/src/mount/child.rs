//! Mounts that only a process in another mount namespace can make: it makes them, and the caller takes their descriptor.
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{PidfdGetfdFlags, WaitId, WaitIdOptions, pidfd_getfd, waitid};

use crate::error::{Context, Error, Kind, Result};
use crate::sys;

/// The descriptor that `make` returns in a new process, which may move to any namespace; `op` and `name` are for errors.
///
/// For a process with one thread. Fails as `make` does.
pub(crate) fn made_in_child(
    op: &'static str,
    name: &dyn Fn() -> String,
    make: impl FnOnce() -> std::result::Result<OwnedFd, Errno>,
) -> Result<OwnedFd> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (answer, answer_write) = pipe().context("make pipe", String::new)?;
    let (hold, release) = pipe().context("make pipe", String::new)?;
    match sys::clone3(0, None).context("make process", String::new)? {
        sys::Forked::Child => {
            drop(release);
            let made = make();
            // A descriptor's number, or an errno below zero.
            let number = match &made {
                Ok(fd) => fd.as_raw_fd(),
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
            let got = rustix::io::read(&answer, &mut raw[..]).context(op, name);
            let taken = got.and_then(|n| match (n, i32::from_ne_bytes(raw)) {
                (4, number) if number >= 0 => {
                    pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).context(op, name)
                }
                (4, errno) => Err(Error::errno(op, name(), -errno)),
                _ => {
                    let why = "the process that opens it has ended";
                    Err(Error::new(Kind::System(libc::EIO), op, name(), why))
                }
            });
            drop(release);
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            taken
        }
    }
}
