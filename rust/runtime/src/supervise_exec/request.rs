//! What the client wants to have executed: one JSON object, in as many packets as it takes (docs/supervisor.md).
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use minidock_core::error::{Context, Error, Kind, Result};
use minidock_core::process::UserNames;
use oci_spec::runtime::{Box, BoxBuilder, Capability, LinuxCapabilities, Process};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use serde::Deserialize;

use crate::supervise::events::EventsDocument;

/// The version of the request that this supervisor reads.
const VERSION: u32 = 2;
/// The longest packet.
const PACKET: usize = 65536;
/// The longest request: arguments and environment may have 6 MiB in the kernel, and JSON escapes take up to six times that.
const LONGEST: usize = 48 << 20;

/// A request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    version: u32,
    /// The container's id.
    pub container: String,
    /// The exec's id; its first 12 digits name its cgroup.
    pub exec_id: String,
    /// PID 1 of the container.
    pub pid: i32,
    /// Field 22 of its `/proc/PID/stat`.
    pub start_time: u64,
    /// The container's cgroup.
    pub cgroup: String,
    /// The command.
    pub process: Command,
    /// How the streams reach it.
    pub stdio: Stdio,
    /// Whether fd 0 is forwarded; otherwise stdin is `/dev/null`.
    #[serde(default)]
    pub stdin: bool,
    /// All of it is killed after this many milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// All of it is killed when the client has gone.
    #[serde(default)]
    pub bound: bool,
    /// File for its state; none is written without.
    #[serde(default)]
    pub record: Option<PathBuf>,
    /// What goes into that file as it is.
    #[serde(default)]
    pub about: serde_json::Value,
    /// Where its end is told, and what else is said then.
    #[serde(default)]
    pub events: Option<EventsDocument>,
}

/// What differs from the container's own process: all else is as in its config.json.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    args: Vec<String>,
    env: Vec<String>,
    cwd: PathBuf,
    #[serde(default)]
    terminal: bool,
    /// Lines and columns of the terminal.
    #[serde(default)]
    size: Option<(u16, u16)>,
    user: User,
    /// The bounding, effective and permitted set, instead of the container's.
    #[serde(default)]
    capabilities: Option<HashSet<Capability>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    user: String,
    #[serde(default)]
    group_add: Vec<String>,
}

/// How the streams reach the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stdio {
    /// It gets fds 0 to 2 as they are.
    Inherit,
    /// The supervisor copies between pipes of its own and fds 0 to 2.
    Relay,
    /// The supervisor keeps the beginning of the output, for its own use.
    #[serde(skip)]
    Capture,
}

impl Request {
    /// A request of this program's own: a command whose output is captured.
    pub fn captured(
        container: String,
        (pid, start_time): (i32, u64),
        cgroup: String,
        process: Command,
        timeout_ms: u64,
    ) -> Self {
        Self {
            version: VERSION,
            container,
            exec_id: random_id(),
            pid,
            start_time,
            cgroup,
            process,
            stdio: Stdio::Capture,
            stdin: false,
            timeout_ms: Some(timeout_ms),
            bound: true,
            record: None,
            about: serde_json::Value::Null,
            events: None,
        }
    }

    /// Reads a request from the control socket; None if the client goes before it is complete.
    ///
    /// # Errors
    /// `invalid` for one that makes no sense, `limit` for one that is too long.
    pub fn receive(control: &OwnedFd) -> Result<Option<Self>> {
        let mut text = Vec::new();
        let mut packet = vec![0u8; PACKET];
        loop {
            let length = match recv(control, &mut packet[..], RecvFlags::empty()) {
                Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(None),
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e).context("read request", String::new),
            };
            text.extend_from_slice(&packet[..length]);
            if text.len() > LONGEST {
                let why = format!("longer than {LONGEST} bytes");
                return Err(Error::new(Kind::Limit, "read request", "", why));
            }
            match Self::parse(&text) {
                Err(Incomplete::More) => {}
                Err(Incomplete::Wrong(error)) => return Err(error),
                Ok(request) => return Ok(Some(request)),
            }
        }
    }

    fn parse(text: &[u8]) -> std::result::Result<Self, Incomplete> {
        let invalid =
            |why: String| Incomplete::Wrong(Error::new(Kind::Invalid, "read request", "", why));
        let request: Self = serde_json::from_slice(text).map_err(|e| {
            if e.is_eof() {
                Incomplete::More
            } else {
                invalid(e.to_string())
            }
        })?;
        if request.version != VERSION {
            return Err(invalid(format!(
                "version {} is not {VERSION}: engine and helper differ, reinstall minidock",
                request.version
            )));
        }
        let hex = |id: &str| id.len() >= 12 && id.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex(&request.exec_id) {
            return Err(invalid(format!("exec_id {:?} is none", request.exec_id)));
        }
        Ok(request)
    }

    /// The name of its cgroup, below the container's.
    pub fn group_name(&self) -> String {
        format!("exec-{}", &self.exec_id[..12])
    }
}

