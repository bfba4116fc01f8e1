//! A stream on its way out: hashed, compressed, hashed again, written to a descriptor.
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::{Compress, Compression as Level, Crc, FlushCompress, Status};
use rustix::event::PollFlags;
use sha2::{Digest as _, Sha256};

use super::control::{Control, may_wait, wait};
use super::decompress::{Compression, Digests};
use super::descriptor::Descriptor;
use super::digest::{self, Hasher};
use crate::{Context, Error, Kind, Result};

/// Input of one compression job. The output is the same whatever the number of threads.
const BLOCK: usize = 1 << 20;

/// gzip's level where none is asked for: sizes of [`BLOCK`]s at this one are those of Go's own gzip plus 2.5 %, in less
/// than half of its time (docs/layers.md).
const GZIP_LEVEL: u32 = 4;

/// Threads that compress, at most.
const THREADS_MAX: usize = 8;

/// Where a stream goes.
pub struct Sink {
    hash: Hash,
    size: u64,
    out: Out,
    compression: Compression,
    control: Arc<Control>,
}

/// Who hashes the stream as it is before compression.
enum Hash {
    Nobody,
    Caller(Sha256),
    /// A thread of its own, where nothing but the digest is wanted.
    Thread(Hasher),
}

enum Out {
    Nowhere,
    Plain(Descriptor),
    Gzip(Box<Gzip>),
    Zstd(Box<zstd::Encoder<'static, Descriptor>>),
}

impl Sink {
    /// Writes to `fd`, compressed. `level` is gzip's (0 to 9, default 4) or zstd's (1 to 22, default 3).
    ///
    /// # Errors
    /// `Invalid` for a level that the format lacks.
    pub fn new(
        fd: OwnedFd,
        compression: Compression,
        level: Option<u32>,
        control: &Arc<Control>,
    ) -> Result<Self> {
        let invalid = |why: &str| {
            Err(Error::new(
                Kind::Invalid,
                "compress",
                level.unwrap_or(0).to_string(),
                why,
            ))
        };
        let descriptor = Descriptor::new(fd, compression != Compression::None, control);
        let out = match (compression, level) {
            (Compression::None, _) => Out::Plain(descriptor),
            (Compression::Gzip, Some(10..)) => return invalid("gzip's levels are 0 to 9"),
            (Compression::Gzip, level) => Out::Gzip(Box::new(Gzip::new(
                descriptor,
                level.unwrap_or(GZIP_LEVEL),
            )?)),
            (Compression::Zstd, Some(0 | 23..)) => return invalid("zstd's levels are 1 to 22"),
            (Compression::Zstd, level) => {
                let mut encoder = zstd::Encoder::new(descriptor, level.unwrap_or(3) as i32)
                    .map_err(write_error)?;
                // Always on, since the output with any number of workers is the same, and without workers another.
                encoder.multithread(threads() as u32).map_err(write_error)?;
                encoder.include_checksum(true).map_err(write_error)?;
                Out::Zstd(Box::new(encoder))
            }
        };
        Ok(Self {
            hash: Hash::Caller(Sha256::new()),
            size: 0,
            out,
            compression,
            control: Arc::clone(control),
        })
    }

    /// Writes to `fd` as it comes; no digest is made.
    #[must_use]
    pub fn plain(fd: OwnedFd, control: &Arc<Control>) -> Self {
        Self {
            hash: Hash::Nobody,
            size: 0,
            out: Out::Plain(Descriptor::new(fd, false, control)),
            compression: Compression::None,
            control: Arc::clone(control),
        }
    }

    /// Writes nowhere: the digest is made, on a thread of its own.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn digest(control: &Arc<Control>) -> Result<Self> {
        Ok(Self {
            hash: Hash::Thread(Hasher::start()?),
            size: 0,
            out: Out::Nowhere,
            compression: Compression::None,
            control: Arc::clone(control),
        })
    }

