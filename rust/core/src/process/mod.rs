//! Starting processes: PID 1 of a container, and more processes in a running one.
//!
//! The start-up handshake is drawn in `channel.rs`.

mod channel;
mod child;
mod credentials;
pub mod hooks;
mod init;
mod limits;
mod parent;
mod program;
mod request;

pub use parent::{launch, release};
pub use request::{
    CgroupEntry, ExecRequest, Failure, Hold, LaunchRequest, Launched, Listener, Seccomp, Stdio,
    UserNames,
};

use crate::error::{Error, Kind};

/// Starts one more process in a running container and returns when it has executed its program.
///
/// The caller must be single-threaded.
pub fn exec(request: ExecRequest<'_>) -> std::result::Result<Launched, Failure> {
    let _ = request;
    Err(Error::new(Kind::Unsupported, "exec", "", "not built yet").into())
}
