//! Reading records of `json-file`, whoever wrote them.
use std::borrow::Cow;

use serde_json::Value;

use super::super::split::Stream;
use super::super::time;
use super::record::{Attributes, LARGEST, Record, Step};

/// Looks at the first line.
pub fn step(data: &[u8]) -> Step<'_> {
    let Some(end) = memchr::memchr(b'\n', data) else {
        return if data.len() > LARGEST {
            Step::Damaged(data.len())
        } else {
            Step::More
        };
    };
    let line = &data[..end];
    match usual(line).or_else(|| unusual(line)) {
        Some(record) => Step::Record(record, end + 1),
        None => Step::Damaged(end + 1),
    }
}

/// A line in the order in which Docker and minidock write it.
fn usual(line: &[u8]) -> Option<Record<'_>> {
    let rest = line.strip_prefix(b"{\"log\":\"")?;
    let (data, rest) = string(rest)?;
    let rest = rest.strip_prefix(b",\"stream\":\"std")?;
    let (stream, rest) = match rest.strip_prefix(b"out\"") {
        Some(rest) => (Stream::Stdout, rest),
        None => (Stream::Stderr, rest.strip_prefix(b"err\"")?),
    };
    let (attributes, rest) = match rest.strip_prefix(b",\"attrs\":") {
        None => (&b""[..], rest),
        Some(rest) => rest.split_at(object(rest)?),
    };
    let text = rest.strip_prefix(b",\"time\":\"")?.strip_suffix(b"\"}")?;
    Some(Record {
        stream,
        time: time::parse(text)?,
        data,
        attributes: Cow::Borrowed(attributes),
    })
}

/// A string behind its opening quote, and what follows its closing one.
fn string(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let end = memchr::memchr2(b'"', b'\\', text)?;
    if text[end] == b'"' {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut out = Vec::with_capacity(text.len().min(1 << 16));
    let mut at = 0;
    loop {
        let next = at + memchr::memchr2(b'"', b'\\', &text[at..])?;
        out.extend_from_slice(&text[at..next]);
        if text[next] == b'"' {
            return Some((Cow::Owned(out), &text[next + 1..]));
        }
        at = next + 2 + unescape(&mut out, &text[next + 1..])?;
    }
}

/// Appends the character of an escape behind its backslash; how many bytes it has besides its first one.
fn unescape(out: &mut Vec<u8>, text: &[u8]) -> Option<usize> {
    out.push(match text.first()? {
        c @ (b'"' | b'\\' | b'/') => *c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        b'u' => {
            let first = hex(&text[1..])?;
            let second = || hex(text.get(5..)?.strip_prefix(b"\\u")?);
            let (code, used) = match first {
                0xd800..0xdc00 => match second() {
                    Some(low @ 0xdc00..0xe000) => {
                        (0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00), 10)
                    }
                    _ => (0xfffd, 4),
                },
                code => (code, 4),
            };
            let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(used);
        }
        _ => return None,
    });
    Some(0)
}

fn hex(text: &[u8]) -> Option<u32> {
    text.get(..4)?
        .iter()
        .try_fold(0, |sum, &c| Some(sum << 4 | char::from(c).to_digit(16)?))
}

/// The length of an object without nested ones.
fn object(text: &[u8]) -> Option<usize> {
    let mut at = text.starts_with(b"{").then_some(1)?;
    loop {
        at += memchr::memchr2(b'"', b'}', &text[at..])?;
        if text[at] == b'}' {
            return Some(at + 1);
        }
        let (_, rest) = string(&text[at + 1..])?;
        at = text.len() - rest.len();
    }
}

/// Any other JSON that says the same.
fn unusual(line: &[u8]) -> Option<Record<'_>> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let attributes = match value.get("attrs") {
        Some(attributes @ Value::Object(_)) => attributes.to_string().into_bytes(),
        _ => Vec::new(),
    };
    Some(Record {
        stream: match text("stream")? {
            "stderr" => Stream::Stderr,
            _ => Stream::Stdout,
        },
        time: time::parse(text("time")?.as_bytes())?,
        data: Cow::Owned(text("log").unwrap_or_default().as_bytes().to_vec()),
        attributes: Cow::Owned(attributes),
    })
}

/// What the object `attrs` says; what is no text in it is left out.
pub fn attributes(text: &[u8]) -> Attributes {
    let Ok(Value::Object(all)) = serde_json::from_slice(text) else {
        return Attributes::new();
    };
    all.into_iter()
        .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::json::Json;
    use super::super::super::split::Entry;
    use super::*;

    fn read(line: &str) -> Option<(String, Stream, i64, Attributes)> {
        match step(line.as_bytes()) {
            Step::Record(record, used) => {
                assert_eq!(used, line.len());
                Some((
                    String::from_utf8(record.data.into_owned()).unwrap(),
                    record.stream,
                    record.time,
                    attributes(&record.attributes),
                ))
            }
            _ => None,
        }
    }

    #[test]
    fn dockers_lines() {
        let text = r#"{"log":"a\u0009\u003c\"\\ é \ufffd\u2028 \ud83d\ude00 \ud83d x\r\n","stream":"stderr","attrs":{"a}\"":"1\u003c","b":"2"},"time":"1970-01-01T00:00:01.5Z"}"#;
        let (log, stream, time, attributes) = read(&format!("{text}\n")).unwrap();
        assert_eq!(log, "a\t<\"\\ é \u{fffd}\u{2028} 😀 \u{fffd} x\r\n");
        assert_eq!((stream, time), (Stream::Stderr, 1_500_000_000));
        assert_eq!(attributes["a}\""], "1<");
        assert_eq!(attributes["b"], "2");
    }

    #[test]
    fn another_order() {
        let text = "{\"time\": \"1970-01-01T00:00:00Z\", \"x\": [1], \"log\":\"hi\", \"stream\":\"stdout\"}\n";
        assert_eq!(read(text).unwrap().0, "hi");
        assert_eq!(step(b"{\"log\":\"x"), Step::More);
        for bad in [
            "\n",
            "{}\n",
            "x{\"log\":\"a\"}\n",
            "{\"log\":\"a\",\"stream\":\"stdout\",\"time\":\"x\"}\n",
        ] {
            assert_eq!(step(bad.as_bytes()), Step::Damaged(bad.len()), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(line in proptest::collection::vec(proptest::num::u8::ANY, 0..300), time in 0i64..i64::MAX) {
            let entry = Entry { stream: Stream::Stdout, time, line: &line, partial: None };
            let mut text = Vec::new();
            let attributes = [("a\"b".to_owned(), "\u{1}ü}".to_owned())].into();
            Json::new(&attributes).encode(&mut text, &entry);
            let Step::Record(record, used) = step(&text) else { panic!("{text:?}") };
            proptest::prop_assert!(usual(&text[..text.len() - 1]).is_some());
            proptest::prop_assert_eq!((used, record.time), (text.len(), time));
            proptest::prop_assert_eq!(super::attributes(&record.attributes), attributes);
            if let Ok(valid) = std::str::from_utf8(&line) {
                proptest::prop_assert_eq!(std::str::from_utf8(&record.data).unwrap(), format!("{valid}\n"));
            }
        }

        #[test]
        fn any_bytes(data in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            if let Step::Record(_, used) | Step::Damaged(used) = step(&data) {
                proptest::prop_assert!(used > 0 && used <= data.len());
            }
        }
    }
}
