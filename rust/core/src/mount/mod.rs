//! Mounts of a container: planned from the runtime-spec document, made detached, attached by descriptor.

mod apply;
mod foreign;
mod options;
mod plan;

pub use apply::{attach, clone_tree, filesystem, open_bind, pseudo, set_attributes};
pub use options::{Options, Propagation};
pub(crate) use plan::id_map;
pub use plan::{PROC_FILES, Source, Step, plan};
