//! A layer's tar, written again byte for byte from its directory and its tar-split file.
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, openat};

use super::archive::Region;
use super::compress::Sink;
use super::decompress::Digests;
use super::path::{show, split};
use super::root::{Missing, Root};
use super::split::{BYTES, END, FILE, MAGIC, OLD, RECORD_MAX};
use crate::{Context, Error, Kind, Result};

/// Longest path in a record; the parser takes none longer.
const PATH_MAX: u64 = 1 << 16;

/// Writes the tar of the layer in `tree` into `sink`.
///
/// `expected` is the layer's diff id; what was written is then compared to it.
///
/// # Errors
/// `Corrupt` when the tar-split file is damaged, a file is missing or was changed, or the digest differs;
/// part of the stream has been written then.
pub fn reassemble(
    tree: OwnedFd,
    tar_split: &File,
    mut sink: Sink,
    expected: Option<&str>,
) -> Result<Digests> {
    let mut replaced = Replaced::find(tar_split)?;
    let mut root = Root::strict(tree);
    let mut records = Records::open(tar_split)?;
    let mut index = 0_u64;
    let mut buf = vec![0; super::feed::CHUNK];
    loop {
        match records.next()? {
            Record::End => break,
            Record::Bytes(len) => {
                let part = &mut buf[..len];
                records.fill(part)?;
                sink.put(part)?;
            }
            Record::File(path, regions) => {
                match replaced.content.remove(&index) {
                    Some(offset) => {
                        let spool = replaced
                            .spool
                            .as_mut()
                            .ok_or_else(|| corrupt("inconsistent"))?;
                        // The spool holds whole files, so regions address into them.
                        for region in &regions {
                            copy(
                                spool,
                                offset + region.offset,
                                region.len,
                                &mut buf,
                                &mut sink,
                                &path,
                            )?;
                        }
                    }
                    None => {
                        let (dir, name) = split(&path);
                        let parent = root
                            .parent(dir, Missing::Fail)
                            .map_err(|e| lost(&path, &e))?;
                        let flags =
                            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                        let fd = openat(&parent.fd, name, flags, Mode::empty())
                            .context("open", || show(&path))
                            .map_err(|e| lost(&path, &e))?;
                        let stat = rustix::fs::fstat(&fd).context("open", || show(&path))?;
                        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                            return Err(Error::new(
                                Kind::Corrupt,
                                "rebuild layer",
                                show(&path),
                                "not a file any more",
                            ));
                        }
                        let mut file = File::from(fd);
                        for region in &regions {
                            copy(
                                &mut file,
                                region.offset,
                                region.len,
                                &mut buf,
                                &mut sink,
                                &path,
                            )?;
                        }
                    }
                }
                index += 1;
            }
            Record::Old(_, size) => records.skip(size)?,
        }
    }
    let digests = sink.finish()?;
    match expected {
        Some(expected) if expected != digests.diff_id => Err(Error::new(
            Kind::Corrupt,
            "rebuild layer",
            expected,
            format!(
                "a file of the layer was changed: digest is {}",
                digests.diff_id
            ),
        )),
        _ => Ok(digests),
    }
}

/// Copies part of a file into the sink.
fn copy(
    file: &mut File,
    offset: u64,
    len: u64,
    buf: &mut [u8],
    sink: &mut Sink,
    path: &[u8],
) -> Result<()> {
    file.seek(SeekFrom::Start(offset))
        .context("read", || show(path))?;
    let mut left = len;
    while left > 0 {
        let want = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = file.read(&mut buf[..want]).context("read", || show(path))?;
        if n == 0 {
            return Err(Error::new(
                Kind::Corrupt,
                "rebuild layer",
                show(path),
                "file is shorter than it was",
            ));
        }
        sink.put(&buf[..n])?;
        left -= n as u64;
    }
    Ok(())
}

fn lost(path: &[u8], error: &Error) -> Error {
    Error::new(
        Kind::Corrupt,
        "rebuild layer",
        show(path),
        error.to_string(),
    )
}

fn corrupt(why: &str) -> Error {
    Error::new(Kind::Corrupt, "rebuild layer", "tar-split file", why)
}

/// Contents that are only in the tar-split file, because a later entry took the file's place.
struct Replaced {
    /// By number of the file record: where in the spool.
    content: HashMap<u64, u64>,
    spool: Option<File>,
}

