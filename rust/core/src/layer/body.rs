//! Where the content of an entry comes from.
use std::os::fd::OwnedFd;

use rustix::fs::Stat;

use super::archive::Archive;
use super::split::Recorder;

/// The content of the current entry.
pub enum Body<'b, 'a> {
    /// The next bytes of an archive.
    Archive(&'b mut Archive<'a>),
    /// An open file and what it is; none for an entry without content.
    File(Option<(&'b OwnedFd, &'b Stat)>),
}

impl Body<'_, '_> {
    /// What remembers the archive's bytes, if anything does.
    pub fn recorder(&mut self) -> Option<&mut Recorder> {
        match self {
            Self::Archive(archive) => archive.feed().recorder.as_mut(),
            Self::File(_) => None,
        }
    }
}