    /// Adds to the stream.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.control.check()?;
        match &mut self.hash {
            Hash::Nobody => {}
            Hash::Caller(hash) => hash.update(bytes),
            Hash::Thread(hasher) => hasher.update(bytes)?,
        }
        self.size += bytes.len() as u64;
        self.control.size.store(self.size, Relaxed);
        match &mut self.out {
            Out::Nowhere => Ok(()),
            Out::Plain(out) => out.write_all(bytes),
            Out::Gzip(out) => out.write_all(bytes),
            Out::Zstd(out) => out.write_all(bytes),
        }
        .map_err(write_error)
    }

    /// Bytes of the stream so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Ends the stream; the digests of a [`Sink::plain`] are empty.
    pub fn finish(self) -> Result<Digests> {
        let descriptor = match self.out {
            Out::Nowhere => None,
            Out::Plain(out) => Some(out),
            Out::Gzip(out) => Some(out.finish().map_err(write_error)?),
            Out::Zstd(out) => Some(out.finish().map_err(write_error)?),
        };
        let diff_id = match self.hash {
            Hash::Nobody => String::new(),
            Hash::Caller(hash) => digest::format(hash),
            Hash::Thread(hasher) => digest::format(hasher.finish()?),
        };
        let (hash, compressed_size) =
            descriptor.map_or((None, self.size), |out| (out.hash, out.count));
        Ok(Digests {
            digest: hash.map_or_else(|| diff_id.clone(), digest::format),
            compressed_size,
            diff_id,
            size: self.size,
            compression: self.compression,
        })
    }
}

/// Copies `source` from its offset to its end into `sink`.
///
/// # Errors
/// Those of reading and writing; `EINTR` after [`Control::cancel`].
pub fn copy(source: impl AsFd, mut sink: Sink) -> Result<Digests> {
    let mut buf = vec![0; super::feed::CHUNK];
    let waits = may_wait(source.as_fd());
    let control = Arc::clone(&sink.control);
    loop {
        if waits {
            wait(&source, PollFlags::IN, || control.check())?;
        }
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&source, &mut buf[..]))
            .context("read", || "layer")?;
        if n == 0 {
            return sink.finish();
        }
        sink.put(&buf[..n])?;
    }
}

fn threads() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(THREADS_MAX)
}

fn write_error(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Error::io("write", "layer", error),
    }
}

/// gzip of one member, its blocks compressed side by side: each ends at a byte, so their outputs just follow another.
struct Gzip {
    out: Descriptor,
    block: Vec<u8>,
    crc: Crc,
    jobs: Option<SyncSender<Job>>,
    pending: VecDeque<Receiver<Done>>,
    workers: Vec<JoinHandle<()>>,
}

struct Job {
    block: Vec<u8>,
    last: bool,
    done: SyncSender<Done>,
}

struct Done {
    compressed: Vec<u8>,
    crc: Crc,
}

impl Gzip {
    fn new(mut out: Descriptor, level: u32) -> Result<Self> {
        // No name, no time, unknown system: nothing of this machine gets into a digest.
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])
            .map_err(write_error)?;
        let count = threads();
        let (jobs, queue) = sync_channel::<Job>(count);
        let queue = Arc::new(Mutex::new(queue));
        let workers = (0..count)
            .map(|_| {
                let queue = Arc::clone(&queue);
                let worker = move || {
                    loop {
                        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok(job) = job else { return };
                        // The other side is gone after an error only.
                        let _ = job.done.send(deflate(&job.block, level, job.last));
                    }
                };
                std::thread::Builder::new()
                    .spawn(worker)
                    .context("start thread", String::new)
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            out,
            block: Vec::with_capacity(BLOCK),
            crc: Crc::new(),
            jobs: Some(jobs),
            pending: VecDeque::new(),
            workers,
        })
    }

    fn submit(&mut self, last: bool) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let (done, result) = sync_channel(1);
        let gone = || io::Error::other("compression thread is gone");
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(Job { block, last, done }).map_err(|_| gone())?;
        self.pending.push_back(result);
        if self.pending.len() > 2 * self.workers.len() {
            self.collect()
        } else {
            Ok(())
        }
    }

    /// Writes the oldest block.
    fn collect(&mut self) -> io::Result<()> {
        let Some(result) = self.pending.pop_front() else {
            return Ok(());
        };
        let done = result
            .recv()
            .map_err(|_| io::Error::other("compression thread is gone"))?;
        self.crc.combine(&done.crc);
        self.out.write_all(&done.compressed)
    }

    fn finish(mut self: Box<Self>) -> io::Result<Descriptor> {
        self.submit(true)?;
        while !self.pending.is_empty() {
            self.collect()?;
        }
        self.jobs = None;
        for worker in std::mem::take(&mut self.workers) {
            worker
                .join()
                .map_err(|_| io::Error::other("compression thread failed"))?;
        }
        let (crc, amount) = (self.crc.sum(), self.crc.amount());
        self.out.write_all(&crc.to_le_bytes())?;
        self.out.write_all(&amount.to_le_bytes())?;
        Ok(self.out)
    }
}

