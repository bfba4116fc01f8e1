//! Mounts of a container: planned from the runtime-spec document, made detached, attached by descriptor.

mod apply;
mod child;
mod foreign;
mod options;
mod part;
mod plan;

pub use apply::{attach, clone_tree, filesystem, map_owners, open_bind, pseudo, set_attributes};
pub(crate) use child::made_in_child;
pub use options::{Options, Propagation};
pub use part::part_of;
pub(crate) use plan::id_map;
pub use plan::{PROC_FILES, Source, Step, plan};
