//! What `docker logs` prints.
use std::sync::Arc;

use super::super::split::Stream;
use super::super::time::date;
use super::record::{Attributes, Record};

/// What is put before every record.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// When it came.
    pub timestamps: bool,
    /// The attributes.
    pub details: bool,
}

/// Records of one stream after the other, in the order in which they came.
#[derive(Debug, Default)]
pub struct Text {
    /// Never two of the same stream in a row.
    pub parts: Vec<(Stream, Vec<u8>)>,
    /// Bytes in all.
    pub size: usize,
}

impl Text {
    /// Appends a record; `attributes` are its own.
    pub fn push(
        &mut self,
        style: Style,
        record: &Record<'_>,
        attributes: Option<&Arc<Attributes>>,
    ) {
        if self.parts.last().is_none_or(|part| part.0 != record.stream) {
            self.parts.push((record.stream, Vec::new()));
        }
        let Some((_, out)) = self.parts.last_mut() else {
            return;
        };
        let before = out.len();
        if style.timestamps {
            timestamp(out, record.time);
            out.push(b' ');
        }
        if style.details {
            let mut first = true;
            for (name, value) in attributes.into_iter().flat_map(|all| all.iter()) {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                quote(out, name);
                out.push(b'=');
                quote(out, value);
            }
            out.push(b' ');
        }
        out.extend_from_slice(&record.data);
        self.size += out.len() - before;
    }
}

/// With nine digits, so that times stand below each other.
fn timestamp(out: &mut Vec<u8>, time: i64) {
    out.extend_from_slice(&date(time.div_euclid(1_000_000_000)));
    out.push(b'.');
    let start = out.len();
    out.resize(start + 9, b'0');
    let mut nanos = time.rem_euclid(1_000_000_000);
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (nanos % 10) as u8;
        nanos /= 10;
    }
    out.push(b'Z');
}

/// As a part of a URL's query.
fn quote(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &c in text.as_bytes() {
        match c {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(c),
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(&[b'%', HEX[usize::from(c >> 4)], HEX[usize::from(c & 15)]]),
        }
    }
}
