//! What a log has taken and not written yet, because it would have had to wait.
use std::collections::VecDeque;

use super::split::{Entry, Partial, Stream};

/// No more is held for a caller that goes on although it was told to wait.
const HELD: usize = 1 << 20;
/// What a record in memory costs besides its line.
const COST: usize = 64;

/// A part of a stream that has not been split yet.
#[derive(Debug)]
pub struct Chunk {
    pub stream: Stream,
    /// When it came.
    pub time: i64,
    pub data: Vec<u8>,
    /// So much of it is written.
    pub used: usize,
    /// The stream ends behind it.
    pub ends: bool,
}

/// Parts of streams, oldest first.
#[derive(Debug, Default)]
pub struct Chunks {
    all: VecDeque<Chunk>,
    bytes: usize,
}

impl Chunks {
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether so many bytes more may be kept.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.all.is_empty() || self.bytes + bytes <= HELD
    }

    /// Keeps one.
    pub fn keep(&mut self, chunk: Chunk) {
        self.bytes += chunk.data.len();
        self.all.push_back(chunk);
    }

    /// Takes the oldest.
    pub fn take(&mut self) -> Option<Chunk> {
        let chunk = self.all.pop_front()?;
        self.bytes -= chunk.data.len();
        if self.all.is_empty() {
            self.all = VecDeque::new();
        }
        Some(chunk)
    }

    /// Puts back what is left of the oldest.
    pub fn put_back(&mut self, chunk: Chunk) {
        self.bytes += chunk.data.len();
        self.all.push_front(chunk);
    }
}

/// The records of `mode=non-blocking`, oldest first, at most so many bytes of them.
#[derive(Debug)]
pub struct Buffer {
    all: VecDeque<Record>,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
struct Record {
    stream: Stream,
    time: i64,
    line: Box<[u8]>,
    partial: Option<Partial>,
}

impl Buffer {
    /// One that holds `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            all: VecDeque::new(),
            bytes: 0,
            limit,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Keeps a record; false if there is no room for it: the newest is what is lost, as in Docker.
    pub fn keep(&mut self, entry: &Entry<'_>) -> bool {
        let cost = entry.line.len() + COST;
        if self.bytes + cost > self.limit && !self.all.is_empty() {
            return false;
        }
        self.bytes += cost;
        self.all.push_back(Record {
            stream: entry.stream,
            time: entry.time,
            line: entry.line.into(),
            partial: entry.partial,
        });
        true
    }

    /// Hands the oldest to `write`, and forgets it.
    pub fn next(&mut self, write: impl FnOnce(&Entry<'_>)) {
        if let Some(record) = self.all.pop_front() {
            self.bytes -= record.line.len() + COST;
            if self.all.is_empty() {
                self.all = VecDeque::new();
            }
            write(&Entry {
                stream: record.stream,
                time: record.time,
                line: &record.line,
                partial: record.partial,
            });
        }
    }
}
