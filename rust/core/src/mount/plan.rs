//! From the runtime-spec's `mounts` to steps; touches nothing.
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, Mount, Spec};

use super::Options;
use crate::error::{Error, Kind, Result};
use crate::path::{clean, text};
use crate::rootfs::IdMap;

/// Files of procfs that a bind may cover: what lxcfs provides, and what runc allows beside them.
pub const PROC_FILES: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path of the host; with all mounts below it, or without.
    Bind {
        /// The path, absolute.
        path: PathBuf,
        /// With the mounts below it.
        recursive: bool,
    },
    /// The container's cgroups, as the host's version and the cgroup namespace have it.
    Cgroup,
    /// procfs of the pid namespace.
    Proc,
    /// sysfs of the network namespace.
    Sysfs,
    /// Any other filesystem, by its type and source.
    Filesystem {
        /// Its type.
        kind: String,
        /// Its source: a device, or a mere name.
        source: String,
    },
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where, absolute and without `.` and `..`.
    pub destination: PathBuf,
    /// What.
    pub source: Source,
    /// How.
    pub options: Options,
    /// The map that its files' ids are seen through.
    pub idmap: Option<IdMap>,
}

/// The mounts of a document, in its order; relative bind sources start at `bundle`.
///
/// Fails with `Denied` for mounts on or under `/proc`, but for procfs itself and [`PROC_FILES`] (SECURITY.md §3). A bind on
/// `/proc` itself passes here: whoever makes it checks that its source is a real procfs.
pub fn plan(spec: &Spec, bundle: &Path) -> Result<Vec<Step>> {
    let default = (
        spec.linux()
            .as_ref()
            .and_then(|l| l.uid_mappings().as_deref()),
        spec.linux()
            .as_ref()
            .and_then(|l| l.gid_mappings().as_deref()),
    );
    spec.mounts()
        .as_deref()
        .unwrap_or_default()
        .iter()
        .map(|m| step(m, bundle, default))
        .collect()
}

/// A list of id maps of the document as ours.
pub(crate) fn id_map(uid: Option<&[LinuxIdMapping]>, gid: Option<&[LinuxIdMapping]>) -> IdMap {
    let list = |m: Option<&[LinuxIdMapping]>| {
        m.unwrap_or_default()
            .iter()
            .map(|m| (m.container_id(), m.host_id(), m.size()))
            .collect()
    };
    IdMap {
        uid: list(uid),
        gid: list(gid),
    }
}

fn step(
    mount: &Mount,
    bundle: &Path,
    default: (Option<&[LinuxIdMapping]>, Option<&[LinuxIdMapping]>),
) -> Result<Step> {
    let destination = clean(mount.destination());
    let invalid = |why: &str| Error::new(Kind::Invalid, "mount", text(mount.destination()), why);
    if mount.destination().as_os_str().is_empty() {
        return Err(invalid("the destination is empty"));
    }
    if destination == Path::new("/") {
        return Err(invalid("the root filesystem cannot be mounted over"));
    }
    let options = Options::parse(mount.options().as_deref().unwrap_or_default())?;
    let named = mount.source().as_deref().map(Path::to_path_buf);
    let kind = mount.typ().as_deref().unwrap_or("none");
    let source = match kind {
        _ if options.bind.is_some() || kind == "bind" => {
            let path = named.ok_or_else(|| invalid("a bind needs a source"))?;
            if !options.data.is_empty() {
                return Err(invalid(&format!(
                    "a bind has no option {:?}",
                    options.data[0]
                )));
            }
            Source::Bind {
                path: bundle.join(path),
                recursive: options.bind.unwrap_or(true),
            }
        }
        "none" => return Err(invalid("a mount needs a type, or the option bind or rbind")),
        "proc" => Source::Proc,
        "sysfs" => Source::Sysfs,
        "cgroup" | "cgroup2" => Source::Cgroup,
        _ => Source::Filesystem {
            kind: kind.to_owned(),
            source: named.map_or_else(|| kind.to_owned(), |p| text(&p)),
        },
    };
    guard_proc(&destination, &source)?;
    let own = mount
        .uid_mappings()
        .as_deref()
        .zip(mount.gid_mappings().as_deref());
    let idmap = match (own, options.idmap) {
        (Some((uid, gid)), _) => Some(id_map(Some(uid), Some(gid))),
        (None, Some(_)) => {
            let map = id_map(default.0, default.1);
            if map.uid.is_empty() || map.gid.is_empty() {
                return Err(invalid(
                    "idmap needs uidMappings and gidMappings, here or in linux",
                ));
            }
            Some(map)
        }
        (None, None) => None,
    };
    if idmap.is_some() && !matches!(source, Source::Bind { .. }) {
        return Err(invalid("only a bind can be idmapped"));
    }
    Ok(Step {
        destination,
        source,
        options,
        idmap,
    })
}

