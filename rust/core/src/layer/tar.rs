//! Writing a tar: ustar headers, with PAX records for what those cannot hold. The same entries give the same bytes.
use std::os::fd::BorrowedFd;

use tar_core::{EntryType, Header};

use super::archive::{Entry, EntryKind, OCTAL_SIZE_MAX};
use super::compress::Sink;
use super::feed::CHUNK;
use super::metadata;
use super::path::show;
use super::split::Recorder;
use crate::{Context, Error, Kind, Result};

/// Largest user or group id of a ustar header.
const OCTAL_ID_MAX: u64 = 0o777_7777;

/// Writes entries into a sink, many of them at a time.
pub struct TarWriter<'a> {
    sink: &'a mut Sink,
    /// Entries so far.
    pub entries: u64,
    /// Remembers everything that is not content of files.
    recorder: Option<Recorder>,
    buf: Vec<u8>,
}

impl<'a> TarWriter<'a> {
    /// Writes into `sink`; files that `recorder` names are where their entries' paths say.
    pub fn new(sink: &'a mut Sink, recorder: Option<Recorder>) -> Self {
        Self {
            sink,
            entries: 0,
            recorder,
            buf: Vec::with_capacity(CHUNK),
        }
    }

    /// The end mark. Returns the number of entries.
    pub fn finish(mut self) -> Result<(u64, Option<Recorder>)> {
        self.put(&[0; 1024])?;
        self.flush()?;
        Ok((self.entries, self.recorder))
    }

    fn flush(&mut self) -> Result<()> {
        self.sink.put(&self.buf)?;
        self.buf.clear();
        Ok(())
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        if let Some(recorder) = &mut self.recorder {
            recorder.bytes(bytes)?;
        }
        while bytes.len() > CHUNK - self.buf.len() {
            let (now, later) = bytes.split_at(CHUNK - self.buf.len());
            self.buf.extend_from_slice(now);
            self.flush()?;
            bytes = later;
        }
        self.buf.extend_from_slice(bytes);
        Ok(())
    }

    /// Headers of an entry, whose content, [`Entry::stored`] bytes, follows by [`TarWriter::content`]. Regions of sparse files are
    /// not written: the content is all of it.
    pub fn header(&mut self, entry: &Entry) -> Result<()> {
        let mut pax = Pax::default();
        let kind = match entry.kind {
            EntryKind::File => EntryType::Regular,
            EntryKind::Directory => EntryType::Directory,
            EntryKind::Symlink => EntryType::Symlink,
            EntryKind::Hardlink => EntryType::Link,
            EntryKind::Char => EntryType::Char,
            EntryKind::Block => EntryType::Block,
            EntryKind::Fifo => EntryType::Fifo,
        };
        let (path, link) = (entry.path.as_slice(), entry.link.as_slice());
        let fail = |e: tar_core::HeaderError| {
            Error::new(Kind::Invalid, "write layer", show(path), e.to_string())
        };
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        if path.len() > 100 {
            pax.add(b"path", path);
        }
        if link.len() > 100 {
            pax.add(b"linkpath", link);
        }
        let raw = header.as_ustar_mut();
        let n = path.len().min(100);
        raw.name[..n].copy_from_slice(&path[..n]);
        let n = link.len().min(100);
        raw.linkname[..n].copy_from_slice(&link[..n]);
        for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
            if id > OCTAL_ID_MAX {
                pax.add(key, id.to_string().as_bytes());
            }
        }
        let fits = |id: u64| if id > OCTAL_ID_MAX { 0 } else { id };
        header.set_uid(fits(entry.uid)).map_err(fail)?;
        header.set_gid(fits(entry.gid)).map_err(fail)?;
        header.set_mode(entry.mode).map_err(fail)?;
        let size = entry.stored;
        if size > OCTAL_SIZE_MAX {
            pax.add(b"size", size.to_string().as_bytes());
            header.set_size(0).map_err(fail)?;
        } else {
            header.set_size(size).map_err(fail)?;
        }
        let (seconds, nanos) = entry.mtime;
        let fits = u64::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds <= OCTAL_SIZE_MAX);
        header.set_mtime(fits.unwrap_or(0)).map_err(fail)?;
        if nanos != 0 || fits.is_none() {
            pax.add(b"mtime", time(seconds, nanos).as_bytes());
        }
        if matches!(kind, EntryType::Char | EntryType::Block) {
            let (major, minor) = entry.device;
            header.set_device(major, minor).map_err(fail)?;
        }
        for (name, value) in &entry.xattrs {
            if metadata::is_wanted(name) {
                pax.add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
            }
        }
        self.entries += 1;
        if !pax.data.is_empty() {
            self.extended(&pax.data)?;
        }
        header.set_checksum();
        self.put(header.as_bytes())
    }

    fn extended(&mut self, records: &[u8]) -> Result<()> {
        let mut extended = Header::new_ustar();
        extended.set_entry_type(EntryType::XHeader);
        let raw = extended.as_ustar_mut();
        raw.name[..15].copy_from_slice(b"PaxHeaders.0/xx");
        let fail = |e: tar_core::HeaderError| {
            Error::new(Kind::Limit, "write layer", "header", e.to_string())
        };
        extended.set_mode(0o644).map_err(fail)?;
        extended.set_uid(0).map_err(fail)?;
        extended.set_gid(0).map_err(fail)?;
        extended.set_mtime(0).map_err(fail)?;
        extended.set_size(records.len() as u64).map_err(fail)?;
        extended.set_checksum();
        self.put(extended.as_bytes())?;
        self.put(records)?;
        self.pad(records.len() as u64)
    }

    fn pad(&mut self, len: u64) -> Result<()> {
        let padding = (len.next_multiple_of(512) - len) as usize;
        self.put(&[0; 512][..padding])
    }

    /// The content of the entry `path`: `size` bytes of `fd` from its offset on.
    ///
    /// # Errors
    /// `Busy` when there are less.
    pub fn content(&mut self, path: &[u8], fd: BorrowedFd<'_>, size: u64) -> Result<()> {
        if size > 0
            && let Some(recorder) = &mut self.recorder
        {
            recorder.file(path, size, None)?;
        }
        let mut left = size;
        while left > 0 {
            if self.buf.len() == CHUNK {
                self.flush()?;
            }
            let start = self.buf.len();
            let want = (CHUNK - start).min(usize::try_from(left).unwrap_or(usize::MAX));
            self.buf.resize(start + want, 0);
            let n = rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut self.buf[start..]))
                .context("read", || show(path))?;
            self.buf.truncate(start + n);
            if n == 0 {
                return Err(changed(path));
            }
            left -= n as u64;
        }
        self.pad(size)
    }
}

