//! One group: its directory in every hierarchy.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Mode, mkdirat, unlinkat};
use rustix::io::Errno;

use super::controller::{Controller, Version};
use super::hierarchy::{Hierarchies, Hierarchy, parse_controllers};
use super::path::CgroupPath;
use super::{file, nested, place, tasks};
use crate::{Context, Error, Kind, Result};

/// Version 2 controllers that every container's group gets; others are switched on when a limit needs them.
const ALWAYS: [Controller; 5] = [
    Controller::Blkio,
    Controller::Cpu,
    Controller::Cpuset,
    Controller::Memory,
    Controller::Pids,
];

/// A group's directories. Dropping it removes nothing; see [`Cgroup::remove`].
#[derive(Debug)]
pub struct Cgroup {
    hierarchies: Hierarchies,
    path: CgroupPath,
    /// One per hierarchy; None where the group does not exist.
    dirs: Vec<Option<OwnedFd>>,
}

impl Cgroup {
    /// The group at `path` (`linux.cgroupsPath`) of every hierarchy. Touches nothing.
    ///
    /// # Errors
    /// `invalid` for a path that [`CgroupPath::new`] refuses.
    pub fn new(hierarchies: &Hierarchies, path: &str) -> Result<Self> {
        let dirs = hierarchies.list().iter().map(|_| None).collect();
        Ok(Self {
            hierarchies: hierarchies.clone(),
            path: CgroupPath::new(path)?,
            dirs,
        })
    }

    /// An existing group; hierarchies that lack it are left out.
    ///
    /// # Errors
    /// `not-found` if no hierarchy has it; that of the failed system call.
    pub fn open(hierarchies: &Hierarchies, path: &str) -> Result<Self> {
        let mut group = Self::new(hierarchies, path)?;
        for (at, hierarchy) in hierarchies.list().iter().enumerate() {
            let dir = hierarchy.mountpoint.join(group.path.as_str());
            group.dirs[at] = match file::open_dir(CWD, &dir) {
                Ok(fd) => Some(fd),
                Err(Errno::NOENT) => None,
                Err(e) => return Err(e).context("open", || dir.to_string_lossy()),
            };
        }
        if group.dirs.iter().all(Option::is_none) {
            return Err(Error::new(
                Kind::NotFound,
                "open cgroup",
                group.path.as_str(),
                "no hierarchy has it",
            ));
        }
        Ok(group)
    }

    /// The path below each hierarchy's root.
    #[must_use]
    pub fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// The hierarchies it was made from.
    #[must_use]
    pub fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// The group's directory in the hierarchy that has `controller`, and the version of that.
    pub(super) fn dir(&self, controller: Controller) -> Option<(BorrowedFd<'_>, Version)> {
        let at = self.hierarchies.position(controller)?;
        Some((
            self.dirs[at].as_ref()?.as_fd(),
            self.hierarchies.list()[at].version,
        ))
    }

