//! From a file descriptor or a growing file to chunks of an uncompressed stream, hashed on the way, on threads of their own.
//!
//! ```text
//! input ─► reader + inflate ──┬─► hasher  (SHA-256 of the uncompressed stream)
//!           (SHA-256 of what  └─► caller  (tar parser, writes files)
//!            was read)
//! ```
//! Both queues are short, so a slow side stops the others; all memory is the chunks in them.
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use rustix::event::PollFlags;
use sha2::{Digest as _, Sha256};

use super::control::{Control, Deadline, may_wait, wait};
use super::digest;
use super::feed::{CHUNK, Chunk, Next, Pool};
use super::limits::Limits;
use super::spool::Spool;
use crate::{Context, Error, Kind, Result};

/// The largest window of a zstd frame: 2^27 bytes, the format's recommended limit for readers.
const WINDOW_LOG_MAX: u32 = 27;

/// Chunks that may wait in a queue.
const QUEUE: usize = 8;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952), one member or several.
    Gzip,
    /// Zstandard (RFC 8878), one frame or several.
    Zstd,
}

impl Compression {
    /// The name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// What the first bytes of a stream say.
    ///
    /// # Errors
    /// `Unsupported` for formats that only Python's standard library decompresses.
    pub fn detect(head: &[u8]) -> Result<Self> {
        let other = |name: &str| {
            let why = format!("{name} data reached the layer reader, decompress it first");
            Err(Error::new(Kind::Unsupported, "unpack", "layer", why))
        };
        match head {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            // A frame, or a frame to skip, which some writers put first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => other("xz"),
            // A tar whose first name starts with "BZh" has a checksum field at 148; bzip2 has the digits of pi at 4.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => other("bzip2"),
            _ => Ok(Self::None),
        }
    }
}

/// What the threads found out, complete once the stream was read to its end.
#[derive(Debug, Clone)]
pub struct Digests {
    /// Digest of the stream as it was read.
    pub digest: String,
    /// Its length in bytes.
    pub compressed_size: u64,
    /// Digest of the uncompressed stream.
    pub diff_id: String,
    /// Its length in bytes.
    pub size: u64,
    /// How it was compressed.
    pub compression: Compression,
}

/// Where a stream comes from.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A file, pipe or socket, from its offset to its end.
    Fd(BorrowedFd<'a>),
    /// A file that is being filled, from its first byte.
    Spool(&'a Spool),
}

impl<'a> From<BorrowedFd<'a>> for Input<'a> {
    fn from(fd: BorrowedFd<'a>) -> Self {
        Self::Fd(fd)
    }
}

impl<'a> From<&'a Spool> for Input<'a> {
    fn from(spool: &'a Spool) -> Self {
        Self::Spool(spool)
    }
}

/// Threads that read, decompress and hash a stream.
pub struct Pipeline<'scope> {
    /// Nobody wants the chunks any more: the reader need not wait for data.
    gone: Arc<AtomicBool>,
    reader: ScopedJoinHandle<'scope, Result<(Option<Sha256>, u64, Compression)>>,
    /// None where nobody wants the digest.
    hasher: Option<ScopedJoinHandle<'scope, (Sha256, u64)>>,
    chunks: Option<Receiver<Result<Chunk>>>,
}

