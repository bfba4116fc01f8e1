//! The tar parser: ustar, V7, GNU (long names, sparse, base-256) and PAX (local, global, sparse 0.0, 0.1, 1.0).
//!
//! Strict where tools disagree, because an archive that two tools read differently can hide files from one of them
//! (CVE-2025-62518): a size that PAX and the header state differently, content behind an entry that cannot have any,
//! or data after the end are errors.
use std::collections::BTreeMap;

use tar_core::Header;

pub use super::entry::{Entry, EntryKind, Region};
use super::feed::Feed;
use super::header::{header_path, numeric, signed, until_nul};
use super::limits::{Limits, exceeded};
use super::path::show;
use super::sparse::PaxSparse;
use super::{pax, sniff};
use crate::{Error, Kind, Result};

/// The largest size that the 11 octal digits of a header hold.
pub(super) const OCTAL_SIZE_MAX: u64 = 0o777_7777_7777;

/// Reads the entries of one archive in order.
pub struct Archive<'a> {
    pub(super) feed: Feed<'a>,
    pub(super) limits: Limits,
    globals: BTreeMap<Vec<u8>, Vec<u8>>,
    content_left: u64,
    padding: u64,
    count: u64,
    /// The end mark was there; without it nobody can tell whether the archive is whole.
    pub ended: bool,
}

/// Headers that came before the one of the entry itself.
#[derive(Default)]
struct Pending {
    pax: Option<Vec<u8>>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    bytes: usize,
}

impl<'a> Archive<'a> {
    /// An archive read from `feed`.
    #[must_use]
    pub fn new(feed: Feed<'a>, limits: Limits) -> Self {
        Self {
            feed,
            limits,
            globals: BTreeMap::new(),
            content_left: 0,
            padding: 0,
            count: 0,
            ended: false,
        }
    }

