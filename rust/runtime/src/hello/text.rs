//! The report as text.
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Report;

impl Report {
    pub(super) fn text(&self) -> String {
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
    fn sizes_and_maps_read_well() {
        assert_eq!(bytes_text(64 << 20), "64 MiB");
        assert_eq!(bytes_text(1000), "1000 bytes");
        assert_eq!(map_text(&[[0, 0, 4_294_967_295]]), "the host's own ids");
        assert_eq!(
            map_text(&[[0, 100_000, 65_536]]),
            "0-65535 here is 100000-165535 outside"
        );
    }
}
