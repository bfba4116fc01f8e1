//! The driver `syslog`: messages as Docker formats them, over a Unix socket, UDP or TCP.
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use rustix::net::SocketType;

use super::document::LogDocument;
use super::remote::{Remote, Sent, Target};
use super::split::{Entry, Stream};
use super::time::date;
use crate::{Context, Error, Kind, Result, sys};

/// Where this host's own syslog may listen.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// That of the C library: no host name.
    Unix,
    Rfc3164,
    Rfc5424,
    /// With microseconds.
    Rfc5424Micro,
}

/// Sends records to a syslog server.
#[derive(Debug)]
pub struct Syslog {
    remote: Remote,
    format: Format,
    facility: u8,
    tag: String,
    hostname: String,
    pid: u32,
}

impl Syslog {
    /// Connects to the server that the options name, or to this host's own.
    ///
    /// # Errors
    /// `Invalid` for an option that makes no sense, and why it cannot be connected to.
    pub fn open(document: &LogDocument) -> Result<Self> {
        let format = match document
            .options
            .get("syslog-format")
            .map_or("", String::as_str)
        {
            "" => Format::Unix,
            "rfc3164" => Format::Rfc3164,
            "rfc5424" => Format::Rfc5424,
            "rfc5424micro" => Format::Rfc5424Micro,
            other => {
                return Err(Error::new(
                    Kind::Invalid,
                    "read log option",
                    "syslog-format",
                    other,
                ));
            }
        };
        let remote = match document.options.get("syslog-address") {
            Some(address) => connect(address)?,
            None => local()?,
        };
        Ok(Self {
            remote,
            format,
            facility: document.option("syslog-facility")?.unwrap_or(3),
            tag: document.tag.clone(),
            hostname: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            pid: std::process::id(),
        })
    }

    /// The connection.
    #[must_use]
    pub fn remote(&mut self) -> &mut Remote {
        &mut self.remote
    }

    /// The connection, to be looked at.
    #[must_use]
    pub fn remote_ref(&self) -> &Remote {
        &self.remote
    }

    /// Sends one record.
    pub fn send(&mut self, entry: &Entry<'_>) -> Sent {
        let offset = sys::utc_offset(entry.time.div_euclid(1_000_000_000));
        let message = self.encode(entry, offset);
        self.remote.send(&message, None)
    }

    /// The message, at a place that is `offset` seconds east of Greenwich.
    fn encode(&self, entry: &Entry<'_>, offset: i64) -> Vec<u8> {
        let severity = match entry.stream {
            Stream::Stdout => 6,
            Stream::Stderr => 3,
        };
        let priority = self.facility << 3 | severity;
        let (second, nanos) = (
            entry.time.div_euclid(1_000_000_000),
            entry.time.rem_euclid(1_000_000_000),
        );
        let local = date(second + offset);
        let local = std::str::from_utf8(&local).unwrap_or_default();
        let (host, tag, pid) = (&self.hostname, &self.tag, self.pid);
        let mut out = Vec::with_capacity(entry.line.len() + tag.len() + 96);
        // Writing into memory does not fail.
        let _ = match self.format {
            Format::Unix => write!(out, "<{priority}>{} {tag}[{pid}]: ", stamp(local)),
            Format::Rfc3164 => write!(out, "<{priority}>{} {host} {tag}[{pid}]: ", stamp(local)),
            Format::Rfc5424 | Format::Rfc5424Micro => {
                let fraction = match self.format {
                    Format::Rfc5424 => String::new(),
                    _ => format!(".{:06}", nanos / 1000),
                };
                let zone = zone(offset);
                write!(
                    out,
                    "<{priority}>1 {local}{fraction}{zone} {host} {tag} {pid} {tag} - "
                )
            }
        };
        out.extend_from_slice(entry.line);
        out.push(b'\n');
        out
    }
}

/// `Jan  2 15:04:05` of `2006-01-02T15:04:05`.
fn stamp(local: &str) -> String {
    let number = |range| {
        local
            .get::<std::ops::Range<usize>>(range)
            .and_then(|text| text.parse().ok())
    };
    let month: usize = number(5..7).unwrap_or(1);
    let day: usize = number(8..10).unwrap_or(1);
    let month = MONTHS.get(month - 1).copied().unwrap_or_default();
    format!("{month} {day:2} {}", local.get(11..).unwrap_or_default())
}

