//! Starting processes: PID 1 of a container, and more processes in a running one.
//!
//! The start-up handshake is drawn in `channel.rs`.

mod channel;
mod child;
mod credentials;
mod exec;
pub mod hooks;
mod init;
mod limits;
mod parent;
mod plan;
mod program;
mod request;

pub use exec::exec;
pub use parent::{launch, release};
pub use request::{
    CgroupEntry, ExecRequest, Failure, Hold, LaunchRequest, Launched, Listener, Seccomp, Stdio,
    UserNames, Wait,
};
