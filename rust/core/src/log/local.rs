//! Records of `local`, byte for byte as Docker writes them: a protocol-buffer message between two copies of its length.
use std::collections::BTreeMap;

use super::split::{Entry, Partial};

/// A record without its message: the two lengths.
pub const FRAME: usize = 8;

/// Encodes records one after the other.
#[derive(Debug)]
pub struct Local {
    /// The fields of the attributes, encoded.
    attributes: Vec<u8>,
}

impl Local {
    /// With these attributes in every record (Docker does so from version 29 on; older ones skip them).
    #[must_use]
    pub fn new(attributes: &BTreeMap<String, String>) -> Self {
        let mut text = Vec::new();
        for (name, value) in attributes {
            let mut pair = Vec::new();
            bytes(&mut pair, 1, name.as_bytes());
            bytes(&mut pair, 2, value.as_bytes());
            bytes(&mut text, 6, &pair);
        }
        Self { attributes: text }
    }

    /// Appends one record.
    pub fn encode(&self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        let start = out.len();
        out.reserve(entry.line.len() + self.attributes.len() + 128);
        out.extend_from_slice(&[0; 4]);
        bytes(out, 1, entry.stream.name().as_bytes());
        number(out, 2, entry.time as u64);
        bytes(out, 3, entry.line);
        if let Some(partial) = &entry.partial {
            number(out, 4, 1);
            encode_partial(out, partial);
        }
        out.extend_from_slice(&self.attributes);
        let length = ((out.len() - start - 4) as u32).to_be_bytes();
        out[start..start + 4].copy_from_slice(&length);
        out.extend_from_slice(&length);
    }
}

fn encode_partial(out: &mut Vec<u8>, partial: &Partial) {
    let mut inner = Vec::with_capacity(80);
    number(&mut inner, 1, u64::from(partial.last));
    bytes(&mut inner, 2, hex(&partial.id).as_bytes());
    number(&mut inner, 3, u64::from(partial.ordinal));
    bytes(out, 5, &inner);
}

/// The id of a line as text.
#[must_use]
pub fn hex(id: &[u8; 32]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    id.iter()
        .flat_map(|c| [c >> 4, c & 15])
        .map(|digit| char::from(HEX[usize::from(digit)]))
        .collect()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number; 0 is not written.
fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    if value != 0 {
        out.push(field << 3);
        varint(out, value);
    }
}

/// Bytes, text or a message; empty ones are not written.
fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    if !value.is_empty() {
        out.push(field << 3 | 2);
        varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::split::Stream;
    use super::*;

    #[test]
    fn frames_a_message() {
        let mut out = Vec::new();
        let entry = Entry {
            stream: Stream::Stderr,
            time: 300,
            line: b"hi",
            partial: None,
        };
        Local::new(&BTreeMap::new()).encode(&mut out, &entry);
        assert_eq!(
            out,
            b"\0\0\0\x0f\x0a\x06stderr\x10\xac\x02\x1a\x02hi\0\0\0\x0f"
        );
    }
}
