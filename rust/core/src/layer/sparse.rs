//! Files with holes: where the four formats keep the map.
use tar_core::Header;

use super::archive::{Archive, Entry, Region};
use super::header::numeric;
use super::limits::{Limits, exceeded};
use super::path::show;
use super::pax;
use crate::{Error, Kind, Result};

/// What PAX records say about holes, and about the size.
#[derive(Default)]
pub struct PaxSparse {
    pub pax_size: Option<u64>,
    pub version: (Option<u64>, Option<u64>),
    pub size: Option<u64>,
    pub name: Option<Vec<u8>>,
    pub regions: Vec<Region>,
    /// Version 0.0 writes offset and length as separate records.
    pub offset: Option<u64>,
    pub mapped: bool,
}

impl PaxSparse {
    pub fn is_used(&self) -> bool {
        self.size.is_some() || self.mapped || self.version.0.is_some() || self.name.is_some()
    }

    /// A record `GNU.sparse.KEY`.
    pub fn apply(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<()> {
        let bad = || {
            let why = format!("extended header: GNU.sparse.{} is malformed", show(key));
            Error::new(Kind::Corrupt, "unpack", "layer", why)
        };
        let number = || pax::number(value).ok_or_else(bad);
        let mut add = |offset, len| {
            if self.regions.len() >= limits.regions {
                return Err(exceeded("regions", "sparse file of too many pieces"));
            }
            self.mapped = true;
            self.regions.push(Region { offset, len });
            Ok(())
        };
        match key {
            b"major" => self.version.0 = Some(number()?),
            b"minor" => self.version.1 = Some(number()?),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"name" => self.name = Some(value.to_vec()),
            b"numblocks" => {
                number()?;
            }
            b"offset" => {
                if self.offset.replace(number()?).is_some() {
                    return Err(bad());
                }
            }
            b"numbytes" => {
                let offset = self.offset.take().ok_or_else(bad)?;
                add(offset, number()?)?;
            }
            b"map" => {
                let numbers: Vec<_> = value
                    .split(|byte| *byte == b',')
                    .filter(|_| !value.is_empty())
                    .map(|text| pax::number(text).ok_or_else(bad))
                    .collect::<Result<_>>()?;
                if !numbers.len().is_multiple_of(2) {
                    return Err(bad());
                }
                for pair in numbers.chunks_exact(2) {
                    add(pair[0], pair[1])?;
                }
                self.mapped = true;
            }
            _ => return Err(bad()),
        }
        Ok(())
    }
}

impl Archive<'_> {
    /// The map of an old GNU sparse file: four regions in its header, 21 in each block that follows.
    pub fn gnu_sparse(&mut self, header: &Header) -> Result<(Vec<Region>, u64)> {
        let bad = |what| Error::new(Kind::Corrupt, "unpack", show(header.path_bytes()), what);
        if !header.is_gnu() {
            return Err(bad("sparse file in an archive that is not GNU's"));
        }
        let gnu = header.as_gnu();
        let size =
            numeric(&gnu.realsize).ok_or_else(|| bad("size of a sparse file is not a number"))?;
        let mut regions = Vec::new();
        let mut add = |offset: &[u8], len: &[u8]| -> Result<bool> {
            if offset[0] == 0 && len[0] == 0 {
                return Ok(false);
            }
            if regions.len() >= self.limits.regions {
                return Err(exceeded("regions", "sparse file of too many pieces"));
            }
            let number =
                |raw| numeric(raw).ok_or_else(|| bad("region of a sparse file is not a number"));
            regions.push(Region {
                offset: number(offset)?,
                len: number(len)?,
            });
            Ok(true)
        };
        let mut open = true;
        for slot in &gnu.sparse {
            open = open && add(&slot.offset, &slot.numbytes)?;
        }
        let mut more = gnu.isextended[0] != 0;
        while more {
            let Some(block) = self.feed.block()? else {
                return Err(bad("map of a sparse file is truncated"));
            };
            if !open {
                return Err(bad("map of a sparse file goes on after its end"));
            }
            for slot in block[..504].chunks_exact(24) {
                open = open && add(&slot[..12], &slot[12..])?;
            }
            more = block[504] != 0;
        }
        Ok((regions, size))
    }

    /// The map of a PAX 1.0 sparse file: decimal lines at the head of the content, padded to a block.
    pub fn map_in_content(&mut self, entry: &mut Entry) -> Result<Vec<Region>> {
        let here = show(&entry.path);
        let bad = |what| Error::new(Kind::Corrupt, "unpack", here.clone(), what);
        let mut numbers = Vec::new();
        let mut wanted = 1_u64;
        let mut digits = Vec::new();
        while numbers.len() as u64 != wanted {
            if entry.stored < 512 {
                return Err(bad("map of a sparse file is cut off"));
            }
            entry.stored -= 512;
            let block = self
                .feed
                .block()?
                .ok_or_else(|| bad("map of a sparse file is truncated"))?;
            for byte in block {
                if numbers.len() as u64 == wanted {
                    break;
                }
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(bad("map of a sparse file is not made of numbers"));
                    }
                    continue;
                }
                let number = pax::number(&digits)
                    .ok_or_else(|| bad("map of a sparse file is not made of numbers"))?;
                digits.clear();
                if numbers.is_empty() {
                    if number > self.limits.regions as u64 {
                        return Err(exceeded("regions", "sparse file of too many pieces"));
                    }
                    wanted = 1 + 2 * number;
                }
                numbers.push(number);
            }
        }
        Ok(numbers[1..]
            .chunks_exact(2)
            .map(|pair| Region {
                offset: pair[0],
                len: pair[1],
            })
            .collect())
    }
}
