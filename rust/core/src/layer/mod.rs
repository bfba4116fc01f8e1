//! Layers: a tar stream to a directory and back, its digests, and the care of directory trees.
//!
//! Everything here treats its input as hostile (docs/layers.md): paths are walked by descriptor below a pinned root,
//! the last component is replaced and never followed, and every number of the archive meets a [`Limits`] first.

pub mod control;
pub mod dir;
pub mod remove;

#[cfg(feature = "layer")]
pub mod archive;
#[cfg(feature = "layer")]
mod body;
#[cfg(feature = "layer")]
pub mod compress;
#[cfg(feature = "layer")]
mod content;
#[cfg(feature = "layer")]
pub mod copy;
#[cfg(feature = "layer")]
mod copy_files;
#[cfg(feature = "layer")]
pub mod create;
#[cfg(feature = "layer")]
pub mod decompress;
#[cfg(feature = "layer")]
mod descriptor;
#[cfg(feature = "layer")]
pub mod digest;
#[cfg(feature = "layer")]
pub(crate) mod entry;
#[cfg(feature = "layer")]
pub mod feed;
#[cfg(feature = "layer")]
pub mod fill;
#[cfg(feature = "layer")]
mod header;
#[cfg(feature = "layer")]
pub mod keep;
#[cfg(feature = "layer")]
pub mod limits;
#[cfg(feature = "layer")]
pub(crate) mod metadata;
#[cfg(feature = "layer")]
pub mod owner;
#[cfg(feature = "layer")]
pub(crate) mod path;
#[cfg(feature = "layer")]
mod pax;
#[cfg(feature = "layer")]
mod place;
#[cfg(feature = "layer")]
pub mod reassemble;
#[cfg(feature = "layer")]
pub(crate) mod root;
#[cfg(feature = "layer")]
mod sniff;
#[cfg(feature = "layer")]
mod sparse;
#[cfg(feature = "layer")]
pub mod split;
#[cfg(feature = "layer")]
pub mod spool;
#[cfg(feature = "layer")]
pub(crate) mod tar;
#[cfg(test)]
pub(crate) mod testdir;
#[cfg(test)]
mod testtar;
#[cfg(feature = "layer")]
pub mod unpack;
#[cfg(feature = "layer")]
pub(crate) mod walk;
#[cfg(feature = "layer")]
mod whiteout;

pub use control::Control;
pub use remove::{Removed, remove_empty, remove_tree};

#[cfg(feature = "layer")]
pub use {
    compress::Sink,
    copy::copy_tree,
    create::{CreateOptions, tar_tree},
    decompress::{Compression, Digests, Input},
    digest::digest_file,
    keep::keep_tree,
    limits::Limits,
    owner::IdMap,
    reassemble::reassemble,
    spool::Spool,
    unpack::{Options, Owner, Unpacked, Whiteouts, unpack},
};