    /// The group's directory in the version 2 hierarchy.
    pub(super) fn v2(&self) -> Option<BorrowedFd<'_>> {
        self.dirs[self.hierarchies.v2()?].as_ref().map(AsFd::as_fd)
    }

    /// Every hierarchy where the group exists, with its directory.
    pub(super) fn existing(&self) -> impl Iterator<Item = (&Hierarchy, BorrowedFd<'_>)> {
        self.hierarchies
            .list()
            .iter()
            .zip(&self.dirs)
            .filter_map(|(h, d)| Some((h, d.as_ref()?.as_fd())))
    }

    /// The directory that lists all of the group's processes.
    pub(super) fn process_dir(&self) -> Option<BorrowedFd<'_>> {
        let all = [Controller::Pids, Controller::Devices, Controller::Memory];
        let chosen = all
            .into_iter()
            .find_map(|c| self.dir(c))
            .map(|(dir, _)| dir);
        chosen
            .or_else(|| self.v2())
            .or_else(|| self.existing().map(|(_, d)| d).next())
    }

    /// Full path of a file of the group, for messages.
    pub(super) fn display(&self, hierarchy: &Hierarchy, file: &str) -> String {
        format!(
            "{}/{}/{file}",
            hierarchy.mountpoint.display(),
            self.path.as_str()
        )
    }

    /// Makes the group, and the missing groups above it, in every hierarchy: version 1 cpusets get their parent's
    /// CPUs and nodes, version 2 controllers are switched on all the way down. On failure what was made is removed.
    /// An existing group without processes is taken as it is.
    ///
    /// # Errors
    /// `conflict` if the group exists and has processes; that of the failed system call, with the path.
    pub fn create(&mut self) -> Result<()> {
        let mut made = Vec::with_capacity(self.dirs.len());
        let hierarchies = self.hierarchies.clone();
        let outcome = hierarchies
            .list()
            .iter()
            .enumerate()
            .try_for_each(|(at, hierarchy)| {
                let (dir, fresh) = self.make(hierarchy)?;
                if fresh {
                    made.push(at);
                } else {
                    self.check_reusable(hierarchy, &dir)?;
                }
                match hierarchy.version {
                    Version::V1 if hierarchy.controllers.contains(&Controller::Cpuset) => {
                        self.inherit_cpuset(hierarchy, dir.as_fd())?
                    }
                    Version::V2 => {
                        let wanted: Vec<_> = ALWAYS
                            .into_iter()
                            .filter(|c| hierarchy.controllers.contains(c))
                            .collect();
                        if !wanted.is_empty() {
                            self.enable(hierarchy, dir.as_fd(), &wanted)?;
                        }
                    }
                    Version::V1 => {}
                }
                self.dirs[at] = Some(dir);
                Ok(())
            });
        if outcome.is_err() {
            for at in made {
                let dir = hierarchies.list()[at].mountpoint.join(self.path.as_str());
                // The first failure is the one to report.
                let _ = unlinkat(CWD, &dir, AtFlags::REMOVEDIR);
            }
            self.dirs.iter_mut().for_each(|d| *d = None);
        }
        outcome
    }

    /// Makes a group below this one, in one hierarchy only: version 2, or else the freezer's. It has no limits of its own;
    /// it is there to be killed as a whole.
    ///
    /// # Errors
    /// `conflict` if this group is gone; `unsupported` without such a hierarchy; that of the failed system call.
    pub fn make_child(&self, name: &str) -> Result<Self> {
        let freezes = |h: &Hierarchy| h.controllers.contains(&Controller::Freezer);
        let found = |wanted: &dyn Fn(&Hierarchy) -> bool| {
            self.existing().map(|(h, _)| h).find(|h| wanted(h)).cloned()
        };
        let mut hierarchy = found(&|h| h.version == Version::V2)
            .or_else(|| found(&freezes))
            .ok_or_else(|| {
                let why = "neither cgroup2 nor the freezer controller is mounted";
                Error::new(Kind::Unsupported, "make cgroup", name, why)
            })?;
        // Of version 2 controllers none is handed down: processes may be in this group, too.
        hierarchy.controllers.retain(|c| *c == Controller::Freezer);
        let path = CgroupPath::new(&format!("{}/{name}", self.path.as_str()))?;
        let full = hierarchy.mountpoint.join(path.as_str());
        let shown = || full.to_string_lossy();
        match mkdirat(CWD, &full, Mode::from_raw_mode(0o755)) {
            Err(Errno::NOENT) => {
                let why = "the group above it is gone";
                return Err(Error::new(Kind::Conflict, "create cgroup", shown(), why));
            }
            other => other.context("create cgroup", shown)?,
        }
        let dir = file::open_dir(CWD, &full).context("open", shown);
        if dir.is_err() {
            let _ = unlinkat(CWD, &full, AtFlags::REMOVEDIR);
        }
        Ok(Self {
            dirs: vec![Some(dir?)],
            hierarchies: Hierarchies::from_parts(vec![hierarchy]),
            path,
        })
    }

    /// Makes and opens the directory in one hierarchy; tells whether it is new.
    fn make(&self, hierarchy: &Hierarchy) -> Result<(OwnedFd, bool)> {
        let mode = Mode::from_raw_mode(0o755);
        let full = hierarchy.mountpoint.join(self.path.as_str());
        let mut result = mkdirat(CWD, &full, mode);
        // Another container's removal may take a parent away between two steps; that is rare, so few attempts do.
        for _ in 0..16 {
            if result != Err(Errno::NOENT) {
                break;
            }
            for prefix in self.path.prefixes() {
                let parent = hierarchy.mountpoint.join(prefix);
                result = mkdirat(CWD, &parent, mode);
                let fresh = result.is_ok() && prefix != self.path.as_str();
                if fresh
                    && hierarchy.version == Version::V1
                    && hierarchy.controllers.contains(&Controller::Cpuset)
                {
                    // Groups below then start with this one's CPUs and nodes, without a read and two writes for each.
                    let _ = file::write(CWD, parent.join("cgroup.clone_children"), "1");
                }
                if !matches!(result, Ok(()) | Err(Errno::EXIST)) {
                    break;
                }
            }
        }
        let fresh = match result {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(e) => {
                let error = Error::errno("create cgroup", full.to_string_lossy(), e.raw_os_error());
                return Err(if e == Errno::ROFS {
                    let why = "the cgroup file system is read-only; in a container, start that with --privileged or a writable /sys/fs/cgroup";
                    Error::new(Kind::Denied, "create cgroup", error.subject, why)
                } else {
                    error
                });
            }
        };
        let dir = file::open_dir(CWD, &full).context("open", || full.to_string_lossy())?;
        Ok((dir, fresh))
    }

    /// An existing group may be used if no process is in it or below (they would be killed with the container); it is
    /// thawed, or the start would hang.
    fn check_reusable(&self, hierarchy: &Hierarchy, dir: &OwnedFd) -> Result<()> {
        let dir = dir.as_fd();
        if !tasks::processes(dir)
            .context("read", || self.display(hierarchy, "cgroup.procs"))?
            .is_empty()
        {
            let why = "it exists and has processes; choose another cgroup path or end them";
            return Err(Error::new(
                Kind::Conflict,
                "create cgroup",
                self.path.as_str(),
                why,
            ));
        }
        let (name, value) = match hierarchy.version {
            Version::V1 if hierarchy.controllers.contains(&Controller::Freezer) => {
                ("freezer.state", "THAWED")
            }
            Version::V1 => return Ok(()),
            Version::V2 => ("cgroup.freeze", "0"),
        };
        file::write(dir, name, value).context("write", || self.display(hierarchy, name))
    }

    /// A new version 1 cpuset has neither CPUs nor nodes, and a task cannot join it: cpuset(7).
    fn inherit_cpuset(&self, hierarchy: &Hierarchy, leaf: BorrowedFd<'_>) -> Result<()> {
        let empty =
            |dir: BorrowedFd<'_>, name: &str| file::read(dir, name).map(|t| t.trim().is_empty());
        if matches!(
            (empty(leaf, "cpuset.cpus"), empty(leaf, "cpuset.mems")),
            (Ok(false), Ok(false))
        ) {
            return Ok(());
        }
        let mut parent = file::open_dir(CWD, &hierarchy.mountpoint)
            .context("open", || hierarchy.mountpoint.to_string_lossy())?;
        for prefix in self.path.prefixes() {
            let name = prefix.rsplit('/').next().unwrap_or(prefix);
            let dir = file::open_dir(parent.as_fd(), name)
                .context("open cgroup", || prefix.to_owned())?;
            for file_name in ["cpuset.cpus", "cpuset.mems"] {
                let shown = || format!("{}/{prefix}/{file_name}", hierarchy.mountpoint.display());
                if empty(dir.as_fd(), file_name).context("read", shown)? {
                    let value = file::read(parent.as_fd(), file_name).context("read", shown)?;
                    file::write(dir.as_fd(), file_name, value.trim()).context("write", shown)?;
                }
            }
            parent = dir;
        }
        Ok(())
    }

    /// Switches version 2 controllers on in every group above this one.
    pub(super) fn enable(
        &self,
        hierarchy: &Hierarchy,
        leaf: BorrowedFd<'_>,
        wanted: &[Controller],
    ) -> Result<()> {
        let have = file::read(leaf, "cgroup.controllers").map(|text| parse_controllers(&text));
        let have = have.context("read", || self.display(hierarchy, "cgroup.controllers"))?;
        if wanted.iter().all(|c| have.contains(c)) {
            return Ok(());
        }
        let mut above = hierarchy.mountpoint.clone();
        for prefix in self.path.prefixes() {
            let control = above.join("cgroup.subtree_control");
            let have = file::read(CWD, &control)
                .map(|text| parse_controllers(&text))
                .context("read", || control.to_string_lossy())?;
            let missing: Vec<_> = wanted
                .iter()
                .filter(|c| !have.contains(c))
                .map(|c| format!("+{}", c.name(Version::V2)))
                .collect();
            if !missing.is_empty() {
                let missing = missing.join(" ");
                let mut written = file::write(CWD, &control, &missing);
                if written == Err(Errno::BUSY)
                    && above == hierarchy.mountpoint
                    && nested::make_room(&above) == Ok(true)
                {
                    written = file::write(CWD, &control, &missing);
                }
                written.map_err(|e| {
                    if e == Errno::BUSY {
                        let why = "processes are in this group itself, so its controllers cannot be handed down; move them to a sub-group";
                        Error::new(Kind::Busy, "write", control.to_string_lossy(), why)
                    } else {
                        Error::errno("write", control.to_string_lossy(), e.raw_os_error())
                    }
                })?;
            }
            above = hierarchy.mountpoint.join(prefix);
        }
        Ok(())
    }

    /// The `tasks` file of each version 1 hierarchy, open for writing: a single-threaded process that writes `0` to
    /// each is in the group. (Its own `0` into `tasks` waits neither for the kernel's lock on all forks nor for RCU,
    /// unlike a pid written to `cgroup.procs`.) Version 2 is joined by [`Cgroup::v2_dir`].
    ///
    /// # Errors
    /// That of the failed open, with the path.
    pub fn join_files(&self) -> Result<Vec<OwnedFd>> {
        self.existing()
            .filter(|(h, _)| h.version == Version::V1)
            .map(|(h, dir)| {
                file::open_write(dir, "tasks").context("open", || self.display(h, "tasks"))
            })
            .collect()
    }

    /// The version 2 directory for `CLONE_INTO_CGROUP` of clone3(2); None without version 2.
    ///
    /// # Errors
    /// `limit` if no descriptor is left.
    pub fn v2_dir(&self) -> Result<Option<OwnedFd>> {
        self.v2()
            .map(|dir| dir.try_clone_to_owned())
            .transpose()
            .context("duplicate descriptor of", || self.path.as_str())
    }

    /// Moves a process, with all its threads, into the group in every hierarchy. Slower than the two ways above.
    ///
    /// # Errors
    /// That of the failed write, with the path.
    pub fn add_process(&self, pid: u32) -> Result<()> {
        let text = pid.to_string();
        for (hierarchy, dir) in self.existing() {
            file::write(dir, "cgroup.procs", &text)
                .context("write", || self.display(hierarchy, "cgroup.procs"))?;
        }
        Ok(())
    }

    /// Ids of all processes in the group and the groups below, in no order.
    ///
    /// # Errors
    /// That of the failed read.
    pub fn processes(&self) -> Result<Vec<u32>> {
        match self.process_dir() {
            Some(dir) => {
                tasks::processes(dir).context("read processes of cgroup", || self.path.as_str())
            }
            None => Ok(Vec::new()),
        }
    }

    /// Stops every process of the group and of those below, until [`Cgroup::thaw`]; waits at most `limit` for it.
    ///
    /// # Errors
    /// `unsupported` without a freezer; `timeout` if a process (in an uninterruptible wait) did not stop in time, and
    /// the group is thawed again.
    pub fn freeze(&self, limit: Duration) -> Result<()> {
        match tasks::freeze(self, limit)? {
            true => Ok(()),
            false => {
                self.thaw()?;
                let why = "a process did not stop in time (uninterruptible wait)";
                Err(Error::new(
                    Kind::Timeout,
                    "freeze cgroup",
                    self.path.as_str(),
                    why,
                ))
            }
        }
    }

    /// Lets the processes run again.
    ///
    /// # Errors
    /// `unsupported` without a freezer; that of the failed write.
    pub fn thaw(&self) -> Result<()> {
        tasks::thaw(self)
    }

    /// Whether the group is frozen; false without a freezer.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        tasks::is_frozen(self)
    }

    /// Sends `signal` to every process of the group and of those below. SIGKILL reaches processes that fork at the
    /// same time too, and is waited for, at most `limit`; for other signals `limit` is unused.
    ///
    /// # Errors
    /// `timeout` if a process outlives `limit` (uninterruptible wait, or a zombie that its parent does not reap).
    pub fn kill_all(&self, signal: i32, limit: Duration) -> Result<()> {
        tasks::kill_all(self, signal, limit)
    }

    /// Removes the group and the groups below from every hierarchy; one that is gone is fine. Waits at most `limit` for
    /// processes that are still ending. Goes on after a failure, and reports the first.
    ///
    /// # Errors
    /// `busy` if processes are left.
    pub fn remove(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut first = None;
        for (hierarchy, dir) in self.hierarchies.list().iter().zip(&mut self.dirs) {
            let full = hierarchy.mountpoint.join(self.path.as_str());
            let mut pause = Duration::from_micros(200);
            let outcome = loop {
                match tasks::remove_tree(&full) {
                    Err(Errno::BUSY) if Instant::now() < deadline => {
                        sleep(pause);
                        pause = (pause * 2).min(Duration::from_millis(20));
                    }
                    outcome => break outcome,
                }
            };
            match outcome {
                Ok(()) => *dir = None,
                Err(e) => {
                    first.get_or_insert_with(|| {
                        Error::errno("remove cgroup", full.to_string_lossy(), e.raw_os_error())
                    });
                }
            }
        }
        place::leave_scope(&self.hierarchies, &self.path);
        first.map_or(Ok(()), Err)
    }
}
