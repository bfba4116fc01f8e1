//! Processes, huge pages, network class and priority, RDMA, and version 2 files by name.
use std::collections::HashMap;

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxPids, LinuxRdma};

use super::Planner;
use crate::cgroup::controller::{Controller, Version};
use crate::{Error, Kind};

/// 0 and less mean no limit, as in Docker.
pub(super) fn pids(p: &mut Planner<'_>, pids: LinuxPids) {
    let limit = pids.limit();
    if limit > 0 {
        p.write("process limit", Controller::Pids, "pids.max", limit);
    } else if p.options.update || limit < 0 && p.has(Controller::Pids, "pids.max") {
        p.write("process limit", Controller::Pids, "pids.max", "max");
    }
}

pub(super) fn hugetlb(p: &mut Planner<'_>, limits: &[LinuxHugepageLimit]) {
    const HUGETLB: Controller = Controller::Hugetlb;
    for one in limits {
        let size = one.page_size();
        let digits = size
            .strip_suffix("KB")
            .or_else(|| size.strip_suffix("MB"))
            .or_else(|| size.strip_suffix("GB"));
        if !digits.is_some_and(|d| {
            !d.is_empty() && !d.starts_with('0') && d.bytes().all(|b| b.is_ascii_digit())
        }) {
            p.invalid(
                "huge page limit",
                format!("{size:.40?}"),
                "a page size is a number with KB, MB or GB, such as 2MB",
            );
            continue;
        }
        let v1 = p.version(HUGETLB) == Version::V1;
        let (usage, reserved) = if v1 {
            ("limit_in_bytes", "rsvd.limit_in_bytes")
        } else {
            ("max", "rsvd.max")
        };
        let value = match one.limit() {
            ..0 if v1 => "-1".to_owned(),
            ..0 => "max".to_owned(),
            limit => limit.to_string(),
        };
        p.write(
            "huge page limit",
            HUGETLB,
            format!("hugetlb.{size}.{usage}"),
            &value,
        );
        // A limit on reservations makes mmap fail instead of a later access (SIGBUS).
        let reserved = format!("hugetlb.{size}.{reserved}");
        if p.has(HUGETLB, &reserved) {
            p.put("huge page limit", HUGETLB, reserved, value);
        }
    }
}

pub(super) fn network(p: &mut Planner<'_>, network: &LinuxNetwork) {
    if let Some(class) = network.class_id().filter(|&c| c != 0) {
        p.write(
            "network class",
            Controller::NetCls,
            "net_cls.classid",
            class,
        );
    }
    for priority in network.priorities().as_deref().unwrap_or_default() {
        let name = priority.name();
        if name.is_empty()
            || name.len() > 15
            || name
                .bytes()
                .any(|b| b.is_ascii_whitespace() || b == b'/' || b == 0)
        {
            p.invalid(
                "network priority",
                format!("{name:.40?}"),
                "not a name of a network interface",
            );
            continue;
        }
        p.write(
            "network priority",
            Controller::NetPrio,
            "net_prio.ifpriomap",
            format!("{name} {}", priority.priority()),
        );
    }
}

pub(super) fn rdma(p: &mut Planner<'_>, rdma: &HashMap<String, LinuxRdma>) {
    let mut devices: Vec<_> = rdma.iter().collect();
    devices.sort_by_key(|(name, _)| name.as_str());
    for (name, limits) in devices {
        if name.is_empty() || name.bytes().any(|b| b.is_ascii_whitespace() || b == 0) {
            p.invalid(
                "RDMA limit",
                format!("{name:.40?}"),
                "not a name of a device",
            );
            continue;
        }
        let show = |n: Option<u32>| n.map_or_else(|| "max".to_owned(), |n| n.to_string());
        let value = format!(
            "{name} hca_handle={} hca_object={}",
            show(limits.hca_handles()),
            show(limits.hca_objects())
        );
        p.write("RDMA limit", Controller::Rdma, "rdma.max", value);
    }
}

/// `linux.resources.unified`: any file of version 2, by name. What a host lacks here is always an error.
pub(super) fn unified(p: &mut Planner<'_>, unified: &HashMap<String, String>) {
    let mut files: Vec<_> = unified.iter().collect();
    files.sort_by_key(|(name, _)| name.as_str());
    for (file, value) in files {
        let plain = file
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
        let Some((controller, true)) = file
            .split_once('.')
            .map(|(c, rest)| (c, plain && !rest.is_empty()))
        else {
            p.invalid(
                "unified resource",
                format!("{file:.60?}"),
                "not a name of a cgroup version 2 file, such as memory.high",
            );
            continue;
        };
        if controller == "cgroup" {
            p.invalid(
                "unified resource",
                file,
                "files of the cgroup core are not limits",
            );
            continue;
        }
        let known = Controller::from_name(controller, Version::V2);
        let Some(known) = known.filter(|&c| p.features.version(c) == Some(Version::V2)) else {
            let why = format!(
                "the {controller} controller is not in a cgroup version 2 hierarchy of this host"
            );
            p.plan.errors.push(Error::new(
                Kind::Unsupported,
                "set unified resource",
                file.as_str(),
                why,
            ));
            continue;
        };
        if !p.has(known, file) {
            let why = "this kernel's cgroups have no such file";
            p.plan.errors.push(Error::new(
                Kind::Unsupported,
                "set unified resource",
                file.as_str(),
                why,
            ));
            continue;
        }
        // Files with one entry per device take one line at a time.
        for line in value.lines() {
            p.put("unified resource", known, file.clone(), line);
        }
    }
}
