//! Inside a container: the root of its cgroup namespace is a group like any other, with the container's processes in it.
use std::path::Path;

use rustix::fs::{CWD, Mode, mkdir};
use rustix::io::Errno;

use super::file;

/// Where the processes go; Docker's own images for this have the same name.
const ROOM: &str = "init";
/// More are forked meanwhile.
const ROUNDS: usize = 20;

/// Moves the processes in the root of this cgroup namespace one group down, so that it can hand its controllers on
/// (cgroups(7), "no internal processes"). False on a host itself, whose root group may have processes.
pub(super) fn make_room(root: &Path) -> Result<bool, Errno> {
    // Every group but the kernel's own root has this file.
    if !root.join("cgroup.type").exists() {
        return Ok(false);
    }
    match mkdir(root.join(ROOM), Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e),
    }
    let target = root.join(ROOM).join("cgroup.procs");
    for _ in 0..ROUNDS {
        let pids = file::read(CWD, root.join("cgroup.procs"))?;
        if pids.is_empty() {
            return Ok(true);
        }
        for pid in pids.lines() {
            match file::write(CWD, &target, pid) {
                // One that has ended, or is of another pid namespace and not ours to move.
                Ok(()) | Err(Errno::SRCH | Errno::INVAL) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(true)
}
