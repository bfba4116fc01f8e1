//! Owners: the archive's numbers and the file system's.
use crate::{Error, Kind, Result};

/// One range: `len` ids from `inside` (the container's) are ids from `outside` (the host's).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First id as the archive has it.
    pub inside: u32,
    /// First id as the file system gets it.
    pub outside: u32,
    /// How many.
    pub len: u32,
}

/// A map of user and group ids; empty means the identity.
#[derive(Debug, Clone, Default)]
pub struct IdMap {
    /// User ids.
    pub uid: Vec<Range>,
    /// Group ids.
    pub gid: Vec<Range>,
}

impl IdMap {
    /// The file system's owner of an entry that belongs to `uid`:`gid` in the archive.
    ///
    /// # Errors
    /// `Invalid` for an id over 2^32-2 (2^32-1 means "no change" to the kernel) or outside the map.
    pub fn to_host(&self, uid: u64, gid: u64) -> Result<(u32, u32)> {
        Ok((
            map(&self.uid, uid, "user", false)?,
            map(&self.gid, gid, "group", false)?,
        ))
    }

    /// The reverse of [`IdMap::to_host`].
    ///
    /// # Errors
    /// `Invalid` for an id outside the map.
    pub fn to_archive(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        Ok((
            map(&self.uid, uid.into(), "user", true)?,
            map(&self.gid, gid.into(), "group", true)?,
        ))
    }
}

fn map(ranges: &[Range], id: u64, what: &str, reverse: bool) -> Result<u32> {
    let invalid =
        |why: &str| Error::new(Kind::Invalid, "map owner", format!("{what} id {id}"), why);
    let id32 = u32::try_from(id)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| invalid("larger than any id"))?;
    if ranges.is_empty() {
        return Ok(id32);
    }
    for range in ranges {
        let (from, to) = if reverse {
            (range.outside, range.inside)
        } else {
            (range.inside, range.outside)
        };
        if id32 >= from && id32 - from < range.len {
            return to
                .checked_add(id32 - from)
                .ok_or_else(|| invalid("map leaves the range of ids"));
        }
    }
    Err(invalid("not in the map of ids"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_both_ways() {
        let range = Range {
            inside: 0,
            outside: 100_000,
            len: 65_536,
        };
        let map = IdMap {
            uid: vec![range],
            gid: vec![range],
        };
        assert_eq!(map.to_host(0, 65_535).unwrap(), (100_000, 165_535));
        assert_eq!(map.to_archive(100_000, 165_535).unwrap(), (0, 65_535));
        assert!(map.to_host(65_536, 0).is_err());
        assert!(map.to_archive(0, 100_000).is_err());
        assert!(IdMap::default().to_host(u64::from(u32::MAX), 0).is_err());
        assert!(IdMap::default().to_host(1 << 32, 0).is_err());
        assert_eq!(
            IdMap::default().to_host(4_294_967_294, 5).unwrap(),
            (4_294_967_294, 5)
        );
    }
}
