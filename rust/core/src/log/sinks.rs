//! Where the records of one log go: a file, a server, or both.
use std::os::fd::BorrowedFd;
use std::path::Path;

use super::document::LogDocument;
use super::file::{Format, LogFile};
use super::journald::Journal;
use super::json::Json;
use super::local::Local;
use super::remote::{Remote, Sent};
use super::split::Entry;
use super::syslog::Syslog;
use crate::{Context, Error, Kind, Result};

/// All of them.
#[derive(Debug)]
pub struct Sinks {
    file: Option<LogFile>,
    server: Option<Server>,
    /// Records that no server has taken.
    lost: u64,
    /// The file does not wait for a compression.
    hurried: bool,
}

#[derive(Debug)]
enum Server {
    Journal(Journal),
    Syslog(Syslog),
}

impl Server {
    fn remote(&mut self) -> &mut Remote {
        match self {
            Self::Journal(journal) => journal.remote(),
            Self::Syslog(syslog) => syslog.remote(),
        }
    }

    fn look(&self) -> &Remote {
        match self {
            Self::Journal(journal) => journal.remote_ref(),
            Self::Syslog(syslog) => syslog.remote_ref(),
        }
    }
}

impl Sinks {
    /// Opens what the document names.
    pub fn open(document: &LogDocument) -> Result<Self> {
        let attributes = &document.attributes;
        let (file, server) = match document.driver.as_str() {
            "json-file" => (Some((Format::Json(Json::new(attributes)), "")), None),
            "local" => (Some((Format::Local(Local::new(attributes)), "")), None),
            "journald" => (cache(), Some(Server::Journal(Journal::open(document)?))),
            "syslog" => (cache(), Some(Server::Syslog(Syslog::open(document)?))),
            other => {
                return Err(Error::new(
                    Kind::Invalid,
                    "open log",
                    other,
                    "there is no such log driver",
                ));
            }
        };
        // A cache that is disabled has no path.
        let file = match file {
            Some((format, prefix)) if !document.path.as_os_str().is_empty() => {
                make_parent(&document.path)?;
                let rotation = document.rotation(prefix)?;
                Some(LogFile::open(&document.path, format, rotation)?)
            }
            _ => None,
        };
        Ok(Self {
            file,
            server,
            lost: 0,
            hurried: false,
        })
    }

    /// Writes one record. Whether another one can be written without waiting.
    pub fn write(&mut self, entry: &Entry<'_>) -> bool {
        if let Some(file) = &mut self.file {
            file.append(entry);
        }
        let sent = match &mut self.server {
            None => Sent::Done,
            Some(Server::Journal(journal)) => journal.send(entry),
            Some(Server::Syslog(syslog)) => syslog.send(entry),
        };
        self.lost += u64::from(sent == Sent::Lost);
        sent != Sent::Full && !self.file_waits()
    }

    fn file_waits(&self) -> bool {
        !self.hurried && self.file.as_ref().is_some_and(LogFile::waits)
    }

    /// Brings what was written into the file.
    pub fn flush(&mut self) {
        if let Some(file) = &mut self.file {
            file.flush();
        }
    }

    /// What is waited for: room to write if true, else something to read.
    pub fn waits(&self) -> Option<(BorrowedFd<'_>, bool)> {
        if let Some(fd) = self.server.as_ref().and_then(|server| server.look().fd()) {
            return Some((fd, true));
        }
        let file = self.file.as_ref().filter(|_| self.file_waits())?;
        Some((file.compressing()?, false))
    }

    /// Goes on with what is left of a message.
    pub fn resume(&mut self) {
        if let Some(server) = &mut self.server {
            self.lost += u64::from(server.remote().resume() == Sent::Lost);
        }
    }

    /// Whether no compression is waited for: records go into the file whatever its size.
    pub fn hurry(&mut self, hurried: bool) {
        self.hurried = hurried;
    }

    /// Gives up what the server has not taken.
    pub fn give_up(&mut self) {
        if let Some(server) = &mut self.server {
            self.lost += u64::from(server.remote().give_up());
        }
    }

    /// Records that no room was found for.
    pub fn lost(&self) -> u64 {
        self.lost + self.file.as_ref().map_or(0, LogFile::lost)
    }
}

/// The copy that `logs` reads where the driver itself cannot be read: as in Docker, without attributes.
fn cache() -> Option<(Format, &'static str)> {
    let attributes = std::collections::BTreeMap::new();
    Some((Format::Local(Local::new(&attributes)), "cache-"))
}

/// `local` has a directory of its own.
fn make_parent(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    match std::fs::DirBuilder::new().mode(0o700).create(parent) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).context("make log directory", || parent.display().to_string())
        }
        _ => Ok(()),
    }
}
