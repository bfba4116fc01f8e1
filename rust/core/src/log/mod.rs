//! Container logs: what the supervisor writes, in Docker's formats (docs/logs.md).
//!
//! [`Logger`] splits both streams into records and appends them to a file that it rotates. It never fails after it was
//! opened, and never waits: where it would have to, [`Logger::waits`] says for what.

mod compress;
mod document;
mod file;
mod json;
mod local;
mod split;
mod time;

use std::os::fd::BorrowedFd;

pub use document::{LogContainer, LogDocument};
pub use split::Stream;

use crate::{Error, Kind, Result};
use file::{Format, LogFile};
use json::Json;
use local::Local;
use split::{Entry, Splitter};

/// The log of one container.
#[derive(Debug)]
pub struct Logger {
    streams: [Splitter; 2],
    file: LogFile,
}

/// What a [`Logger`] waits for before it can take more.
#[derive(Debug, Clone, Copy)]
pub struct Wait<'a> {
    /// To be polled.
    pub fd: BorrowedFd<'a>,
    /// For room to write; else for something to read.
    pub write: bool,
}

impl Logger {
    /// Opens the log that a document describes.
    ///
    /// # Errors
    /// `Invalid` for a driver or option that makes no sense, and those of opening the file.
    pub fn open(document: &LogDocument) -> Result<Self> {
        let format = match document.driver.as_str() {
            "json-file" => Format::Json(Json::new(&document.attributes)),
            "local" => Format::Local(Local::new(&document.attributes)),
            other => {
                return Err(Error::new(
                    Kind::Invalid,
                    "open log",
                    other,
                    "there is no such log driver",
                ));
            }
        };
        Ok(Self {
            streams: [Splitter::new(Stream::Stdout), Splitter::new(Stream::Stderr)],
            file: LogFile::open(&document.path, format, document.rotation("")?)?,
        })
    }

    /// Takes what the container has written, of any length. All of it gets one time, but for the end of a longer line.
    pub fn write(&mut self, stream: Stream, chunk: &[u8]) {
        let now = time::now();
        let file = &mut self.file;
        self.streams[stream as usize].push(chunk, now, &mut |entry: &Entry<'_>| file.append(entry));
        file.flush();
    }

    /// A stream has ended: a line that has not is written without its newline, as in Docker.
    pub fn finish(&mut self, stream: Stream) {
        let now = time::now();
        let file = &mut self.file;
        self.streams[stream as usize].finish(now, &mut |entry: &Entry<'_>| file.append(entry));
        file.flush();
    }

    /// What to wait for before the container's streams are read again; None: nothing. Then call [`Self::flush`].
    #[must_use]
    pub fn waits(&self) -> Option<Wait<'_>> {
        let compressing = self.file.waits()?;
        Some(Wait {
            fd: compressing.fd(),
            write: false,
        })
    }

    /// Goes on with what [`Self::waits`] waited for.
    pub fn flush(&mut self) {
        self.file.resume();
    }

    /// Records that no room was found for.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.file.lost()
    }
}