impl Write for Gzip {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&buf[..n]);
        if self.block.len() == BLOCK {
            self.submit(false)?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn deflate(block: &[u8], level: u32, last: bool) -> Done {
    let mut crc = Crc::new();
    crc.update(block);
    let mut deflate = Compress::new(Level::new(level), false);
    let mut compressed = Vec::with_capacity(block.len() / 2 + 1024);
    let flush = if last {
        FlushCompress::Finish
    } else {
        FlushCompress::Sync
    };
    loop {
        compressed.reserve(64 << 10);
        let consumed = usize::try_from(deflate.total_in()).unwrap_or(block.len());
        match deflate.compress_vec(&block[consumed..], &mut compressed, flush) {
            Ok(Status::StreamEnd) | Err(_) => break,
            // All is out once the encoder left room.
            Ok(_)
                if !last
                    && deflate.total_in() == block.len() as u64
                    && compressed.len() < compressed.capacity() =>
            {
                break;
            }
            Ok(_) => {}
        }
    }
    Done { compressed, crc }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek};

    use super::*;

    fn compressed(data: &[u8], compression: Compression, level: Option<u32>) -> (Vec<u8>, Digests) {
        let mut file = tempfile();
        let control = Arc::default();
        let mut sink = Sink::new(
            file.try_clone().unwrap().into(),
            compression,
            level,
            &control,
        )
        .unwrap();
        for part in data.chunks(70_001) {
            sink.put(part).unwrap();
        }
        let digests = sink.finish().unwrap();
        let mut out = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut out).unwrap();
        (out, digests)
    }

    fn tempfile() -> File {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        rustix::fs::memfd_create("test", flags).unwrap().into()
    }

    fn data(len: usize) -> Vec<u8> {
        let mut state = 1_u32;
        (0..len)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if at % 3 == 0 {
                    (state >> 24) as u8
                } else {
                    b'x'
                }
            })
            .collect()
    }

    #[test]
    fn gzip_of_any_length_is_read_back() {
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17] {
            let data = data(len);
            for level in [0, 1, 6] {
                let (out, digests) = compressed(&data, Compression::Gzip, Some(level));
                let mut back = Vec::new();
                // One member only, or readers that stop after the first would lose data.
                flate2::read::GzDecoder::new(&out[..])
                    .read_to_end(&mut back)
                    .unwrap();
                assert!(back == data, "{len} {level}");
                assert_eq!(digests.compressed_size, out.len() as u64);
                assert_eq!(
                    digests.digest,
                    digest::format(Sha256::new_with_prefix(&out))
                );
                assert_eq!(
                    digests.diff_id,
                    digest::format(Sha256::new_with_prefix(&data))
                );
            }
        }
    }

    #[test]
    fn zstd_and_plain() {
        let data = data(BLOCK + 5);
        let (out, digests) = compressed(&data, Compression::Zstd, None);
        assert!(zstd::decode_all(&out[..]).unwrap() == data);
        assert_ne!(digests.digest, digests.diff_id);
        let (out, digests) = compressed(&data, Compression::None, None);
        assert!(out == data);
        assert_eq!(digests.digest, digests.diff_id);
    }

    #[test]
    fn gzip_has_a_level_of_its_own() {
        let data = data(BLOCK + 5);
        let default = compressed(&data, Compression::Gzip, None).0;
        assert!(default == compressed(&data, Compression::Gzip, Some(4)).0);
    }

    #[test]
    fn levels_are_checked() {
        let control = Arc::default();
        for (compression, level) in [
            (Compression::Gzip, 10),
            (Compression::Zstd, 0),
            (Compression::Zstd, 23),
        ] {
            let sink = Sink::new(tempfile().into(), compression, Some(level), &control);
            assert_eq!(sink.err().unwrap().kind, Kind::Invalid);
        }
    }

    #[test]
    fn a_full_device_is_an_error() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let control = Arc::default();
        let mut sink = Sink::new(full.into(), Compression::None, None, &control).unwrap();
        assert_eq!(sink.put(b"x").unwrap_err().errno, Some(libc::ENOSPC));
    }
}
