//! What a group has used; Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use serde::Serialize;

use super::controller::{Controller, Version};
use super::file;
use super::group::Cgroup;
use super::pressure::Pressures;

/// Everything that can be read; None for what this host does not count.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Memory.
    pub memory: Option<Memory>,
    /// CPU time.
    pub cpu: Option<Cpu>,
    /// Processes and threads.
    pub pids: Option<Pids>,
    /// Block I/O by device.
    pub io: Option<Vec<Device>>,
    /// Pressure stall information; needs a version 2 hierarchy.
    pub pressure: Option<Pressures>,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// In use, page cache included.
    pub usage: u64,
    /// The most that was in use; None before Linux 5.19 with version 2.
    pub peak: Option<u64>,
    /// None: no limit.
    pub limit: Option<u64>,
    /// Page cache, shared memory included.
    pub cache: u64,
    /// Anonymous memory.
    pub anon: u64,
    /// Page cache that the kernel takes back first; Docker subtracts it from the usage that it shows.
    pub inactive_file: u64,
    /// Swap in use; None without swap accounting.
    pub swap: Option<u64>,
    /// Limit of swap alone; None: no limit or not known.
    pub swap_limit: Option<u64>,
    /// How often the limit was hit.
    pub failures: u64,
    /// Processes that the OOM killer ended.
    pub oom_kills: u64,
    /// `memory.stat` as it is.
    pub stat: BTreeMap<String, u64>,
}

/// CPU time, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// All of it.
    pub usage_ns: u64,
    /// In user mode.
    pub user_ns: u64,
    /// In the kernel.
    pub system_ns: u64,
    /// By CPU; empty with version 2.
    pub per_cpu_ns: Vec<u64>,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Those in which the group was throttled.
    pub throttled_periods: u64,
    /// For how long.
    pub throttled_ns: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// None: no limit.
    pub limit: Option<u64>,
    /// The most there were; None before Linux 6.1.
    pub peak: Option<u64>,
}

/// Transfers of one disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Bytes discarded.
    pub discard_bytes: u64,
    /// Reads.
    pub read_operations: u64,
    /// Writes.
    pub write_operations: u64,
    /// Discards.
    pub discard_operations: u64,
    /// Bytes that somebody waited for; version 1 only.
    pub sync_bytes: Option<u64>,
    /// Transfers that somebody waited for; version 1 only.
    pub sync_operations: Option<u64>,
}

/// The few numbers of an exit record; costs five reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// CPU time.
    pub cpu_ns: u64,
    /// Peak memory in bytes; 0 if not counted.
    pub memory_peak: u64,
    /// Bytes read from disks.
    pub read_bytes: u64,
    /// Bytes written to disks.
    pub write_bytes: u64,
    /// Processes that the OOM killer ended.
    pub oom_kills: u64,
}

