//! PAX extended headers: `LENGTH KEY=VALUE\n` records (pax(1), "extended header").
//!
//! tar-core has an iterator for them, but it ends silently at a record whose length it cannot read; a damaged or
//! hostile header must be an error, since what follows would be read by other tools.
use crate::{Error, Kind, Result};

/// The records, in order. A key may come more than once.
///
/// # Errors
/// `Corrupt` for anything that is not a sequence of whole records.
pub fn records(mut data: &[u8]) -> Result<Vec<(&[u8], &[u8])>> {
    let bad = |why: &str| {
        Error::new(
            Kind::Corrupt,
            "unpack",
            "layer",
            format!("extended header: {why}"),
        )
    };
    let mut out = Vec::new();
    while !data.is_empty() {
        // Some writers pad the last record's block inside the declared size.
        if data.iter().all(|byte| *byte == 0) {
            break;
        }
        let space = data
            .iter()
            .take(11)
            .position(|byte| *byte == b' ')
            .ok_or_else(|| bad("record without a length"))?;
        let len = number(&data[..space]).ok_or_else(|| bad("length is not a number"))?;
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len <= data.len())
            .ok_or_else(|| bad("record is cut off"))?;
        let record = data
            .get(space + 1..len)
            .ok_or_else(|| bad("record is too short"))?;
        let Some((b'\n', pair)) = record.split_last() else {
            return Err(bad("record does not end with a line feed"));
        };
        let equals = pair
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(|| bad("record without '='"))?;
        if equals == 0 {
            return Err(bad("record without a key"));
        }
        out.push((&pair[..equals], &pair[equals + 1..]));
        data = &data[len..];
    }
    Ok(out)
}

/// A decimal number made of digits only.
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// Seconds since 1970 with any number of decimals, cut to nanoseconds; before 1970 rounded towards the past.
pub fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = text
        .strip_prefix(b"-")
        .map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let seconds = i64::try_from(number(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut nanos = 0;
    for at in 0..9 {
        nanos = nanos * 10 + u32::from(fraction.get(at).map_or(0, |byte| byte - b'0'));
    }
    Some(match (negative, nanos) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_records() {
        let data = b"11 path=ab\n10 empty=\n13 x=a=b\nc\nd\n";
        // "13 x=a=b\nc\nd\n": values may hold '=' and line feeds
        let got = records(data).unwrap();
        assert_eq!(got[0], (&b"path"[..], &b"ab"[..]));
        assert_eq!(got[1], (&b"empty"[..], &b""[..]));
        assert_eq!(got[2], (&b"x"[..], &b"a=b\nc\nd"[..]));
    }

    #[test]
    fn refuses_damage() {
        for bad in [
            &b"path=x\n"[..],
            b"99 path=x\n",
            b"9 path=x",
            b"11 path=x\n",
            b"8 path=x\n",
            b"+9 path=x\n",
            b"0 path=x\n",
            b"2 path=x\n",
            b"5 =x\n",
            b"99999999999999999999 p=x\n",
            b"7 pathx\n",
        ] {
            assert!(records(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(records(b"9 path=x\n").is_ok());
    }

    #[test]
    fn times() {
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"12.0000000019"), Some((12, 1)));
        assert_eq!(time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time(b"-62135596800"), Some((-62_135_596_800, 0)));
        for bad in [
            &b""[..],
            b"x",
            b"1.x",
            b"--1",
            b".5",
            b"99999999999999999999",
        ] {
            assert_eq!(time(bad), None);
        }
    }
}
