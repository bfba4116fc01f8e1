//! What a container's processes may do: seccomp, capabilities, Linux security modules.

pub mod capabilities;
pub mod seccomp;
