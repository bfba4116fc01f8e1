//! What a layer's tar has besides the content of its files, so that the same bytes can be written again.
//!
//! A zstd stream: the magic line, then records, each a tag byte and its fields; numbers are LEB128.
//!
//! | tag | fields | what |
//! |---|---|---|
//! | 0 | | the end |
//! | 1 | length, bytes | part of the stream: headers, padding, content that is no file's |
//! | 2 | path length, path, region count, (offset, length)… | content of the file at `path`, these regions in order |
//! | 3 | path length, path, size, bytes | what the file at `path` held at its latest record 2 before this one: a later entry replaced it |
use std::fs::File;
use std::io::{BufWriter, Read, Write};

use super::archive::Region;
use crate::{Context, Error, Result};

pub(super) const MAGIC: &[u8] = b"minidock tar-split 1\n";
pub(super) const END: u8 = 0;
pub(super) const BYTES: u8 = 1;
pub(super) const FILE: u8 = 2;
pub(super) const OLD: u8 = 3;

/// Bytes of the stream that one record holds at most.
pub(super) const RECORD_MAX: usize = 64 << 10;

/// Writes a tar-split file while a layer is unpacked.
pub struct Recorder {
    out: zstd::Encoder<'static, BufWriter<File>>,
    pending: Vec<u8>,
}

impl Recorder {
    /// Starts a file.
    pub fn new(file: File) -> Result<Self> {
        let buffered = BufWriter::with_capacity(64 << 10, file);
        let mut out = zstd::Encoder::new(buffered, 3).context("write", || "tar-split file")?;
        out.write_all(MAGIC).context("write", || "tar-split file")?;
        Ok(Self {
            out,
            pending: Vec::with_capacity(RECORD_MAX),
        })
    }

    /// Part of the stream.
    pub fn bytes(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let n = bytes.len().min(RECORD_MAX - self.pending.len());
            self.pending.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.pending.len() == RECORD_MAX {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut head = vec![BYTES];
        number(&mut head, self.pending.len() as u64);
        self.put(&head)?;
        let pending = std::mem::take(&mut self.pending);
        self.put(&pending)?;
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out
            .write_all(bytes)
            .context("write", || "tar-split file")
    }

    /// The next bytes of the stream are in the file at `path`.
    pub fn file(&mut self, path: &[u8], size: u64, sparse: Option<&[Region]>) -> Result<()> {
        self.flush()?;
        let whole = [Region {
            offset: 0,
            len: size,
        }];
        let regions = sparse.unwrap_or(&whole);
        let mut head = vec![FILE];
        number(&mut head, path.len() as u64);
        head.extend_from_slice(path);
        number(&mut head, regions.len() as u64);
        for region in regions {
            number(&mut head, region.offset);
            number(&mut head, region.len);
        }
        self.put(&head)
    }

    /// The file at `path` is about to go; `file` is open on it.
    pub fn replaced(&mut self, path: &[u8], mut file: File) -> Result<()> {
        self.flush()?;
        let size = file.metadata().context("read", || "replaced file")?.len();
        let mut head = vec![OLD];
        number(&mut head, path.len() as u64);
        head.extend_from_slice(path);
        number(&mut head, size);
        self.put(&head)?;
        let mut left = size;
        let mut buf = vec![0; RECORD_MAX];
        while left > 0 {
            let want = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = file
                .read(&mut buf[..want])
                .context("read", || "replaced file")?;
            if n == 0 {
                return Err(Error::errno("read", "replaced file", libc::EIO));
            }
            self.put(&buf[..n])?;
            left -= n as u64;
        }
        Ok(())
    }

    /// Writes the end; the file is complete then.
    pub fn finish(mut self) -> Result<File> {
        self.flush()?;
        self.put(&[END])?;
        let buffered = self.out.finish().context("write", || "tar-split file")?;
        buffered
            .into_inner()
            .map_err(|e| Error::io("write", "tar-split file", e.into_error()))
    }
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