impl Cgroup {
    /// Reads all counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            memory: self.memory(),
            cpu: self.cpu(),
            pids: self.pids(),
            io: self.io(),
            pressure: self.v2().and_then(Pressures::read),
        }
    }

    /// Reads the numbers of an exit record; 0 for what is not counted.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let io = self.io_bytes().unwrap_or_default();
        let peak = match self.dir(Controller::Memory) {
            Some((dir, Version::V1)) => number(dir, "memory.max_usage_in_bytes"),
            Some((dir, Version::V2)) => {
                number(dir, "memory.peak").or_else(|| number(dir, "memory.current"))
            }
            None => None,
        };
        Usage {
            cpu_ns: self.cpu_ns().unwrap_or(0),
            memory_peak: peak.unwrap_or(0),
            read_bytes: io.iter().map(|d| d.read_bytes).sum(),
            write_bytes: io.iter().map(|d| d.write_bytes).sum(),
            oom_kills: self.oom_kill_count().unwrap_or(0),
        }
    }

    /// How many processes of the group the OOM killer has ended; None where it is not counted (before Linux 4.13).
    #[must_use]
    pub fn oom_kill_count(&self) -> Option<u64> {
        match self.dir(Controller::Memory)? {
            (dir, Version::V1) => table(dir, "memory.oom_control")?.get("oom_kill").copied(),
            (dir, Version::V2) => table(dir, "memory.events")?.get("oom_kill").copied(),
        }
    }

    fn memory(&self) -> Option<Memory> {
        let (dir, version) = self.dir(Controller::Memory)?;
        let stat = table(dir, "memory.stat").unwrap_or_default();
        let get = |name: &str| stat.get(name).copied().unwrap_or(0);
        let oom_kills = self.oom_kill_count().unwrap_or(0);
        Some(match version {
            Version::V1 => {
                let (usage, limit) = (
                    number(dir, "memory.usage_in_bytes")?,
                    limit(dir, "memory.limit_in_bytes"),
                );
                let sum_limit = self::limit(dir, "memory.memsw.limit_in_bytes");
                Memory {
                    usage,
                    peak: number(dir, "memory.max_usage_in_bytes"),
                    limit,
                    cache: get("total_cache"),
                    anon: get("total_rss"),
                    inactive_file: get("total_inactive_file"),
                    swap: number(dir, "memory.memsw.usage_in_bytes")
                        .map(|sum| sum.saturating_sub(usage)),
                    swap_limit: sum_limit
                        .zip(limit)
                        .map(|(sum, limit)| sum.saturating_sub(limit)),
                    failures: number(dir, "memory.failcnt").unwrap_or(0),
                    oom_kills,
                    stat,
                }
            }
            Version::V2 => Memory {
                usage: number(dir, "memory.current")?,
                peak: number(dir, "memory.peak"),
                limit: limit(dir, "memory.max"),
                cache: get("file"),
                anon: get("anon"),
                inactive_file: get("inactive_file"),
                swap: number(dir, "memory.swap.current"),
                swap_limit: limit(dir, "memory.swap.max"),
                failures: table(dir, "memory.events")
                    .and_then(|t| t.get("max").copied())
                    .unwrap_or(0),
                oom_kills,
                stat,
            },
        })
    }

    fn cpu_ns(&self) -> Option<u64> {
        match self.dir(Controller::Cpuacct) {
            Some((dir, _)) => number(dir, "cpuacct.usage"),
            // Every version 2 group counts CPU time, with or without the controller.
            None => table(self.v2()?, "cpu.stat")?
                .get("usage_usec")
                .map(|us| us.saturating_mul(1000)),
        }
    }

    fn cpu(&self) -> Option<Cpu> {
        if let Some((dir, Version::V1)) = self.dir(Controller::Cpuacct) {
            let throttle = self
                .dir(Controller::Cpu)
                .and_then(|(dir, _)| table(dir, "cpu.stat"))
                .unwrap_or_default();
            let get = |name: &str| throttle.get(name).copied().unwrap_or(0);
            let per_cpu = file::read(dir, "cpuacct.usage_percpu").unwrap_or_default();
            return Some(Cpu {
                usage_ns: number(dir, "cpuacct.usage")?,
                user_ns: number(dir, "cpuacct.usage_user").unwrap_or(0),
                system_ns: number(dir, "cpuacct.usage_sys").unwrap_or(0),
                per_cpu_ns: per_cpu
                    .split_ascii_whitespace()
                    .filter_map(|n| n.parse().ok())
                    .collect(),
                periods: get("nr_periods"),
                throttled_periods: get("nr_throttled"),
                throttled_ns: get("throttled_time"),
            });
        }
        let stat = table(self.v2()?, "cpu.stat")?;
        let get = |name: &str| stat.get(name).copied().unwrap_or(0);
        Some(Cpu {
            usage_ns: get("usage_usec").saturating_mul(1000),
            user_ns: get("user_usec").saturating_mul(1000),
            system_ns: get("system_usec").saturating_mul(1000),
            per_cpu_ns: Vec::new(),
            periods: get("nr_periods"),
            throttled_periods: get("nr_throttled"),
            throttled_ns: get("throttled_usec").saturating_mul(1000),
        })
    }

    fn pids(&self) -> Option<Pids> {
        let (dir, _) = self.dir(Controller::Pids)?;
        Some(Pids {
            current: number(dir, "pids.current")?,
            limit: limit(dir, "pids.max"),
            peak: number(dir, "pids.peak"),
        })
    }

    /// Devices with their bytes; with version 1 without the number of operations, which are in another file.
    fn io_bytes(&self) -> Option<Vec<Device>> {
        let mut devices = Vec::new();
        match self.dir(Controller::Blkio)? {
            (dir, Version::V1) => {
                let text = file::read(dir, "blkio.throttle.io_service_bytes_recursive")
                    .or_else(|_| file::read(dir, "blkio.throttle.io_service_bytes"));
                add_v1(&mut devices, &text.ok()?, |device, what, n| match what {
                    "Read" => device.read_bytes = n,
                    "Write" => device.write_bytes = n,
                    "Discard" => device.discard_bytes = n,
                    "Sync" => device.sync_bytes = Some(n),
                    _ => {}
                });
            }
            (dir, Version::V2) => add_v2(&mut devices, &file::read(dir, "io.stat").ok()?),
        }
        Some(devices)
    }

    fn io(&self) -> Option<Vec<Device>> {
        let mut devices = self.io_bytes()?;
        if let Some((dir, Version::V1)) = self.dir(Controller::Blkio) {
            let text = file::read(dir, "blkio.throttle.io_serviced_recursive")
                .or_else(|_| file::read(dir, "blkio.throttle.io_serviced"));
            add_v1(
                &mut devices,
                &text.unwrap_or_default(),
                |device, what, n| match what {
                    "Read" => device.read_operations = n,
                    "Write" => device.write_operations = n,
                    "Discard" => device.discard_operations = n,
                    "Sync" => device.sync_operations = Some(n),
                    _ => {}
                },
            );
        }
        Some(devices)
    }
}

