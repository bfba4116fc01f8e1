//! Records of `json-file`, byte for byte as Docker writes them.
use std::collections::BTreeMap;

use super::split::Entry;
use super::time::Clock;

/// Encodes records one after the other.
#[derive(Debug)]
pub struct Json {
    /// `,"attrs":{…}`, or nothing.
    attributes: Vec<u8>,
    clock: Clock,
}

impl Json {
    /// With these attributes in every record.
    #[must_use]
    pub fn new(attributes: &BTreeMap<String, String>) -> Self {
        let mut text = Vec::new();
        for (name, value) in attributes {
            text.extend_from_slice(if text.is_empty() {
                b",\"attrs\":{\""
            } else {
                b"\",\""
            });
            escape(&mut text, name.as_bytes(), true);
            text.extend_from_slice(b"\":\"");
            escape(&mut text, value.as_bytes(), true);
        }
        if !text.is_empty() {
            text.extend_from_slice(b"\"}");
        }
        Self {
            attributes: text,
            clock: Clock::default(),
        }
    }

    /// Appends one record.
    pub fn encode(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        out.reserve(entry.line.len() + self.attributes.len() + 96);
        out.extend_from_slice(b"{\"log\":\"");
        if plain(entry.line) {
            out.extend_from_slice(entry.line);
        } else {
            escape(out, entry.line, false);
        }
        if entry.ends_line() {
            out.extend_from_slice(b"\\n");
        }
        out.extend_from_slice(b"\",\"stream\":\"");
        out.extend_from_slice(entry.stream.name().as_bytes());
        out.push(b'"');
        out.extend_from_slice(&self.attributes);
        out.extend_from_slice(b",\"time\":\"");
        self.clock.format(out, entry.time);
        out.extend_from_slice(b"\"}\n");
    }
}

/// Whether a text stands for itself. Without an early end, so that the compiler looks at 16 bytes at a time.
fn plain(text: &[u8]) -> bool {
    text.iter().fold(true, |all, &c| all & stands(c))
}

const fn stands(c: u8) -> bool {
    (c >= 0x20) & (c < 0x80) & (c != b'"') & (c != b'\\') & (c != b'<') & (c != b'>') & (c != b'&')
}

/// Which bytes of valid UTF-8 stand for themselves, whatever follows them.
const STANDS: [bool; 256] = {
    let mut table = [false; 256];
    let mut c = 0;
    while c < 256 {
        // U+2028 and U+2029 begin with 0xe2.
        table[c] = stands(c as u8) || (c >= 0x80 && c != 0xe2);
        c += 1;
    }
    table
};

/// Appends a text with Go's escapes. `short` has the two more that Go's own package knows, and Docker's lines do not.
fn escape(out: &mut Vec<u8>, text: &[u8], short: bool) {
    for part in text.utf8_chunks() {
        let valid = part.valid().as_bytes();
        let (mut start, mut at) = (0, 0);
        while at < valid.len() {
            if STANDS[usize::from(valid[at])] {
                at += 1;
                continue;
            }
            out.extend_from_slice(&valid[start..at]);
            at += escape_one(out, &valid[at..], short);
            start = at;
        }
        out.extend_from_slice(&valid[start..]);
        // One for every byte: Go takes them one by one.
        for _ in part.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Appends the escape of the first character, or the character itself; how many bytes it is of the text.
fn escape_one(out: &mut Vec<u8>, text: &[u8], short: bool) -> usize {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match text {
        [b'\n', ..] => out.extend_from_slice(b"\\n"),
        [b'\r', ..] => out.extend_from_slice(b"\\r"),
        [b'\t', ..] if short => out.extend_from_slice(b"\\t"),
        [8, ..] if short => out.extend_from_slice(b"\\b"),
        [12, ..] if short => out.extend_from_slice(b"\\f"),
        [c @ (b'"' | b'\\'), ..] => out.extend_from_slice(&[b'\\', *c]),
        [0xe2, 0x80, c @ (0xa8 | 0xa9), ..] => {
            out.extend_from_slice(b"\\u202");
            out.push(HEX[usize::from(c & 15)]);
            return 3;
        }
        [0xe2, ..] => out.push(0xe2),
        [c, ..] => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(c >> 4)], HEX[usize::from(c & 15)]]);
        }
        [] => return 0,
    }
    1
}

#[cfg(test)]
mod tests {
    use super::super::split::{Partial, Stream};
    use super::*;

    fn encoded(line: &[u8], attributes: &[(&str, &str)], partial: Option<Partial>) -> String {
        let attributes = attributes
            .iter()
            .map(|&(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let mut out = Vec::new();
        Json::new(&attributes).encode(
            &mut out,
            &Entry {
                stream: Stream::Stdout,
                time: 1_764_156_240_100_000_000,
                line,
                partial,
            },
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_docker_writes_them() {
        // Seen in Docker 28.5.
        let line = b"a\tb\x01\x7f\x08\x0c<&>\"\\ \xc3\xa9 \xff\xe2\x80\xa8 \xe2\x80\xa9 \xed\xa0\x80 \xf0\x9f\x98\x80 \xf0\x9f\x98 x\r";
        assert_eq!(
            encoded(line, &[], None),
            concat!(
                r#"{"log":"a\u0009b\u0001"#,
                "\x7f",
                r#"\u0008\u000c\u003c\u0026\u003e\"\\ é \ufffd\u2028 \u2029 \ufffd\ufffd\ufffd 😀 \ufffd\ufffd\ufffd x\r\n","stream":"stdout","time":"2025-11-26T11:24:00.1Z"}"#,
                "\n"
            )
        );
        let partial = Partial {
            id: [0; 32],
            ordinal: 1,
            last: false,
        };
        assert_eq!(
            encoded(b"hi", &[("y", "2"), ("x", "1<\t")], Some(partial)),
            "{\"log\":\"hi\",\"stream\":\"stdout\",\"attrs\":{\"x\":\"1\\u003c\\t\",\"y\":\"2\"},\"time\":\"2025-11-26T11:24:00.1Z\"}\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn is_json_of_the_same_text(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let text = encoded(&line, &[], None);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let log = value["log"].as_str().unwrap();
            proptest::prop_assert!(!text[..text.len() - 1].contains('\n'));
            let mut expected = String::new();
            for part in line.utf8_chunks() {
                expected.push_str(part.valid());
                expected.extend(part.invalid().iter().map(|_| '\u{fffd}'));
            }
            expected.push('\n');
            proptest::prop_assert_eq!(log, expected);
        }
    }
}
