//! The control socket: one JSON object per packet (docs/supervisor.md).
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use minidock_core::net::endpoint::Settings;
use minidock_core::process::Failure;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::Deserialize;

use super::clients::StreamName;
use super::network::{DnsDocument, Taken};
use super::restart::Policy;
use crate::network::ports::Wanted;

/// The longest packet.
const LONGEST: usize = 65536;

/// A request of a client.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// A signal to PID 1.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// A signal, then SIGKILL.
    Stop {
        /// The first signal; the document's stop signal if missing.
        #[serde(default)]
        signal: Option<i32>,
        /// Milliseconds between the two; the document's if missing.
        #[serde(default)]
        timeout_ms: Option<u64>,
    },
    /// The terminal's size.
    Resize {
        /// Lines.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// No more input.
    CloseStdin,
    /// Connects the streams that came with the packet.
    Attach {
        /// What the descriptors are, in order.
        streams: Vec<StreamName>,
        /// Keys that end it, as Docker writes them.
        #[serde(default)]
        detach_keys: Option<String>,
    },
    /// What has changed of the settings that hold beyond this run.
    Update {
        /// The restart policy.
        #[serde(default)]
        restart: Option<Policy>,
        /// The container's name, for events.
        #[serde(default)]
        name: Option<String>,
        /// Its names by network.
        #[serde(default)]
        names: Option<BTreeMap<String, Vec<String>>>,
    },
    /// One more network.
    Connect {
        /// The interface on it.
        endpoint: Box<Settings>,
        /// Ports to publish, where it is the one that serves them.
        #[serde(default)]
        ports: Vec<Wanted>,
        /// For a container that had no name server of its own.
        #[serde(default)]
        dns: Option<DnsDocument>,
    },
    /// One network less.
    Disconnect {
        /// Its id.
        network: String,
    },
    /// The default routes go by a network that it is on; published ports lead there if there are any.
    Route {
        /// Its id.
        network: String,
        /// Where the routes lead.
        gateways: Vec<std::net::IpAddr>,
        /// What is published on it from now on.
        #[serde(default)]
        ports: Vec<Wanted>,
    },
    /// The client freezes the container for as long as it is connected: who dies meanwhile leaves it running.
    Hold {
        /// Where this file is when the client goes, the container was paused by somebody, and stays so.
        unless: PathBuf,
    },
    /// Nothing: the answer says that the supervisor works.
    Ping,
}

/// What a read of the socket gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A request.
    Request(Request),
    /// A packet that is none; ignored.
    Nonsense,
    /// Nothing there now.
    Nothing,
    /// The client has closed its end.
    Closed,
}

/// Reads one packet without waiting.
pub fn receive(socket: &OwnedFd) -> Received {
    // Requests are short; one that does not fit is cut by the kernel, and then no JSON.
    let mut buffer = [0u8; 1024];
    match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
        Ok((0, _)) => Received::Closed,
        Ok((n, _)) => parse(&buffer[..n]),
        Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
        Err(_) => Received::Closed,
    }
}

/// Reads one packet.
#[must_use]
pub fn parse(packet: &[u8]) -> Received {
    serde_json::from_slice(packet).map_or(Received::Nonsense, Received::Request)
}

/// The answer to a request that was carried out.
pub const DONE: &str = r#"{"event":"done"}"#;
/// The client has typed its detach keys.
pub const DETACHED: &str = r#"{"event":"detached"}"#;

/// The answer to a request that was not.
#[must_use]
pub fn refused(why: &str) -> String {
    serde_json::json!({"event": "refused", "message": why}).to_string()
}

/// Sends one packet; a client that has gone or does not read does not stop the supervisor.
pub fn tell(socket: Option<&OwnedFd>, text: &str) {
    if let Some(socket) = socket {
        let bytes = text.as_bytes();
        let _ = send(
            socket,
            &bytes[..bytes.len().min(LONGEST)],
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
    }
}

/// The `started` event.
#[must_use]
pub fn started(pid: i32, start_time: u64, warnings: &[String], ports: &[Taken]) -> String {
    serde_json::json!({
        "event": "started", "pid": pid, "start_time": start_time, "warnings": warnings, "ports": ports,
    })
    .to_string()
}

/// The `error` event.
#[must_use]
pub fn error(failure: &Failure) -> String {
    let e = &failure.error;
    // A command line of megabytes must not make a packet that cannot be sent.
    let cut = |s: &str| s.chars().take(4096).collect::<String>();
    serde_json::json!({
        "event": "error", "kind": e.kind.name(), "op": e.op, "subject": cut(&e.subject), "errno": e.errno, "message": cut(&e.to_string()),
        "exit_code": failure.exit_code,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use minidock_core::Error;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn requests() {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        assert_eq!(receive(&b), Received::Nothing);
        for (text, wanted) in [
            (
                r#"{"op":"signal","signal":15}"#,
                Received::Request(Request::Signal { signal: 15 }),
            ),
            (
                r#"{"op":"stop"}"#,
                Received::Request(Request::Stop {
                    signal: None,
                    timeout_ms: None,
                }),
            ),
            (
                r#"{"op":"resize","rows":24,"cols":80}"#,
                Received::Request(Request::Resize { rows: 24, cols: 80 }),
            ),
            (
                r#"{"op":"close-stdin"}"#,
                Received::Request(Request::CloseStdin),
            ),
            (r#"{"op":"resize","rows":-1,"cols":80}"#, Received::Nonsense),
            ("garbage", Received::Nonsense),
        ] {
            tell(Some(&a), text);
            assert_eq!(receive(&b), wanted, "{text}");
        }
        tell(Some(&a), &"x".repeat(5000));
        assert_eq!(receive(&b), Received::Nonsense);
        drop(a);
        assert_eq!(receive(&b), Received::Closed);
    }

    #[test]
    fn errors_fit_a_packet() {
        let text = error(&Failure::execute(Error::errno(
            "execute",
            "x".repeat(1 << 20),
            libc::ENOENT,
        )));
        assert!(text.len() < LONGEST);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (value["exit_code"].as_i64(), value["kind"].as_str()),
            (Some(127), Some("not-found"))
        );
    }
}
