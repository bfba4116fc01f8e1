//! What a container's processes may do: seccomp, capabilities, Linux security modules.

pub mod seccomp;
