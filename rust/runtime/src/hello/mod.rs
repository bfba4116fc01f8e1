//! The program of the built-in image `minidock/hello`: reports the isolation that it really sees.
//!
//! Everything is read from the container's own view (`/proc`, `/sys`, system calls); nothing is taken on trust from
//! whoever started it. What cannot be read is reported as absent, never as an error.
mod capabilities;
mod limits;
mod mounts;
mod text;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

pub(crate) use capabilities::CAPABILITIES;
use limits::Limits;
use mounts::{mount_of, mounts};

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
                .map(|(name, key)| (*name, capabilities::names(&field(key))))
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
