//! CPU time, CPUs and memory nodes.
use oci_spec::runtime::LinuxCpu;

use super::Planner;
use crate::cgroup::controller::{Controller, Version};
use crate::cgroup::cpuset::CpuList;

const CPU: Controller = Controller::Cpu;
/// The kernel's limits on `cpu.shares`.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

pub(super) fn plan(p: &mut Planner<'_>, cpu: &LinuxCpu) {
    if p.version(CPU) == Version::V1 {
        v1(p, cpu)
    } else {
        v2(p, cpu)
    }
    set(p, "CPUs", "cpuset.cpus", cpu.cpus().as_deref());
    set(p, "memory nodes", "cpuset.mems", cpu.mems().as_deref());
}

/// `cpu.weight` of version 2 for `cpu.shares` of version 1: a curve through (2, 1), (1024, 100), (262144, 10000), as in
/// runc since 1.3.2. `shares` is clamped to 2..=262144.
#[must_use]
pub fn shares_to_weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            #[allow(clippy::cast_precision_loss)] // below 2^18
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            // between 1 and 10000
            let weight = 10f64.powf(exponent).ceil() as u64;
            weight.clamp(1, 10_000)
        }
    }
}

fn v1(p: &mut Planner<'_>, cpu: &LinuxCpu) {
    if let Some(shares) = cpu.shares().filter(|&s| s != 0) {
        if SHARES.contains(&shares) {
            p.write("CPU shares", CPU, "cpu.shares", shares);
        } else {
            p.invalid("CPU shares", shares, "it is between 2 and 262144");
        }
    }
    // Real-time first: a period is valid alone while the runtime is still 0.
    if let Some(period) = cpu.realtime_period().filter(|&v| v != 0) {
        p.write("CPU real-time period", CPU, "cpu.rt_period_us", period);
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|&v| v != 0) {
        p.write("CPU real-time runtime", CPU, "cpu.rt_runtime_us", runtime);
    }
    let (quota, period) = (
        cpu.quota().filter(|&v| v != 0),
        cpu.period().filter(|&v| v != 0),
    );
    let burst = cpu.burst();
    let has_burst = burst.is_some() && p.has(CPU, "cpu.cfs_burst_us");
    if p.options.update && p.has(CPU, "cpu.cfs_quota_us") {
        // The old quota with the new period (or burst) may be more than the group above has. Without a quota, and with
        // no burst, every period is valid.
        if has_burst {
            p.put("CPU burst", CPU, "cpu.cfs_burst_us", 0);
        }
        if period.is_some() {
            let present = p
                .features
                .read(CPU, "cpu.cfs_quota_us")
                .map(|t| t.trim().to_owned());
            p.put("CPU quota", CPU, "cpu.cfs_quota_us", -1);
            p.write(
                "CPU period",
                CPU,
                "cpu.cfs_period_us",
                period.unwrap_or_default(),
            );
            if let (None, Some(present)) = (quota, present) {
                p.put("CPU quota", CPU, "cpu.cfs_quota_us", present);
            }
        }
    } else if let Some(period) = period {
        p.write("CPU period", CPU, "cpu.cfs_period_us", period);
    }
    if let Some(quota) = quota {
        p.write("CPU quota", CPU, "cpu.cfs_quota_us", quota.max(-1));
    }
    if let Some(burst) = burst.filter(|&b| b != 0 || p.options.update) {
        p.write("CPU burst", CPU, "cpu.cfs_burst_us", burst);
    }
    if let Some(idle) = cpu.idle() {
        p.write("CPU idle class", CPU, "cpu.idle", idle);
    }
}

fn v2(p: &mut Planner<'_>, cpu: &LinuxCpu) {
    // The idle class goes first: while it is set the kernel refuses a weight.
    if let Some(idle) = cpu.idle() {
        p.write("CPU idle class", CPU, "cpu.idle", idle);
    }
    if let Some(shares) = cpu.shares().filter(|&s| s != 0 && cpu.idle() != Some(1)) {
        p.write("CPU shares", CPU, "cpu.weight", shares_to_weight(shares));
    }
    let (quota, period) = (
        cpu.quota().filter(|&v| v != 0),
        cpu.period().filter(|&v| v != 0),
    );
    let burst = cpu.burst().filter(|&b| b != 0 || p.options.update);
    if p.options.update && burst.is_some() && p.has(CPU, "cpu.max.burst") {
        p.put("CPU burst", CPU, "cpu.max.burst", 0);
    }
    if quota.is_some() || period.is_some() {
        let present = if p.options.update {
            p.features.read(CPU, "cpu.max")
        } else {
            None
        };
        let present_quota = present
            .as_deref()
            .and_then(|t| t.split_ascii_whitespace().next())
            .unwrap_or("max");
        let quota = match quota {
            Some(q) if q > 0 => q.to_string(),
            Some(_) => "max".to_owned(),
            None => present_quota.to_owned(),
        };
        // Without a period the kernel keeps the one there is.
        let value = period.map_or_else(|| quota.clone(), |period| format!("{quota} {period}"));
        p.write("CPU quota", CPU, "cpu.max", value);
    }
    if let Some(burst) = burst {
        p.write("CPU burst", CPU, "cpu.max.burst", burst);
    }
    if cpu.realtime_period().is_some_and(|v| v != 0)
        || cpu.realtime_runtime().is_some_and(|v| v != 0)
    {
        p.unenforceable(
            "CPU real-time limits",
            "cpu.rt_runtime_us",
            "cgroup version 2 has no such setting",
            "they were dropped",
        );
    }
}

fn set(p: &mut Planner<'_>, limit: &'static str, file: &'static str, list: Option<&str>) {
    let Some(text) = list.filter(|t| !t.trim().is_empty()) else {
        return;
    };
    let wanted = match CpuList::parse(text) {
        Ok(wanted) => wanted,
        Err(e) => return p.plan.errors.push(e),
    };
    // Version 2 takes any list and silently uses what exists of it, so that is checked here.
    let available = p
        .features
        .available(file)
        .and_then(|t| CpuList::parse(&t).ok());
    if let Some(available) = available.filter(|a| !a.is_empty() && !wanted.is_subset(a)) {
        return p.invalid(
            limit,
            &wanted,
            &format!("not available; available are {available}"),
        );
    }
    p.write(limit, Controller::Cpuset, file, wanted);
}
