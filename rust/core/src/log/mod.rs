//! Container logs: what the supervisor writes, in Docker's formats (docs/logs.md).
//!
//! [`Logger`] splits both streams into records and hands them to a file that it rotates, to the journal or to a syslog
//! server. It never fails after it was opened, and never waits: where it would have to, [`Logger::waits`] says for what.

mod compress;
mod document;
mod file;
mod held;
mod journald;
mod json;
mod local;
pub mod read;
mod remote;
mod sinks;
mod split;
mod syslog;
#[cfg(test)]
mod testdir;
#[cfg(test)]
mod tests;
pub mod time;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

pub use document::{LogContainer, LogDocument};
pub use split::Stream;

use crate::{Error, Kind, Result};
use held::{Buffer, Chunk, Chunks};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sinks::Sinks;
use split::Splitter;

/// How long a server may take nothing of what is left at the end of a stream.
const LAST: Duration = Duration::from_secs(1);
/// How long it may take for all of it: nobody knows that the container has ended before.
const ALL: Duration = Duration::from_secs(10);
/// Docker's size of the buffer of `mode=non-blocking`.
const BUFFER: usize = 1_000_000;

/// The log of one container.
#[derive(Debug)]
pub struct Logger {
    streams: [Splitter; 2],
    sinks: Sinks,
    /// `mode=blocking`: what came while a wait was due. No more comes when the caller keeps to [`Self::waits`].
    chunks: Chunks,
    /// `mode=non-blocking`: records instead of that.
    buffer: Option<Buffer>,
    lost: u64,
}

/// What a [`Logger`] waits for before it can take more.
#[derive(Debug, Clone, Copy)]
pub struct Wait<'a> {
    /// To be polled.
    pub fd: BorrowedFd<'a>,
    /// For room to write; else for something to read.
    pub write: bool,
    /// The container's streams must not be read before; in `mode=non-blocking` they are, and records may be lost.
    pub pause: bool,
}

impl Logger {
    /// Opens the log that a document describes.
    ///
    /// # Errors
    /// `Invalid` for a driver or option that makes no sense, and why the file or the server cannot be opened.
    pub fn open(document: &LogDocument) -> Result<Self> {
        let buffer = match document.options.get("mode").map(String::as_str) {
            None | Some("" | "blocking") => None,
            Some("non-blocking") => {
                let limit = document.option("max-buffer-size")?.unwrap_or(BUFFER);
                Some(Buffer::new(limit))
            }
            Some(other) => return Err(Error::new(Kind::Invalid, "read log option", "mode", other)),
        };
        Ok(Self {
            streams: [Splitter::new(Stream::Stdout), Splitter::new(Stream::Stderr)],
            sinks: Sinks::open(document)?,
            chunks: Chunks::default(),
            buffer,
            lost: 0,
        })
    }

    /// Takes what the container has written, of any length. All of it gets one time, but for the end of a longer line.
    pub fn write(&mut self, stream: Stream, chunk: &[u8]) {
        self.take(stream, chunk, false);
    }

    /// A stream has ended: a line that has not is written without its newline, as in Docker. All that came before is in
    /// the file afterwards, whatever was waited for; a server has a second to take it.
    pub fn finish(&mut self, stream: Stream) {
        self.take(stream, &[], true);
        if self.sinks.waits().is_some() || !self.chunks.is_empty() {
            self.settle();
        }
    }

    /// What to wait for before [`Self::flush`] is called; None: nothing.
    #[must_use]
    pub fn waits(&self) -> Option<Wait<'_>> {
        let (fd, write) = self.sinks.waits()?;
        let pause = self.buffer.is_none();
        Some(Wait { fd, write, pause })
    }

    /// Goes on with what [`Self::waits`] waited for.
    pub fn flush(&mut self) {
        self.sinks.resume();
        if let Some(buffer) = &mut self.buffer {
            while !buffer.is_empty() && self.sinks.waits().is_none() {
                buffer.next(|entry| {
                    self.sinks.write(entry);
                });
            }
            self.sinks.flush();
        }
        while self.sinks.waits().is_none() {
            let Some(mut chunk) = self.chunks.take() else {
                break;
            };
            let rest = &chunk.data[chunk.used..];
            chunk.used += self.split(chunk.stream, rest, chunk.time, chunk.ends);
            self.sinks.flush();
            if chunk.used < chunk.data.len() {
                self.chunks.put_back(chunk);
            }
        }
    }

    /// Records that could not be written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost + self.sinks.lost()
    }

    /// Writes all that is held.
    fn settle(&mut self) {
        self.sinks.hurry(true);
        self.flush();
        let end = Instant::now() + ALL;
        while let Some((fd, write)) = self.sinks.waits() {
            let left = end.saturating_duration_since(Instant::now()).min(LAST);
            let limit = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let events = if write { PollFlags::OUT } else { PollFlags::IN };
            if let Ok(0) = poll(&mut [PollFd::new(&fd, events)], Some(&limit)) {
                // The server takes no more; the copy in the file is complete nevertheless.
                self.sinks.give_up();
            }
            self.flush();
        }
        self.sinks.hurry(false);
    }

    fn take(&mut self, stream: Stream, data: &[u8], ends: bool) {
        let time = time::now();
        if !self.chunks.has_room(data.len()) {
            // The caller has gone on although it was told to wait, as at the end of a run.
            self.settle();
        }
        let mut used = 0;
        if self.chunks.is_empty() && (self.buffer.is_some() || self.sinks.waits().is_none()) {
            used = self.split(stream, data, time, ends);
            self.sinks.flush();
            if used == data.len() {
                return;
            }
        }
        self.chunks.keep(Chunk {
            stream,
            time,
            data: data[used..].to_vec(),
            used: 0,
            ends,
        });
    }

    /// Writes the records of a chunk until a wait is due; how many bytes they are.
    fn split(&mut self, stream: Stream, data: &[u8], time: i64, ends: bool) -> usize {
        let (sinks, lost) = (&mut self.sinks, &mut self.lost);
        let mut buffer = self.buffer.as_mut();
        let mut write = |entry: &split::Entry<'_>| match &mut buffer {
            None => sinks.write(entry),
            Some(buffer) => {
                if buffer.is_empty() && sinks.waits().is_none() {
                    sinks.write(entry);
                } else {
                    *lost += u64::from(!buffer.keep(entry));
                }
                true
            }
        };
        let splitter = &mut self.streams[stream as usize];
        let used = splitter.push(data, time, &mut write);
        if ends && used == data.len() {
            splitter.finish(time, &mut write);
        }
        used
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.settle();
    }
}
