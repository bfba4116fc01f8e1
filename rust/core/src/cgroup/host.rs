//! What this host can limit, as far as its hierarchies' roots show.
use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde::Serialize;

use super::controller::{Controller, Version};
use super::hierarchy::{Hierarchies, Mode};

/// The limits that this host can enforce, by the words of Docker's `/info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(clippy::struct_excessive_bools)] // one per limit
pub struct Capabilities {
    /// `v1`, `hybrid` or `v2`.
    pub mode: &'static str,
    /// The version that limits memory: "1" or "2"; that of the first hierarchy if none does.
    pub version: &'static str,
    /// Controllers, by their name in version 1.
    pub controllers: Vec<&'static str>,
    /// `--memory`
    pub memory_limit: bool,
    /// `--memory-swap`
    pub swap_limit: bool,
    /// `--memory-swappiness`
    pub memory_swappiness: bool,
    /// `--memory-reservation`
    pub memory_reservation: bool,
    /// `--oom-kill-disable`
    pub oom_kill_disable: bool,
    /// `--cpu-shares`
    pub cpu_shares: bool,
    /// `--cpu-period`
    pub cpu_cfs_period: bool,
    /// `--cpus`, `--cpu-quota`
    pub cpu_cfs_quota: bool,
    /// `--cpu-rt-runtime`
    pub cpu_realtime: bool,
    /// `--cpuset-cpus`, `--cpuset-mems`
    pub cpuset: bool,
    /// `--pids-limit`
    pub pids_limit: bool,
    /// `--blkio-weight`
    pub blkio_weight: bool,
    /// `--device-read-bps` and its siblings
    pub blkio_throttle: bool,
    /// `--device-cgroup-rule`
    pub devices: bool,
    /// `pause`
    pub freezer: bool,
}

impl Hierarchies {
    /// Looks at the files of the hierarchies' roots (in version 2, where a root has none, of the groups right below).
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let version = |controller| self.get(controller).map(|h| h.version);
        // `v1` and `v2` are the files of a limit; an empty name: what the controller always has, or never.
        let has = |controller: Controller, v1: &str, v2: &str| match self.get(controller) {
            None => false,
            Some(h) => match (h.version, if h.version == Version::V1 { v1 } else { v2 }) {
                (_, "") => false,
                (_, "*") => true,
                (Version::V1, name) => accessat(
                    CWD,
                    h.mountpoint.join(name),
                    Access::EXISTS,
                    AtFlags::empty(),
                )
                .is_ok(),
                (Version::V2, name) => below(&h.mountpoint, name),
            },
        };
        let weight = has(Controller::Blkio, "blkio.weight", "io.weight")
            || self.get(Controller::Blkio).is_some_and(|h| {
                h.version == Version::V1 && below(&h.mountpoint, "blkio.bfq.weight")
            })
            || has(Controller::Blkio, "", "io.bfq.weight");
        let mode = self.mode();
        let main = version(Controller::Memory).or_else(|| self.list().first().map(|h| h.version));
        let controllers = Controller::ALL
            .into_iter()
            .filter(|&c| self.get(c).is_some())
            .map(|c| c.name(Version::V1));
        Capabilities {
            mode: match mode {
                Mode::V1 => "v1",
                Mode::Hybrid => "hybrid",
                Mode::V2 => "v2",
            },
            version: if main == Some(Version::V2) { "2" } else { "1" },
            controllers: controllers.collect(),
            memory_limit: has(Controller::Memory, "memory.limit_in_bytes", "*"),
            swap_limit: has(
                Controller::Memory,
                "memory.memsw.limit_in_bytes",
                "memory.swap.max",
            ),
            memory_swappiness: has(Controller::Memory, "memory.swappiness", ""),
            memory_reservation: has(Controller::Memory, "memory.soft_limit_in_bytes", "*"),
            oom_kill_disable: has(Controller::Memory, "memory.oom_control", ""),
            cpu_shares: has(Controller::Cpu, "cpu.shares", "*"),
            cpu_cfs_period: has(Controller::Cpu, "cpu.cfs_period_us", "*"),
            cpu_cfs_quota: has(Controller::Cpu, "cpu.cfs_quota_us", "*"),
            cpu_realtime: has(Controller::Cpu, "cpu.rt_runtime_us", ""),
            cpuset: has(Controller::Cpuset, "*", "*"),
            pids_limit: has(Controller::Pids, "*", "*"),
            blkio_weight: weight,
            blkio_throttle: has(Controller::Blkio, "blkio.throttle.read_bps_device", "*"),
            devices: self.get(Controller::Devices).is_some() || self.v2().is_some(),
            freezer: self.get(Controller::Freezer).is_some() || self.v2().is_some(),
        }
    }
}

/// Whether a group right below `root` has the file. Where there is no such group, true: nobody can tell.
fn below(root: &std::path::Path, name: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(root) else {
        return true;
    };
    let mut groups = entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    groups.next().is_none_or(|group| {
        // One group may be without the controller; another one decides then.
        std::iter::once(group)
            .chain(groups)
            .take(64)
            .any(|g| g.path().join(name).exists())
    })
}

#[cfg(test)]
mod tests {
    use super::super::Hierarchy;
    use super::*;

    #[test]
    fn this_host_is_described() {
        let Ok(hierarchies) = Hierarchies::detect() else {
            return;
        };
        let found = hierarchies.capabilities();
        assert_eq!(
            found.mode == "v2",
            found.version == "2" && hierarchies.mode() == Mode::V2
        );
        assert_eq!(found.pids_limit, found.controllers.contains(&"pids"));
    }

    #[test]
    fn version_2_without_swap_accounting() {
        let root = std::env::temp_dir().join(format!("minidock-host-{}", std::process::id()));
        std::fs::create_dir_all(root.join("system.slice")).unwrap();
        let one = Hierarchy {
            version: Version::V2,
            mountpoint: root.clone(),
            controllers: vec![Controller::Memory],
            name: None,
        };
        let hierarchies = Hierarchies::from_parts(vec![one]);
        let found = hierarchies.capabilities();
        std::fs::write(root.join("system.slice/memory.swap.max"), "").unwrap();
        let with_swap = hierarchies.capabilities();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(
            (
                found.mode,
                found.version,
                found.memory_limit,
                found.swap_limit,
                found.cpu_shares
            ),
            ("v2", "2", true, false, false)
        );
        assert!(with_swap.swap_limit && found.devices && !found.oom_kill_disable);
    }
}
