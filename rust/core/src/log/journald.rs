//! The driver `journald`: systemd's native protocol, with the fields that Docker sends.
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::SocketType;

use super::document::LogDocument;
use super::local::hex;
use super::remote::{Remote, Sent, Target};
use super::split::{Entry, Stream, random};
use super::time::Clock;
use crate::{Error, Kind, Result};

const SOCKET: &str = "/run/systemd/journal/socket";
/// A datagram of this size is always taken; a larger one goes as a file if the socket refuses it.
const SMALL: usize = 4096;

/// Sends records to the journal.
#[derive(Debug)]
pub struct Journal {
    remote: Remote,
    /// The fields that are the same in all records.
    fields: Vec<u8>,
    ordinal: u64,
    clock: Clock,
    message: Vec<u8>,
}

/// Appends one field.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

impl Journal {
    /// Connects to this host's journal.
    ///
    /// # Errors
    /// `Unsupported` where there is none.
    pub fn open(document: &LogDocument) -> Result<Self> {
        Self::at(Path::new(SOCKET), document)
    }

    fn at(socket: &Path, document: &LogDocument) -> Result<Self> {
        let remote =
            Remote::open(Target::Unix(socket.to_owned(), SocketType::DGRAM)).map_err(|_| {
                Error::new(
                    Kind::Unsupported,
                    "initialize logging driver",
                    "",
                    "journald is not enabled on this host",
                )
            })?;
        let container = &document.container;
        let mut fields = Vec::new();
        let short = container.id.get(..12).unwrap_or(&container.id);
        for (name, value) in [
            ("CONTAINER_ID", short),
            ("CONTAINER_ID_FULL", &container.id),
            ("CONTAINER_NAME", &container.name),
            ("CONTAINER_TAG", &document.tag),
            ("IMAGE_NAME", &container.image_name),
            ("SYSLOG_IDENTIFIER", &document.tag),
            ("CONTAINER_LOG_EPOCH", &hex(&random())),
        ] {
            if !document.attributes.contains_key(name) {
                field(&mut fields, name, value.as_bytes());
            }
        }
        for (name, value) in &document.attributes {
            field(&mut fields, name, value.as_bytes());
        }
        Ok(Self {
            remote,
            fields,
            ordinal: 0,
            clock: Clock::default(),
            message: Vec::new(),
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
        self.ordinal += 1;
        let mut message = std::mem::take(&mut self.message);
        self.encode(&mut message, entry);
        let mut sent = self.remote.send(&message, None);
        if sent == Sent::Lost
            && message.len() > SMALL
            && let Some(file) = sealed(&message)
        {
            sent = self.remote.send(&[], Some(file.as_fd()));
        }
        message.clear();
        if message.capacity() <= SMALL {
            self.message = message;
        }
        sent
    }

    fn encode(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        let priority: &[u8] = match entry.stream {
            Stream::Stdout => b"6",
            Stream::Stderr => b"3",
        };
        field(out, "PRIORITY", priority);
        field(out, "MESSAGE", entry.line);
        out.extend_from_slice(&self.fields);
        out.extend_from_slice(b"SYSLOG_TIMESTAMP=");
        self.clock.format(out, entry.time);
        out.push(b'\n');
        if let Some(partial) = &entry.partial {
            field(out, "CONTAINER_PARTIAL_ID", hex(&partial.id).as_bytes());
            field(
                out,
                "CONTAINER_PARTIAL_ORDINAL",
                partial.ordinal.to_string().as_bytes(),
            );
            field(
                out,
                "CONTAINER_PARTIAL_LAST",
                if partial.last { b"true" } else { b"false" },
            );
            if !partial.last {
                field(out, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
        }
        field(
            out,
            "CONTAINER_LOG_ORDINAL",
            self.ordinal.to_string().as_bytes(),
        );
    }
}

/// The message in memory that nobody can change any more, which the journal insists on.
fn sealed(message: &[u8]) -> Option<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = std::fs::File::from(memfd_create("journal-message", flags).ok()?);
    file.write_all(message).ok()?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    fcntl_add_seals(&file, seals).ok()?;
    Some(file.into())
}

#[cfg(test)]
mod tests {
    use super::super::document::LogContainer;
    use super::super::split::{Partial, RECORD};
    use super::*;
    use std::collections::BTreeMap;
    use std::io::{Read, Seek};
    use std::mem::MaybeUninit;
    use std::os::unix::net::UnixDatagram;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    fn received(socket: &UnixDatagram) -> Vec<u8> {
        let mut buffer = vec![0; 1 << 18];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(
            socket,
            &mut [std::io::IoSliceMut::new(&mut buffer)],
            &mut control,
            RecvFlags::DONTWAIT,
        )
        .unwrap();
        buffer.truncate(got.bytes);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                for file in files {
                    let mut file = std::fs::File::from(file);
                    file.rewind().unwrap();
                    file.read_to_end(&mut buffer).unwrap();
                }
            }
        }
        buffer
    }

    fn fields(mut data: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        while !data.is_empty() {
            let line = data.iter().position(|&c| c == b'\n').unwrap();
            let (name, value) = match data[..line].iter().position(|&c| c == b'=') {
                Some(at) => {
                    let pair = (&data[..at], data[at + 1..line].to_vec());
                    data = &data[line + 1..];
                    pair
                }
                None => {
                    let size = u64::from_le_bytes(data[line + 1..line + 9].try_into().unwrap());
                    let end = line + 9 + size as usize;
                    assert_eq!(data[end], b'\n');
                    let pair = (&data[..line], data[line + 9..end].to_vec());
                    data = &data[end + 1..];
                    pair
                }
            };
            all.insert(String::from_utf8(name.to_vec()).unwrap(), value);
        }
        all
    }

    #[test]
    fn sends_dockers_fields() {
        let dir = super::super::testdir::TestDir::new();
        let path = dir.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        let document = LogDocument {
            driver: "journald".into(),
            path: "/nowhere".into(),
            options: BTreeMap::new(),
            attributes: [("APP".to_owned(), "a\nb".to_owned())].into(),
            tag: "web".into(),
            container: LogContainer {
                id: "0123456789abcdef".into(),
                name: "name".into(),
                image_name: "image".into(),
            },
        };
        let mut journal = Journal::at(&path, &document).unwrap();
        let mut entry = Entry {
            stream: Stream::Stderr,
            time: 1_700_000_000_120_000_000,
            line: b"hello=\0 \xff",
            partial: None,
        };
        assert_eq!(journal.send(&entry), Sent::Done);
        let got = fields(&received(&socket));
        let text = |name: &str| String::from_utf8_lossy(&got[name]).into_owned();
        assert_eq!(got["MESSAGE"], entry.line);
        assert_eq!(text("PRIORITY"), "3");
        assert_eq!(text("CONTAINER_ID"), "0123456789ab");
        assert_eq!(text("CONTAINER_ID_FULL"), "0123456789abcdef");
        assert_eq!(text("CONTAINER_NAME"), "name");
        assert_eq!(text("CONTAINER_TAG"), "web");
        assert_eq!(text("SYSLOG_IDENTIFIER"), "web");
        assert_eq!(text("IMAGE_NAME"), "image");
        assert_eq!(text("SYSLOG_TIMESTAMP"), "2023-11-14T22:13:20.12Z");
        assert_eq!(text("CONTAINER_LOG_ORDINAL"), "1");
        assert_eq!(text("CONTAINER_LOG_EPOCH").len(), 64);
        assert_eq!(text("APP"), "a\nb");

        let long = [b'x'; RECORD];
        entry.line = &long;
        entry.partial = Some(Partial {
            id: [0xab; 32],
            ordinal: 2,
            last: false,
        });
        assert_eq!(journal.send(&entry), Sent::Done);
        let got = fields(&received(&socket));
        assert_eq!(got["MESSAGE"], entry.line);
        assert_eq!(got["CONTAINER_PARTIAL_ID"], "ab".repeat(32).as_bytes());
        assert_eq!(got["CONTAINER_PARTIAL_ORDINAL"], b"2");
        assert_eq!(got["CONTAINER_PARTIAL_LAST"], b"false");
        assert_eq!(got["CONTAINER_PARTIAL_MESSAGE"], b"true");
    }

    #[test]
    fn a_message_too_large_for_the_socket_goes_as_a_file() {
        let dir = super::super::testdir::TestDir::new();
        let path = dir.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        let attributes = [("BIG".to_owned(), "y".repeat(400_000))].into();
        let document = LogDocument {
            driver: "journald".into(),
            path: "/nowhere".into(),
            options: BTreeMap::new(),
            attributes,
            tag: String::new(),
            container: LogContainer::default(),
        };
        let mut journal = Journal::at(&path, &document).unwrap();
        let entry = Entry {
            stream: Stream::Stdout,
            time: 0,
            line: b"x",
            partial: None,
        };
        assert_eq!(journal.send(&entry), Sent::Done);
        let got = fields(&received(&socket));
        assert_eq!(got["BIG"].len(), 400_000);
        assert_eq!(got["MESSAGE"], b"x");
    }

    #[test]
    fn no_journal() {
        let document: LogDocument =
            serde_json::from_str(r#"{"driver":"journald","path":"/x","container":{"id":"1"}}"#)
                .unwrap();
        let error = Journal::at(Path::new("/does/not/exist"), &document).unwrap_err();
        assert_eq!(
            error.to_string(),
            "initialize logging driver: journald is not enabled on this host"
        );
    }
}
