//! Lists of CPUs and memory nodes as in cpuset(7): `0-3,7`.
use std::fmt;

use crate::{Error, Kind, Result};

/// The largest number that any kernel is built for (`CONFIG_NR_CPUS` is at most 8192).
const MAX: u32 = 8191;

/// A set of numbers, kept as sorted ranges that neither touch nor overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuList(Vec<(u32, u32)>);

impl CpuList {
    /// Reads a list; surrounding blanks and the empty list are fine.
    ///
    /// # Errors
    /// `invalid` for anything but ascending ranges of numbers up to 8191.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: String| {
            Error::new(
                Kind::Invalid,
                "use list of CPUs or nodes",
                format!("{text:.80?}"),
                why,
            )
        };
        let number = |digits: &str| -> Result<u32> {
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(invalid(format!("{digits:.20?} is not a number")));
            }
            match digits.parse::<u32>() {
                Ok(n) if n <= MAX => Ok(n),
                _ => Err(invalid(format!("{digits:.20} is larger than {MAX}"))),
            }
        };
        let mut ranges = Vec::new();
        if text.len() > 1 << 16 {
            return Err(invalid("it is longer than 64 KiB".into()));
        }
        if !text.trim().is_empty() {
            for part in text.trim().split(',') {
                let (low, high) = part.split_once('-').unwrap_or((part, part));
                let (low, high) = (number(low)?, number(high)?);
                if low > high {
                    return Err(invalid(format!("range {low}-{high} goes backwards")));
                }
                ranges.push((low, high));
            }
        }
        ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match joined.last_mut() {
                Some(last) if low <= last.1 + 1 => last.1 = last.1.max(high),
                _ => joined.push((low, high)),
            }
        }
        Ok(Self(joined))
    }

    /// Whether no number is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `other` has all numbers of this one.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|&(low, high)| other.0.iter().any(|&(l, h)| l <= low && high <= h))
    }

    /// How many numbers are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0
            .iter()
            .map(|&(low, high)| (high - low + 1) as usize)
            .sum()
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, &(low, high)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if low == high {
                write!(f, "{comma}{low}")?
            } else {
                write!(f, "{comma}{low}-{high}")?
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn refuses_nonsense_at_once() {
        for bad in [
            "0-4294967295",
            "a",
            "1-",
            "-1",
            "3-1",
            "1,,2",
            "1-2-3",
            "0x1",
            "+1",
            "99999999999999999999",
            "1 2",
            "8192",
        ] {
            let error = CpuList::parse(bad).unwrap_err();
            assert_eq!(error.kind, Kind::Invalid, "{bad}");
        }
        assert!(CpuList::parse(&"1,".repeat(1 << 20)).is_err());
    }

    proptest! {
        #[test]
        fn means_what_a_set_means(ranges in prop::collection::vec((0u32..60, 0u32..8), 0..8), others in prop::collection::vec((0u32..60, 0u32..20), 0..8)) {
            let text = |r: &[(u32, u32)]| r.iter().map(|(a, n)| format!("{a}-{}", a + n)).collect::<Vec<_>>().join(",");
            let set = |r: &[(u32, u32)]| r.iter().flat_map(|&(a, n)| a..=a + n).collect::<BTreeSet<_>>();
            let (list, other) = (CpuList::parse(&text(&ranges)).unwrap(), CpuList::parse(&text(&others)).unwrap());
            prop_assert_eq!(list.len(), set(&ranges).len());
            prop_assert_eq!(list.is_subset(&other), set(&ranges).is_subset(&set(&others)));
            prop_assert_eq!(CpuList::parse(&list.to_string()).unwrap(), list);
        }
    }
}
