//! The program of the built-in image `minidock/hello`: reports the isolation that it really sees.
//!
//! Everything is read from the container's own view (`/proc`, `/sys`, system calls); nothing is taken on trust from
//! whoever started it. What cannot be read is reported as absent, never as an error.
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

/// Names of the capabilities, by number (capabilities(7)).
pub(crate) const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Namespaces, and the inode number that the kernel gives the initial one (`include/uapi/linux/nsfs.h`), which is the
/// host's. `mnt` and `net` have a fixed number since Linux 6.18 only; before it theirs is an ordinary one.
const NAMESPACES: [(&str, u64); 8] = [
    ("mnt", 0xEFFF_FFF8),
    ("pid", 0xEFFF_FFFC),
    ("net", 0xEFFF_FFF9),
    ("ipc", 0xEFFF_FFFF),
    ("uts", 0xEFFF_FFFE),
    ("user", 0xEFFF_FFFD),
    ("cgroup", 0xEFFF_FFFB),
    ("time", 0xEFFF_FFFA),
];

/// Paths that an unprivileged container must not be able to write to.
const PROTECTED: [&str; 7] = [
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/sys",
    "/sys/fs/cgroup",
];

/// Paths that an unprivileged container must see empty.
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
];

#[derive(Debug, Serialize)]
struct Namespace {
    link: String,
    /// `own`, or `host`: the one that the machine started with.
    whose: &'static str,
}

#[derive(Debug, Default, Serialize)]
struct Limits {
    version: Option<&'static str>,
    paths: BTreeMap<String, String>,
    memory_bytes: Option<u64>,
    cpus: Option<f64>,
    pids: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Report {
    pid: u32,
    processes_seen: usize,
    uid: String,
    gid: String,
    groups: String,
    uid_map: Vec<[u64; 3]>,
    gid_map: Vec<[u64; 3]>,
    hostname: String,
    kernel: String,
    namespaces: BTreeMap<&'static str, Namespace>,
    capabilities: BTreeMap<&'static str, Vec<String>>,
    seccomp: &'static str,
    seccomp_filters: Option<u64>,
    no_new_privs: bool,
    security_label: Option<String>,
    cgroup: Limits,
    root_filesystem: String,
    root_read_only: bool,
    read_only_paths: BTreeMap<&'static str, bool>,
    masked_paths: BTreeMap<&'static str, bool>,
    interfaces: Vec<String>,
}

/// Prints the report; `args` are those after the program's or the verb's name: none, or `--json`.
pub fn main(args: &[OsString]) -> ExitCode {
    let json = match args {
        [] => false,
        [one] if one == "--json" => true,
        _ => {
            eprintln!("hello: it takes no arguments but --json");
            return ExitCode::from(2);
        }
    };
    let report = Report::read();
    let text = if json {
        serde_json::to_string_pretty(&report)
            .map(|text| text + "\n")
            .unwrap_or_default()
    } else {
        report.text()
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// A small file's text without the newline at its end; empty if it cannot be read.
fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path)
        .map(|text| text.trim_end().to_owned())
        .unwrap_or_default()
}

/// The fields of `/proc/self/status`.
fn status() -> BTreeMap<String, String> {
    let pair = |line: &str| {
        line.split_once(':')
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
    };
    read("/proc/self/status").lines().filter_map(pair).collect()
}

fn id_map(path: &str) -> Vec<[u64; 3]> {
    let row = |line: &str| -> Option<[u64; 3]> {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        numbers.try_into().ok()
    };
    read(path).lines().filter_map(row).collect()
}

/// The names in a set of capabilities, written in hexadecimal.
fn capabilities(mask: &str) -> Vec<String> {
    let mask = u64::from_str_radix(mask, 16).unwrap_or_default();
    let name = |bit: usize| {
        CAPABILITIES
            .get(bit)
            .map_or_else(|| format!("cap_{bit}"), |name| (*name).to_owned())
    };
    (0..64)
        .filter(|bit| mask & (1 << bit) != 0)
        .map(name)
        .collect()
}

fn namespaces() -> BTreeMap<&'static str, Namespace> {
    let mut found = BTreeMap::new();
    for (name, initial) in NAMESPACES {
        let Ok(link) = fs::read_link(format!("/proc/self/ns/{name}")) else {
            continue;
        };
        let link = link.to_string_lossy().into_owned();
        let host = link == format!("{name}:[{initial}]");
        found.insert(
            name,
            Namespace {
                link,
                whose: if host { "host" } else { "own" },
            },
        );
    }
    found
}

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq)]
struct Mount {
    root: String,
    point: PathBuf,
    read_only: bool,
    kind: String,
    options: String,
}

