//! Numbers and names of a tar header.
use tar_core::Header;

/// Name of a header, with the prefix of ustar.
pub fn header_path(header: &Header) -> Vec<u8> {
    match header.prefix() {
        Some(prefix) if !prefix.is_empty() => [prefix, b"/", header.path_bytes()].concat(),
        _ => header.path_bytes().to_vec(),
    }
}

pub fn until_nul(mut data: Vec<u8>) -> Vec<u8> {
    if let Some(nul) = data.iter().position(|byte| *byte == 0) {
        data.truncate(nul);
    }
    data
}

/// A number of a header that cannot be negative.
pub fn numeric(field: &[u8]) -> Option<u64> {
    signed(field).and_then(|value| u64::try_from(value).ok())
}

/// A number of a header: octal digits between blanks, or big-endian two's complement after a set high bit.
///
/// tar-core's own reading of the second form wraps around instead of failing.
pub fn signed(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // The top bit is the mark, the next one the sign.
        let start = if first & 0x40 != 0 { -1_i64 } else { 0 };
        let head = i64::from(first & 0x3f) | if start < 0 { !0x3f } else { 0 };
        return field[1..].iter().try_fold(head, |value, byte| {
            value.checked_mul(256)?.checked_add(i64::from(*byte))
        });
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field
        .iter()
        .position(|byte| !blank(byte))
        .unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0_i64, |value, byte| {
        let digit = (b'0'..=b'7')
            .contains(byte)
            .then(|| i64::from(byte - b'0'))?;
        value.checked_mul(8)?.checked_add(digit)
    })
}