    /// The stream below.
    pub fn feed(&mut self) -> &mut Feed<'a> {
        &mut self.feed
    }

    /// The stream below, for good.
    #[must_use]
    pub fn into_feed(self) -> Feed<'a> {
        self.feed
    }

    /// Bytes of the current entry's content that were not taken yet.
    #[must_use]
    pub fn content_left(&self) -> u64 {
        self.content_left
    }

    /// The next piece of the current entry's content, not recorded; `None` after its end.
    pub fn content(&mut self, max: u64) -> Result<Option<&[u8]>> {
        if self.content_left == 0 {
            return Ok(None);
        }
        let slice = self.feed.content(self.content_left.min(max))?;
        self.content_left -= slice.len() as u64;
        Ok(Some(slice))
    }

    /// Passes over the rest of the current entry, recording it.
    fn skip_rest(&mut self) -> Result<()> {
        self.feed.skip(std::mem::take(&mut self.content_left))?;
        self.feed.skip(std::mem::take(&mut self.padding))
    }

    /// The next entry; `None` at the end of the archive, after which the stream is read to its end.
    ///
    /// # Errors
    /// `Corrupt` for anything that is not a whole, unambiguous archive, `Limit` for one over its limits,
    /// `Unsupported` for entry types that no file system has.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.skip_rest()?;
        let mut pending = Pending::default();
        let mut extensions = 0;
        loop {
            let Some(block) = self.feed.block()? else {
                return self.ended_early(&pending);
            };
            if block == [0; 512] {
                self.end(&pending)?;
                return Ok(None);
            }
            let header = Header::from_bytes(&block);
            if header.verify_checksum().is_err() {
                return Err(self.not_a_header(&block));
            }
            let raw = header.as_ustar();
            let size = numeric(&raw.size)
                .ok_or_else(|| self.corrupt("size of an entry is not a number"))?;
            let kind = match raw.typeflag[0] {
                b'x' => {
                    if pending.pax.is_some() {
                        return Err(self.corrupt("two extended headers for one entry"));
                    }
                    pending.pax = Some(self.extension(&mut pending.bytes, size)?);
                    None
                }
                b'g' => {
                    self.global(size)?;
                    None
                }
                b'L' => {
                    pending.long_name = Some(until_nul(self.extension(&mut pending.bytes, size)?));
                    None
                }
                b'K' => {
                    pending.long_link = Some(until_nul(self.extension(&mut pending.bytes, size)?));
                    None
                }
                // The name of the volume: nothing to make.
                b'V' if size == 0 => None,
                // V7 archives mark a directory by the slash alone.
                b'0' | 0 | b'7' => {
                    let slash =
                        raw.typeflag[0] != b'7' && header.path_bytes().ends_with(b"/") && size == 0;
                    Some(if slash {
                        EntryKind::Directory
                    } else {
                        EntryKind::File
                    })
                }
                b'S' => Some(EntryKind::File),
                b'1' => Some(EntryKind::Hardlink),
                b'2' => Some(EntryKind::Symlink),
                b'3' => Some(EntryKind::Char),
                b'4' => Some(EntryKind::Block),
                b'5' => Some(EntryKind::Directory),
                b'6' => Some(EntryKind::Fifo),
                other => {
                    let name = show(header.path_bytes());
                    let why = format!("entry type {:?} of tar is not supported", char::from(other));
                    return Err(Error::new(Kind::Unsupported, "unpack", name, why));
                }
            };
            match kind {
                Some(kind) => return self.entry(header, kind, size, &pending).map(Some),
                None => {
                    extensions += 1;
                    if extensions > 64 {
                        return Err(exceeded(
                            "metadata",
                            "more than 64 headers before one entry",
                        ));
                    }
                }
            }
        }
    }

    /// Content and padding of an extended header, within the limit for all those of one entry.
    fn extension(&mut self, total: &mut usize, size: u64) -> Result<Vec<u8>> {
        let len = usize::try_from(size)
            .ok()
            .filter(|len| *len <= self.limits.metadata.saturating_sub(*total));
        let Some(len) = len else {
            return Err(exceeded(
                "metadata",
                format!("extended header of {size} bytes"),
            ));
        };
        *total += len;
        let data = self.feed.metadata(len)?;
        self.feed.skip(size.next_multiple_of(512) - size)?;
        Ok(data)
    }

    /// A global header: defaults for all entries that follow.
    fn global(&mut self, size: u64) -> Result<()> {
        let mut total = self
            .globals
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        let data = self.extension(&mut total, size)?;
        for (key, value) in pax::records(&data)? {
            if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.") {
                let why = format!("global header sets {} of all entries", show(key));
                return Err(self.corrupt(&why));
            }
            if value.is_empty() {
                self.globals.remove(key);
            } else {
                self.globals.insert(key.to_vec(), value.to_vec());
            }
        }
        Ok(())
    }

    /// The stream ended where a header should be.
    fn ended_early(&self, pending: &Pending) -> Result<Option<Entry>> {
        if self.feed.offset == 0 {
            return Err(self.corrupt("archive is empty"));
        }
        if pending.pax.is_some()
            || pending.long_name.is_some()
            || pending.long_link.is_some()
            || self.count == 0
        {
            return Err(self.corrupt("archive is truncated: an extended header without its entry"));
        }
        Ok(None)
    }

    /// A block of zeros: the end, when another follows or nothing does.
    fn end(&mut self, pending: &Pending) -> Result<()> {
        if pending.pax.is_some() || pending.long_name.is_some() || pending.long_link.is_some() {
            return Err(self.corrupt("extended header without its entry"));
        }
        self.ended = true;
        match self.feed.block()? {
            Some(block) if block != [0; 512] => {
                Err(self.corrupt("single block of zeros inside the archive"))
            }
            _ => self.feed.finish(),
        }
    }

    fn not_a_header(&self, block: &[u8; 512]) -> Error {
        if self.feed.offset > 512 {
            return self.corrupt(&format!(
                "damaged header at byte {}",
                self.feed.offset - 512
            ));
        }
        Error::new(
            Kind::Corrupt,
            "unpack",
            "layer",
            format!("not a tar archive{}", sniff::looks_like(block)),
        )
    }

    fn corrupt(&self, why: &str) -> Error {
        Error::new(Kind::Corrupt, "unpack", "layer", why)
    }

    /// Everything known about the entry of `header`.
    fn entry(
        &mut self,
        header: &Header,
        kind: EntryKind,
        size: u64,
        pending: &Pending,
    ) -> Result<Entry> {
        self.count += 1;
        if self.count > self.limits.entries {
            return Err(exceeded(
                "entries",
                format!("more than {} entries", self.limits.entries),
            ));
        }
        let raw = header.as_ustar();
        let field = |value: Option<u64>, what: &str| {
            value.ok_or_else(|| {
                let why = format!("{what} is not a number");
                Error::new(Kind::Corrupt, "unpack", show(header.path_bytes()), why)
            })
        };
        let mut entry = Entry {
            kind,
            path: header_path(header),
            link: header.link_name_bytes().to_vec(),
            mode: (field(numeric(&raw.mode), "mode")? & 0o7777) as u32,
            uid: field(numeric(&raw.uid), "user id")?,
            gid: field(numeric(&raw.gid), "group id")?,
            mtime: (
                signed(&raw.mtime).ok_or_else(|| self.corrupt("time is not a number"))?,
                0,
            ),
            stored: size,
            size,
            sparse: None,
            device: (0, 0),
            xattrs: Vec::new(),
        };
        if matches!(kind, EntryKind::Char | EntryKind::Block) {
            let number = |raw: &[u8], what| {
                field(
                    numeric(raw).filter(|value| u32::try_from(*value).is_ok()),
                    what,
                )
            };
            entry.device = (
                number(&raw.dev_major, "major number")? as u32,
                number(&raw.dev_minor, "minor number")? as u32,
            );
        }
        if let Some(name) = &pending.long_name {
            entry.path.clone_from(name);
        }
        if let Some(link) = &pending.long_link {
            entry.link.clone_from(link);
        }
        let mut sparse = PaxSparse::default();
        let globals = std::mem::take(&mut self.globals);
        let applied = globals
            .iter()
            .try_for_each(|(key, value)| self.apply(&mut entry, &mut sparse, header, key, value));
        self.globals = globals;
        applied?;
        if let Some(data) = &pending.pax {
            for (key, value) in pax::records(data)? {
                self.apply(&mut entry, &mut sparse, header, key, value)?;
            }
        }
        self.content_rules(&mut entry, header, sparse)?;
        Ok(entry)
    }

    /// One record of an extended header.
    fn apply(
        &self,
        entry: &mut Entry,
        sparse: &mut PaxSparse,
        header: &Header,
        key: &[u8],
        value: &[u8],
    ) -> Result<()> {
        let bad = |what: &str| {
            let why = format!("extended header: {what} is not a number");
            Error::new(Kind::Corrupt, "unpack", show(header.path_bytes()), why)
        };
        // An empty value takes the record away and brings the header's own back.
        let deleted = value.is_empty();
        match key {
            b"path" if deleted => entry.path = header_path(header),
            b"path" => entry.path = value.to_vec(),
            b"linkpath" if deleted => entry.link = header.link_name_bytes().to_vec(),
            b"linkpath" => entry.link = value.to_vec(),
            b"size" if !deleted => {
                sparse.pax_size = Some(pax::number(value).ok_or_else(|| bad("size"))?)
            }
            b"uid" if !deleted => entry.uid = pax::number(value).ok_or_else(|| bad("uid"))?,
            b"gid" if !deleted => entry.gid = pax::number(value).ok_or_else(|| bad("gid"))?,
            b"mtime" if !deleted => entry.mtime = pax::time(value).ok_or_else(|| bad("mtime"))?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    entry.xattrs.retain(|(known, _)| known != name);
                    if entry.xattrs.len() >= self.limits.xattrs {
                        return Err(exceeded(
                            "xattrs",
                            format!("more than {} attributes", self.limits.xattrs),
                        ));
                    }
                    entry.xattrs.push((name.to_vec(), value.to_vec()));
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    sparse.apply(name, value, &self.limits)?;
                }
            }
        }
        Ok(())
    }

    /// Decides how much content follows and where it goes.
    fn content_rules(
        &mut self,
        entry: &mut Entry,
        header: &Header,
        sparse: PaxSparse,
    ) -> Result<()> {
        let here = show(&entry.path);
        let corrupt = |why: String| Error::new(Kind::Corrupt, "unpack", here.clone(), why);
        if let Some(size) = sparse.pax_size {
            if size <= OCTAL_SIZE_MAX && size != entry.stored {
                return Err(corrupt(format!(
                    "size is {size} in the extended header and {} in the header",
                    entry.stored
                )));
            }
            entry.stored = size;
            entry.size = size;
        }
        if entry.kind != EntryKind::File {
            if entry.stored != 0 {
                return Err(corrupt(format!(
                    "{} bytes of content on an entry that has none",
                    entry.stored
                )));
            }
            if sparse.is_used() || header.as_ustar().typeflag[0] == b'S' {
                return Err(corrupt("holes in an entry without content".into()));
            }
            return Ok(());
        }
        let padded = entry
            .stored
            .checked_next_multiple_of(512)
            .filter(|padded| i64::try_from(*padded).is_ok());
        let Some(padded) = padded else {
            return Err(corrupt(format!("size {} is impossible", entry.stored)));
        };
        self.padding = padded - entry.stored;
        let gnu = header.as_ustar().typeflag[0] == b'S';
        if gnu && sparse.is_used() {
            return Err(corrupt("two maps of holes".into()));
        }
        if gnu {
            let (regions, size) = self.gnu_sparse(header)?;
            entry.sparse = Some(regions);
            entry.size = size;
        } else if sparse.is_used() {
            if let Some(name) = &sparse.name {
                entry.path.clone_from(name);
            }
            entry.size = sparse
                .size
                .ok_or_else(|| corrupt("sparse file without its size".into()))?;
            entry.sparse = Some(match sparse.version {
                (None | Some(0), _) => sparse.regions.clone(),
                (Some(1), Some(0)) => self.map_in_content(entry)?,
                _ => return Err(corrupt("unknown version of a sparse file".into())),
            });
        }
        if let Some(regions) = &mut entry.sparse {
            // GNU tar marks a hole at the end by an empty region.
            regions.retain(|region| region.len > 0);
            let mut end = 0_u64;
            let mut sum = 0_u64;
            for region in regions.iter() {
                let next = region
                    .offset
                    .checked_add(region.len)
                    .filter(|next| *next <= entry.size);
                let Some(next) = next.filter(|_| region.offset >= end) else {
                    return Err(corrupt(
                        "regions of a sparse file overlap or leave it".into(),
                    ));
                };
                end = next;
                sum += region.len;
            }
            if sum != entry.stored {
                return Err(corrupt(format!(
                    "regions of a sparse file hold {sum} bytes, the archive {}",
                    entry.stored
                )));
            }
        }
        if i64::try_from(entry.size).is_err() {
            return Err(corrupt(format!("size {} is impossible", entry.size)));
        }
        self.content_left = entry.stored;
        Ok(())
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