fn mounts(text: &str) -> Vec<Mount> {
    let parse = |line: &str| -> Option<Mount> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point, flags) = (before.next()?, before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, _source, options) = (after.next()?, after.next()?, after.next()?);
        let read_only = flags
            .split(',')
            .chain(options.split(','))
            .any(|flag| flag == "ro");
        Some(Mount {
            root: root.to_owned(),
            point: point.into(),
            read_only,
            kind: kind.to_owned(),
            options: options.to_owned(),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// The mount that `path` lies on: the last one made among those with the longest matching mount point.
fn mount_of<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    let above = mounts
        .iter()
        .filter(|mount| Path::new(path).starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

/// Whether nothing can be read at `path`: an empty directory, or a file that is `/dev/null`.
fn is_masked(path: &str) -> Option<bool> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let seen = fs::symlink_metadata(path).ok()?;
    if seen.is_dir() {
        return Some(fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()));
    }
    // 1:3 is /dev/null.
    Some(seen.file_type().is_char_device() && seen.rdev() == 0x103)
}

impl Limits {
    fn read(mounts: &[Mount]) -> Self {
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
fn folder(mounts: &[Mount], controller: &str, path: &str) -> Option<PathBuf> {
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

fn entries(path: &str) -> Vec<String> {
    let Ok(found) = fs::read_dir(path) else {
        return Vec::new();
    };
    let mut names: Vec<String> = found
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The interfaces of this network namespace. `/proc/net/dev` shows them even where sysfs is not mounted.
fn interfaces() -> Vec<String> {
    let name = |line: &str| line.split_once(':').map(|(name, _)| name.trim().to_owned());
    read("/proc/self/net/dev")
        .lines()
        .filter_map(name)
        .collect()
}

impl Report {
    fn read() -> Self {
        let status = status();
        let field = |name: &str| status.get(name).cloned().unwrap_or_default();
        let mounts = mounts(&read("/proc/self/mountinfo"));
        let root = mount_of(&mounts, "/");
        let sets = [
            ("effective", "CapEff"),
            ("permitted", "CapPrm"),
            ("inheritable", "CapInh"),
            ("bounding", "CapBnd"),
            ("ambient", "CapAmb"),
        ];
        let first = |name: &str| {
            field(name)
                .split_whitespace()
                .nth(1)
                .unwrap_or_default()
                .to_owned()
        };
        let numbers = |name: &&String| name.bytes().all(|byte| byte.is_ascii_digit());
        let read_only = |path: &'static str| {
            fs::symlink_metadata(path).ok()?;
            Some((path, mount_of(&mounts, path)?.read_only))
        };
        Self {
            pid: std::process::id(),
            processes_seen: entries("/proc").iter().filter(numbers).count(),
            uid: first("Uid"),
            gid: first("Gid"),
            groups: field("Groups"),
            uid_map: id_map("/proc/self/uid_map"),
            gid_map: id_map("/proc/self/gid_map"),
            hostname: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            namespaces: namespaces(),
            capabilities: sets
                .iter()
                .map(|(name, key)| (*name, capabilities(&field(key))))
                .collect(),
            seccomp: match field("Seccomp").as_str() {
                "1" => "strict",
                "2" => "filter",
                "0" => "off",
                _ => "unknown",
            },
            seccomp_filters: field("Seccomp_filters").parse().ok(),
            no_new_privs: field("NoNewPrivs") == "1",
            security_label: Some(read("/proc/self/attr/current")).filter(|label| !label.is_empty()),
            cgroup: Limits::read(&mounts),
            root_filesystem: root.map(|mount| mount.kind.clone()).unwrap_or_default(),
            root_read_only: root.is_some_and(|mount| mount.read_only),
            read_only_paths: PROTECTED.into_iter().filter_map(read_only).collect(),
            masked_paths: MASKED
                .into_iter()
                .filter_map(|path| Some((path, is_masked(path)?)))
                .collect(),
            interfaces: interfaces(),
        }
    }

    fn text(&self) -> String {
        let mut out = String::from(
            "Hello from minidock!\n\nThis program runs in a container. What it sees from inside:\n\n",
        );
        let mut row = |name: &str, value: String| {
            let _ = writeln!(out, "  {name:<16}{value}");
        };
        let alone = if self.pid == 1 {
            "the first process of its own PID namespace"
        } else {
            "not the first process"
        };
        row(
            "process",
            format!(
                "PID {}: {alone}; {} seen in /proc",
                self.pid, self.processes_seen
            ),
        );
        let groups = if self.groups.is_empty() {
            "none"
        } else {
            &self.groups
        };
        row(
            "user",
            format!(
                "uid {}, gid {}, supplementary groups: {groups}",
                self.uid, self.gid
            ),
        );
        row("uid map", map_text(&self.uid_map));
        row("gid map", map_text(&self.gid_map));
        row("host name", self.hostname.clone());
        row(
            "kernel",
            format!("Linux {}, shared with the host", self.kernel),
        );
        for whose in ["own", "host"] {
            let links: Vec<&str> = self
                .namespaces
                .values()
                .filter(|n| n.whose == whose)
                .map(|n| n.link.as_str())
                .collect();
            let label = if whose == "own" {
                "own namespaces"
            } else {
                "host's"
            };
            wrap(&mut row, label, &links);
        }
        let names = |set: &str| {
            self.capabilities
                .get(set)
                .map(|list| list.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let (effective, bounding) = (
            names("effective").unwrap_or_default(),
            names("bounding").unwrap_or_default(),
        );
        wrap(
            &mut row,
            &format!("capabilities {}", effective.len()),
            &effective,
        );
        if bounding != effective {
            wrap(&mut row, &format!("bounding {}", bounding.len()), &bounding);
        }
        let filters = self
            .seccomp_filters
            .filter(|n| *n > 0)
            .map(|n| format!(", {n} in force"))
            .unwrap_or_default();
        row("seccomp", format!("{}{filters}", self.seccomp));
        row("no new privs", yes(self.no_new_privs).to_owned());
        row(
            "LSM label",
            self.security_label.clone().unwrap_or_else(|| "none".into()),
        );
        let version = self
            .cgroup
            .version
            .map_or_else(|| "not visible".to_owned(), |v| format!("version {v}"));
        let mut places: Vec<&str> = self.cgroup.paths.values().map(String::as_str).collect();
        places.sort_unstable();
        places.dedup();
        row("cgroup", format!("{version}, {}", places.join(" ")));
        let unlimited = |text: Option<String>| text.unwrap_or_else(|| "no limit seen".into());
        row(
            "memory limit",
            unlimited(self.cgroup.memory_bytes.map(bytes_text)),
        );
        row(
            "CPU limit",
            unlimited(self.cgroup.cpus.map(|n| format!("{n} CPUs"))),
        );
        row(
            "process limit",
            unlimited(self.cgroup.pids.map(|n| n.to_string())),
        );
        row(
            "root",
            format!(
                "{}, {}",
                self.root_filesystem,
                if self.root_read_only {
                    "read-only"
                } else {
                    "writable"
                }
            ),
        );
        let list = |map: &BTreeMap<&'static str, bool>, want: bool| -> Vec<&'static str> {
            map.iter()
                .filter(|(_, is)| **is == want)
                .map(|(path, _)| *path)
                .collect()
        };
        wrap(&mut row, "read-only", &list(&self.read_only_paths, true));
        wrap(&mut row, "writable", &list(&self.read_only_paths, false));
        wrap(&mut row, "hidden", &list(&self.masked_paths, true));
        wrap(&mut row, "not hidden", &list(&self.masked_paths, false));
        row("network", self.interfaces.join(" "));
        out.push_str("\nTry: minidock run --rm -m 64m --cpus 0.5 --pids-limit 32 minidock/hello\n");
        out
    }
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// A row whose values go on in the next line; nothing for no values.
fn wrap(row: &mut impl FnMut(&str, String), name: &str, values: &[&str]) {
    const WIDTH: usize = 92;
    let (mut label, mut line) = (name, String::new());
    for value in values {
        if !line.is_empty() && line.len() + value.len() >= WIDTH {
            row(label, std::mem::take(&mut line));
            label = "";
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(value);
    }
    if !line.is_empty() {
        row(label, line);
    }
}

fn map_text(map: &[[u64; 3]]) -> String {
    if map == [[0, 0, u64::from(u32::MAX)]] {
        return "the host's own ids".into();
    }
    let range = |[inside, outside, count]: &[u64; 3]| {
        format!(
            "{inside}-{} here is {outside}-{} outside",
            inside + count - 1,
            outside + count - 1
        )
    };
    if map.is_empty() {
        "none".into()
    } else {
        map.iter().map(range).collect::<Vec<_>>().join(", ")
    }
}

fn bytes_text(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_masks_are_names() {
        assert_eq!(capabilities("00000000a80425fb").len(), 14);
        assert_eq!(capabilities("1"), ["chown"]);
        assert_eq!(capabilities("8000000000000000"), ["cap_63"]);
        assert!(capabilities("").is_empty());
    }

    #[test]
    fn the_innermost_latest_mount_counts() {
        let text = "1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /proc rw,nosuid - proc proc rw\n\
                    3 2 0:2 /sys /proc/sys ro - proc proc rw\n4 1 0:3 /a/b /sys/fs/cgroup/memory ro shared:3 - cgroup cgroup rw,memory\n";
        let mounts = mounts(text);
        assert_eq!(mounts.len(), 4);
        assert!(mount_of(&mounts, "/proc/sys").unwrap().read_only);
        assert!(!mount_of(&mounts, "/proc/irq").unwrap().read_only);
        assert_eq!(mount_of(&mounts, "/etc").unwrap().kind, "overlay");
        assert_eq!(folder(&mounts, "pids", "/a/b"), None);
    }

    #[test]
    fn sizes_and_maps_read_well() {
        assert_eq!(bytes_text(64 << 20), "64 MiB");
        assert_eq!(bytes_text(1000), "1000 bytes");
        assert_eq!(map_text(&[[0, 0, 4_294_967_295]]), "the host's own ids");
        assert_eq!(
            map_text(&[[0, 100_000, 65_536]]),
            "0-65535 here is 100000-165535 outside"
        );
    }

    #[test]
    fn the_report_of_this_process_is_complete() {
        let report = Report::read();
        assert_eq!(report.pid, std::process::id());
        assert!(report.namespaces.len() >= 6 && !report.root_filesystem.is_empty());
        let text = report.text();
        assert!(
            text.contains("seccomp") && text.lines().all(|line| line.chars().count() < 400),
            "{text}"
        );
        assert!(
            serde_json::to_string(&report)
                .unwrap()
                .contains("\"uid_map\"")
        );
    }
}