/// The error of a file that is not what it was a moment ago.
pub fn changed(path: &[u8]) -> Error {
    Error::new(
        Kind::Busy,
        "read",
        show(path),
        "file changes while it is read",
    )
}

/// Seconds and nanoseconds as PAX writes them, without needless zeros.
fn time(seconds: i64, nanos: u32) -> String {
    let (sign, seconds, nanos) = match (seconds < 0, nanos) {
        (true, 1..) => ("-", (-(seconds + 1)).cast_unsigned(), 1_000_000_000 - nanos),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (false, nanos) => ("", seconds.cast_unsigned(), nanos),
    };
    if nanos == 0 {
        return format!("{sign}{seconds}");
    }
    format!("{sign}{seconds}.{nanos:09}")
        .trim_end_matches('0')
        .to_owned()
}

/// The records of one extended header.
#[derive(Default)]
struct Pax {
    data: Vec<u8>,
}

impl Pax {
    /// A record counts its own length, digits of the length included.
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut len = rest + rest.to_string().len();
        if len.to_string().len() > rest.to_string().len() {
            len += 1;
        }
        self.data.extend_from_slice(format!("{len} ").as_bytes());
        self.data.extend_from_slice(key);
        self.data.push(b'=');
        self.data.extend_from_slice(value);
        self.data.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::pax;
    use super::*;

    #[test]
    fn record_lengths_count_themselves() {
        for len in [
            0, 1, 84, 85, 86, 87, 88, 89, 90, 91, 92, 980, 981, 982, 983, 984, 985, 986, 9_990,
        ] {
            let mut out = Pax::default();
            let value = vec![b'v'; len];
            out.add(b"path", &value);
            out.add(b"x", b"y");
            let records = pax::records(&out.data).unwrap();
            assert_eq!(records, [(&b"path"[..], value.as_slice()), (b"x", b"y")]);
        }
    }

    #[test]
    fn times_read_back() {
        for at in [
            (0, 0),
            (12, 500_000_000),
            (12, 1),
            (-1, 0),
            (-2, 500_000_000),
            (-1, 999_999_999),
            (-62_135_596_800, 0),
        ] {
            assert_eq!(pax::time(time(at.0, at.1).as_bytes()), Some(at));
        }
    }
}
