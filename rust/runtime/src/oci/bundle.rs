//! Bundles: `config.json` and what follows from it.
use std::fs;
use std::path::{Path, PathBuf};

use minidock_core::process::{Listener, Seccomp};
use minidock_core::security::seccomp::{self, Target};
use minidock_core::{Context, Error, Kind, Result};
use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};

/// Documents are read up to this size.
const CONFIG_MAX: u64 = 16 << 20;

/// A bundle, read and checked.
#[derive(Debug)]
pub struct Bundle {
    /// Its directory, absolute and without links.
    pub path: PathBuf,
    /// The document.
    pub spec: Spec,
    /// The document's text.
    pub text: Vec<u8>,
    /// The root filesystem, absolute.
    pub rootfs: PathBuf,
}

/// Reads a document; its text comes back with it.
pub fn parse(path: &Path) -> Result<(Spec, Vec<u8>)> {
    let shown = || path.display().to_string();
    let size = fs::metadata(path).context("read", shown)?.len();
    if size > CONFIG_MAX {
        return Err(Error::new(
            Kind::Limit,
            "read",
            shown(),
            "it is longer than 16 MiB",
        ));
    }
    let text = fs::read(path).context("read", shown)?;
    let spec = serde_json::from_slice(&text);
    let spec = spec.map_err(|e| Error::new(Kind::Invalid, "read", shown(), e.to_string()))?;
    Ok((spec, text))
}

impl Bundle {
    /// Reads the bundle in `folder`.
    pub fn open(folder: &Path) -> Result<Self> {
        let path =
            fs::canonicalize(folder).context("open bundle", || folder.display().to_string())?;
        let (spec, text) = parse(&path.join("config.json"))?;
        let invalid = |what: &str, why: String| {
            Err(Error::new(Kind::Invalid, "check config.json", what, why))
        };
        check_version(spec.version())?;
        let Some(root) = spec.root() else {
            return invalid("root", "it is missing".into());
        };
        let rootfs = path.join(root.path());
        match fs::metadata(&rootfs) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return invalid(
                    "root.path",
                    format!("{} is not a directory", rootfs.display()),
                );
            }
            Err(e) => {
                return Err(e).context("open root filesystem", || rootfs.display().to_string());
            }
        }
        if spec.linux().is_none() {
            return invalid("linux", "it is missing".into());
        }
        Ok(Self {
            path,
            spec,
            text,
            rootfs,
        })
    }

    /// The Linux part of the document.
    pub fn linux(&self) -> Option<&Linux> {
        self.spec.linux().as_ref()
    }

    /// Whether the document asks for a new PID namespace.
    pub fn has_own_pid_namespace(&self) -> bool {
        let list = self
            .linux()
            .and_then(|l| l.namespaces().as_ref())
            .into_iter()
            .flatten();
        list.into_iter()
            .any(|n| n.typ() == LinuxNamespaceType::Pid && n.path().is_none())
    }
}

/// The path of the container's group: the document's, or one by the id.
pub fn cgroup_path(spec: &Spec, id: &str) -> String {
    let path = spec
        .linux()
        .as_ref()
        .and_then(|l| l.cgroups_path().as_ref())
        .map(|p| p.to_string_lossy().into_owned());
    path.filter(|path| !path.is_empty())
        .unwrap_or_else(|| format!("minidock-runtime-{id}"))
}

/// Follows semver: any 1.x is understood, and 0.x or 2.x need not be.
fn check_version(version: &str) -> Result<()> {
    let mut numbers = version.split(['.', '-', '+']);
    let valid = numbers.next() == Some("1")
        && (0..2).all(|_| {
            numbers
                .next()
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        });
    if valid {
        return Ok(());
    }
    let why = "it must be 1.x.y of the runtime specification";
    Err(Error::new(
        Kind::Unsupported,
        "check config.json",
        format!("ociVersion {version:?}"),
        why,
    ))
}

/// The compiled filter of a document, if it has one.
pub fn seccomp(spec: &Spec) -> Result<Option<Seccomp>> {
    let Some(profile) = spec.linux().as_ref().and_then(|l| l.seccomp().as_ref()) else {
        return Ok(None);
    };
    let target = Target::host().ok_or_else(|| {
        Error::new(
            Kind::Unsupported,
            "compile seccomp profile",
            std::env::consts::ARCH,
            "no table of its system calls",
        )
    })?;
    let program = seccomp::compile(profile, target)?;
    let metadata = profile.listener_metadata().clone().unwrap_or_default();
    let listener = profile.listener_path().as_ref().map(|path| Listener {
        path: path.clone(),
        metadata,
    });
    Ok(Some(Seccomp { program, listener }))
}

#[cfg(test)]
mod tests {
    use super::check_version;

    #[test]
    fn versions() {
        for good in ["1.0.0", "1.2.1", "1.0.2-dev", "1.99.0+x"] {
            check_version(good).unwrap();
        }
        for bad in ["", "1", "1.0", "2.0.0", "0.9.0", "1.x.0", "one"] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }
}
