//! Bytes of a stream into the records of its log: one for each line, or for each 16 KiB of a longer one.
/// What of a line fits into one record.
pub(super) const RECORD: usize = 16 * 1024;

/// Which of a container's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output; with a terminal, all.
    Stdout,
    /// Its standard error.
    Stderr,
}

impl Stream {
    /// Its name in a log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Place of a record in a line that one record cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// The same in all records of a line.
    pub id: [u8; 32],
    /// From 1.
    pub ordinal: u32,
    /// Whether the line ends here.
    pub last: bool,
}

/// One record before it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it came from.
    pub stream: Stream,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// Without its newline.
    pub line: &'a [u8],
    /// None is a whole line.
    pub partial: Option<Partial>,
}

impl Entry<'_> {
    /// Whether a newline follows.
    #[must_use]
    pub fn ends_line(&self) -> bool {
        self.partial.is_none_or(|partial| partial.last)
    }
}

/// What one stream has written of a line that has not ended.
#[derive(Debug)]
pub struct Splitter {
    stream: Stream,
    /// Less than [`RECORD`] bytes.
    rest: Vec<u8>,
    /// The line has records already: the id, time and number of the last one.
    open: Option<([u8; 32], i64, u32)>,
}

impl Splitter {
    /// At the beginning of a line.
    #[must_use]
    pub const fn new(stream: Stream) -> Self {
        Self {
            stream,
            rest: Vec::new(),
            open: None,
        }
    }

    /// Hands every record that `data` completes to `take`, until that returns false; `now` is when they all came.
    /// How many bytes were used.
    pub fn push(
        &mut self,
        data: &[u8],
        now: i64,
        take: &mut impl FnMut(&Entry<'_>) -> bool,
    ) -> usize {
        let mut chunk = data;
        while !chunk.is_empty() {
            let room = RECORD - self.rest.len();
            let window = &chunk[..room.min(chunk.len())];
            let (end, next, newline) = match memchr::memchr(b'\n', window) {
                Some(at) => (at, at + 1, true),
                None if window.len() == room => (room, room, false),
                None => {
                    self.rest.extend_from_slice(window);
                    return data.len();
                }
            };
            let more = if self.rest.is_empty() {
                self.emit(&chunk[..end], now, newline, take)
            } else {
                let mut line = std::mem::take(&mut self.rest);
                line.extend_from_slice(&chunk[..end]);
                self.emit(&line, now, newline, take)
            };
            chunk = &chunk[next..];
            if !more {
                break;
            }
        }
        data.len() - chunk.len()
    }

    /// The stream has ended: what is left is a record without a newline, as in Docker.
    pub fn finish(&mut self, now: i64, take: &mut impl FnMut(&Entry<'_>) -> bool) {
        let line = std::mem::take(&mut self.rest);
        if !line.is_empty() {
            self.emit(&line, now, false, take);
        }
        self.open = None;
    }

    fn emit(
        &mut self,
        line: &[u8],
        now: i64,
        newline: bool,
        take: &mut impl FnMut(&Entry<'_>) -> bool,
    ) -> bool {
        let (time, partial) = match self.open {
            None if newline => (now, None),
            known => {
                let (id, time, ordinal) = known.unwrap_or_else(|| (random(), now, 0));
                let ordinal = ordinal + 1;
                self.open = (!newline).then_some((id, time, ordinal));
                let last = newline;
                (time, Some(Partial { id, ordinal, last }))
            }
        };
        take(&Entry {
            stream: self.stream,
            time,
            line,
            partial,
        })
    }
}

/// The id of a line.
pub(super) fn random() -> [u8; 32] {
    let mut id = [0; 32];
    // Without randomness, which this kernel has, the lines of one process would still differ in their times.
    let _ = rustix::rand::getrandom(&mut id[..], rustix::rand::GetRandomFlags::empty());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    type Got = Vec<(Vec<u8>, Option<(u32, bool)>, i64)>;

    fn split(chunks: &[&[u8]], finish: bool) -> Got {
        let mut got = Got::new();
        let mut splitter = Splitter::new(Stream::Stdout);
        let mut take = |entry: &Entry<'_>| {
            let partial = entry.partial.map(|p| (p.ordinal, p.last));
            got.push((entry.line.to_vec(), partial, entry.time));
            true
        };
        for (now, chunk) in chunks.iter().enumerate() {
            assert_eq!(splitter.push(chunk, now as i64, &mut take), chunk.len());
        }
        if finish {
            splitter.finish(99, &mut take);
        }
        assert!(splitter.rest.len() < RECORD);
        got
    }

    #[test]
    fn lines_whatever_the_chunks() {
        let whole = |line: &[u8], time| (line.to_vec(), None, time);
        assert_eq!(
            split(&[b"a\nbc\n\nd"], false),
            [whole(b"a", 0), whole(b"bc", 0), whole(b"", 0)]
        );
        assert_eq!(
            split(&[b"a", b"b\n", b"\n", b"c"], true),
            [
                whole(b"ab", 1),
                whole(b"", 2),
                (b"c".to_vec(), Some((1, false)), 99)
            ]
        );
    }

    #[test]
    fn a_long_line_is_cut_as_docker_cuts_it() {
        let long = [b'x'; 2 * RECORD + 5];
        let got = split(&[&long[..100], &long[100..], b"\nq\n"], false);
        let sizes: Vec<_> = got.iter().map(|(l, p, t)| (l.len(), *p, *t)).collect();
        assert_eq!(
            sizes,
            [
                (RECORD, Some((1, false)), 1),
                (RECORD, Some((2, false)), 1),
                (5, Some((3, true)), 1),
                (1, None, 2)
            ]
        );
        // A newline just after a full record ends the line with an empty one.
        let got = split(&[&long[..RECORD], b"\n"], true);
        assert_eq!(got[1], (Vec::new(), Some((2, true)), 0));
        // One byte less is a whole line.
        let got = split(&[&long[..RECORD - 1], b"\n"], true);
        assert_eq!((got.len(), got[0].1), (1, None));
    }

    proptest::proptest! {
        #[test]
        fn no_byte_is_lost(parts in proptest::collection::vec((0usize..40_000, 0u8..3), 0..8), cut in 1usize..50_000) {
            let mut data = Vec::new();
            for (length, ends) in parts {
                data.resize(data.len() + length, b'x');
                data.resize(data.len() + usize::from(ends), b'\n');
            }
            let chunks: Vec<&[u8]> = data.chunks(cut).collect();
            let mut back = Vec::new();
            for (line, partial, _) in split(&chunks, true) {
                proptest::prop_assert!(line.len() <= RECORD);
                back.extend_from_slice(&line);
                if partial.is_none_or(|(_, last)| last) {
                    back.push(b'\n');
                }
            }
            proptest::prop_assert_eq!(back, data);
        }
    }
}
