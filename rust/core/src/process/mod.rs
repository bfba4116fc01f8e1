//! Starting processes: PID 1 of a container, and more processes in a running one.
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::error::{Error, Kind, Result};

mod request;

pub use request::{
    CgroupEntry, ExecRequest, Failure, Hold, LaunchRequest, Launched, Listener, Seccomp, Stdio,
    UserNames,
};

/// Starts PID 1 of a container and returns when it has executed its program, or is held.
///
/// The caller must be single-threaded. Nothing is left behind on failure.
pub fn launch(request: LaunchRequest<'_>) -> std::result::Result<Launched, Failure> {
    let _ = request;
    Err(Error::new(Kind::Unsupported, "launch", "", "not built yet").into())
}

/// Starts one more process in a running container and returns when it has executed its program.
///
/// The caller must be single-threaded.
pub fn exec(request: ExecRequest<'_>) -> std::result::Result<Launched, Failure> {
    let _ = request;
    Err(Error::new(Kind::Unsupported, "exec", "", "not built yet").into())
}

/// Lets a process that waits at [`Hold::Fifo`] go on, and removes the fifo (the runtime-spec's `start`).
///
/// Fails with `Conflict` when the process has ended, or nothing waits at `fifo`.
pub fn release(fifo: &Path, pidfd: BorrowedFd<'_>) -> Result<()> {
    let _ = pidfd;
    Err(Error::new(
        Kind::Unsupported,
        "start",
        fifo.display().to_string(),
        "not built yet",
    ))
}
