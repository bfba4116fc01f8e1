//! What is known about containers: one directory each under the state root, `/run/minidock-runtime` by default.
//!
//! | file | what |
//! |---|---|
//! | `state.json` | [`Record`], replaced by rename; there is none while the container is being created |
//! | `config.json` | the document as it was at `create`: the bundle may change or go |
//! | `exec.fifo` | exists until `start`; PID 1 waits in it |
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use minidock_core::cgroup::{Cgroup, Hierarchies};
use minidock_core::process::hooks;
use minidock_core::{Context, Error, Kind, Result};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use super::process::Process;

/// Room is left for a prefix within the kernel's limit on a name (`NAME_MAX`).
const ID_MAX: usize = 230;

/// What is stored about one container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// `ociVersion` of the document.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// PID 1.
    pub init: Process,
    /// The bundle directory, absolute.
    pub bundle: PathBuf,
    /// The root filesystem, absolute.
    pub rootfs: PathBuf,
    /// When it was created (RFC 3339).
    pub created: String,
    /// The document's annotations.
    pub annotations: HashMap<String, String>,
    /// Its group's path in every hierarchy.
    pub cgroup: String,
    /// Whether PID 1 has a PID namespace of its own: its end is that of all others.
    pub own_pid_namespace: bool,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// PID 1 waits for `start`.
    Created,
    /// It runs.
    Running,
    /// It is frozen (an addition of runc's to the specification).
    Paused,
    /// PID 1 has ended.
    Stopped,
}

impl Status {
    /// The word in the state document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Checks an id: it is the name of a directory.
pub fn check_id(id: &OsStr) -> Result<&str> {
    let invalid = |why: &str| Error::new(Kind::Invalid, "use container id", format!("{id:?}"), why);
    let text = id.to_str().ok_or_else(|| invalid("not UTF-8"))?;
    if text.is_empty() || text.len() > ID_MAX {
        return Err(invalid("it must have 1 to 230 characters"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if !text.chars().all(allowed) || text.starts_with(['-', '.']) {
        return Err(invalid(
            "use letters, digits, \"_\", \"+\", \"-\" and \".\", not starting with \"-\" or \".\"",
        ));
    }
    Ok(text)
}

/// A container's directory.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// That of a container which exists. `NotFound` when there is none.
    pub fn open(root: &Path, id: &str) -> Result<Self> {
        let folder = root.join(id);
        if folder.is_dir() {
            return Ok(Self(folder));
        }
        Err(Error::new(
            Kind::NotFound,
            "find container",
            id,
            "it does not exist",
        ))
    }

    /// Makes that of a new container. `Conflict` when the id is taken.
    pub fn create(root: &Path, id: &str) -> Result<Self> {
        let make = |recursive: bool, path: &Path| {
            fs::DirBuilder::new()
                .recursive(recursive)
                .mode(0o700)
                .create(path)
        };
        make(true, root).context("create", || root.display().to_string())?;
        let folder = root.join(id);
        match make(false, &folder) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                let why = "a container with this id exists; choose another id or delete it";
                Err(Error::new(Kind::Conflict, "create container", id, why))
            }
            other => other
                .context("create", || folder.display().to_string())
                .map(|()| Self(folder)),
        }
    }

    /// The fifo in which PID 1 waits for `start`.
    pub fn fifo(&self) -> PathBuf {
        self.0.join("exec.fifo")
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let (path, new) = (self.0.join(name), self.0.join(format!(".{name}")));
        let mut open = fs::OpenOptions::new();
        let open = open.write(true).create(true).truncate(true).mode(0o600);
        let written = open.open(&new).and_then(|mut file| file.write_all(content));
        let placed = written.and_then(|()| fs::rename(&new, &path));
        placed.context("write", || path.display().to_string())
    }

    /// Keeps the document as it is now.
    pub fn save_config(&self, text: &[u8]) -> Result<()> {
        self.write("config.json", text)
    }

    /// The document as it was at `create`.
    pub fn config(&self) -> Result<Spec> {
        super::bundle::parse(&self.0.join("config.json")).map(|(spec, _)| spec)
    }

    /// Replaces the record.
    pub fn save(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record);
        let text = text.map_err(|e| {
            Error::new(
                Kind::Invalid,
                "write state",
                record.id.as_str(),
                e.to_string(),
            )
        })?;
        self.write("state.json", &text)
    }

