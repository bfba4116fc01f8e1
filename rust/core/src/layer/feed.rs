//! A stream of bytes in shared chunks: one thread fills them, others look at them.
use std::sync::{Arc, Mutex};

use super::split::Recorder;
use crate::{Error, Kind, Result};

/// Bytes of one chunk: large enough that queues cost nothing, small enough to stay in a core's cache.
pub const CHUNK: usize = 256 << 10;

/// Buffers to fill again. A fresh 256 KiB costs 64 page faults, more than copying it.
#[derive(Debug, Clone, Default)]
pub struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    /// A buffer of [`CHUNK`] bytes with any content.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        let spare = self.0.lock().ok().and_then(|mut spare| spare.pop());
        spare.unwrap_or_else(|| vec![0; CHUNK])
    }

    /// The first `len` bytes of `buf`, to share; the buffer comes back when the last user is done.
    #[must_use]
    pub fn chunk(&self, buf: Vec<u8>, len: usize) -> Chunk {
        Chunk(Arc::new(Shared {
            len: len.min(buf.len()),
            buf,
            pool: self.clone(),
        }))
    }
}

#[derive(Debug)]
struct Shared {
    buf: Vec<u8>,
    len: usize,
    pool: Pool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Ok(mut spare) = self.pool.0.lock() {
            spare.push(std::mem::take(&mut self.buf));
        }
    }
}

/// Part of a stream, shared between threads.
#[derive(Debug, Clone)]
pub struct Chunk(Arc<Shared>);

impl Chunk {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.buf[..self.0.len]
    }
}

/// Where chunks come from; `None` is the end.
pub type Next<'a> = Box<dyn FnMut() -> Result<Option<Chunk>> + 'a>;

/// The reading side: blocks and slices out of chunks, each byte remembered by the recorder unless it is file content.
pub struct Feed<'a> {
    next: Next<'a>,
    chunk: Option<Chunk>,
    pos: usize,
    /// Bytes taken so far.
    pub offset: u64,
    /// Remembers everything that is not file content.
    pub recorder: Option<Recorder>,
}

impl<'a> Feed<'a> {
    /// Reads what `next` gives.
    pub fn new(next: Next<'a>, recorder: Option<Recorder>) -> Self {
        Self {
            next,
            chunk: None,
            pos: 0,
            offset: 0,
            recorder,
        }
    }

    /// Reads from memory.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        let pool = Pool::default();
        let mut parts = bytes.chunks(CHUNK);
        Self::new(
            Box::new(move || {
                Ok(parts.next().map(|part| {
                    let mut buf = pool.take();
                    buf[..part.len()].copy_from_slice(part);
                    pool.chunk(buf, part.len())
                }))
            }),
            None,
        )
    }

    /// Whether nothing is left of the stream.
    pub fn is_empty(&mut self) -> Result<bool> {
        Ok(!self.fill()?)
    }

    /// Makes at least one byte available; false at the end of the stream.
    fn fill(&mut self) -> Result<bool> {
        loop {
            if self
                .chunk
                .as_ref()
                .is_some_and(|chunk| self.pos < chunk.bytes().len())
            {
                return Ok(true);
            }
            // Frees the old one before waiting for the next.
            self.chunk = None;
            self.pos = 0;
            match (self.next)()? {
                Some(chunk) => self.chunk = Some(chunk),
                None => return Ok(false),
            }
        }
    }

    /// Up to `max` bytes of content, at least one; not recorded.
    ///
    /// # Errors
    /// `Corrupt` when the stream has ended.
    pub fn content(&mut self, max: u64) -> Result<&[u8]> {
        if !self.fill()? {
            return Err(truncated(self.offset));
        }
        let chunk = self.chunk.as_ref().map_or(&[][..], Chunk::bytes);
        let available = chunk.len() - self.pos;
        let n = usize::try_from(max).unwrap_or(usize::MAX).min(available);
        let slice = &chunk[self.pos..self.pos + n];
        self.pos += n;
        self.offset += n as u64;
        Ok(slice)
    }

    /// Fills `out` and records it; false at the end of the stream, which must not come in the middle.
    fn exact(&mut self, out: &mut [u8]) -> Result<bool> {
        let mut done = 0;
        while done < out.len() {
            if !self.fill()? {
                if done == 0 {
                    return Ok(false);
                }
                return Err(truncated(self.offset));
            }
            let slice = self.content((out.len() - done) as u64)?;
            let n = slice.len();
            out[done..done + n].copy_from_slice(slice);
            done += n;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.bytes(out)?;
        }
        Ok(true)
    }

    /// One block of 512 bytes; `None` at the end of the stream.
    pub fn block(&mut self) -> Result<Option<[u8; 512]>> {
        let mut block = [0; 512];
        Ok(self.exact(&mut block)?.then_some(block))
    }

    /// Exactly `len` bytes. The caller has checked `len` against its limits.
    pub fn metadata(&mut self, len: usize) -> Result<Vec<u8>> {
        let mut out = vec![0; len];
        if len > 0 && !self.exact(&mut out)? {
            return Err(truncated(self.offset));
        }
        Ok(out)
    }

    /// Passes over `len` bytes, recording them.
    pub fn skip(&mut self, mut len: u64) -> Result<()> {
        while len > 0 {
            let n = {
                let mut recorder = self.recorder.take();
                let slice = self.content(len)?;
                if let Some(recorder) = &mut recorder {
                    recorder.bytes(slice)?;
                }
                let n = slice.len() as u64;
                self.recorder = recorder;
                n
            };
            len -= n;
        }
        Ok(())
    }

    /// Reads to the end of the stream, recording; fails on any byte that is not zero.
    pub fn finish(&mut self) -> Result<()> {
        while self.fill()? {
            let at = self.offset;
            let mut recorder = self.recorder.take();
            let slice = self.content(u64::MAX)?;
            if slice.iter().any(|byte| *byte != 0) {
                return Err(Error::new(
                    Kind::Corrupt,
                    "unpack",
                    "layer",
                    format!("data after the end of the archive, near byte {at}"),
                ));
            }
            if let Some(recorder) = &mut recorder {
                recorder.bytes(slice)?;
            }
            self.recorder = recorder;
        }
        Ok(())
    }
}

fn truncated(offset: u64) -> Error {
    Error::new(
        Kind::Corrupt,
        "unpack",
        "layer",
        format!("archive is truncated after {offset} bytes"),
    )
}
