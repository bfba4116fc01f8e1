//! Control groups, versions 1 and 2 and both at once (hybrid); cgroups(7).
//!
//! [`Hierarchies`] is what is mounted, [`Cgroup`] one group's directory in each hierarchy. Limits are planned by
//! [`resources::plan`], which touches nothing, and written by [`Cgroup::apply`].

mod apply;
mod controller;
pub mod cpuset;
pub mod devices;
#[cfg(test)]
mod fake;
mod file;
mod group;
mod hierarchy;
mod host;
mod nested;
mod path;
pub mod place;
pub mod pressure;
pub mod resources;
pub mod sample;
pub mod stats;
mod tasks;

pub use controller::{Controller, Version};
pub use group::Cgroup;
pub use hierarchy::{Hierarchies, Hierarchy, Mode};
pub use host::Capabilities;
pub use path::CgroupPath;
