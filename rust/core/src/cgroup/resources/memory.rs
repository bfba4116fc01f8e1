//! Memory and swap.
use oci_spec::runtime::LinuxMemory;

use super::Planner;
use crate::cgroup::controller::{Controller, Version};

const MEMORY: Controller = Controller::Memory;

pub(super) fn plan(p: &mut Planner<'_>, memory: &LinuxMemory) {
    let limit = memory.limit().filter(|&l| l != 0);
    let swap = memory.swap().filter(|&s| s != 0);
    for (name, value) in [
        ("memory limit", limit),
        ("memory and swap limit", swap),
        ("memory reservation", memory.reservation()),
    ] {
        if let Some(value) = value.filter(|&v| v < -1) {
            return p.invalid(name, value, "only -1 (no limit) may be negative");
        }
    }
    if let (Some(swap), false) = (
        swap.filter(|&s| s > 0),
        matches!(limit, Some(l) if l > 0) || p.options.update,
    ) {
        return p.invalid(
            "memory and swap limit",
            swap,
            "it counts memory too, so a memory limit must be set with it",
        );
    }
    if let (Some(limit), Some(swap)) = (limit.filter(|&l| l > 0), swap.filter(|&s| s > 0))
        && swap < limit
    {
        return p.invalid(
            "memory and swap limit",
            swap,
            "it counts memory too, so it must not be below the memory limit",
        );
    }
    #[allow(deprecated)]
    let kernel = memory.kernel();
    if kernel.is_some_and(|k| k > 0) {
        let why =
            "kernels since 5.4 have no separate limit of kernel memory; the memory limit covers it"
                .to_owned();
        let (limit, file) = (
            "kernel memory limit".to_owned(),
            "memory.kmem.limit_in_bytes".to_owned(),
        );
        p.plan.warnings.push(super::Warning { limit, file, why });
    }
    if p.version(MEMORY) == Version::V1 {
        v1(p, memory, limit, swap)
    } else {
        v2(p, memory, limit, swap)
    }
}

fn v1(p: &mut Planner<'_>, memory: &LinuxMemory, limit: Option<i64>, swap: Option<i64>) {
    const LIMIT: &str = "memory.limit_in_bytes";
    const MEMSW: &str = "memory.memsw.limit_in_bytes";
    let has_memsw = (limit == Some(-1) || swap.is_some()) && p.has(MEMORY, MEMSW);
    // Taking the memory limit away means the same for memory and swap, or the old sum would still hold.
    let swap = if limit == Some(-1) && swap.is_none() && has_memsw {
        Some(-1)
    } else {
        swap
    };
    // The kernel keeps limit ≤ memsw at every step, so the sum goes up first if the new limit is above the old sum.
    let old_sum = if p.options.update {
        p.features
            .read(MEMORY, MEMSW)
            .and_then(|t| t.trim().parse::<i64>().ok())
    } else {
        None
    };
    let sum_first = match (limit, old_sum) {
        (Some(-1), Some(_)) => true,
        (Some(limit), Some(old)) => limit > old,
        _ => false,
    };
    let write_sum = |p: &mut Planner<'_>| {
        if let Some(swap) = swap {
            if has_memsw {
                p.put("memory and swap limit", MEMORY, MEMSW, swap);
            } else {
                p.missing(
                    "memory and swap limit",
                    MEMORY,
                    MEMSW,
                    "memory is limited, swap is not",
                );
            }
        }
    };
    if sum_first {
        write_sum(p);
    }
    if let Some(limit) = limit {
        p.write("memory limit", MEMORY, LIMIT, limit);
    }
    if !sum_first {
        write_sum(p);
    }
    if let Some(reservation) = memory.reservation().filter(|&r| r != 0) {
        p.write(
            "memory reservation",
            MEMORY,
            "memory.soft_limit_in_bytes",
            reservation,
        );
    }
    if let Some(tcp) = memory.kernel_tcp().filter(|&t| t != 0) {
        p.write(
            "limit of kernel memory for TCP",
            MEMORY,
            "memory.kmem.tcp.limit_in_bytes",
            tcp,
        );
    }
    if let Some(swappiness) = memory.swappiness().filter(|&s| s != u64::MAX) {
        if swappiness > 100 {
            p.invalid("memory swappiness", swappiness, "it is between 0 and 100");
        } else {
            p.write("memory swappiness", MEMORY, "memory.swappiness", swappiness);
        }
    }
    match memory.disable_oom_killer() {
        Some(true) => {
            _ = p.write(
                "disabling of the OOM killer",
                MEMORY,
                "memory.oom_control",
                1,
            )
        }
        Some(false) if p.options.update => {
            _ = p.write(
                "disabling of the OOM killer",
                MEMORY,
                "memory.oom_control",
                0,
            )
        }
        _ => {}
    }
}

fn v2(p: &mut Planner<'_>, memory: &LinuxMemory, limit: Option<i64>, swap: Option<i64>) {
    let show = |value: i64| {
        if value == -1 {
            "max".to_owned()
        } else {
            value.to_string()
        }
    };
    // Version 2 limits swap alone, the spec the sum.
    let swap_max = match (limit, swap) {
        (Some(-1), None) | (_, Some(-1)) => Some("max".to_owned()),
        (_, None) => None,
        (Some(limit), Some(swap)) if limit > 0 => Some((swap - limit).to_string()),
        (_, Some(swap)) => {
            let present = p
                .features
                .read(MEMORY, "memory.max")
                .and_then(|t| t.trim().parse::<i64>().ok());
            match present {
                Some(limit) if limit <= swap => Some((swap - limit).to_string()),
                Some(_) => {
                    return p.invalid(
                        "memory and swap limit",
                        swap,
                        "it counts memory too, so it must not be below the memory limit",
                    );
                }
                None => {
                    return p.invalid(
                        "memory and swap limit",
                        swap,
                        "it counts memory too, so a memory limit must be set with it",
                    );
                }
            }
        }
    };
    if memory.check_before_update() == Some(true) {
        let usage = p
            .features
            .read(MEMORY, "memory.current")
            .and_then(|t| t.trim().parse::<i64>().ok());
        if let (Some(limit), Some(usage)) = (limit.filter(|&l| l > 0), usage)
            && usage > limit
        {
            return p.invalid("memory limit", limit, &format!("{usage} bytes are in use"));
        }
    }
    if let Some(value) = swap_max {
        if p.has(MEMORY, "memory.swap.max") {
            p.put("swap limit", MEMORY, "memory.swap.max", value);
        } else if swap.is_some() {
            p.missing(
                "memory and swap limit",
                MEMORY,
                "memory.swap.max",
                "memory is limited, swap is not",
            );
        }
    }
    if let Some(limit) = limit {
        p.write("memory limit", MEMORY, "memory.max", show(limit));
    }
    if let Some(reservation) = memory.reservation().filter(|&r| r != 0) {
        p.write(
            "memory reservation",
            MEMORY,
            "memory.low",
            show(reservation),
        );
    }
    let absent = "cgroup version 2 has no such setting";
    let dropped = "it was dropped";
    if memory.kernel_tcp().is_some_and(|t| t > 0) {
        p.unenforceable(
            "limit of kernel memory for TCP",
            "memory.kmem.tcp.limit_in_bytes",
            absent,
            dropped,
        );
    }
    if memory.swappiness().is_some_and(|s| s != u64::MAX) {
        p.unenforceable("memory swappiness", "memory.swappiness", absent, dropped);
    }
    if memory.disable_oom_killer() == Some(true) {
        p.unenforceable(
            "disabling of the OOM killer",
            "memory.oom_control",
            absent,
            dropped,
        );
    }
}