/// `Z`, or `+01:00`.
fn zone(offset: i64) -> String {
    if offset == 0 {
        return "Z".into();
    }
    let sign = if offset < 0 { '-' } else { '+' };
    let minutes = offset.abs() / 60;
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

fn failed(address: &str, why: impl Into<String>) -> Error {
    Error::new(Kind::Unsupported, "initialize logging driver", address, why)
}

/// Of several addresses with commas between them the first that takes a connection.
fn connect(address: &str) -> Result<Remote> {
    let (scheme, rest) = address.split_once("://").unwrap_or_default();
    let open = |target| Remote::open(target).context("initialize logging driver", || address);
    let kind = match scheme {
        // As Docker: datagrams for `unix` too, if that is what listens there.
        "unix" => {
            return unix(Path::new(rest))
                .ok_or_else(|| failed(address, "Unix syslog delivery error"));
        }
        "unixgram" => return open(Target::Unix(rest.into(), SocketType::DGRAM)),
        "udp" => SocketType::DGRAM,
        "tcp" => SocketType::STREAM,
        _ => return Err(failed(address, "unix, unixgram, udp or tcp is needed")),
    };
    let mut outcome = Err(failed(address, "no address"));
    for one in rest.split(',') {
        let to = one.parse::<SocketAddr>();
        outcome = open(Target::Net(
            to.map_err(|e| failed(address, e.to_string()))?,
            kind,
        ));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn unix(path: &Path) -> Option<Remote> {
    [SocketType::STREAM, SocketType::DGRAM]
        .into_iter()
        .find_map(|kind| Remote::open(Target::Unix(path.to_owned(), kind)).ok())
}

fn local() -> Result<Remote> {
    let mut all = LOCAL.iter();
    all.find_map(|path| unix(Path::new(path)))
        .ok_or_else(|| failed("", "Unix syslog delivery error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syslog(format: Format, to: Remote) -> Syslog {
        Syslog {
            remote: to,
            format,
            facility: 3,
            tag: "6be862437b8d".into(),
            hostname: "vm".into(),
            pid: 17042,
        }
    }

    #[test]
    fn as_docker_formats_them() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = format!("udp://{}", server.local_addr().unwrap());
        let entry = |stream, line| Entry {
            stream,
            time: 1_764_157_531_558_547_123,
            line,
            partial: None,
        };
        for (format, offset, expected) in [
            (
                Format::Unix,
                0,
                "<27>Nov 26 11:45:31 6be862437b8d[17042]: a\u{1}b\n",
            ),
            (
                Format::Rfc3164,
                0,
                "<27>Nov 26 11:45:31 vm 6be862437b8d[17042]: a\u{1}b\n",
            ),
            (
                Format::Rfc5424,
                0,
                "<27>1 2025-11-26T11:45:31Z vm 6be862437b8d 17042 6be862437b8d - a\u{1}b\n",
            ),
            (
                Format::Rfc5424Micro,
                -12600,
                "<27>1 2025-11-26T08:15:31.558547-03:30 vm 6be862437b8d 17042 6be862437b8d - a\u{1}b\n",
            ),
        ] {
            let syslog = syslog(format, connect(&address).unwrap());
            let got = syslog.encode(&entry(Stream::Stderr, b"a\x01b"), offset);
            assert_eq!(String::from_utf8(got).unwrap(), expected);
        }
        assert_eq!(stamp("2006-01-02T15:04:05"), "Jan  2 15:04:05");
        let mut syslog = syslog(Format::Unix, connect(&address).unwrap());
        assert_eq!(syslog.send(&entry(Stream::Stdout, b"hi")), Sent::Done);
        let mut buffer = [0; 200];
        let n = server.recv(&mut buffer).unwrap();
        assert!(buffer[..n].starts_with(b"<30>") && buffer[..n].ends_with(b"[17042]: hi\n"));
    }

    #[test]
    fn sockets_in_the_filesystem() {
        let dir = super::super::testdir::TestDir::new();
        let path = dir.path().join("log");
        let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        for scheme in ["unix", "unixgram"] {
            let address = format!("{scheme}://{}", path.display());
            let mut remote = connect(&address).unwrap();
            assert_eq!(remote.send(b"x", None), Sent::Done);
            assert_eq!(socket.recv(&mut [0; 9]).unwrap(), 1);
        }
        assert_eq!(
            connect("unix:///does/not/exist").unwrap_err().to_string(),
            "initialize logging driver unix:///does/not/exist: Unix syslog delivery error"
        );
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = server.local_addr().unwrap();
        connect(&format!("tcp://127.0.0.2:{},{place}", place.port())).unwrap();
        server.accept().unwrap();
        assert_eq!(
            connect("tcp://127.0.0.1:1").unwrap_err().to_string(),
            "initialize logging driver tcp://127.0.0.1:1: connection refused"
        );
    }
}