    /// The record; None while the container is being created (or when that failed midway).
    pub fn record(&self) -> Result<Option<Record>> {
        let path = self.0.join("state.json");
        let text = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.context("read", || path.display().to_string())?,
        };
        let record = serde_json::from_slice(&text);
        record.map(Some).map_err(|e| {
            Error::new(
                Kind::Corrupt,
                "read",
                path.display().to_string(),
                e.to_string(),
            )
        })
    }

    /// Removes it.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).context("remove", || self.0.display().to_string())
            }
            _ => Ok(()),
        }
    }
}

/// A container that exists.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub folder: Folder,
    /// What is stored about it.
    pub record: Record,
}

impl Container {
    /// Finds one. `NotFound` without such a container, `Busy` while it is being created.
    pub fn open(root: &Path, id: &str) -> Result<Self> {
        let folder = Folder::open(root, id)?;
        match folder.record()? {
            Some(record) => Ok(Self { folder, record }),
            None => Err(Error::new(
                Kind::Busy,
                "read state of container",
                id,
                "it is being created, or that was interrupted; `delete --force` removes it",
            )),
        }
    }

    /// All containers, by id; directories without a record are left out.
    pub fn all(root: &Path) -> Result<Vec<Self>> {
        let entries = match fs::read_dir(root) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.context("read", || root.display().to_string())?,
        };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        let ids = names.iter().filter_map(|name| check_id(name).ok());
        Ok(ids.filter_map(|id| Self::open(root, id).ok()).collect())
    }

    /// Its group, if there is one.
    pub fn cgroup(&self) -> Option<Cgroup> {
        let hierarchies = Hierarchies::detect().ok()?;
        Cgroup::open(&hierarchies, &self.record.cgroup).ok()
    }

    /// Its status now: what the kernel says, not what was recorded.
    pub fn status(&self) -> Status {
        if !self.record.init.is_alive() {
            Status::Stopped
        } else if self.folder.fifo().exists() {
            Status::Created
        } else if self.cgroup().is_some_and(|group| group.is_frozen()) {
            Status::Paused
        } else {
            Status::Running
        }
    }

    /// The document that hooks get.
    pub fn hook_state(&self, status: Status) -> hooks::State {
        hooks::State {
            oci_version: self.record.oci_version.clone(),
            id: self.record.id.clone(),
            status: status.name(),
            pid: (status != Status::Stopped).then_some(self.record.init.pid),
            bundle: self.record.bundle.clone(),
            annotations: self.record.annotations.clone(),
        }
    }

    /// The error for an operation that the container's status excludes.
    pub fn refuse(&self, op: &'static str, status: Status) -> Error {
        let why = match status {
            Status::Stopped => "it is not running: it is stopped",
            Status::Created => "it is not running: it is created",
            Status::Running => "it is running",
            Status::Paused => "it is paused",
        };
        Error::new(Kind::Conflict, op, self.record.id.clone(), why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_names() {
        for good in ["a", "0-x_y.z+1", &"x".repeat(230)] {
            assert_eq!(check_id(OsStr::new(good)).unwrap(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "-a",
            ".a",
            "a b",
            "ä",
            "a\n",
            &"x".repeat(231),
        ] {
            assert_eq!(
                check_id(OsStr::new(bad)).unwrap_err().kind,
                Kind::Invalid,
                "{bad:?}"
            );
        }
    }

    #[test]
    fn an_id_is_taken_once_and_a_half_made_container_is_busy() {
        let root = std::env::temp_dir().join(format!("minidock-state-{}", std::process::id()));
        let folder = Folder::create(&root, "c").unwrap();
        assert_eq!(Folder::create(&root, "c").unwrap_err().kind, Kind::Conflict);
        assert_eq!(Container::open(&root, "c").unwrap_err().kind, Kind::Busy);
        assert_eq!(
            Container::open(&root, "d").unwrap_err().kind,
            Kind::NotFound
        );
        assert!(Container::all(&root).unwrap().is_empty());
        let init = Process {
            pid: 1,
            start_time: u64::MAX,
        };
        let record = Record {
            oci_version: "1.0.0".into(),
            id: "c".into(),
            init,
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: String::new(),
            annotations: HashMap::new(),
            cgroup: "x/c".into(),
            own_pid_namespace: true,
        };
        folder.save(&record).unwrap();
        let container = Container::open(&root, "c").unwrap();
        assert_eq!(container.status(), Status::Stopped);
        assert_eq!(Container::all(&root).unwrap().len(), 1);
        folder.remove().unwrap();
        fs::remove_dir(&root).unwrap();
    }
}
