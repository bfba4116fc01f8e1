//! `minidock.json`, the supervisor's own document (docs/supervisor.md).
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use minidock_core::error::{Context, Error, Kind, Result};
use minidock_core::log::LogDocument;
use minidock_core::process::UserNames;
use minidock_core::rootfs::{BindSource, Host, IdMap, Overlay, Rootfs};
use serde::Deserialize;

use super::clients::StreamName;
use super::events::EventsDocument;
use super::health::HealthDocument;
use super::network::NetworkDocument;
use super::restart::Policy;
use super::sources::SourceDocument;

/// The version of the document that this supervisor reads.
const VERSION: u32 = 2;

/// What the engine tells the supervisor beside the runtime-spec document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    version: u32,
    /// The container's id.
    pub id: String,
    /// Live state: pid file, sockets. Removed at the end.
    pub run_dir: PathBuf,
    /// Where the exit record goes.
    pub exit_file: PathBuf,
    rootfs: RootfsDocument,
    /// What binds of config.json show instead of a path of the host.
    #[serde(default)]
    sources: Vec<SourceDocument>,
    /// How the streams reach the container.
    pub stdio: StdioMode,
    /// Whether the container has a stdin; without, it is `/dev/null`.
    #[serde(default)]
    pub stdin: bool,
    /// The container's stdin ends when that of a client does.
    #[serde(default)]
    pub stdin_once: bool,
    /// Which of fds 0 to 2 are the first client's, by name.
    #[serde(default)]
    pub attached: Vec<StreamName>,
    /// Keys in the first client's input that end its attachment.
    #[serde(default)]
    pub detach_keys: Option<String>,
    /// Whether it is started again at its end.
    #[serde(default)]
    pub restart: Policy,
    /// Where what happens is written down.
    #[serde(default)]
    pub events: Option<EventsDocument>,
    /// What it writes, to where; nowhere without.
    #[serde(default)]
    pub log: Option<LogDocument>,
    /// Started when all is over and the first client has gone; its first word is an absolute path.
    #[serde(default)]
    pub exit_command: Vec<String>,
    /// A compiled filter (`seccomp/KEY.bpf`).
    #[serde(default)]
    pub seccomp_bpf: Option<PathBuf>,
    /// The built-in init as PID 1.
    #[serde(default)]
    pub init: bool,
    /// The container is killed after this many milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// For a stop request without a signal, and for SIGTERM to the supervisor.
    #[serde(default = "sigterm")]
    pub stop_signal: i32,
    /// Whether that was chosen: other signals do not mean a stop, then.
    #[serde(default)]
    pub stop_signal_chosen: bool,
    /// For a stop request without a time.
    #[serde(default = "ten_seconds")]
    pub stop_timeout_ms: u64,
    #[serde(default, rename = "annotations")]
    _annotations: HashMap<String, String>,
    /// The container dies with this process.
    #[serde(default)]
    pub owner: Option<Owner>,
    /// The user by names, resolved in the root filesystem.
    #[serde(default)]
    user: Option<UserDocument>,
    /// Its health checks.
    #[serde(default)]
    pub health: Option<HealthDocument>,
    /// Another OCI runtime, which makes the container instead of ours.
    #[serde(default)]
    pub runtime: Option<RuntimeDocument>,
    /// Its networks; null where it has the host's or another container's.
    #[serde(default)]
    pub network: Option<NetworkDocument>,
}

/// An OCI runtime.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeDocument {
    /// Its program, an absolute path of the host.
    pub path: PathBuf,
    /// What comes before the arguments of ours.
    #[serde(default)]
    pub args: Vec<String>,
}

fn sigterm() -> i32 {
    libc::SIGTERM
}

fn ten_seconds() -> u64 {
    10_000
}

/// A process that the container must not outlive.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Owner {
    /// Its process id.
    pub pid: i32,
    /// Field 22 of its `/proc/PID/stat`.
    pub start_time: u64,
}

/// How the streams reach the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StdioMode {
    /// The container gets fds 0 to 2 as they are.
    Inherit,
    /// The supervisor copies between pipes of its own and fds 0 to 2.
    Relay,
}

/// The section `rootfs`.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum RootfsDocument {
    /// Layers.
    Overlay {
        /// Read-only ones, topmost first.
        lower: Vec<PathBuf>,
        /// The writable one.
        #[serde(default)]
        upper: Option<PathBuf>,
        /// Its work directory.
        #[serde(default)]
        work: Option<PathBuf>,
        /// No sync of it.
        #[serde(default)]
        volatile: bool,
        /// Of the read-only ones.
        #[serde(default)]
        idmap: Option<IdMapDocument>,
    },
    /// A plain copy.
    Directory {
        /// Where it is.
        path: PathBuf,
    },
    /// A directory of the host.
    Host {
        /// Which.
        path: PathBuf,
        /// What is shown empty.
        #[serde(default)]
        mask: Vec<PathBuf>,
        /// Where changes go.
        #[serde(default)]
        upper: Option<PathBuf>,
        /// Its work directory.
        #[serde(default)]
        work: Option<PathBuf>,
    },
}