fn guard_proc(destination: &Path, source: &Source) -> Result<()> {
    if !destination.starts_with("/proc") {
        return Ok(());
    }
    let denied = |why| Err(Error::new(Kind::Denied, "mount", text(destination), why));
    match source {
        Source::Proc | Source::Bind { .. } if destination == Path::new("/proc") => Ok(()),
        Source::Bind { .. } if PROC_FILES.iter().any(|f| destination == Path::new(f)) => Ok(()),
        _ if destination == Path::new("/proc") => denied("only procfs can be there"),
        _ => denied(
            "nothing may be mounted below /proc: it would hide what the security settings are written through",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(json: &str) -> Result<Vec<Step>> {
        let spec: Spec =
            serde_json::from_str(&format!(r#"{{"ociVersion":"1.2.0","mounts":{json}}}"#)).unwrap();
        plan(&spec, Path::new("/bundle"))
    }

    #[test]
    fn knows_sources() {
        let s = steps(
            r#"[{"destination":"/proc","type":"proc","source":"proc"},
                {"destination":"/dev/","type":"tmpfs","source":"tmpfs","options":["mode=755"]},
                {"destination":"/a/../b","source":"x","options":["bind","ro"]},
                {"destination":"c","type":"bind","source":"/host"},
                {"destination":"/sys/fs/cgroup","type":"cgroup2","source":"cgroup"}]"#,
        )
        .unwrap();
        assert_eq!(s[0].source, Source::Proc);
        assert_eq!(s[1].destination, Path::new("/dev"));
        assert_eq!(
            (s[2].destination.as_path(), &s[2].source),
            (
                Path::new("/b"),
                &Source::Bind {
                    path: "/bundle/x".into(),
                    recursive: false
                }
            )
        );
        assert_eq!(
            (s[3].destination.as_path(), &s[3].source),
            (
                Path::new("/c"),
                &Source::Bind {
                    path: "/host".into(),
                    recursive: true
                }
            )
        );
        assert_eq!(s[4].source, Source::Cgroup);
    }

    #[test]
    fn guards_proc() {
        for bad in [
            r#"[{"destination":"/proc","type":"tmpfs","source":"tmpfs"}]"#,
            r#"[{"destination":"/x/../proc/self","type":"tmpfs"}]"#,
            r#"[{"destination":"/proc/sys","type":"bind","source":"/tmp"}]"#,
            r#"[{"destination":"//proc//1/","type":"proc"}]"#,
        ] {
            assert_eq!(steps(bad).unwrap_err().kind, Kind::Denied, "{bad}");
        }
        assert!(steps(r#"[{"destination":"/proc/meminfo","type":"bind","source":"/x"}]"#).is_ok());
        assert!(steps(r#"[{"destination":"/process","type":"tmpfs"}]"#).is_ok());
    }

    #[test]
    fn refuses_nonsense() {
        for bad in [
            r#"[{"destination":"","type":"tmpfs"}]"#,
            r#"[{"destination":"/","type":"tmpfs"}]"#,
            r#"[{"destination":"/x/..","type":"tmpfs"}]"#,
            r#"[{"destination":"/x","type":"bind"}]"#,
            r#"[{"destination":"/x","source":"/y"}]"#,
            r#"[{"destination":"/x","type":"bind","source":"/y","options":["size=3"]}]"#,
            r#"[{"destination":"/x","type":"bind","source":"/y","options":["idmap"]}]"#,
        ] {
            assert_eq!(steps(bad).unwrap_err().kind, Kind::Invalid, "{bad}");
        }
    }
}
