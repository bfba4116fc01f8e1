//! What a container's processes may do: seccomp, capabilities, Linux security modules.

pub mod apparmor;
mod attributes;
pub mod capabilities;
pub mod seccomp;
pub mod selinux;
