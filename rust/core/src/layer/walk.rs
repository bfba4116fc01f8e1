//! A tree in order: each directory before what is in it, names sorted by their bytes, links never followed.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};
use rustix::io::Errno;

use super::control::Control;
use super::dir::{self, Name};
use super::path::show;
use super::root::{Missing, Root};
use crate::{Context, Kind, Result};

/// A walk over a tree of any depth with a bounded number of descriptors.
pub struct Walk<'a> {
    root: Root,
    /// Of the directory whose names are the last in `levels`.
    path: Vec<u8>,
    levels: Vec<Level>,
    control: &'a Control,
    /// Mounts are entered but those that this says are hidden, and a tree may change during the walk.
    hidden: Option<&'a dyn Fn(BorrowedFd<'_>) -> bool>,
}

/// Names of one directory that are still to come.
struct Level {
    names: std::vec::IntoIter<Name>,
    device: u64,
}

/// How often a name that is exchanged while it is looked at is looked at again.
const RACES: u32 = 16;

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
    /// Starts in `top`; a mount inside is an error.
    pub fn new(top: OwnedFd, control: &'a Control) -> Result<Self> {
        Self::start(top, control, None)
    }

    /// Starts in `top`; goes on into mounts but those whose top `hidden` says true of. What is deleted meanwhile is passed over.
    pub fn across(
        top: OwnedFd,
        control: &'a Control,
        hidden: &'a dyn Fn(BorrowedFd<'_>) -> bool,
    ) -> Result<Self> {
        Self::start(top, control, Some(hidden))
    }

    fn start(
        top: OwnedFd,
        control: &'a Control,
        hidden: Option<&'a dyn Fn(BorrowedFd<'_>) -> bool>,
    ) -> Result<Self> {
        let names = dir::open_list(top.as_fd(), ".")
            .and_then(dir::list_sorted)
            .context("read", || "directory")?;
        let device = fstat(&top).context("look at", || "directory")?.st_dev;
        let mut root = Root::strict(top);
        // What is entered is decided here.
        root.cross = hidden.is_some().then_some(|_| false);
        Ok(Self {
            root,
            path: Vec::new(),
            levels: vec![Level {
                names: names.into_iter(),
                device,
            }],
            control,
            hidden,
        })
    }

    /// The next file; directories are entered after they were returned.
    pub fn next(&mut self) -> Result<Option<Found>> {
        loop {
            self.control.check()?;
            let Some(level) = self.levels.last_mut() else {
                return Ok(None);
            };
            let device = level.device;
            let Some((name, _)) = level.names.next() else {
                self.leave();
                continue;
            };
            let name = name.into_bytes();
            let parent = match self.root.parent(&self.path, Missing::Fail) {
                Err(e) if self.hidden.is_some() && e.kind == Kind::NotFound => {
                    self.leave();
                    continue;
                }
                other => other?.fd,
            };
            let mut path = self.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let Some((stat, inside)) = self
                .look(parent.as_fd(), &name, device)
                .context("read", || show(&path))?
            else {
                continue;
            };
            if let Some(names) = inside {
                self.levels.push(Level {
                    names: names.into_iter(),
                    device: stat.st_dev,
                });
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

    /// What `name` is, and the names in it if it is a directory to enter; `None` when it is gone.
    fn look(
        &self,
        at: BorrowedFd<'_>,
        name: &[u8],
        device: u64,
    ) -> rustix::io::Result<Option<(Stat, Option<Vec<Name>>)>> {
        let mut races = 0;
        loop {
            let stat = match statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(None),
                other => other?,
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Ok(Some((stat, None)));
            }
            let fd = match self.root.open_list(at, name) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
                    if self.hidden.is_some() && races < RACES =>
                {
                    races += 1;
                    continue;
                }
                other => other?,
            };
            let stat = fstat(&fd)?;
            let enter =
                stat.st_dev == device || !self.hidden.is_some_and(|hidden| hidden(fd.as_fd()));
            let names = if enter {
                dir::list_sorted(&fd)?
            } else {
                Vec::new()
            };
            return Ok(Some((stat, Some(names))));
        }
    }

    /// Goes back to the directory above.
    fn leave(&mut self) {
        self.levels.pop();
        let end = self.path.iter().rposition(|byte| *byte == b'/');
        self.path.truncate(end.unwrap_or(0));
    }
}
