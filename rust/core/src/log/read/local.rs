//! Reading records of `local`, whoever wrote them.
use std::borrow::Cow;

use super::super::local::FRAME;
use super::super::split::Stream;
use super::record::{Attributes, LARGEST, Record, Step};

/// A field of a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of fixed size, which no field that we know has.
    Other,
}

/// The big-endian length at `at`.
pub fn length(data: &[u8], at: usize) -> Option<usize> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(bytes.iter().fold(0, |sum, &c| sum << 8 | usize::from(c)))
}

/// Looks at the first frame.
pub fn step(data: &[u8]) -> Step<'_> {
    let Some(size) = length(data, 0) else {
        return Step::More;
    };
    if size == 0 || size > LARGEST {
        return Step::Lost;
    }
    match length(data, 4 + size) {
        None => Step::More,
        Some(again) if again != size => Step::Lost,
        Some(_) => match message(&data[4..4 + size]) {
            Some(record) => Step::Record(record, size + FRAME),
            None => Step::Damaged(size + FRAME),
        },
    }
}

fn message(mut data: &[u8]) -> Option<Record<'_>> {
    let mut record = Record {
        stream: Stream::Stdout,
        time: 0,
        data: Cow::Borrowed(b""),
        attributes: Cow::Borrowed(b""),
    };
    let mut ends = true;
    while !data.is_empty() {
        let (number, field, rest) = next(data)?;
        let whole = &data[..data.len() - rest.len()];
        data = rest;
        match (number, field) {
            (1, Field::Bytes(b"stderr")) => record.stream = Stream::Stderr,
            (2, Field::Number(time)) => record.time = time as i64,
            (3, Field::Bytes(line)) => record.data = Cow::Borrowed(line),
            // Older versions of Docker write no more about a part of a line.
            (4, Field::Number(partial)) => ends = partial == 0,
            (5, Field::Bytes(partial)) => ends = is_last(partial)?,
            (6, Field::Bytes(_)) if record.attributes.is_empty() => {
                record.attributes = Cow::Borrowed(whole);
            }
            (6, Field::Bytes(_)) => record.attributes.to_mut().extend_from_slice(whole),
            _ => {}
        }
    }
    if ends {
        record.data.to_mut().push(b'\n');
    }
    Some(record)
}

fn is_last(mut data: &[u8]) -> Option<bool> {
    let mut last = false;
    while !data.is_empty() {
        let (number, field, rest) = next(data)?;
        data = rest;
        if let (1, Field::Number(value)) = (number, field) {
            last = value != 0;
        }
    }
    Some(last)
}

/// The first field: its number, its value, and what follows.
fn next(data: &[u8]) -> Option<(u64, Field<'_>, &[u8])> {
    let (key, rest) = varint(data)?;
    let (field, rest) = match key & 7 {
        0 => {
            let (value, rest) = varint(rest)?;
            (Field::Number(value), rest)
        }
        1 => (Field::Other, rest.get(8..)?),
        2 => {
            let (size, rest) = varint(rest)?;
            let (value, rest) = rest.split_at_checked(usize::try_from(size).ok()?)?;
            (Field::Bytes(value), rest)
        }
        5 => (Field::Other, rest.get(4..)?),
        _ => return None,
    };
    Some((key >> 3, field, rest))
}

fn varint(data: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, &byte) in data.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((value, &data[index + 1..]));
        }
    }
    None
}

/// What the fields of attributes say.
pub fn attributes(mut data: &[u8]) -> Attributes {
    let mut all = Attributes::new();
    while let Some((_, field, rest)) = next(data) {
        data = rest;
        let Field::Bytes(mut pair) = field else {
            continue;
        };
        let (mut name, mut value) = (String::new(), String::new());
        while let Some((number, field, rest)) = next(pair) {
            pair = rest;
            match (number, field) {
                (1, Field::Bytes(text)) => name = String::from_utf8_lossy(text).into_owned(),
                (2, Field::Bytes(text)) => value = String::from_utf8_lossy(text).into_owned(),
                _ => {}
            }
        }
        all.insert(name, value);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::super::local::Local;
    use super::super::super::split::{Entry, Partial};
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(
            line in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
            time in proptest::num::i64::ANY,
            partial in proptest::option::of(proptest::bool::ANY),
        ) {
            let partial = partial.map(|last| Partial { id: [1; 32], ordinal: 200, last });
            let entry = Entry { stream: Stream::Stderr, time, line: &line, partial };
            let written: Attributes = [("a".to_owned(), "ü".to_owned()), ("b".to_owned(), String::new())].into();
            let mut data = Vec::new();
            Local::new(&written).encode(&mut data, &entry);
            let Step::Record(record, used) = step(&data) else { panic!("{data:?}") };
            let mut expected = line.clone();
            if entry.ends_line() {
                expected.push(b'\n');
            }
            proptest::prop_assert_eq!(&record.data[..], &expected[..]);
            proptest::prop_assert_eq!((used, record.time, record.stream), (data.len(), time, Stream::Stderr));
            proptest::prop_assert_eq!(attributes(&record.attributes), written);
            for cut in 0..data.len() {
                proptest::prop_assert_eq!(step(&data[..cut]), Step::More);
            }
        }

        #[test]
        fn any_bytes(data in proptest::collection::vec(proptest::num::u8::ANY, 0..100), size in 0u8..90) {
            let framed = [&[0, 0, 0, size][..], &data[..], &[0, 0, 0, size]].concat();
            for data in [&data, &framed] {
                if let Step::Record(_, used) | Step::Damaged(used) = step(data) {
                    proptest::prop_assert!(used > 0 && used <= data.len());
                }
            }
            attributes(&data);
        }
    }
}