impl RootfsDocument {
    /// The root filesystem that it describes.
    #[must_use]
    pub fn into_rootfs(self) -> Rootfs {
        let pair = |upper: Option<PathBuf>, work: Option<PathBuf>| upper.zip(work);
        match self {
            Self::Overlay {
                lower,
                upper,
                work,
                volatile,
                idmap,
            } => Rootfs::Overlay(Overlay {
                lower,
                upper: pair(upper, work),
                volatile,
                idmap: idmap.map(IdMapDocument::into_map),
            }),
            Self::Directory { path } => Rootfs::Directory(path),
            Self::Host {
                path,
                mask,
                upper,
                work,
            } => Rootfs::Host(Host {
                path,
                mask,
                upper: pair(upper, work),
            }),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserDocument {
    /// `name-or-uid[:group-or-gid]`; empty is root.
    #[serde(default)]
    user: String,
    /// More groups, by name or number.
    #[serde(default)]
    group_add: Vec<String>,
}

/// `[[container, host, size]]`.
#[derive(Debug, Deserialize)]
pub struct IdMapDocument {
    uid: Vec<(u32, u32, u32)>,
    gid: Vec<(u32, u32, u32)>,
}

impl IdMapDocument {
    /// The map.
    #[must_use]
    pub fn into_map(self) -> IdMap {
        IdMap {
            uid: self.uid,
            gid: self.gid,
        }
    }
}

impl Document {
    /// Reads `DIR/minidock.json`.
    pub fn load(bundle: &Path) -> Result<Self> {
        let path = bundle.join("minidock.json");
        let text = std::fs::read(&path).context("read", || path.display().to_string())?;
        Self::parse(&text)
            .map_err(|e| Error::new(e.kind, "read", path.display().to_string(), e.to_string()))
    }

    fn parse(text: &[u8]) -> Result<Self> {
        let invalid = |why: String| Error::new(Kind::Invalid, "parse document", "", why);
        let document: Self = serde_json::from_slice(text).map_err(|e| invalid(e.to_string()))?;
        if document.version != VERSION {
            let why = format!(
                "version {} is not {VERSION}: engine and helper differ, reinstall minidock",
                document.version
            );
            return Err(Error::new(Kind::Unsupported, "parse document", "", why));
        }
        if let Some(runtime) = &document.runtime {
            if !runtime.path.is_absolute() {
                return Err(invalid("the runtime's path is not absolute".to_owned()));
            }
            if document.init {
                return Err(invalid("init is for minidock's own runtime".to_owned()));
            }
        }
        for source in &document.sources {
            source.check()?;
        }
        if !(1..=64).contains(&document.stop_signal) {
            return Err(invalid(format!(
                "stop_signal {} is not a signal",
                document.stop_signal
            )));
        }
        Ok(document)
    }

    /// Takes the root filesystem out of the document.
    pub fn take_rootfs(&mut self) -> Rootfs {
        let none = RootfsDocument::Directory {
            path: PathBuf::new(),
        };
        std::mem::replace(&mut self.rootfs, none).into_rootfs()
    }

    /// Takes what binds show out of the document.
    pub fn take_sources(&mut self) -> Vec<BindSource> {
        let sources = std::mem::take(&mut self.sources).into_iter();
        sources.map(SourceDocument::into_source).collect()
    }

    /// The user as names, if the document has one.
    pub fn take_user(&mut self) -> Option<UserNames> {
        self.user.take().map(|u| UserNames {
            user: u.user,
            group_add: u.group_add,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"{"version":2,"id":"a","run_dir":"/r","exit_file":"/e","rootfs":{"type":"overlay","lower":["/l"],"upper":"/u","work":"/w"},
        "stdio":"relay","timeout_ms":null"#;

    #[test]
    fn reads_the_contract() {
        let mut d = Document::parse(format!("{PLAIN}}}").as_bytes()).unwrap();
        assert_eq!(
            (d.stdio, d.stop_signal, d.stop_timeout_ms),
            (StdioMode::Relay, libc::SIGTERM, 10_000)
        );
        assert!(d.take_user().is_none());
        let Rootfs::Overlay(o) = d.take_rootfs() else {
            panic!()
        };
        assert_eq!(o.upper, Some(("/u".into(), "/w".into())));
        let mut d = Document::parse(
            format!(r#"{PLAIN},"user":{{"user":"ana:staff","group_add":["x"]}}}}"#).as_bytes(),
        )
        .unwrap();
        assert_eq!(
            d.take_user().unwrap(),
            UserNames {
                user: "ana:staff".into(),
                group_add: vec!["x".into()]
            }
        );
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert_eq!(
            Document::parse(format!(r#"{PLAIN},"surprise":1}}"#).as_bytes())
                .unwrap_err()
                .kind,
            Kind::Invalid
        );
        assert_eq!(
            Document::parse(format!(r#"{PLAIN},"stop_signal":99}}"#).as_bytes())
                .unwrap_err()
                .kind,
            Kind::Invalid
        );
        let other = PLAIN.replace(r#""version":2"#, r#""version":3"#);
        assert_eq!(
            Document::parse(format!("{other}}}").as_bytes())
                .unwrap_err()
                .kind,
            Kind::Unsupported
        );
        assert!(Document::parse(b"").is_err());
        for (more, good) in [
            (r#""runtime":{"path":"/r","args":["--x"]}"#, true),
            (r#""runtime":{"path":"r"}"#, false),
            (r#""runtime":{"path":"/r","extra":1}"#, false),
            (r#""runtime":{"path":"/r"},"init":true"#, false),
            (
                r#""sources":[{"destination":"/d","kind":"subpath","root":"/v","path":"a"}]"#,
                true,
            ),
            (
                r#""sources":[{"destination":"/d","kind":"subpath","root":"/v","path":"/a"}]"#,
                false,
            ),
            (
                r#""sources":[{"destination":"/d","kind":"layers","lower":["l"]}]"#,
                false,
            ),
            (
                r#""sources":[{"destination":"/d","kind":"layers","lower":["/l"],"x":1}]"#,
                false,
            ),
            (
                r#""sources":[{"destination":"d","kind":"overlay","lower":["/l"],"upper":"/u","work":"/w"}]"#,
                false,
            ),
        ] {
            let text = format!("{PLAIN},{more}}}");
            assert_eq!(Document::parse(text.as_bytes()).is_ok(), good, "{more}");
        }
    }
}
