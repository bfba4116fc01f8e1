//! The cgroup of one exec: below the container's, so that all of it can be killed, and counted with the container.
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use minidock_core::cgroup::{Cgroup, Hierarchies};
use minidock_core::error::{Error, Kind, Result};
use minidock_core::process::CgroupEntry;

/// How long a kill waits for its victims: those in an uninterruptible wait, or in a paused container, die later.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often what is left is moved to the container's group: what forks meanwhile needs one more time.
const MOVES: usize = 8;

/// The cgroups that an exec is born into.
pub struct Group {
    container: Cgroup,
    /// None where no hierarchy can hold it: only the process itself can be killed then.
    own: Option<Cgroup>,
    unified: Option<OwnedFd>,
    tasks: Vec<OwnedFd>,
}

impl Group {
    /// Makes the group `name` below the container's group `path`.
    ///
    /// # Errors
    /// `conflict` if the container's group is gone; that of the failed system call.
    pub fn make(path: &str, name: &str) -> Result<Self> {
        let container = Cgroup::open(&Hierarchies::detect()?, path).map_err(|e| match e.kind {
            Kind::NotFound => Error::new(Kind::Conflict, "open cgroup", path, "it is gone"),
            _ => e,
        })?;
        let mut tasks = container.join_files()?;
        let own = match container.make_child(name) {
            Ok(own) => Some(own),
            Err(e) if e.kind == Kind::Unsupported => None,
            Err(e) => return Err(e),
        };
        let mut made = Self {
            container,
            own,
            unified: None,
            tasks: Vec::new(),
        };
        match made.entries(&mut tasks) {
            Ok(unified) => made.unified = unified,
            Err(error) => {
                made.dissolve();
                return Err(error);
            }
        }
        made.tasks = tasks;
        Ok(made)
    }

    /// The version 2 directory to be born into. A freezer's own group is joined last, after the container's.
    fn entries(&self, tasks: &mut Vec<OwnedFd>) -> Result<Option<OwnedFd>> {
        let Some(own) = &self.own else {
            return self.container.v2_dir();
        };
        tasks.append(&mut own.join_files()?);
        match own.v2_dir()? {
            Some(dir) => Ok(Some(dir)),
            None => self.container.v2_dir(),
        }
    }

    /// Where the process is born.
    pub fn entry(&self) -> CgroupEntry<'_> {
        CgroupEntry {
            unified: self.unified.as_ref().map(AsFd::as_fd),
            tasks: &self.tasks,
        }
    }

    /// Whether the container is paused.
    pub fn is_frozen(&self) -> bool {
        self.container.is_frozen()
    }

    /// Kills all that is in it.
    pub fn kill(&self) {
        if let Some(own) = &self.own {
            let _ = own.kill_all(libc::SIGKILL, PATIENCE);
        }
    }

    /// Removes it. What the command has left in the background lives on, in the container's group; where that cannot be
    /// (a container that manages groups of its own) the group stays until the container's end.
    pub fn dissolve(mut self) {
        let Some(own) = &mut self.own else { return };
        for _ in 0..MOVES {
            let left = own.processes().unwrap_or_default();
            if left.is_empty() {
                break;
            }
            let above = Cgroup::open(own.hierarchies(), self.container.path().as_str());
            let Ok(above) = above else { return };
            if left
                .iter()
                .filter(|pid| above.add_process(**pid).is_ok())
                .count()
                == 0
            {
                break;
            }
        }
        let _ = own.remove(Duration::ZERO);
    }
}