/// A file with one number.
fn number(dir: BorrowedFd<'_>, name: &str) -> Option<u64> {
    file::read(dir, name).ok()?.trim().parse().ok()
}

/// A file with a limit; None for "max" and for version 1's largest value (whole pages below 2^63).
fn limit(dir: BorrowedFd<'_>, name: &str) -> Option<u64> {
    number(dir, name).filter(|&n| n < i64::MAX as u64 - 0xffff)
}

/// A file with a name and a number on each line.
fn table(dir: BorrowedFd<'_>, name: &str) -> Option<BTreeMap<String, u64>> {
    Some(parse_table(&file::read(dir, name).ok()?))
}

fn parse_table(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|l| l.split_once(' '))
        .filter_map(|(name, n)| Some((name.to_owned(), n.trim().parse().ok()?)))
        .collect()
}

/// The entry for `MAJOR:MINOR`, made if there is none.
fn device<'a>(devices: &'a mut Vec<Device>, name: &str) -> Option<&'a mut Device> {
    let (major, minor) = name.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    let at = devices
        .iter()
        .position(|d| (d.major, d.minor) == (major, minor))
        .unwrap_or_else(|| {
            devices.push(Device {
                major,
                minor,
                ..Device::default()
            });
            devices.len() - 1
        });
    devices.get_mut(at)
}

/// `8:0 Read 4096` and so on.
fn add_v1(devices: &mut Vec<Device>, text: &str, set: impl Fn(&mut Device, &str, u64)) {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(what), Some(Ok(n))) = (
            words.next(),
            words.next(),
            words.next().map(str::parse::<u64>),
        ) else {
            continue;
        };
        if let Some(device) = device(devices, name) {
            set(device, what, n);
        }
    }
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn add_v2(devices: &mut Vec<Device>, text: &str) {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(device) = words.next().and_then(|name| device(devices, name)) else {
            continue;
        };
        for (key, n) in words.filter_map(|w| w.split_once('=')) {
            let Ok(n) = n.parse() else { continue };
            match key {
                "rbytes" => device.read_bytes = n,
                "wbytes" => device.write_bytes = n,
                "rios" => device.read_operations = n,
                "wios" => device.write_operations = n,
                "dbytes" => device.discard_bytes = n,
                "dios" => device.discard_operations = n,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_both_forms_of_io() {
        let mut devices = Vec::new();
        add_v1(
            &mut devices,
            "254:0 Read 4096\n254:0 Write 512\n254:0 Total 4608\n8:0 Read 1\nTotal 4609\n",
            |d, what, n| match what {
                "Read" => d.read_bytes = n,
                "Write" => d.write_bytes = n,
                _ => {}
            },
        );
        assert_eq!(
            devices[0],
            Device {
                major: 254,
                read_bytes: 4096,
                write_bytes: 512,
                ..Device::default()
            }
        );
        assert_eq!(devices.len(), 2);
        let mut devices = Vec::new();
        add_v2(
            &mut devices,
            "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:0 \n",
        );
        assert_eq!(
            devices[0],
            Device {
                major: 8,
                minor: 16,
                read_bytes: 1,
                write_bytes: 2,
                read_operations: 3,
                write_operations: 4,
                discard_bytes: 5,
                discard_operations: 6,
                ..Device::default()
            }
        );
    }

    proptest! {
        #[test]
        fn any_text_is_harmless(text in "[a-z0-9:= \n.-]{0,200}") {
            let mut devices = Vec::new();
            add_v1(&mut devices, &text, |d, _, n| d.read_bytes = n);
            add_v2(&mut devices, &text);
            prop_assert!(parse_table(&text).len() <= text.lines().count());
        }
    }
}
