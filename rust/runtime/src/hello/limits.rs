//! The limits of the control groups that the container is in.
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::mounts::Mount;
use super::read;

/// What the control groups allow.
#[derive(Debug, Default, Serialize)]
pub(super) struct Limits {
    pub version: Option<&'static str>,
    pub paths: BTreeMap<String, String>,
    pub memory_bytes: Option<u64>,
    pub cpus: Option<f64>,
    pub pids: Option<u64>,
}

impl Limits {
    pub fn read(mounts: &[Mount]) -> Self {
        let mut limits = Self::default();
        let mut folders = BTreeMap::new();
        for line in read("/proc/self/cgroup").lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            limits.paths.insert(
                if controllers.is_empty() {
                    "unified"
                } else {
                    controllers
                }
                .to_owned(),
                path.to_owned(),
            );
            for controller in controllers.split(',') {
                if let Some(folder) = folder(mounts, controller, path) {
                    folders.insert(controller.to_owned(), folder);
                }
            }
        }
        let file = |controller: &str, name: &str| {
            folders
                .get(controller)
                .map(|folder| read(folder.join(name)))
        };
        if let Some(unified) = folders
            .get("")
            .filter(|folder| folder.join("memory.max").exists() || folders.len() == 1)
        {
            limits.version = Some("2");
            limits.memory_bytes = read(unified.join("memory.max")).parse().ok();
            limits.pids = read(unified.join("pids.max")).parse().ok();
            let max = read(unified.join("cpu.max"));
            limits.cpus = max
                .split_once(' ')
                .and_then(|(quota, period)| ratio(quota, period));
        } else if !folders.is_empty() {
            limits.version = Some("1");
            // "No limit" is the largest multiple of a page.
            let memory = file("memory", "memory.limit_in_bytes").and_then(|text| text.parse().ok());
            limits.memory_bytes = memory.filter(|bytes| *bytes < 1 << 60);
            limits.pids = file("pids", "pids.max").and_then(|text| text.parse().ok());
            let quota = file("cpu", "cpu.cfs_quota_us").unwrap_or_default();
            limits.cpus = ratio(
                &quota,
                &file("cpu", "cpu.cfs_period_us").unwrap_or_default(),
            );
        }
        limits
    }
}

/// Where this process's group of one hierarchy is visible.
pub(super) fn folder(mounts: &[Mount], controller: &str, path: &str) -> Option<PathBuf> {
    let fits = |mount: &&Mount| {
        if controller.is_empty() {
            return mount.kind == "cgroup2";
        }
        mount.kind == "cgroup" && mount.options.split(',').any(|option| option == controller)
    };
    let seen = mounts.iter().rev().filter(fits).filter_map(|mount| {
        let below = path.strip_prefix(mount.root.trim_end_matches('/'))?;
        Some(mount.point.join(below.trim_start_matches('/')))
    });
    seen.filter(|folder| folder.is_dir())
        .max_by_key(|folder| folder.components().count())
}

fn ratio(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}
