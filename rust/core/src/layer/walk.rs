//! A tree in order: each directory before what is in it, names sorted by their bytes, links never followed.
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Stat, statat};

use super::control::Control;
use super::dir::{self, Name};
use super::path::show;
use super::root::{Missing, Root};
use crate::{Context, Result};

/// A walk over a tree of any depth with a bounded number of descriptors.
pub struct Walk<'a> {
    root: Root,
    /// Of the directory whose names are the last in `levels`.
    path: Vec<u8>,
    levels: Vec<std::vec::IntoIter<Name>>,
    control: &'a Control,
}

/// One file or directory.
pub struct Found {
    /// Relative to the top.
    pub path: Vec<u8>,
    /// The directory it is in.
    pub parent: Rc<OwnedFd>,
    /// Its name there.
    pub name: Vec<u8>,
    /// What it is.
    pub stat: Stat,
}

impl Found {
    /// The kind of file.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

impl<'a> Walk<'a> {
    /// Starts in `top`.
    pub fn new(top: OwnedFd, control: &'a Control) -> Result<Self> {
        let names = dir::open_list(top.as_fd(), ".")
            .and_then(dir::list_sorted)
            .context("read", || "directory")?;
        Ok(Self {
            root: Root::strict(top),
            path: Vec::new(),
            levels: vec![names.into_iter()],
            control,
        })
    }

    /// The next file; directories are entered after they were returned.
    pub fn next(&mut self) -> Result<Option<Found>> {
        loop {
            self.control.check()?;
            let Some(level) = self.levels.last_mut() else {
                return Ok(None);
            };
            let Some((name, _)) = level.next() else {
                self.levels.pop();
                let end = self
                    .path
                    .iter()
                    .rposition(|byte| *byte == b'/')
                    .unwrap_or(0);
                self.path.truncate(end);
                continue;
            };
            let name = name.into_bytes();
            let parent = self.root.parent(&self.path, Missing::Fail)?.fd;
            let mut path = self.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let stat = match statat(&parent, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                // Deleted meanwhile.
                Err(rustix::io::Errno::NOENT) => continue,
                other => other.context("look at", || show(&path))?,
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let list =
                    dir::open_list(parent.as_fd(), name.as_slice()).and_then(dir::list_sorted);
                self.levels
                    .push(list.context("read", || show(&path))?.into_iter());
                self.path.clone_from(&path);
            }
            return Ok(Some(Found {
                path,
                parent,
                name,
                stat,
            }));
        }
    }
}