/// Enough digits to name a cgroup.
fn random_id() -> String {
    let mut bytes = [0u8; 8];
    // The pool of a running system is filled; were it not, the name would only be one that may be in use.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    format!("{:016x}", u64::from_ne_bytes(bytes))
}

enum Incomplete {
    More,
    Wrong(Error),
}

impl Command {
    /// Whether it gets a terminal.
    pub fn terminal(&self) -> bool {
        self.terminal
    }

    /// The user, to be resolved in the container.
    pub fn user(&self) -> UserNames {
        UserNames {
            user: self.user.user.clone(),
            group_add: self.user.group_add.clone(),
        }
    }

    /// The container's process with what this changes.
    pub fn process(&self, container: &Process) -> Process {
        let mut process = container.clone();
        process.set_args(Some(self.args.clone()));
        process.set_env(Some(self.env.clone()));
        process.set_cwd(self.cwd.clone());
        process.set_terminal(Some(self.terminal));
        process.set_console_size(self.size.and_then(console_size));
        if let Some(set) = &self.capabilities {
            process.set_capabilities(Some(capabilities(set)));
        }
        process
    }
}

fn console_size((rows, cols): (u16, u16)) -> Option<Box> {
    let size = BoxBuilder::default()
        .height(u64::from(rows))
        .width(u64::from(cols));
    size.build().ok()
}

fn capabilities(set: &HashSet<Capability>) -> LinuxCapabilities {
    let mut all = LinuxCapabilities::default();
    all.set_bounding(Some(set.clone()));
    all.set_effective(Some(set.clone()));
    all.set_permitted(Some(set.clone()));
    all.set_inheritable(None);
    all.set_ambient(None);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

    const PLAIN: &str = r#"{"version":2,"container":"c","exec_id":"0123456789abcdef","pid":1,"start_time":2,"cgroup":"/a/c",
        "process":{"args":["true"],"env":["A=1"],"cwd":"/","user":{"user":""}},"stdio":"relay"}"#;

    fn pair() -> (OwnedFd, OwnedFd) {
        let kind = SocketType::SEQPACKET;
        socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
    }

    fn say(to: &OwnedFd, text: &str) {
        send(to, text.as_bytes(), SendFlags::empty()).unwrap();
    }

    #[test]
    fn a_request_may_come_in_pieces() {
        let (client, own) = pair();
        let (first, second) = PLAIN.split_at(150);
        say(&client, first);
        say(&client, second);
        say(&client, r#"{"op":"close-stdin"}"#);
        let request = Request::receive(&own).unwrap().unwrap();
        assert_eq!(request.group_name(), "exec-0123456789ab");
        assert!(!request.bound && !request.stdin && request.timeout_ms.is_none());
    }

    #[test]
    fn a_client_that_goes_wants_nothing_any_more() {
        let (client, own) = pair();
        say(&client, &PLAIN[..100]);
        drop(client);
        assert!(Request::receive(&own).unwrap().is_none());
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "garbage".to_owned(),
            PLAIN.replace(r#""version":2"#, r#""version":1"#),
            PLAIN.replace("0123456789abcdef", "../../../../../x"),
            PLAIN.replace("0123456789abcdef", "0123"),
            PLAIN.replace(r#""pid":1"#, r#""pid":1,"surprise":1"#),
            PLAIN.replace("relay", "pigeon"),
            PLAIN.replace(r#""cwd""#, r#""capabilities":["CAP_NONE"],"cwd""#),
        ] {
            let (client, own) = pair();
            say(&client, &bad);
            assert_eq!(Request::receive(&own).unwrap_err().kind, Kind::Invalid);
        }
    }

    #[test]
    fn all_else_is_the_containers() {
        let container: Process = serde_json::from_str(
            r#"{"cwd":"/x","args":["sh"],"noNewPrivileges":true,"apparmorProfile":"p","oomScoreAdj":7,"terminal":true,
                "user":{"uid":0,"gid":0},"capabilities":{"bounding":["CAP_CHOWN"],"permitted":["CAP_CHOWN"]},
                "rlimits":[{"type":"RLIMIT_CORE","hard":1,"soft":1}]}"#,
        )
        .unwrap();
        let command: Command = serde_json::from_str(
            r#"{"args":["a","b"],"env":[],"cwd":"/w","size":[3,4],"user":{"user":"ana"},"capabilities":["CAP_SYS_ADMIN"]}"#,
        )
        .unwrap();
        let made = command.process(&container);
        assert_eq!(made.args().as_deref().unwrap(), ["a", "b"]);
        assert_eq!(
            (made.terminal(), made.no_new_privileges()),
            (Some(false), Some(true))
        );
        assert_eq!(made.apparmor_profile().as_deref(), Some("p"));
        assert_eq!(
            (made.oom_score_adj(), made.rlimits()),
            (Some(7), container.rlimits())
        );
        assert_eq!(made.console_size().unwrap().height(), 3);
        let sets = made.capabilities().as_ref().unwrap();
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 1);
        assert!(
            sets.bounding()
                .as_ref()
                .unwrap()
                .contains(&Capability::SysAdmin)
        );
        assert!(sets.ambient().is_none());
    }
}