impl<'scope> Pipeline<'scope> {
    /// Starts reading `input` to its end; `compression` `None` means to look at the data. Without `hashed` the digests of the
    /// uncompressed stream are empty.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        input: Input<'env>,
        compression: Option<Compression>,
        limits: &Limits,
        control: &Arc<Control>,
        deadline: Deadline,
        hashed: bool,
    ) -> Result<Self> {
        let (to_caller, chunks) = sync_channel(QUEUE);
        let (to_hasher, to_hash) = sync_channel::<Chunk>(QUEUE);
        let to_hasher = hashed.then_some(to_hasher);
        let limits = limits.clone();
        let control = Arc::clone(control);
        let gone = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&gone);
        let spawn = || std::thread::Builder::new();
        let reader = spawn().spawn_scoped(scope, move || {
            let source = Source::new(input, control, deadline, stop);
            let result = run(source, compression, &limits, &to_caller, to_hasher.as_ref());
            if let Err(error) = &result {
                // The join carries the error itself; the caller only has to wake up.
                let copy = Error {
                    source: None,
                    subject: error.to_string(),
                    op: "",
                    ..*error
                };
                let _ = to_caller.send(Err(copy));
            }
            result
        });
        // Without one of the two the other ends by itself: its channel's other end is dropped.
        let reader = reader.context("start thread", String::new)?;
        let hasher = hashed.then(|| {
            spawn().spawn_scoped(scope, move || {
                let mut hash = Sha256::new();
                let mut size = 0;
                for chunk in to_hash {
                    hash.update(chunk.bytes());
                    size += chunk.bytes().len() as u64;
                }
                (hash, size)
            })
        });
        Ok(Self {
            gone,
            reader,
            hasher: hasher.transpose().context("start thread", String::new)?,
            chunks: Some(chunks),
        })
    }

    /// The uncompressed stream, once.
    pub fn chunks(&mut self) -> Next<'static> {
        let chunks = self.chunks.take();
        Box::new(move || match chunks.as_ref().map(Receiver::recv) {
            Some(Ok(Ok(chunk))) => Ok(Some(chunk)),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(_)) | None => Ok(None),
        })
    }

    /// Waits for the threads; `consumed` is what the user of the chunks came to, whose error is told
    /// unless the reader's own is behind it. The chunks must have been dropped.
    pub fn finish<T>(self, consumed: Result<T>) -> Result<(T, Digests)> {
        drop(self.chunks);
        self.gone.store(consumed.is_err(), Relaxed);
        let panicked = |what| {
            Error::new(
                Kind::System(libc::EIO),
                "unpack",
                "layer",
                format!("{what} thread failed"),
            )
        };
        let read = self.reader.join().map_err(|_| panicked("reader"))?;
        let hashed = self.hasher.map(ScopedJoinHandle::join).transpose();
        let hashed = hashed.map_err(|_| panicked("hash"))?;
        // EPIPE: the caller went away first, with an error of its own.
        let (digest, compressed_size, compression) = match read {
            Ok(read) => read,
            Err(error) if error.errno == Some(libc::EPIPE) => {
                consumed?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let value = consumed?;
        let (diff_id, size) = hashed.map_or_else(
            || (String::new(), compressed_size),
            |(hash, size)| (digest::format(hash), size),
        );
        let digest = digest.map_or_else(|| diff_id.clone(), digest::format);
        Ok((
            value,
            Digests {
                digest,
                compressed_size,
                diff_id,
                size,
                compression,
            },
        ))
    }
}

/// The reader thread. The hash is `None` where the stream is not compressed and the hasher's counts.
fn run(
    mut source: Source<'_>,
    compression: Option<Compression>,
    limits: &Limits,
    to_caller: &SyncSender<Result<Chunk>>,
    to_hasher: Option<&SyncSender<Chunk>>,
) -> Result<(Option<Sha256>, u64, Compression)> {
    source.peek()?;
    let compression = match compression {
        Some(given) => given,
        None => Compression::detect(&source.head)?,
    };
    source.hash = (compression != Compression::None && to_hasher.is_some()).then(Sha256::new);
    let control = Arc::clone(&source.control);
    let mut out = Output {
        pool: Pool::default(),
        size: 0,
        limits,
        control,
        to_caller,
        to_hasher,
    };
    match compression {
        Compression::None => out.all(&mut source, compression)?,
        Compression::Gzip => {
            // The buffer below is what zlib is fed from.
            let buffered = io::BufReader::with_capacity(CHUNK, &mut source);
            out.all(
                &mut flate2::bufread::MultiGzDecoder::new(buffered),
                compression,
            )?;
        }
        Compression::Zstd => {
            let buffered = io::BufReader::with_capacity(CHUNK, &mut source);
            let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered)
                .map_err(|e| decode_error(e, compression))?;
            decoder
                .window_log_max(WINDOW_LOG_MAX)
                .map_err(|e| decode_error(e, compression))?;
            out.all(&mut decoder, compression)?;
        }
    }
    Ok((source.hash, source.count, compression))
}

