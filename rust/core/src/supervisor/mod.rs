//! The client's side of a supervisor (docs/supervisor.md): starting it, hearing from it, talking to it.
//!
//! Nothing here forks: the calling process may have any number of threads.

mod channel;
mod client;
mod exec;
mod helper;
mod interact;
mod spawn;
mod survey;

pub use channel::GONE;
pub use client::{Captured, Supervisor};
pub use helper::Helper;
pub use interact::Keys;
pub use spawn::{Spawn, Stream};
pub use survey::{Found, survey};

/// Called when a signal interrupted a wait, and at least every second; true gives the wait up.
pub type Interrupt<'a> = &'a mut dyn FnMut() -> bool;