impl Replaced {
    /// Reads the tar-split file once. Layers with an entry twice are rare; others cost nothing but this.
    fn find(tar_split: &File) -> Result<Self> {
        let mut found = Self {
            content: HashMap::new(),
            spool: None,
        };
        if !Self::any(tar_split)? {
            return Ok(found);
        }
        let mut latest: HashMap<Vec<u8>, u64> = HashMap::new();
        let mut records = Records::open(tar_split)?;
        let mut index = 0;
        let mut end = 0;
        loop {
            match records.next()? {
                Record::End => return Ok(found),
                Record::Bytes(len) => records.skip(len as u64)?,
                Record::File(path, _) => {
                    latest.insert(path, index);
                    index += 1;
                }
                Record::Old(path, size) => match latest.remove(&path) {
                    None => records.skip(size)?,
                    Some(index) => {
                        let spool = match &mut found.spool {
                            Some(spool) => spool,
                            None => found.spool.insert(spool()?),
                        };
                        records.copy(size, spool)?;
                        found.content.insert(index, end);
                        end += size;
                    }
                },
            }
        }
    }

    fn any(tar_split: &File) -> Result<bool> {
        let mut records = Records::open(tar_split)?;
        loop {
            match records.next()? {
                Record::End => return Ok(false),
                Record::Bytes(len) => records.skip(len as u64)?,
                Record::File(..) => {}
                Record::Old(..) => return Ok(true),
            }
        }
    }
}

/// A file without a name, on disk: its size is the archive's choice.
fn spool() -> Result<File> {
    let dir = std::env::temp_dir();
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&dir, flags, Mode::RUSR | Mode::WUSR);
    fd.map(File::from)
        .context("create temporary file in", || dir.display().to_string())
}

enum Record {
    End,
    Bytes(usize),
    File(Vec<u8>, Vec<Region>),
    Old(Vec<u8>, u64),
}

/// The records of a tar-split file. Every number is checked before anything is allocated for it.
struct Records {
    data: BufReader<zstd::Decoder<'static, BufReader<File>>>,
}

impl Records {
    fn open(file: &File) -> Result<Self> {
        let mut file = file.try_clone().context("read", || "tar-split file")?;
        file.rewind().context("read", || "tar-split file")?;
        let decoder = zstd::Decoder::new(file).context("read", || "tar-split file")?;
        let mut records = Self {
            data: BufReader::with_capacity(64 << 10, decoder),
        };
        let mut magic = [0; MAGIC.len()];
        records.fill(&mut magic)?;
        if magic != MAGIC {
            return Err(corrupt("not a tar-split file of this version"));
        }
        Ok(records)
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        self.data
            .read_exact(out)
            .map_err(|e| corrupt(&format!("damaged: {e}")))
    }

    fn number(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.fill(&mut byte)?;
            let bits = u64::from(byte[0] & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(corrupt("damaged number"))
    }

    fn path(&mut self) -> Result<Vec<u8>> {
        let len = self.number()?;
        if len > PATH_MAX {
            return Err(corrupt("path is too long"));
        }
        let mut path = vec![0; len as usize];
        self.fill(&mut path)?;
        // It is used as one below a pinned root; what the recorder never writes is damage.
        if path
            .split(|byte| *byte == b'/')
            .any(|part| matches!(part, b"" | b"." | b".."))
        {
            return Err(corrupt("path is not clean"));
        }
        Ok(path)
    }

    fn next(&mut self) -> Result<Record> {
        let mut tag = [0];
        self.fill(&mut tag)?;
        match tag[0] {
            END => Ok(Record::End),
            BYTES => match self.number()? {
                len if len <= RECORD_MAX as u64 => Ok(Record::Bytes(len as usize)),
                _ => Err(corrupt("record is too long")),
            },
            FILE => {
                let path = self.path()?;
                let count = self.number()?;
                let mut regions = Vec::new();
                for _ in 0..count {
                    regions.push(Region {
                        offset: self.number()?,
                        len: self.number()?,
                    });
                }
                Ok(Record::File(path, regions))
            }
            OLD => Ok(Record::Old(self.path()?, self.number()?)),
            _ => Err(corrupt("unknown record")),
        }
    }

    fn skip(&mut self, len: u64) -> Result<()> {
        self.copy(len, &mut std::io::sink())
    }

    fn copy(&mut self, len: u64, out: &mut dyn Write) -> Result<()> {
        let copied = std::io::copy(&mut (&mut self.data).take(len), out)
            .context("read", || "tar-split file")?;
        if copied == len {
            Ok(())
        } else {
            Err(corrupt("damaged: ends early"))
        }
    }
}

#[cfg(test)]
#[path = "reassemble_tests.rs"]
mod tests;