/// Where the reader thread puts the uncompressed stream.
struct Output<'a> {
    pool: Pool,
    size: u64,
    limits: &'a Limits,
    control: Arc<Control>,
    to_caller: &'a SyncSender<Result<Chunk>>,
    to_hasher: Option<&'a SyncSender<Chunk>>,
}

impl Output<'_> {
    /// Sends everything that `decoder` gives.
    fn all(&mut self, decoder: &mut dyn Read, compression: Compression) -> Result<()> {
        loop {
            let mut buf = self.pool.take();
            let mut len = 0;
            while len < buf.len() {
                match decoder.read(&mut buf[len..]) {
                    Ok(0) => break,
                    Ok(n) => len += n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(decode_error(e, compression)),
                }
            }
            if len == 0 {
                return Ok(());
            }
            self.size += len as u64;
            self.control.size.store(self.size, Relaxed);
            self.limits
                .check_ratio(self.size, self.control.read.load(Relaxed))?;
            let chunk = self.pool.chunk(buf, len);
            let gone = || Error::errno("unpack", "layer", libc::EPIPE);
            if let Some(hasher) = self.to_hasher {
                hasher.send(chunk.clone()).map_err(|_| gone())?;
            }
            self.to_caller.send(Ok(chunk)).map_err(|_| gone())?;
        }
    }
}

/// A decoder's error; ours, from the source below it, comes out as it was.
fn decode_error(error: io::Error, compression: Compression) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let why = format!("{} data is truncated", compression.name());
            Error::new(Kind::Corrupt, "unpack", "layer", why)
        }
        Err(error) => {
            let why = format!("damaged {} data: {error}", compression.name());
            Error::new(Kind::Corrupt, "unpack", "layer", why)
        }
    }
}

/// The input: counted, hashed, and never blocking for long where it is a pipe.
struct Source<'a> {
    input: Input<'a>,
    control: Arc<Control>,
    deadline: Deadline,
    gone: Arc<AtomicBool>,
    /// First bytes, read to recognise the format; given out again by `read`.
    head: Vec<u8>,
    given: usize,
    /// Bytes taken from the input.
    taken: u64,
    /// Bytes given out.
    count: u64,
    hash: Option<Sha256>,
    waits: bool,
}

impl<'a> Source<'a> {
    fn new(
        input: Input<'a>,
        control: Arc<Control>,
        deadline: Deadline,
        gone: Arc<AtomicBool>,
    ) -> Self {
        Self {
            input,
            control,
            deadline,
            gone,
            head: Vec::new(),
            given: 0,
            taken: 0,
            count: 0,
            hash: None,
            waits: matches!(input, Input::Fd(fd) if may_wait(fd)),
        }
    }

    /// Reads the head.
    fn peek(&mut self) -> Result<()> {
        let mut head = vec![0; 512];
        let mut len = 0;
        while len < head.len() {
            match self.take(&mut head[len..])? {
                0 => break,
                n => len += n,
            }
        }
        head.truncate(len);
        self.head = head;
        Ok(())
    }

    fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        let check = || {
            if self.gone.load(Relaxed) {
                return Err(Error::errno("unpack", "layer", libc::EPIPE));
            }
            self.control.check().and_then(|()| self.deadline.check())
        };
        let n = match self.input {
            Input::Spool(spool) => spool.read_at(buf, self.taken, check)?,
            Input::Fd(fd) => loop {
                check()?;
                if self.waits {
                    wait(fd, PollFlags::IN, check)?;
                }
                match rustix::io::read(fd, &mut *buf) {
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                    other => break other.context("read", || "layer")?,
                }
            },
        };
        self.taken += n as u64;
        Ok(n)
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = if self.given < self.head.len() {
            let n = buf.len().min(self.head.len() - self.given);
            buf[..n].copy_from_slice(&self.head[self.given..self.given + n]);
            self.given += n;
            n
        } else {
            self.take(buf).map_err(io::Error::other)?
        };
        if let Some(hash) = &mut self.hash {
            hash.update(&buf[..n]);
        }
        self.count += n as u64;
        self.control.read.store(self.count, Relaxed);
        Ok(n)
    }
}
