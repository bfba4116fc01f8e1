//! Volumes of the driver `local`: what is mounted on them, and how large they may become.
mod local;
pub mod quota;

pub use local::{mount, unmount};
pub use quota::set as set_quota;
